"""Spark's functions in a query as calls of `spark_NAME`, which the sandbox gives to SQLite and DuckDB alike."""

from __future__ import annotations

import re
from typing import Any

from sqlglot import exp

SPARK = ("databricks", "spark")
UNARY: dict[type, str] = {
    exp.Year: "year", exp.Quarter: "quarter", exp.Month: "month", exp.Day: "day", exp.DayOfMonth: "day",
    exp.DayOfWeek: "dayofweek", exp.DayOfYear: "dayofyear", exp.WeekOfYear: "weekofyear", exp.Hour: "hour",
    exp.Minute: "minute", exp.Second: "second", exp.LastDay: "last_day", exp.Initcap: "initcap",
}  # fmt: skip
PAIRS = {
    exp.DateDiff: "datediff", exp.TsOrDsAdd: "date_add", exp.AddMonths: "add_months",
    exp.MonthsBetween: "months_between",
}  # fmt: skip
EXTRACTED = {
    "YEAR": "year", "QUARTER": "quarter", "MONTH": "month", "WEEK": "weekofyear", "DAY": "day", "DOY": "dayofyear",
    "HOUR": "hour", "MINUTE": "minute",
}  # fmt: skip
_FORM = re.compile(r"(?:%[YymdHIMSpaAbB]|%-[mdHIMS]|[^%A-Za-z'])*")
_SPECIAL = re.compile(r"[\\.\[\](){}^$*+?|]")  # in a regular expression
# What sqlglot reads as if it were another construct, told by the text.
_UNIT = re.compile(
    r"\b(?:date_?diff|timestamp_?diff)\s*\(\s*(?:micro|milli)?(?:year|quarter|month|week|day|hour|minute|second)\w*\s*,",
    re.IGNORECASE,
)
_WEEK_YEAR = re.compile(r"'[yMdHhmsaE:/., -]*Y[yYMdHhmsaE:/., -]*'")


def strange(sql: str) -> str:
    """A construct of the text whose tree would mislead, by name; "" without one."""
    if _UNIT.search(sql):
        return "DATEDIFF with a unit"
    found = _WEEK_YEAR.search(sql) if "date_format" in sql.casefold() else None
    return f"the pattern {found.group()}" if found else ""


def call(node: Any) -> Any:
    """The call that stands for a node, or None where the node has none that is sure."""
    if type(node) in UNARY:
        return made(UNARY[type(node)], bare(node.this))
    if isinstance(node, exp.Extract) and node.name.upper() in EXTRACTED:
        return made(EXTRACTED[node.name.upper()], node.expression)
    return _of_dates(node) or _of_text(node)


def _of_dates(node: Any) -> Any:
    if isinstance(node, exp.TimeToStr):
        form = node.args["format"]
        text = form.this.replace("strict", "") if isinstance(form, exp.Literal) else "Q"
        return made("date_format", bare(node.this), exp.Literal.string(text)) if _FORM.fullmatch(text) else None
    if isinstance(node, exp.TsOrDsToDate):
        sure = node.text("format").replace("strict", "") in ("", "%Y-%m-%d")
        return made("to_date", node.this) if sure else None
    if isinstance(node, (exp.Cast, exp.TryCast)) and node.to.this.name.upper() == "DATE":
        return made("to_date", node.this)
    in_days = isinstance(node, (exp.DateDiff, exp.TsOrDsAdd)) and node.text("unit").upper() in ("", "DAY")
    in_months = isinstance(node, (exp.AddMonths, exp.MonthsBetween)) and not node.args.get("roundoff")
    return made(PAIRS[type(node)], bare(node.this), bare(node.expression)) if in_days or in_months else None


def _of_text(node: Any) -> Any:
    if isinstance(node, exp.SubstringIndex):
        return made("substring_index", node.this, node.args["delimiter"], node.args["count"])
    if isinstance(node, exp.SplitPart):
        return made("split_part", node.this, node.args["delimiter"], node.args["part_index"])
    if isinstance(node, exp.Bracket) and isinstance(node.this, exp.RegexpSplit) and len(node.expressions) == 1:
        place, delimiter = node.expressions[0], _plain(node.this.expression)
        if delimiter and isinstance(place, exp.Literal) and place.is_int:
            return made("split_at", node.this.this, exp.Literal.string(delimiter), place)
    if isinstance(node, exp.Anonymous) and node.name.casefold() == "weekday" and len(node.expressions) == 1:
        return made("weekday", bare(node.expressions[0]))
    if isinstance(node, exp.Nvl2):
        there = exp.Not(this=exp.Is(this=node.this, expression=exp.Null()))
        return exp.Case(ifs=[exp.If(this=there, true=node.args["true"])], default=node.args.get("false"))
    return None


def made(name: str, *arguments: Any) -> Any:
    found = exp.Anonymous(this=f"spark_{name}", expressions=list(arguments))
    found.meta["known"] = True
    return found


def bare(node: Any) -> Any:
    """The node without conversions to dates and timestamps, which the functions make themselves."""
    while isinstance(node, (exp.TsOrDsToDate, exp.TimeStrToTime)) and not node.args.get("format"):
        node = node.this
    return node


def _plain(pattern: Any) -> str:
    """The text that a regular expression of one sure meaning stands for, else ""."""
    if not isinstance(pattern, exp.Literal):
        return ""
    text = str(pattern.this)
    escaped = re.fullmatch(r"\\+([.|$*+?^])|\[([.|$*+?])\]", text)
    if escaped:
        return escaped.group(1) or escaped.group(2)
    return "" if _SPECIAL.search(text) else text
