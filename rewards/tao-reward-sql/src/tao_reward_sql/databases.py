"""Which database a prompt is about."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pydantic

import tao_hub

from . import duckdb_files, postgres
from .dialects import Dialect, Untranspilable, to_engine
from .duckdb_files import from_folder, table_files
from .engines import Place, engine_of, is_server, need
from .extract import extract_sql
from .gate import NotAQuery
from .sandbox import Limits, Sandbox

READ_WHOLE = 64 << 20  # bytes of a database file up to which its content is read to tell whether it has changed
ENDINGS = (".sqlite", ".db", ".sqlite3", ".duckdb")


class Where(tao_hub.Options):
    """Which database a prompt is about."""

    databases: str = pydantic.Field("", description="Folder of NAME.sqlite or NAME/NAME.sqlite, for names in meta.db")
    db: str = pydantic.Field("", description="Database of prompts whose meta names none: file, name or address")


class DatabaseOptions(Where):
    """Options of every reward here that runs SQL."""

    dialect: Dialect | Literal[""] = pydantic.Field(
        "", description="Whose SQL the queries are, if not the database's: translated, or refused by name"
    )
    timeout: float = pydantic.Field(5.0, gt=0, description="Seconds a query may take")
    rows: int = pydantic.Field(10_000, gt=0, description="Rows of a result that are read, at most")
    workers: int = pydantic.Field(1, gt=0, description="Sandbox processes")


def find_database(name: str, databases: str = "") -> Place:
    """What a name (looked for in the folder `databases`), a path or a server's address means: an SQLite or DuckDB
    file, the DuckDB file that is made of a folder of Parquet and CSV files, or the address. Raises ValueError or
    FileNotFoundError with the cure, MissingLibrary where an engine is not installed."""
    if is_server(name):
        need("postgres")
        return name
    path = Path(name).expanduser()
    if path.suffix in ENDINGS or not databases:
        tried = [path]
        told = f"no database file {name}: give its path, or its name and -o databases=FOLDER"
    elif path.name != name or name == "..":
        raise ValueError(f"database name {name!r} is no plain name")
    else:
        folder = Path(databases).expanduser()
        tried = [inside / f"{name}{ending}" for ending in ENDINGS for inside in (folder, folder / name)]
        tried.append(folder / name)
        told = f"no database {name!r} in {folder}: looked for {tried[0]} and {tried[1]}"
    for file in tried:
        if file.is_file():
            need(engine_of(file))
            return file.resolve()
        if file.is_dir() and table_files(file):
            return from_folder(file.resolve())
    raise FileNotFoundError(told)


def content_of(options: Where) -> str:
    """Digest of the database files that the options name, so that scores on other data are other scores: of all files
    in the folder `databases` and its subfolders, and of `db`. "" for none; a server's data is not looked at. Databases
    that only prompts name, by their path, do not count."""
    files: list[tuple[str, Path]] = []
    if options.databases and (folder := Path(options.databases).expanduser()).is_dir():
        inside = sorted([*folder.iterdir(), *(f for sub in folder.iterdir() if sub.is_dir() for f in sub.iterdir())])
        read = (*ENDINGS, *duckdb_files.TABLE_ENDINGS)
        files = [(f.relative_to(folder).as_posix(), f) for f in inside if f.suffix in read and f.is_file()]
    if options.db and not is_server(options.db):
        with contextlib.suppress(OSError, ValueError, tao_hub.TaoHubError):  # told where the first query is scored
            files.append(("", Path(find_database(options.db, options.databases))))
    state = [(name, str(f), (stat := f.stat()).st_size, stat.st_mtime_ns) for name, f in files]
    return _content(tuple(state)) if state else ""


@functools.lru_cache(maxsize=64)
def _content(state: tuple[tuple[str, str, int, int], ...]) -> str:
    """Digest of files by name and content, read once for each state; of large ones by name, size and time."""
    total = hashlib.blake2b(digest_size=16)
    for name, path, size, changed in state:
        total.update(f"{name}\0{size}\0".encode())
        total.update(Path(path).read_bytes() if size <= READ_WHOLE else str(changed).encode())
    return total.hexdigest()


class RunsSQL(tao_hub.Reward):
    """A reward with a sandbox, opened when first used."""

    Options: Any = DatabaseOptions

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._sandbox: Sandbox | None = None

    @property
    def sandbox(self) -> Sandbox:
        if self._sandbox is None:
            self._sandbox = Sandbox(self.options.workers, Limits(seconds=self.options.timeout, rows=self.options.rows))
        return self._sandbox

    def close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    def content_digest(self) -> str:
        return content_of(self.options)

    def query(self, response: str, database: Place) -> str:
        """The query in an answer as the database's. Raises Untranspilable naming what has no sure translation."""
        found = extract_sql(response)
        try:
            return to_engine(found, self.options.dialect, engine_of(database))
        except NotAQuery:
            return found  # what it is not will be told when it is run

    def scored(
        self,
        candidate: tao_hub.Candidate,
        score: Callable[[str, tao_hub.Prompt], tao_hub.Score],
        prompt: tao_hub.Prompt,
    ) -> tao_hub.Score:
        """`score` of the candidate's query; an error where that has no sure translation."""
        try:
            return score(self.query(candidate.response, self.database(prompt)), prompt)
        except Untranspilable as error:
            return tao_hub.Score.failed(str(error), type="Untranspilable")

    def database(self, prompt: tao_hub.Prompt) -> Place:
        return database_of(prompt, self.options)


def database_of(prompt: tao_hub.Prompt, options: Where) -> Place:
    """What `meta.db` (or the option `db`) means. Raises ValueError or FileNotFoundError with the cure."""
    name = prompt.meta.get("db") or options.db
    if not name or not isinstance(name, str):
        raise ValueError('the prompt names no database: put {"db": FILE or NAME} into its meta, or give -o db=FILE')
    return find_database(name, options.databases)


def read_only(file: Path) -> sqlite3.Connection:
    """A plain connection to a file that nobody changes meanwhile; for what the hub asks, never for a model's SQL."""
    uri = "file:" + str(file).replace("%", "%25").replace("?", "%3f").replace("#", "%23") + "?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True)


def names_of(database: Place) -> tuple[str, ...]:
    """Names of the tables and columns of a database, in lower case."""
    return _names(database, state_of(database))


def state_of(database: Place) -> int:
    """Another number once a file has changed; what is known of a server's schema is known for good."""
    return 0 if is_server(database) else Path(database).stat().st_mtime_ns


@functools.lru_cache(maxsize=256)
def _names(database: Place, state: int) -> tuple[str, ...]:
    if engine_of(database) == "duckdb":
        return tuple(sorted({name.casefold() for name in duckdb_files.names(Path(database))}))
    if is_server(database):
        return tuple(sorted({name.casefold() for name in postgres.names(str(database))}))
    return tuple(sorted({name.casefold() for table, columns in columns_of(Path(database)).items()
                         for name in (table, *columns)}))  # fmt: skip


def columns_of(database: Path) -> dict[str, tuple[str, ...]]:
    """Columns by table or view of a SQLite file, as they are written."""
    return _columns(database, state_of(database))


@functools.lru_cache(maxsize=256)
def _columns(database: Path, state: int) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    with contextlib.closing(read_only(database)) as db:
        for table, column in db.execute(
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type IN ('table', 'view') "
            "AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        ):
            found.setdefault(table, []).append(column)
    return {table: tuple(columns) for table, columns in found.items()}
