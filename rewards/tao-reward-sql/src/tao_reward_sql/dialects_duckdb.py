"""Queries of other dialects as DuckDB's: what is known to mean the same is translated, all else is refused by name."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from sqlglot import exp

from . import spark
from .dialects import CASELESS, REALS, TEXTS, Rules, Untranspilable, equal, inside, joined, known, like_part, translated
from .gate import parse

TYPED = ("postgres", "tsql")  # where / of integers is an integer
SKIP_NULL = ("databricks", "spark", "postgres", "tsql")  # in GREATEST and LEAST
# Regular expressions that Java and RE2 read alike: no look-around, references, possessive or lazy repeats, flags, `$`.
_ALIKE = re.compile(
    r"(?:[\w\s,:;@#%&=<>/~`!'\"_-]|\\[.dwD\\|()\[\]*+?-]|\[\^?[\w\s,.:;@-]+\]|\((?!\?)|\)|[.^|]|[*+?](?![+?*]))*"
)
NATIVE = (exp.Year, exp.Month, exp.Day, exp.Quarter, exp.Length, exp.Left, exp.Right, exp.Replace, exp.Lag, exp.Lead)
NATIVE_SPARK = (*NATIVE, exp.Reverse, exp.Stddev, exp.Median, exp.NullSafeEQ, exp.Filter)


@lru_cache(maxsize=20_000)
def to_duckdb(sql: str, dialect: str) -> str:
    """`sql` of a dialect for DuckDB. Raises NotAQuery for what is no query there, Untranspilable for what abstains.

    Spark's functions of dates and texts are macros of the sandbox; casts to integers cut as Spark's do; x / 0 is NULL.
    SQLite's own queries are refused: what it lets types and GROUP BY do, DuckDB does not.
    """
    if dialect == "sqlite":
        raise Untranspilable("queries of SQLite are not known to mean the same in DuckDB: give -o dialect=duckdb")
    if dialect in spark.SPARK and (strange := spark.strange(sql)):
        raise Untranspilable(f"{strange} ({dialect}) is not known to mean the same in DuckDB")
    return translated(parse(sql, dialect).copy(), dialect, "duckdb", RULES, _hidden)


def _other(node: Any, dialect: str) -> Any:
    if dialect not in spark.SPARK:
        date = isinstance(node, exp.TsOrDsToDate) and not node.args.get("format")
        return known(node) if date or isinstance(node, NATIVE) else node
    if isinstance(node, (exp.ArrayAgg, exp.ArrayUniqueAgg)) and not isinstance(node.this, (exp.Distinct, exp.Order)):
        return spark.made("collect_list" if isinstance(node, exp.ArrayAgg) else "collect_set", node.this)
    if isinstance(node, exp.ConcatWs):  # || '' refuses lists, which Spark would join
        separator, *parts = node.expressions
        texts = [exp.Paren(this=exp.DPipe(this=part, expression=exp.Literal.string(""))) for part in parts]
        return known(exp.Anonymous(this="CONCAT_WS", expressions=[separator, *texts]))
    if isinstance(node, exp.StrPosition) and not node.args.get("position") and not node.args.get("occurrence"):
        return known(node)
    return spark.call(node) or (known(node) if isinstance(node, NATIVE_SPARK) else node)


def _extract(node: Any, dialect: str) -> Any:
    part = node.name.upper()
    if dialect in spark.SPARK:
        return spark.call(node) or node
    return known(node) if part in ("YEAR", "MONTH", "DAY", "QUARTER", "HOUR", "MINUTE") else node


def _like(node: Any, dialect: str) -> Any:
    pattern = node.expression
    if not isinstance(pattern, exp.Literal) or "\\" in pattern.this:
        return node
    return known(exp.ILike(this=node.this, expression=pattern)) if dialect in CASELESS else known(node)


def _divided(node: Any, dialect: str) -> Any:
    """x / 0 is NULL here, as where it is no error."""
    below = node.expression
    if not isinstance(below, exp.Literal) and not node.args.get("safe"):
        node.set("expression", exp.Nullif(this=below, expression=exp.Literal.number(0)))
    return known(node)


def _cast(node: Any, dialect: str) -> Any:
    kind = node.args["to"].this.name.upper()
    if dialect in spark.SPARK:
        if kind in ("INT", "BIGINT", "SMALLINT"):
            return spark.made("int", node.this)
        if kind in ("DATE", "TIMESTAMP", "TIMESTAMPTZ"):
            return spark.made("to_date" if kind == "DATE" else "timestamp", node.this)
    digits = node.args["to"].expressions
    if kind == "DECIMAL" and not digits:  # each has its own default
        return node
    for digit in digits if kind == "DECIMAL" else ():
        known(digit)
    return known(node) if kind in (*REALS, *TEXTS, "DATE", "TIMESTAMP") else node


def _extremum(node: Any, dialect: str) -> Any:
    return known(node) if dialect in SKIP_NULL else node


def _matched(node: Any, dialect: str) -> Any:
    pattern = node.expression
    group = node.args.get("group")
    sure = group is None or (isinstance(group, exp.Literal) and group.is_int)
    if isinstance(node, exp.RegexpExtract) and group is None:
        node.set("group", exp.Literal.number(1))
    alike = isinstance(pattern, exp.Literal) and _ALIKE.fullmatch(pattern.this) and not node.args.get("position")
    return known(node) if dialect in spark.SPARK and alike and sure else node


def _substring(node: Any, dialect: str) -> Any:
    return known(like_part(node)) if isinstance(node.args.get("start"), (exp.Literal, exp.Neg)) else node


def _hidden(node: Any, dialect: str) -> str:
    """A construct that hides in a plain node's arguments, by name."""
    if isinstance(node, exp.Div) and dialect in TYPED:
        real = any(
            (isinstance(side, exp.Literal) and not side.is_int)
            or (isinstance(side, exp.Cast) and side.to.this.name.upper() in REALS)
            for side in (node.left.unnest(), node.right.unnest())
        )
        return "" if real else "/ of what may be integers"
    return ""


RULES: Rules = (
    ((exp.Like,), _like),
    ((exp.Div,), _divided),
    ((exp.EQ, exp.NEQ), equal),
    ((exp.In,), inside),
    ((exp.Cast, exp.TryCast), _cast),
    ((exp.Extract,), _extract),
    ((exp.Greatest, exp.Least), _extremum),
    ((exp.RegexpLike, exp.RegexpExtract), _matched),
    ((exp.ConcatWs,), _other),
    ((exp.Concat,), joined),
    ((exp.Substring,), _substring),
    ((object,), _other),
)
