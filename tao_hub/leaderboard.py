"""Policies measured on the same items, best first, with ranks that say how far the order can be trusted."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import hypot
from statistics import fmean
from typing import Any

from .config import opened_name
from .health import unscored
from .history import Eval, History
from .macro import compare_all
from .runs import flat, quality_rows
from .session import Session
from .stats import Estimate, compare, holm
from .types import Delta, Ref, Report

CHANGED = " (before its file was changed)"


@dataclass(frozen=True)
class Standing:
    """A place on a leaderboard: the best and the last rank that what is shown leaves open.

    `behind` is the difference to the first one (negative) with its interval and the adjusted p; None for the first one
    itself, and for labels that nothing compares with it.
    """

    label: str
    rank: int
    last: int
    behind: tuple[float, float, float, float] | None  # delta, low, high, p


def leaderboard(
    session: Session, *names: str, labels: Collection[str] | None = None, suites: Collection[int] | None = None
) -> Report:
    """The report of runs of `tao-hub eval`, from the store alone: a board per suite, split and number of items.

    Of several boards with the same policies the first one is that of their mean. `labels`: of these policies only;
    `suites`: of these suites (row ids) only. Suites of one name are told apart by their options. Ranks are those of
    `standings`. Raises UsageError for an unknown run.
    """
    history = History(session.store)
    runs = [history.find(name) for name in names or ("",)]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        for e in history.evals(run["id"]):
            wanted = (labels is None or e["label"] in labels) and (suites is None or e["suite_row"] in suites)
            if e["count"] and wanted:
                groups.setdefault((e["suite_row"], e["split"], e["count"]), []).append({**e, "run": run["id"]})
    boards = [same for group in groups.values() for same in _of_same_items(history, group)]
    values = [each for _, each, _ in boards]
    found = [_board(session, history, group, each) for group, each, _ in boards]
    rows = list(dict.fromkeys(group[0]["suite_row"] for group, _, _ in boards))
    called = dict(zip(rows, told_apart([history.suite_ref(row) for row in rows])))
    for one, (group, _, changed) in zip(found, boards):
        one["suite"] = called[group[0]["suite_row"]]
        one["split"] += CHANGED if changed else ""
    told = [{**row, "suite": one["suite"], "split": one["split"]} for one in found for row in one["rows"]]
    about = runs[-1]
    data = {
        "title": f"leaderboard · {', '.join(run['name'].removeprefix('eval ') for run in runs)}", "run": about["name"],
        "status": "done" if about["finished"] else "interrupted", "created": about["created"],
        "command": about["command"], "environment": flat(history.environment(about["environment"])),
        "boards": [*_mean(found, values), *found],
        "warnings": list(unscored(told)),
    }  # fmt: skip
    return Report(about["name"], data["title"], data)


def told_apart(suites: Sequence[Ref]) -> list[str]:
    """What reports call each of several suites: its name, with the options by which it differs from others so named."""
    names = [opened_name(ref) for ref in suites]
    found = []
    for name, ref in zip(names, suites):
        others = [dict(other.options) for same, other in zip(names, suites) if same == name]
        keys = sorted({key for options in others for key in options})
        own = [key for key in keys if any(options.get(key) != ref.options.get(key) for options in others)]
        found.append(" ".join([name, *(f"{key}={_shown(ref.options[key])}" for key in own if key in ref.options)]))
    return found


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:60]


def _of_same_items(
    history: History, evals: Sequence[dict[str, Any]]
) -> list[tuple[list[dict[str, Any]], dict[str, dict[str, float | None]], bool]]:
    """Evals that asked the same prompts in the same places and judged them by the same references, and each one's
    values by item; and whether the split holds others now. Where files were changed in between, a suite's name stands
    for other items: these get a board of their own."""
    found: dict[tuple[Any, ...], list[tuple[dict[str, Any], dict[str, float | None]]]] = {}
    for e in evals:
        items = history.eval_items(e["id"])
        values = {str(i["position"]): i["value"] for i in items}
        found.setdefault(tuple((i["prompt"], i["gold"]) for i in items), []).append((e, values))
    sql = "SELECT prompt, reference_digest FROM items WHERE suite = ? AND split = ? AND position < ? ORDER BY position"
    now = tuple(history.store.rows(sql, [evals[0][key] for key in ("suite_row", "split", "count")]))
    return [
        ([e for e, _ in some], {e["label"]: values for e, values in some}, items != now)
        for items, some in found.items()
    ]


def _board(
    session: Session, history: History, evals: Sequence[dict[str, Any]], values: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    suite = session.suite(history.suite_ref(evals[0]["suite_row"]))[0]
    rows = {}
    for e in evals:
        done = Eval(e["id"], e["label"], e["split"], e["round"])
        whole, *parts = quality_rows(history, e["run"], done, suite.metric_name, suite.metric_parts)
        rows[e["label"]] = {**whole, "parts": {part["metric"]: part["value"] for part in parts}}
    called = next(iter(rows.values()))["suite"]
    deltas = {
        (a, b): compare(values[a], values[b], metric=suite.metric_name, suite=called) for a, b in combinations(rows, 2)
    }
    return board(called, evals[0]["split"], suite.metric_name, evals[0]["count"], rows, deltas)


def _mean(boards: Sequence[dict[str, Any]], values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The board of the mean over several ones, if all have the same policies and shares as values; else nothing.

    Each suite counts alike, however many items it has; what it is made of stands beside as parts. The interval of a
    mean is that of independent means.
    """
    by = [{row["label"]: row for row in one["rows"]} for one in boards]
    shares = all(0 <= row["value"] <= 1 for rows in by for row in rows.values())
    if len(boards) < 2 or not shares or any(rows.keys() != by[0].keys() for rows in by):
        return []
    names = [f"{one['suite']} {one['split']}" for one in boards]
    if len(set(names)) < len(names):  # one suite with two numbers of items
        return []
    rows = {}
    for label in by[0]:
        each = [rows_[label] for rows_ in by]
        value = fmean(row["value"] for row in each)
        below, above = (hypot(*(row[end] - row["value"] for row in each)) / len(each) for end in ("low", "high"))
        rows[label] = {
            "value": value, "low": value - below, "high": value + above, "errors": sum(r["errors"] for r in each),
            "parts": dict(zip(names, (row["value"] for row in each))),
        }  # fmt: skip
    deltas = {
        (a, b): compare_all({n: (v[a], v[b]) for n, v in zip(names, values)}, metric="mean")
        for a, b in combinations(rows, 2)
    }
    return [board(f"mean of {len(boards)} suites", "", "mean", sum(one["n"] for one in boards), rows, deltas)]


