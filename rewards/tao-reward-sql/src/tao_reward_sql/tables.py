"""A SQLite database as a grammar of queries sees it: tables, kinds of columns, real values, keys that join."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from .databases import columns_of, read_only

Kind = Literal["key", "name", "class", "flag", "number", "date", "other"]
MOST_ROWS = 50_000  # of a table that are looked at
MOST_VALUES = 2_000  # of a column; more are names or numbers all the same
MOST_CLASSES = 60
LONGEST = 60  # characters of a value
PLAIN_NAMES = frozenset(("id", "uid", "key", "name", "title", "code"))  # that columns of any table have
_KEY = re.compile(r"(?:^|_)(?:id|key|uid)$|[a-z]I[Dd]$", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_SHAPED = re.compile(r"[\d\s.,:/+-]*")  # numbers, dates, times: no names


@dataclass(frozen=True)
class Column:
    """`values`: its distinct values in order, the first ones of very many; `nulls`: whether rows have none."""

    table: str
    name: str
    kind: Kind
    values: tuple[Any, ...] = ()
    nulls: bool = False


@dataclass(frozen=True)
class Table:
    name: str
    columns: tuple[Column, ...]

    def of(self, *kinds: Kind) -> list[Column]:
        return [column for column in self.columns if column.kind in kinds]

    @property
    def subject(self) -> Column | None:
        """What its rows are called by: a name, else the key."""
        named = self.of("name")
        called = [c for c in named if re.search(r"name|title", c.name, re.IGNORECASE)]
        return next(iter([*called, *named, *self.of("key")]), None)


@dataclass(frozen=True)
class Link:
    """`child`.`column` holds `parent`.`key`."""

    child: str
    column: str
    parent: str
    key: str


@dataclass(frozen=True)
class Tables:
    tables: Mapping[str, Table]
    links: tuple[Link, ...]

    @cached_property
    def folded(self) -> dict[str, tuple[str, ...]]:
        """Columns by table, in lower case."""
        return {t.casefold(): tuple(c.name.casefold() for c in table.columns) for t, table in self.tables.items()}


def tables_of(database: Path) -> Tables:
    """The tables of a SQLite file, not its views. Tables without rows or columns to ask for are left out."""
    with closing(read_only(database)) as db:
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        real = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        names = {t: columns for t, columns in sorted(columns_of(database).items()) if t in real}
        primary = {t: _primary(db, t) for t in names}
        links = _declared(db, names, primary) or _guessed(db, names)
        keys = {(k.child, k.column) for k in links} | {(t, column) for t, column in primary.items() if column}
        found = {}
        for name, columns in names.items():
            read = tuple(_column(db, name, column, (name, column) in keys) for column in columns)
            if any(column.values for column in read):
                found[name] = Table(name, read)
    return Tables(found, tuple(k for k in links if k.child in found and k.parent in found))


def quoted(name: str) -> str:
    """The name as a query has it: in double quotes where it needs them."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and name.upper() not in RESERVED
    return name if plain else _always(name)


def _always(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _primary(db: sqlite3.Connection, table: str) -> str:
    """The column that is the primary key; "" if several are, or none is."""
    found = db.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0", [table]).fetchall()
    return str(found[0][0]) if len(found) == 1 else ""


def _declared(db: sqlite3.Connection, names: Mapping[str, Any], primary: Mapping[str, str]) -> list[Link]:
    links = []
    folded = {name.casefold(): name for name in names}
    for table, columns in names.items():
        known = {column.casefold(): column for column in columns}
        rows = db.execute('SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq', [table])
        rows = rows.fetchall()
        for number, parent, column, named in rows:
            there = folded.get(str(parent).casefold(), "")
            key = named or primary.get(there, "")
            alone = sum(other[0] == number for other in rows) == 1
            if alone and there and there != table and key and column.casefold() in known:
                links.append(Link(table, known[column.casefold()], there, str(key)))
    return links


def _guessed(db: sqlite3.Connection, names: Mapping[str, tuple[str, ...]]) -> list[Link]:
    """Where no foreign key is declared: columns of one name, unique in the one table, whose values the other has."""
    links = []
    for parent, keys in names.items():
        for key in keys:
            p, k = _always(parent), _always(key)
            rows, different, texts = db.execute(
                f"SELECT count({k}), count(DISTINCT {k}), sum(typeof({k}) = 'text') FROM {p}"
            ).fetchone()
            says_so = texts == rows or _KEY.search(key)  # numbers that are unique by chance join nothing
            if different < 2 or rows != different or not says_so or key.casefold() in PLAIN_NAMES:
                continue
            for child, columns in names.items():
                if child == parent or key not in columns:
                    continue
                c = _always(child)
                lost, some = db.execute(
                    f"SELECT sum(v NOT IN (SELECT {k} FROM {p} WHERE {k} IS NOT NULL)), count(*) FROM "
                    f"(SELECT DISTINCT {k} AS v FROM {c} WHERE {k} IS NOT NULL)"
                ).fetchone()
                if some > 1 and (lost or 0) * 10 <= some:
                    links.append(Link(child, key, parent, key))
    return links


def _column(db: sqlite3.Connection, table: str, column: str, key: bool) -> Column:
    c, t = _always(column), _always(table)
    part = f"(SELECT {c} AS v FROM {t} LIMIT {MOST_ROWS})"
    rows, held, texts, numbers = db.execute(
        f"SELECT count(*), count(v), sum(typeof(v) = 'text'), sum(typeof(v) IN ('integer', 'real')) FROM {part}"
    ).fetchone()
    if not held:
        return Column(table, column, "other")
    distinct = f"SELECT DISTINCT v FROM {part} WHERE v IS NOT NULL ORDER BY 1 LIMIT {MOST_VALUES}"
    values = tuple(value for (value,) in db.execute(distinct))
    if texts == held:
        kind = _kind_of_text(values, held)
    elif numbers == held:
        kind = "key" if key or _KEY.search(column) else "flag" if set(values) <= {0, 1} else "number"
    else:
        kind = "other"
    return Column(table, column, kind, values, rows > held)


def _kind_of_text(values: tuple[str, ...], held: int) -> Kind:
    if all(_DATE.match(value) for value in values):
        return "date"
    if sum(bool(_SHAPED.fullmatch(value)) for value in values) > len(values) / 2 or max(map(len, values)) > LONGEST:
        return "other"
    return "class" if len(values) <= MOST_CLASSES and len(values) * 2 <= held else "name"


RESERVED = frozenset(
    """
    ADD ALL ALTER AND AS BETWEEN BY CASE CHECK COLLATE COLUMN COMMIT CONSTRAINT CREATE CROSS CURRENT DEFAULT DELETE DESC
    ASC DISTINCT DROP ELSE END ESCAPE EXCEPT EXISTS FOREIGN FROM FULL GROUP HAVING IF IN INDEX INNER INSERT INTERSECT
    INTO IS ISNULL JOIN LEFT LIKE LIMIT MATCH NATURAL NOT NOTNULL NULL OFFSET ON OR ORDER OUTER PRIMARY RANGE REFERENCES
    RIGHT ROW ROWS SELECT SET TABLE THEN TO TRANSACTION TRIGGER UNION UNIQUE UPDATE USING VALUES VIEW WHEN WHERE WITH
    """.split()  # noqa: SIM905
)
