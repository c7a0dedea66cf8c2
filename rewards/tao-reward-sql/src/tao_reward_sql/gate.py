"""What the text of a query says before it is run: is it one query, what order does it ask for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

MAX_CHARS = 20_000
MAX_DEPTH = 120  # of brackets: a parser that recurses is not to fall over


class NotAQuery(ValueError):
    """The text is not one SELECT-like query."""


@dataclass(frozen=True)
class Order:
    """How to learn which rows of a query's result its top-level ORDER BY leaves tied."""

    keyed: str = ""  # the query with its sort keys as further columns; empty if they cannot be added
    unlimited: str = ""  # the same without LIMIT; empty without one, or with an OFFSET
    keys: tuple[int, ...] = ()  # columns of `keyed` that hold the keys


@lru_cache(maxsize=20_000)
def parse(sql: str, dialect: str = "sqlite") -> exp.Query:
    """The one query in `sql`. Raises NotAQuery saying what was found instead."""
    if len(sql) > MAX_CHARS:
        raise NotAQuery(f"{len(sql)} characters, at most {MAX_CHARS} are read")
    depth = deepest = 0
    for character in sql:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise NotAQuery(f"brackets {deepest} deep, at most {MAX_DEPTH}")
    try:
        found = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    except (SqlglotError, RecursionError, ValueError) as error:
        raise NotAQuery(f"cannot be parsed: {str(error).splitlines()[0][:200]}") from error
    if len(found) != 1:
        raise NotAQuery(f"{len(found)} statements, expected one query")
    tree = found[0]
    while isinstance(tree, exp.Subquery) and not tree.args.get("alias"):
        tree = tree.this
    if not isinstance(tree, exp.Query):
        raise NotAQuery(f"a {tree.key.upper()} statement, expected a query")
    return tree


def order_of(sql: str, dialect: str = "sqlite") -> Order | None:
    """What the top-level ORDER BY asks for; None without one."""
    tree = parse(sql, dialect)
    order = tree.args.get("order")
    if order is None:
        return None
    if not isinstance(tree, exp.Select) or tree.args.get("distinct") or any(e.is_star for e in tree.expressions):
        return Order()
    width, keys, keyed = len(tree.expressions), [], tree.copy()
    for ordered in order.expressions:
        key = ordered.this
        if isinstance(key, exp.Literal) and key.is_int:
            position = int(key.this) - 1
            if not 0 <= position < width:
                return Order()
            keys.append(position)
            continue
        names = [e.alias_or_name.casefold() if e.alias else "" for e in tree.expressions]
        if isinstance(key, exp.Column) and not key.table and key.name.casefold() in names:
            keys.append(names.index(key.name.casefold()))
            continue
        keyed.append("expressions", key.copy())
        keys.append(len(keyed.expressions) - 1)
    unlimited = ""
    if tree.args.get("limit") and not tree.args.get("offset"):
        whole = keyed.copy()
        whole.set("limit", None)
        unlimited = whole.sql(dialect=dialect)
    return Order(keyed.sql(dialect=dialect), unlimited, tuple(keys))


def without_distinct(sql: str, dialect: str = "sqlite") -> str:
    """The query without any DISTINCT, as the test-suite compares by default; the text itself where it has none."""
    if "distinct" not in sql.casefold():
        return sql
    try:
        tree = parse(sql, dialect).copy()
    except NotAQuery:
        return sql
    for node in list(tree.find_all(exp.Select)):
        node.set("distinct", None)
    for node in list(tree.find_all(exp.Distinct)):
        if isinstance(node.parent, exp.AggFunc) and len(node.expressions) == 1:
            node.replace(node.expressions[0])
    return tree.sql(dialect=dialect)
