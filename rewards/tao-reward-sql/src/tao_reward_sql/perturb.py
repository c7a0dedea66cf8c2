"""Copies of a database with other data: queries that agree by chance on the original part on these."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from .databases import read_only
from .duckdb_files import cache
from .engines import NoCopies, Place, engine_of, is_server

DROPPED = (0.2, 0.5, 0.8)  # share of the rows, by turns: what few rows decide must change, too
MOST_ROWS = 20_000  # of a table that are perturbed; further ones are dropped from the copy


def copies(database: Place, count: int, folder: Path | None = None, seed: int = 0) -> list[Path]:
    """`count` perturbed copies, made once and kept by the content of the original, the seed and the number.

    In each table some rows are dropped, some doubled where no key forbids it, and in each column outside keys values
    are shuffled among the rows. Schema, types, primary and foreign keys are kept: what refers to a dropped row
    goes with it. The idea is that of distilled test suites (Zhong et al. 2020, arXiv 2010.02840). Raises NoCopies for a
    server's database.
    """
    numbers = range(count)
    return [_made(database, f"{seed}-{n}", DROPPED[n % len(DROPPED)], folder) for n in numbers]


def sparse(database: Place, folder: Path | None = None) -> Path:
    """A copy in which few rows of each table are left: what is the same there, too, does not look at the data."""
    return _made(database, "sparse", 0.97, folder)


def _made(place: Place, label: str, dropped: float, folder: Path | None) -> Path:
    if is_server(place):
        raise NoCopies("a server's database has no perturbed copies: give -o perturbed=0, or a DuckDB or SQLite file")
    database, engine = Path(place), engine_of(place)
    folder = folder or cache("perturbed")
    folder.mkdir(parents=True, exist_ok=True)
    content = _content(database, *_state(database))
    target = folder / f"{content}-v2-{label}.{engine}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            unfinished, draw = Path(made) / "unfinished", random.Random(f"{content}/{label}")
            if engine == "duckdb":
                from .perturb_duckdb import perturb

                perturb(database, unfinished, dropped, draw, MOST_ROWS)
            else:
                _perturb(database, unfinished, dropped, draw)
            unfinished.replace(target)
    return target


def _state(database: Path) -> tuple[int, int]:
    state = database.stat()
    return state.st_mtime_ns, state.st_size


@functools.lru_cache(maxsize=256)
def _content(database: Path, modified: int, size: int) -> str:
    """Digest of the file, read once for each state that it is in."""
    with database.open("rb") as file:
        digest = hashlib.blake2b(digest_size=16)
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _perturb(source: Path, target: Path, dropped: float, draw: random.Random) -> None:
    with closing(read_only(source)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy)
        copy.execute("PRAGMA foreign_keys=OFF")
        copy.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        tables = [
            name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type='table'")
            if not name.startswith("sqlite_")
        ]  # fmt: skip
        referred = {row[2].casefold() for t in tables for row in copy.execute(f"PRAGMA foreign_key_list({_quoted(t)})")}
        for table in tables:
            # what refers to a dropped row goes with it: fewer are dropped where that would empty other tables
            spared = table.casefold() in referred and dropped < 0.9
            _table(copy, table, dropped / 2 if spared else dropped, draw)
        _mend(copy, tables)
        copy.commit()


def _table(db: sqlite3.Connection, table: str, dropped: float, draw: random.Random) -> None:
    name = _quoted(table)
    columns = db.execute(f"PRAGMA table_info({name})").fetchall()
    keys = {c[1] for c in columns if c[5]} | {row[3] for row in db.execute(f"PRAGMA foreign_key_list({name})")}
    for index in db.execute(f"PRAGMA index_list({name})").fetchall():
        if index[2]:  # unique
            keys |= {row[2] for row in db.execute(f"PRAGMA index_info({_quoted(index[1])})")}
    try:
        rows = [list(row) for row in db.execute(f"SELECT * FROM {name} LIMIT {MOST_ROWS}")]
    except sqlite3.Error:
        return  # a virtual table, say
    if not rows:
        return
    rows = [row for row in rows if draw.random() >= dropped] or rows[:1]
    for position, column in enumerate(columns):
        if column[1] in keys:
            continue
        moved = [i for i in range(len(rows)) if draw.random() < 0.5]
        values = [rows[i][position] for i in moved]
        draw.shuffle(values)
        for i, value in zip(moved, values):
            rows[i][position] = value
    if not keys:
        rows += [list(row) for row in rows if draw.random() < 0.15]
    draw.shuffle(rows)
    places = ", ".join("?" * len(columns))
    db.execute(f"DELETE FROM {name}")
    db.executemany(f"INSERT OR IGNORE INTO {name} VALUES ({places})", rows)


def _mend(db: sqlite3.Connection, tables: Sequence[str]) -> None:
    """Delete the rows that refer to dropped ones, and those that refer to them.

    A table whose foreign key refers to columns that are not unique (SQLite calls it a mismatch) is left as it is.
    """
    for _ in range(10):
        broken = []
        for table in tables:
            with contextlib.suppress(sqlite3.OperationalError):
                found = db.execute(f"PRAGMA foreign_key_check({_quoted(table)})")
                broken += [(name, row) for name, row, *_ in found if row is not None]
        if not broken:
            return
        for table, row in broken:
            db.execute(f"DELETE FROM {_quoted(table)} WHERE rowid = ?", [row])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
