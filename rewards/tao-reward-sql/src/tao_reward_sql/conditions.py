"""Conditions that examples have, and the same ones on other columns: what was said of a price holds of a stock."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from .sketch import Condition, Slot
from .tables import Column, Link, Tables, quoted

MOST = 2000  # conditions that are thought of, in all: a large schema has many columns of a kind
_WITHOUT = re.compile(r"(\w+)\.(\w+) NOT IN \(SELECT (\w+) FROM (\w+)( WHERE \3 IS NOT NULL)?\)")


@dataclass(frozen=True)
class Pattern:
    """A condition without its column: own_0_ where that has its table, column_0_ and table_0_ in queries inside."""

    sql: str

    @property
    def looks_elsewhere(self) -> bool:
        """Whether it asks another table than the column's."""
        return bool(re.search(r"\bFROM (?!table_0_)", self.sql))


@dataclass(frozen=True)
class Widened:
    """A condition with what it is made of, each of which words can speak of."""

    condition: Condition
    parts: tuple[Any, ...]


def taken_apart(condition: Condition, tables: Tables) -> Widened:
    """The condition, its pattern and its column; of `without` any of a child table, that table."""
    link, nulls = _without(condition, tables)
    if link is not None:
        return Widened(condition, (condition, Pattern(f"without{nulls}"), ("table", 0, link.child.casefold())))
    found = _pattern(condition)
    if found is None:
        return Widened(condition, (condition,))
    pattern, column = found
    return Widened(condition, (condition, pattern, ("column", condition.table, column)))


def widened(conditions: Iterable[Condition], tables: Tables) -> dict[Condition, Widened]:
    """The conditions first, then those that their patterns make of other columns of the same kind."""
    known = {c: taken_apart(c, tables) for c in conditions}
    for other in itertools.chain.from_iterable(_others(condition, tables) for condition in list(known)):
        if len(known) >= MOST:
            break
        known.setdefault(other, taken_apart(other, tables))
    return known


def _others(condition: Condition, tables: Tables) -> Iterator[Condition]:
    link, nulls = _without(condition, tables)
    if link is not None:
        for other in tables.links:
            parent, key, child, column = (
                quoted(name.casefold()) for name in (other.parent, other.key, other.child, other.column)
            )
            where = f" WHERE {column} IS NOT NULL" if nulls else ""
            yield Condition(other.parent.casefold(), f"{parent}.{key} NOT IN (SELECT {column} FROM {child}{where})")
        return
    found = _pattern(condition)
    if found is None:
        return
    pattern, name = found
    columns = [c for table in tables.tables.values() for c in table.columns]
    own = next((c for c in columns if _named(c) == (condition.table, name)), None)
    for column in columns:
        if own is None or column.kind != own.kind or own.kind == "key":
            continue
        if pattern.looks_elsewhere and column.name.casefold() != name:
            continue
        yield _put(pattern, condition, name, *_named(column))


def _pattern(condition: Condition) -> tuple[Pattern, str] | None:
    """The pattern and its column; None where there are several columns, or none."""
    own = rf"\b{re.escape(condition.table)}\.(\w+)"
    names = set(re.findall(own, condition.sql))
    if not condition.table or len(names) != 1:
        return None
    name = names.pop()
    text = re.sub(own, "own_0_", condition.sql)
    text = re.sub(rf"(?<![\w'.]){re.escape(name)}(?![\w'])", "column_0_", text, flags=re.IGNORECASE)
    return Pattern(re.sub(rf"\bFROM {re.escape(condition.table)}\b", "FROM table_0_", text, flags=re.IGNORECASE)), name


def _put(pattern: Pattern, like: Condition, name: str, table: str, column: str) -> Condition:
    own, name_of, table_of = f"{quoted(table)}.{quoted(column)}", quoted(column), quoted(table)
    text = pattern.sql.replace("own_0_", own).replace("column_0_", name_of).replace("table_0_", table_of)
    slots = tuple(Slot(table, column) if s == Slot(like.table, name) else s for s in like.slots)
    return replace(like, table=table, sql=text, slots=slots)


def _without(condition: Condition, tables: Tables) -> tuple[Link | None, bool]:
    """The link that rows of a child hold, where the condition is that no row does, and whether NULLs are left out."""
    found = _WITHOUT.fullmatch(condition.sql)
    if found is None:
        return None, False
    table, key, column, child, nulls = found.groups()
    wanted = (child.casefold(), column.casefold(), table, key)
    folded = {tuple(x.casefold() for x in (k.child, k.column, k.parent, k.key)): k for k in tables.links}
    return folded.get(wanted), bool(nulls)


def _named(column: Column) -> tuple[str, str]:
    return column.table.casefold(), column.name.casefold()
