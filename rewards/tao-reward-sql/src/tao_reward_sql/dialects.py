"""Queries of other dialects as SQLite's: what is known to mean the same is translated, all else is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, get_args

from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from . import spark
from .engines import TITLES, Engine
from .gate import parse

Dialect = Literal["sqlite", "databricks", "spark", "postgres", "mysql", "tsql", "bigquery", "duckdb", "snowflake"]
DIALECTS: tuple[str, ...] = get_args(Dialect)
CASELESS = ("mysql", "tsql")  # by default their collations take 'a' = 'A'
NULL_IN_EXTREMA = ("mysql", "bigquery", "snowflake")  # GREATEST and LEAST of NULL and others are NULL
# Nodes that SQLite means the same by, once sqlglot has written them in its syntax.
PLAIN = (
    exp.Select, exp.From, exp.Where, exp.Join, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset,
    exp.Fetch, exp.Subquery, exp.Table, exp.TableAlias, exp.Alias, exp.Column, exp.Identifier, exp.Star, exp.Literal,
    exp.Null, exp.Boolean, exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE,
    exp.Is, exp.In, exp.Between, exp.ILike, exp.Exists, exp.Union, exp.Except, exp.Intersect, exp.With, exp.CTE,
    exp.Distinct, exp.Case, exp.If, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Neg, exp.Mod, exp.DPipe, exp.Tuple,
    exp.DataType, exp.Window, exp.WindowSpec, exp.Var,
    exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Abs, exp.Round, exp.Upper, exp.Lower, exp.Coalesce, exp.Nullif,
    exp.CountIf, exp.SafeDivide, exp.RowNumber, exp.Rank, exp.DenseRank, exp.Trim, exp.Ceil, exp.Floor,
)  # fmt: skip
REALS = ("FLOAT", "DOUBLE", "DECIMAL", "REAL")
TEXTS = ("TEXT", "VARCHAR", "NVARCHAR", "CHAR", "NCHAR")
PARTS = {"YEAR": "%Y", "MONTH": "%m", "DAY": "%d"}


Rule = Callable[[exp.Expression, str], exp.Expression]
Rules = tuple[tuple[tuple[Any, ...], Rule], ...]
Hidden = Callable[[exp.Expression, str], str]


class Untranspilable(ValueError):
    """The query has a construct that is not known to mean the same in SQLite; the message names it."""


def to_engine(sql: str, dialect: str, engine: Engine) -> str:
    """`sql` of a dialect ("" for the engine's own) for an engine. Raises as `to_sqlite` does."""
    if dialect in ("", engine):
        return sql
    if engine == "sqlite":
        return to_sqlite(sql, dialect)
    if engine == "duckdb":
        from .dialects_duckdb import to_duckdb

        return to_duckdb(sql, dialect)
    raise Untranspilable(f"{dialect}: queries for {TITLES[engine]} are not translated, write them in its own dialect")


@lru_cache(maxsize=20_000)
def to_sqlite(sql: str, dialect: str) -> str:
    """`sql` of a dialect for SQLite. Raises NotAQuery for what is no query there, Untranspilable for what abstains.

    LIKE with a constant becomes GLOB where the dialect minds case; equality with a constant minds none in MySQL and
    T-SQL; parts of dates are read by strftime from ISO dates. Casts to integers of what may be text, intervals,
    formats of dates, regular expressions, arrays and unknown functions are refused.
    """
    if dialect == "sqlite":
        return sql
    if dialect in spark.SPARK and (strange := spark.strange(sql)):
        raise Untranspilable(f"{strange} ({dialect}) is not known to mean the same in SQLite")
    return translated(parse(sql, dialect).copy(), dialect, "sqlite", RULES, lambda node, dialect: "")


def translated(tree: Any, dialect: str, engine: Engine, rules: Rules, hidden: Hidden) -> str:
    """The tree rewritten by rules, in the engine's SQL. Raises Untranspilable for a node that is neither plain nor
    known, or in which something is `hidden`."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        new = next((rule(node, dialect) for kinds, rule in rules if isinstance(node, kinds)), node)
        if new is not node:
            tree = new if node is tree else tree
            node.replace(new)
        waiting.extend(new.iter_expressions())
    for node in tree.walk():
        strange = "" if isinstance(node, PLAIN) or node.meta.get("known") else _name(node)
        if strange := strange or _hidden(node, dialect) or hidden(node, dialect):
            raise Untranspilable(f"{strange} ({dialect}) is not known to mean the same in {TITLES[engine]}")
    for table in tree.find_all(exp.Table):  # one schema
        table.set("db", None)
        table.set("catalog", None)
    try:
        return str(tree.sql(engine, unsupported_level=ErrorLevel.RAISE))
    except SqlglotError as error:
        raise Untranspilable(f"{dialect}: {str(error).splitlines()[0][:200]}") from None


def _like(node: exp.Expression, dialect: str) -> exp.Expression:
    pattern = node.expression
    if dialect in CASELESS:
        return known(node)
    if isinstance(pattern, exp.Literal) and "\\" not in pattern.this:
        return known(exp.Glob(this=node.this, expression=exp.Literal.string(_glob(pattern.this))))
    return node


def equal(node: exp.Expression, dialect: str) -> exp.Expression:
    for side in ("this", "expression"):
        value = node.args[side]
        if dialect in CASELESS and isinstance(value, exp.Literal) and value.is_string:
            node.set(side, known(exp.Collate(this=value, expression=exp.Var(this="NOCASE"))))
            break
    return node


def inside(node: exp.Expression, dialect: str) -> exp.Expression:
    if dialect in CASELESS and any(isinstance(e, exp.Literal) and e.is_string for e in node.expressions):
        node.set("this", known(exp.Collate(this=node.this, expression=exp.Var(this="NOCASE"))))
    return node


def _cast(node: exp.Expression, dialect: str) -> exp.Expression:
    kind = node.args["to"].this.name.upper()
    whole = kind in ("INT", "BIGINT", "SMALLINT") and not isinstance(node.this, (exp.Column, exp.Literal))
    return known(node) if kind in REALS or kind in TEXTS or whole else _of_spark(node, dialect)


def _extremum(node: exp.Expression, dialect: str) -> exp.Expression:
    """MAX(a, b), NULL where a part is; where the dialect leaves NULL out, MAX(COALESCE(a, b), COALESCE(b, a))."""
    wanted = exp.Max if isinstance(node, exp.Greatest) else exp.Min
    if dialect in NULL_IN_EXTREMA:
        return wanted(this=node.this, expressions=node.expressions)
    parts = [node.this, *node.expressions]
    if len(parts) != 2:
        return node
    a, b = (exp.Coalesce(this=x.copy(), expressions=[y.copy()]) for x, y in (parts, parts[::-1]))
    return wanted(this=a, expressions=[b])


def _extract(node: exp.Expression, dialect: str) -> exp.Expression:
    if node.name.upper() in PARTS and dialect not in spark.SPARK:
        return _part(node.name.upper(), node.expression)
    return _of_spark(node, dialect)


def _part_of(node: exp.Expression, dialect: str) -> exp.Expression:
    return _of_spark(node, dialect) if dialect in spark.SPARK else _part(node.key.upper(), node.this)


def _of_spark(node: exp.Expression, dialect: str) -> exp.Expression:
    """A call of a function that the sandbox has, for Spark's."""
    if dialect not in spark.SPARK:
        return node
    if isinstance(node, exp.ConcatWs):
        return spark.made("concat_ws", *node.expressions)
    if isinstance(node, exp.StrPosition) and not node.args.get("position") and not node.args.get("occurrence"):
        return known(exp.Anonymous(this="INSTR", expressions=[node.this, node.args["substr"]]))
    found: exp.Expression | None = spark.call(node)
    return found or node


def like_part(node: exp.Expression) -> exp.Expression:
    """SUBSTRING whose start 0 is 1, as in Spark."""
    if node.text("start") == "0":
        node.set("start", exp.Literal.number(1))
    return node


def known(node: exp.Expression) -> exp.Expression:
    node.meta["known"] = True
    return node


def _part(name: str, date: exp.Expression) -> exp.Expression:
    while isinstance(date, (exp.TsOrDsToDate, exp.TimeStrToTime)) or (
        isinstance(date, exp.Cast) and date.to.this.name.upper() in ("DATE", "TIMESTAMP", "DATETIME")
    ):
        date = date.this
    called = known(exp.Anonymous(this="STRFTIME", expressions=[exp.Literal.string(PARTS[name]), date]))
    return known(exp.Cast(this=called, to=exp.DataType.build("INT")))


def _edge(node: exp.Expression, dialect: str) -> exp.Expression:
    length = node.expression
    if not isinstance(length, exp.Literal) or not length.is_int or int(length.this) < 1:
        return node
    start = exp.Literal.number(1) if isinstance(node, exp.Left) else known(exp.Neg(this=length.copy()))
    return known(exp.Substring(this=node.this, start=start, length=length.copy()))


def joined(node: exp.Expression, dialect: str) -> exp.Expression:
    """a || b, which is NULL where a part is, as in Spark, MySQL and BigQuery; others skip NULL there."""
    if node.args.get("coalesce"):
        return node
    whole, *rest = node.expressions
    for part in rest:
        whole = exp.DPipe(this=whole, expression=part)
    return exp.Paren(this=whole)


def _glob(pattern: str) -> str:
    escaped = "".join(f"[{c}]" if c in "*?[" else c for c in pattern)
    return escaped.replace("%", "*").replace("_", "?")


def _hidden(node: exp.Expression, dialect: str) -> str:
    """A construct that hides in a plain node's arguments, by name."""
    told = {
        "GROUP BY ALL": isinstance(node, exp.Group) and node.args.get("all"),
        "a SEMI, ANTI or other JOIN": isinstance(node, exp.Join)
        and (node.kind in ("SEMI", "ANTI") or node.args.get("method")),
        "DISTINCT ON": isinstance(node, exp.Distinct) and node.args.get("on"),
        "SELECT AS": isinstance(node, exp.Select) and node.args.get("kind"),
        "AVG, an integer of integers,": dialect == "tsql"
        and isinstance(node, exp.Avg) and not isinstance(node.this, exp.Cast),
        "COUNT of several columns": isinstance(node, exp.Count)
        and isinstance(node.this, exp.Distinct) and len(node.this.expressions) > 1,
        "+ with text": isinstance(node, exp.Add)
        and any(isinstance(a, exp.Literal) and a.is_string for a in (node.left, node.right)),
    }  # fmt: skip
    return next((name for name, there in told.items() if there), "")


def _name(node: exp.Expression) -> str:
    if isinstance(node, exp.Anonymous):
        return f"the function {node.name}"
    if isinstance(node, exp.Cast):
        return f"{node.key.upper()} to {node.to.sql()}"
    return node.key.upper()


RULES: Rules = (
    ((exp.ILike,), lambda node, dialect: node),
    ((exp.TryCast,), _of_spark),
    ((exp.Like,), _like),
    ((exp.EQ, exp.NEQ), equal),
    ((exp.In,), inside),
    ((exp.Year, exp.Month, exp.Day), _part_of),
    ((exp.Extract,), _extract),
    ((exp.Left, exp.Right), _edge),
    ((exp.Greatest, exp.Least), _extremum),
    ((exp.ConcatWs,), _of_spark),
    ((exp.Concat,), joined),
    ((exp.Substring,), lambda node, dialect: known(like_part(node) if dialect in spark.SPARK else node)),
    ((exp.Length,), lambda node, dialect: known(node)),
    ((exp.Cast,), _cast),
    ((object,), _of_spark),
)
