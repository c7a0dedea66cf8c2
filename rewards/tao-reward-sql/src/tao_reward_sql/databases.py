"""Which database file a prompt is about."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pydantic

import tao_hub

from .dialects import Dialect, Untranspilable, to_sqlite
from .extract import extract_sql
from .gate import NotAQuery
from .sandbox import Limits, Sandbox

Given = TypeVar("Given")
ENDINGS = (".sqlite", ".db", ".sqlite3")


class DatabaseOptions(tao_hub.Options):
    """Options of every reward here that runs SQL."""

    databases: str = pydantic.Field("", description="Folder of NAME.sqlite or NAME/NAME.sqlite, for names in meta.db")
    db: str = pydantic.Field("", description="The database of prompts whose meta names none: a file, or a name")
    dialect: Dialect = pydantic.Field("sqlite", description="Whose SQL the queries are; translated, or refused by name")
    timeout: float = pydantic.Field(5.0, gt=0, description="Seconds a query may take")
    rows: int = pydantic.Field(10_000, gt=0, description="Rows of a result that are read, at most")
    workers: int = pydantic.Field(1, gt=0, description="Sandbox processes")


def find_database(name: str, databases: str = "") -> Path:
    """The file that a name (looked for in the folder `databases`) or a path means. Raises ValueError or
    FileNotFoundError with the cure."""
    path = Path(name).expanduser()
    if path.suffix in ENDINGS or not databases:
        if path.is_file():
            return path.resolve()
        raise FileNotFoundError(f"no database file {name}: give its path, or its name and -o databases=FOLDER")
    if path.name != name:
        raise ValueError(f"database name {name!r} is no plain name")
    folder = Path(databases).expanduser()
    tried = [inside / f"{name}{ending}" for ending in ENDINGS for inside in (folder, folder / name)]
    for file in tried:
        if file.is_file():
            return file.resolve()
    raise FileNotFoundError(f"no database {name!r} in {folder}: looked for {tried[0]} and {tried[1]}")


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

    def query(self, response: str) -> str:
        """The query in an answer as SQLite's. Raises Untranspilable naming what has no sure translation."""
        found = extract_sql(response)
        try:
            return to_sqlite(found, self.options.dialect)
        except NotAQuery:
            return found  # what it is not will be told when it is run

    def scored(
        self, candidate: tao_hub.Candidate, score: Callable[[str, Given], tao_hub.Score], given: Given
    ) -> tao_hub.Score:
        """`score` of the candidate's query; an error where that has no sure translation."""
        try:
            return score(self.query(candidate.response), given)
        except Untranspilable as error:
            return tao_hub.Score.failed(str(error), type="Untranspilable")

    def database(self, prompt: tao_hub.Prompt) -> Path:
        """The file that `meta.db` (or the option `db`) means. Raises ValueError or FileNotFoundError with the cure."""
        name = prompt.meta.get("db") or self.options.db
        if not name or not isinstance(name, str):
            raise ValueError('the prompt names no database: put {"db": FILE or NAME} into its meta, or give -o db=FILE')
        return find_database(name, self.options.databases)


def read_only(file: Path) -> sqlite3.Connection:
    """A plain connection to a file that nobody changes meanwhile; for what the hub asks, never for a model's SQL."""
    uri = "file:" + str(file).replace("%", "%25").replace("?", "%3f").replace("#", "%23") + "?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True)


def names_of(database: Path) -> tuple[str, ...]:
    """Names of the tables and columns of a database, in lower case."""
    return _names(database, database.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _names(database: Path, modified: int) -> tuple[str, ...]:
    with contextlib.closing(read_only(database)) as db:
        rows = db.execute(
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type IN ('table', 'view') "
            "AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        ).fetchall()
    return tuple(sorted({name.casefold() for row in rows for name in row}))
