"""English words that ask for an operation of SQL, and whether a query has it: "on average" asks for AVG."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

Has = Callable[[exp.Expression], bool]


@dataclass(frozen=True)
class Cue:
    """`asks`: words that want the operation, which `has` tells of a query; `allows`: words that excuse having it."""

    name: str
    asks: re.Pattern[str]
    has: Has
    allows: re.Pattern[str] | None = None
    done: Has | None = None
    """What needs an excuse, if it is not `has` itself."""


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


def _node(*kinds: type[exp.Expression]) -> Has:
    return lambda tree: tree.find(*kinds) is not None


def _ordered(descending: bool) -> Has:
    return lambda tree: any(bool(o.args.get("desc")) is descending for o in tree.find_all(exp.Ordered))


def _ranked(descending: bool) -> Has:
    """Whether the first of some order are taken."""
    return lambda tree: tree.find(exp.Limit) is not None and _ordered(descending)(tree)


def _denies(tree: exp.Expression) -> bool:
    """Whether the query excludes: NOT IN, <>, EXCEPT, IS NULL; not where it merely leaves out NULLs."""
    if tree.find(exp.NEQ, exp.Except) is not None:
        return True
    if any(not isinstance(node.this, exp.Is) for node in tree.find_all(exp.Not)):
        return True
    return any(not isinstance(node.parent, exp.Not) for node in tree.find_all(exp.Is))


_HIGH = r"highest|largest|biggest|maximum|max|greatest|longest|tallest|oldest|latest|heaviest|top|(?<!at )most|best"
_LOW = r"lowest|smallest|minimum|min|shortest|youngest|earliest|cheapest|fewest|lightest|(?<!at )least|worst"
_ANY = rf"{_HIGH}|{_LOW}|\w+est|first|last|more|less|common|popular|often"
SUPERLATIVES = {"<most>": _words(_HIGH), "<least>": _words(_LOW)}
CUES = (
    Cue("average", _words("average|mean|avg"), _node(exp.Avg), _words("average|mean|avg|typical|usual")),
    Cue(
        "sum", _words("total|add up|altogether|combined"), _node(exp.Sum, exp.Count),
        _words("total|sum|add up|altogether|combined|together|overall|amount|number|how (?:many|much)"), _node(exp.Sum),
    ),
    Cue(
        "count", _words("how many|number of|count"), _node(exp.Count, exp.Sum, exp.Max, exp.Min, exp.Avg),
        _words(r"how (?:many|much|often)|numbers?|count|most|least|more|fewer|less|fewest|over|above|under|"
               r"common|popular|often|total|times|\w*est|all|both|only|than"), _node(exp.Count),
    ),
    Cue("high", _words(_HIGH), lambda t: _node(exp.Max)(t) or _ordered(True)(t), _words(_ANY),
        lambda t: _node(exp.Max)(t) or _ranked(True)(t)),
    Cue("low", _words(_LOW), lambda t: _node(exp.Min)(t) or _ordered(False)(t), _words(_ANY),
        lambda t: _node(exp.Min)(t) or _ranked(False)(t)),
    Cue("different", _words("different|distinct|unique"), _node(exp.Distinct, exp.Group)),
    Cue("groups", _words("each|for every|per"), _node(exp.Group)),
    Cue("above", _words("more than|over|above|greater than|exceed(?:s|ing)?|larger than|higher than|longer than"),
        _node(exp.GT, exp.GTE), _words(r"more|over|above|greater|exceed\w*|larger|higher|longer|at least|since|after|"
                                       r"from|older|later|bigger|taller|than|minimum|between|or|positive")),
    Cue("below", _words("less than|under|below|smaller than|fewer than|lower than|cheaper than|shorter than"),
        _node(exp.LT, exp.LTE), _words(r"less|under|below|smaller|fewer|lower|cheaper|shorter|at most|before|until|"
                                       r"younger|earlier|than|maximum|between|or|up to|within")),
    Cue("denial", _words("not|never|without|no|nobody|none|neither|(?!united)un\\w+ed|\\w+n't"), _denies),
)  # fmt: skip


def unheard(question: str, tree: exp.Expression) -> tuple[list[str], int]:
    """(names of cues that question and query disagree on, number of cues that either has)."""
    apart, there = [], 0
    for cue in CUES:
        asked, has = bool(cue.asks.search(question)), cue.has(tree)
        done = has if cue.done is None else cue.done(tree)
        if asked:
            there += 1
            if not has:
                apart.append(cue.name)
        elif done and cue.allows is not None:
            there += 1
            if not cue.allows.search(question):
                apart.append(cue.name)
    return apart, there
