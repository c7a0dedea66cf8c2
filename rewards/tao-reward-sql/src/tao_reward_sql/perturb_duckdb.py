"""Perturbed copies of DuckDB files: the same as those of SQLite files, drawn here and written by DuckDB."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from .duckdb_files import connect, quoted, text

if TYPE_CHECKING:
    import duckdb

_KEY = re.compile(r"(?:^|_)(?:id|key|code|no|nr|number)$|[a-z](?:Id|ID|Key)$", re.IGNORECASE)


@dataclass
class Table:
    """A table of the source, its rows counted, with what must stay as it is."""

    schema: str
    name: str
    columns: dict[str, str]
    """Type by column."""
    count: int
    keys: set[str] = field(default_factory=set)
    refers: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = field(default_factory=list)
    """(columns, table of the same schema, its columns) of the foreign keys."""

    @property
    def title(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"


def perturb(source: Path, target: Path, dropped: float, draw: Random, most_rows: int) -> None:
    """Write a copy: tables with dropped, doubled and shuffled values, views, enumerations and macros.

    Declared keys hold in the copy's data, but are not declared there. Where a file declares none (as those made of
    Parquet and CSV do), columns named like keys that hold each value once are taken for keys, and columns named after
    them that hold no other values for references.
    """
    with connect(target, write=True) as db:
        db.execute("SET threads = 1")
        db.execute(f"ATTACH {text(str(source))} AS source (READ_ONLY)")
        tables = _tables(db)
        referred = {(t.schema, other) for t in tables for _, other, _ in t.refers}
        for name in sorted({t.schema for t in tables} - {"main"}):
            db.execute(f"CREATE SCHEMA {quoted(name)}")
        enums = "SELECT type_name, labels FROM duckdb_types() WHERE database_name = 'source' AND NOT internal"
        for name, labels in db.execute(f"{enums} AND logical_type = 'ENUM'").fetchall():
            db.execute(f"CREATE TYPE {quoted(name)} AS ENUM ({', '.join(map(text, labels))})")
        for table in tables:
            spared = (table.schema, table.name) in referred and dropped < 0.9
            _copy(db, table, dropped / 2 if spared else dropped, draw, min(table.count, most_rows))
        _mend(db, tables)
        _views(db)
        db.execute("DETACH source")


def _tables(db: duckdb.DuckDBPyConnection) -> list[Table]:
    found: dict[tuple[str, str], Table] = {}
    base = "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'source' AND NOT internal"
    for schema, name in db.execute(f"{base} ORDER BY ALL").fetchall():
        (count,) = db.execute(f"SELECT count(*) FROM source.{quoted(schema)}.{quoted(name)}").fetchone() or (0,)
        found[schema, name] = Table(schema, name, {}, count)
    columns = "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns()"
    for schema, name, column, kind in db.execute(
        f"{columns} WHERE database_name = 'source' ORDER BY schema_name, table_name, column_index"
    ).fetchall():
        if (schema, name) in found:
            found[schema, name].columns[column] = kind
    for schema, name, kind, own, other, theirs in db.execute(
        "SELECT schema_name, table_name, constraint_type, constraint_column_names, referenced_table, "
        "referenced_column_names FROM duckdb_constraints() WHERE database_name = 'source' AND constraint_type IN "
        "('PRIMARY KEY', 'UNIQUE', 'FOREIGN KEY')"
    ).fetchall():
        table = found[schema, name]
        table.keys |= set(own)
        if kind == "FOREIGN KEY":
            table.refers.append((tuple(own), other, tuple(theirs)))
    if not any(t.keys for t in found.values()):
        _guess(db, list(found.values()))
    return list(found.values())


def _guess(db: duckdb.DuckDBPyConnection, tables: Sequence[Table]) -> None:
    """Keys and references by names and values."""
    for table in tables:
        for column in filter(_KEY.search, table.columns):
            (unique,) = db.execute(
                f"SELECT count(DISTINCT {quoted(column)}) = count(*) FROM source.{table.title}"
            ).fetchone() or (False,)
            if unique and table.count:
                table.keys.add(column)
    unique_columns = [(table, column) for table in tables for column in table.keys]
    for table in tables:
        for column in filter(_KEY.search, set(table.columns) - table.keys):
            for other, key in sorted(unique_columns, key=lambda pair: (pair[0].name, pair[1])):
                stem = re.sub(r"(?:ies|es|s)$", "", other.name.casefold())
                named = column.casefold() == key.casefold() or column.casefold().startswith(stem)
                if other is table or other.schema != table.schema or not named:
                    continue
                if _kind(table.columns[column]) != _kind(other.columns[key]):
                    continue
                (strange,) = db.execute(
                    f"SELECT count(*) FROM source.{table.title} WHERE {quoted(column)} IS NOT NULL AND "
                    f"{quoted(column)} NOT IN (SELECT {quoted(key)} FROM source.{other.title})"
                ).fetchone() or (1,)
                if not strange:
                    table.refers.append(((column,), other.name, (key,)))
                    break
    for table in tables:
        table.keys |= {column for columns, _, _ in table.refers for column in columns}


def _kind(column_type: str) -> str:
    return "INTEGER" if column_type.endswith("INT") or column_type in ("INTEGER", "UINTEGER") else column_type


def _copy(db: duckdb.DuckDBPyConnection, table: Table, dropped: float, draw: Random, count: int) -> None:
    rows = [i for i in range(1, count + 1) if draw.random() >= dropped] or [1][:count]
    sources = {column: list(rows) for column in table.columns}
    for column, places in sources.items():
        if column in table.keys:
            continue
        moved = [i for i in range(len(rows)) if draw.random() < 0.5]
        values = [places[i] for i in moved]
        draw.shuffle(values)
        for i, value in zip(moved, values):
            places[i] = value
    order = list(range(len(rows)))
    if not table.keys:
        order += [i for i in range(len(rows)) if draw.random() < 0.15]
    draw.shuffle(order)
    if not rows:
        db.execute(f"CREATE TABLE {table.title} AS SELECT * FROM source.{table.title} LIMIT 0")
        return
    gathered = []
    for column, places in sources.items():
        first = f"SELECT rowid AS r, {quoted(column)} FROM source.{table.title} ORDER BY rowid LIMIT {count}"
        known = f"SELECT list({quoted(column)} ORDER BY r) FROM ({first})"
        chosen = text("[" + ",".join(str(places[i]) for i in order) + "]")
        gathered.append(f"unnest(list_select(({known}), CAST({chosen} AS BIGINT[]))) AS {quoted(column)}")
    db.execute(f"CREATE TABLE {table.title} AS SELECT {', '.join(gathered)}")


def _mend(db: duckdb.DuckDBPyConnection, tables: Sequence[Table]) -> None:
    """Delete the rows that refer to dropped ones, and those that refer to them."""
    for _ in range(10):
        gone = 0
        for table in tables:
            for own, other, theirs in table.refers:
                same = " AND ".join(f"o.{quoted(b)} = t.{quoted(a)}" for a, b in zip(own, theirs))
                given = " AND ".join(f"t.{quoted(a)} IS NOT NULL" for a in own)
                there = f"SELECT 1 FROM {quoted(table.schema)}.{quoted(other)} AS o WHERE {same}"
                told = db.execute(f"DELETE FROM {table.title} AS t WHERE {given} AND NOT EXISTS ({there})").fetchone()
                gone += told[0] if told else 0
        if not gone:
            return


def _views(db: duckdb.DuckDBPyConnection) -> None:
    """Make the views and macros again, in whatever order they need one another; what cannot be made is left out."""
    import duckdb

    made = "SELECT sql FROM duckdb_views() WHERE database_name = 'source' AND NOT internal"
    macros = "SELECT schema_name, function_name, parameters, macro_definition FROM duckdb_functions() WHERE "
    macros += "database_name = 'source' AND NOT internal AND function_type = 'macro'"
    waiting = [
        f"CREATE MACRO {quoted(schema)}.{quoted(name)}({', '.join(parameters)}) AS ({definition})"
        for schema, name, parameters, definition in db.execute(macros).fetchall()
    ]
    waiting += [sql for (sql,) in db.execute(made).fetchall()]
    while waiting:
        left = []
        for sql in waiting:
            try:
                db.execute(sql)
            except duckdb.Error:
                left.append(sql)
        if len(left) == len(waiting):
            return
        waiting = left
