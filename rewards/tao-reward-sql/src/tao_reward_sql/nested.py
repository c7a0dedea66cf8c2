"""Conditions with queries inside: the extreme of those rows that the other conditions leave, and lookups in other rows.

"The largest city in Texas" has a condition twice: `population = (SELECT MAX(population) FROM city WHERE state = 'tx')
AND state = 'tx'`. Taken apart it is two conditions, of which the extreme says that it is one among the others. "Rivers
in states that border Texas" is `traverse IN (SELECT border FROM border_info WHERE …)`: a lookup around any condition on
border_info, which may be a lookup again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from .repair import written
from .tables import Link, quoted

AMONG = "among_0_"  # stands in an extreme's query for the other conditions on its table
_NAME = r'(?:\w+|"(?:[^"]|"")+")'
_LOOKUP = re.compile(rf"({_NAME})\.({_NAME}) (IN|=|NOT IN) \(SELECT ({_NAME}) FROM ({_NAME}) WHERE (.+)\)", re.DOTALL)
_EXTREME = re.compile(rf"{_NAME}\.{_NAME} = \(SELECT (?:MAX|MIN)\({_NAME}\) FROM {_NAME} WHERE {AMONG}\)", re.I)

Column = tuple[str, str]  # table and name, in lower case


@dataclass(frozen=True)
class Tail:
    """Where a value is looked up: `IN (SELECT column FROM table …)`, or NOT IN."""

    within: bool
    column: str
    table: str


@dataclass(frozen=True)
class Lookup:
    """A condition that looks a column up in those rows of a table for which another one (`inner`) holds."""

    own: Column
    tail: Tail
    inner: str

    @property
    def sql(self) -> str:
        (table, column), tail = self.own, self.tail
        told = f"{quoted(table)}.{quoted(column)} {'IN' if tail.within else 'NOT IN'}"
        inner = self.inner.removeprefix(f"{quoted(tail.table)}.")
        return f"{told} (SELECT {quoted(tail.column)} FROM {quoted(tail.table)} WHERE {inner})"


def lookup_of(sql: str, tables: Mapping[str, tuple[str, ...]]) -> Lookup | None:
    """The lookup that a condition is, its inner condition with the column's full name; None for any other."""
    found = _LOOKUP.fullmatch(sql)
    if found is None or not _balanced(found[6]):
        return None
    table, column, operator, looked, other, inner = found.groups()
    looked, other = _bare(looked), _bare(other)
    first = re.match(rf"(?:{re.escape(quoted(other))}\.)?({_NAME}) ", inner, re.IGNORECASE)
    if other not in tables or first is None or _bare(first[1]) not in tables[other]:
        return None
    if re.search(r"\b(AND|OR|GROUP|ORDER|LIMIT)\b", _outside(inner)):
        return None
    name = f"{quoted(other)}.{quoted(_bare(first[1]))} "
    tail = Tail(operator != "NOT IN", looked, other)
    return Lookup((_bare(table), _bare(column)), tail, name + inner[first.end():])


def put_alike(sql: str, tables: Mapping[str, tuple[str, ...]]) -> str:
    """The condition with all its lookups written in one way (IN for =, full names inside)."""
    found = lookup_of(sql, tables)
    return sql if found is None else Lookup(found.own, found.tail, put_alike(found.inner, tables)).sql


def mark_extremes(tree: exp.Select, parts: Sequence[exp.Expression]) -> None:
    """Puts AMONG into each extreme among the conjuncts `parts` whose own query has the same other conditions, and into
    those that are all of a lookup's condition."""
    for part in parts:
        inner = _extreme(part)
        if inner is None:
            continue
        table = inner.args["from_"].this.name.casefold()
        others = {_plain(o) for o in parts if o is not part and _extreme(o) is None and _table(o, tree) == table}
        where = inner.args.get("where")
        held = {_plain(p) for p in _conjuncts(where.this)} if where is not None else set()
        if held == others:
            inner.set("where", exp.Where(this=exp.column(AMONG)))
    for select in (select for part in parts for select in part.find_all(exp.Select)):
        where = select.args.get("where")
        inner = _extreme(where.this) if where is not None else None
        if inner is not None and inner.args.get("where") is None:
            inner.set("where", exp.Where(this=exp.column(AMONG)))


def spelt_out(conditions: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Conditions (table, text) as a query has them: what an extreme is among is written into its query."""
    for table, text in conditions:
        if AMONG not in text:
            yield text
            continue
        others: list[str] = []
        if _EXTREME.fullmatch(text):
            prefix = f"{quoted(table)}."
            plain = (t.removeprefix(prefix) for own, t in conditions if own == table and not _EXTREME.fullmatch(t))
            others = [re.sub(rf" WHERE {AMONG}", "", t) for t in plain]
        told = f" WHERE {' AND '.join(others)}" if others else ""
        yield re.sub(rf" WHERE {AMONG}", lambda _, told=told: told, text)


def alike(lookups: Iterable[Lookup], links: Iterable[Link] = ()) -> dict[Column, frozenset[Column]]:
    """The columns whose values are of one kind, since a lookup or a link leads from one to the other."""
    classes: dict[Column, set[Column]] = {}
    pairs = [(lookup.own, (lookup.tail.table, lookup.tail.column)) for lookup in lookups]
    for link in links:
        pairs.append(((link.child.casefold(), link.column.casefold()), (link.parent.casefold(), link.key.casefold())))
    for a, b in pairs:
        whole = classes.setdefault(a, {a}) | classes.setdefault(b, {b})
        for column in whole:
            classes[column] = whole
    return {column: frozenset(whole) for column, whole in classes.items()}


def _extreme(part: exp.Expression) -> exp.Select | None:
    """The query of `column = (SELECT MAX(column) FROM table …)`."""
    if not isinstance(part, exp.EQ) or not isinstance(part.this, exp.Column):
        return None
    inner = part.expression.unnest()
    if not isinstance(inner, exp.Select) or len(inner.expressions) != 1 or inner.args.get("joins"):
        return None
    found, source = inner.expressions[0], inner.args.get("from_")
    if not isinstance(found, exp.Max | exp.Min) or not isinstance(found.this, exp.Column):
        return None
    if source is None or not isinstance(source.this, exp.Table) or source.this.alias:
        return None
    if any(inner.args.get(name) for name in ("group", "having", "order", "limit", "distinct")):
        return None
    same = found.this.name.casefold() == part.this.name.casefold()
    return inner if same and part.this.table.casefold() in ("", source.this.name.casefold()) else None


def _table(part: exp.Expression, tree: exp.Select) -> str:
    return next((c.table.casefold() for c in part.find_all(exp.Column) if c.parent_select is tree), "")


def _plain(part: exp.Expression) -> str:
    """The condition with no table before its own columns."""
    copy, own = part.unnest().copy(), part.parent_select
    for ours, theirs in zip(copy.find_all(exp.Column), part.unnest().find_all(exp.Column)):
        if theirs.parent_select is own:
            ours.set("table", None)
    return written(copy).casefold()


def _conjuncts(where: exp.Expression) -> list[exp.Expression]:
    return list(where.flatten()) if isinstance(where, exp.And) else [where]


def _bare(name: str) -> str:
    return (name[1:-1].replace('""', '"') if name.startswith('"') else name).casefold()


def _outside(text: str) -> str:
    """The text without quotes and what stands in brackets."""
    text = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", "", text)
    while (less := re.sub(r"\([^()]*\)", "", text)) != text:
        text = less
    return text


def _balanced(text: str) -> bool:
    return not set("()") & set(_outside(text))