def board(
    suite: str, split: str, metric: str, n: int, rows: Mapping[str, Mapping[str, Any]],
    deltas: Mapping[tuple[str, str], Delta | Estimate],
) -> dict[str, Any]:  # fmt: skip
    """A leaderboard as reports show it: `rows` by label with "value", "low", "high" (and "parts", what it cost), ranked
    by paired `deltas`, second − first (see `standings`)."""
    places = standings({label: row["value"] for label, row in rows.items()}, deltas)
    ranked = []
    for place in places:
        behind = None if place.behind is None else dict(zip(("delta", "low", "high", "p"), place.behind))
        ranked.append({**rows[place.label], "label": place.label, "rank": place.rank, "last": place.last,
                       "behind": behind})  # fmt: skip
    return {"suite": suite, "split": split, "metric": metric, "n": n, "rows": ranked}


def standings(
    values: Mapping[str, float | None], deltas: Mapping[tuple[str, str], Delta | Estimate], alpha: float = 0.05
) -> list[Standing]:
    """Who stands where, highest value first. `deltas` are paired differences, second − first, of pairs of labels.

    A rank is 1 and as many as are shown to be better, `last` counts those that are shown to be worse: p-values are
    adjusted for all pairs (Holm 1979). Labels without a value come last.
    """
    adjusted = dict(zip(deltas, holm([d.p for d in deltas.values()])))
    found: dict[tuple[str, str], tuple[float, float, float, float]] = {}
    for (a, b), d in deltas.items():
        found[a, b] = (d.delta, d.low, d.high, adjusted[a, b])
        found[b, a] = (-d.delta, -d.high, -d.low, adjusted[a, b])
    order = sorted(values, key=lambda label: (values[label] is None, -(values[label] or 0.0)))

    def beats(one: str, other: str) -> bool:
        delta, _, _, p = found.get((other, one), (0.0, 0.0, 0.0, 1.0))
        return delta > 0 and p < alpha

    return [
        Standing(
            one, 1 + sum(beats(other, one) for other in order), len(order) - sum(beats(one, other) for other in order),
            found.get((order[0], one)),
        )
        for one in order
    ]  # fmt: skip
