"""Conditions that examples have, and the same ones on other columns: what was said of a price holds of a stock."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .nested import Lookup, alike, lookup_of
from .sketch import Condition, Slot
from .tables import Column, Link, Tables, quoted

MOST = 4000  # conditions that are thought of, in all: a large schema has many columns of a kind
DEPTH = 2  # lookups in lookups that are thought of
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
    """The condition, its pattern and its column; of `without` any of a child table, that table; of a lookup, where it
    looks, and what its inner condition is made of."""
    link, nulls = _without(condition, tables)
    if link is not None:
        return Widened(condition, (condition, Pattern(f"without{nulls}"), ("table", 0, link.child.casefold())))
    inside = looked_up(condition, tables)
    if inside is not None:
        return Widened(condition, (condition, inside[0].tail, *taken_apart(inside[1], tables).parts))
    found = _pattern(condition)
    if found is None:
        return Widened(condition, (condition,))
    pattern, column = found
    return Widened(condition, (condition, pattern, ("column", condition.table, column)))


def widened(conditions: Iterable[Condition], tables: Tables) -> dict[Condition, Widened]:
    """The conditions first, then those inside them, those that their patterns make of other columns of the same kind,
    and lookups like theirs around all these."""
    known = {c: taken_apart(c, tables) for c in conditions}
    lookups = lookups_of(known, tables)
    known |= {c: taken_apart(c, tables) for _, c in lookups if c not in known}
    made = itertools.chain.from_iterable(_others(condition, tables) for condition in list(known))
    for other in itertools.chain(made, _around(known, [lookup for lookup, _ in lookups], tables.links)):
        if len(known) >= MOST:
            break
        known.setdefault(other, taken_apart(other, tables))
    return known


def lookups_of(conditions: Iterable[Condition], tables: Tables) -> list[tuple[Lookup, Condition]]:
    """All lookups in conditions, with their inner conditions."""
    found = []
    for condition in conditions:
        inside = looked_up(condition, tables)
        while inside is not None:
            found.append(inside)
            inside = looked_up(inside[1], tables)
    return found


def looked_up(condition: Condition, tables: Tables) -> tuple[Lookup, Condition] | None:
    """The lookup that the condition is, and its inner condition."""
    found = lookup_of(condition.sql, tables.folded)
    return None if found is None else (found, replace(condition, table=found.tail.table, sql=found.inner))


def _around(
    known: Mapping[Condition, Any], lookups: Sequence[Lookup], links: Iterable[Link]
) -> Iterator[Condition]:
    """Lookups where these look, from columns like theirs: around all known conditions, then around what that gave."""
    classes = alike(lookups, links)
    ways = dict.fromkeys((own, k.tail) for k in lookups for own in sorted(classes[k.own]))
    inner = [condition for condition in known if condition.table]
    for _ in range(DEPTH):
        made = []
        for (own, tail), condition in itertools.product(ways, inner):
            looked = (tail.table, tail.column)
            itself = condition.sql.startswith(f"{quoted(looked[0])}.{quoted(looked[1])} = ")  # no lookup: it is known
            if condition.table == tail.table and own != looked and not itself:
                made.append(replace(condition, table=own[0], sql=Lookup(own, tail, condition.sql).sql))
                yield made[-1]
        inner = made


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
