"""What the hub itself asks a PostgreSQL server: names, and the tables as CREATE statements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .engines import need

if TYPE_CHECKING:
    import psycopg

COLUMNS = """
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND has_table_privilege(c.oid, 'SELECT') ORDER BY n.nspname <> 'public', n.nspname, c.relname, a.attnum
"""


def names(address: str) -> set[str]:
    """Names of the tables and columns that the role may read."""
    with _connect(address) as db:
        return {name for (_, table), columns in _tables(db).items() for name in (table, *columns)}


def statements(address: str, rows: int = 0) -> list[str]:
    """A CREATE statement of each table and view, with its first `rows` rows as comments."""
    told = []
    with _connect(address) as db:
        for (schema, table), columns in _tables(db).items():
            name = quoted(table) if schema == "public" else f"{quoted(schema)}.{quoted(table)}"
            told.append(f"CREATE TABLE {name} ({', '.join(f'{quoted(c)} {kind}' for c, kind in columns.items())});")
            shown = f"SELECT * FROM {quoted(schema)}.{quoted(table)} LIMIT {int(rows)}"
            for row in db.execute(shown.encode()).fetchall() if rows else ():
                told.append("-- " + ", ".join(str(value)[:40] for value in row))
    return told


def quoted(name: str) -> str:
    """The name as SQL, in quotes where it needs them."""
    plain = name.isidentifier() and name == name.casefold() and name.isascii()
    return name if plain else '"' + name.replace('"', '""') + '"'


def _connect(address: str) -> psycopg.Connection[tuple[str, ...]]:
    need("postgres")
    import psycopg

    db = psycopg.connect(address, connect_timeout=10)
    db.read_only = True
    return db


def _tables(db: psycopg.Connection[tuple[str, ...]]) -> Mapping[tuple[str, str], dict[str, str]]:
    """Types by column, by (schema, table)."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for schema, table, column, kind in db.execute(COLUMNS).fetchall():
        found.setdefault((schema, table), {})[column] = kind
    return found
