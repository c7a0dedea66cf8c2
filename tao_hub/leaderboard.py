"""Policies measured on the same items, best first, with ranks that say how far the order can be trusted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

from .history import Eval, History
from .runs import flat, quality_rows
from .session import Session
from .stats import compare, holm
from .types import Report

ALPHA = 0.05


def leaderboard(session: Session, name: str, labels: Collection[str] | None = None) -> Report:
    """The report of a run of `tao-hub eval`, from the store alone: a board per suite, split and number of items.

    `labels`: of these policies only. A policy's rank is 1 and as many as are shown to be better, by the paired test on
    the same items with Holm's adjustment for all pairs of the board; `last` is the rank it may have at worst. Raises
    UsageError for an unknown run.
    """
    history = History(session.store)
    run = history.find(name)
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for e in history.evals(run["id"]):
        if labels is None or e["label"] in labels:
            groups.setdefault((e["suite_row"], e["split"], e["count"]), []).append(e)
    data = {
        "title": f"leaderboard · {run['name'].removeprefix('eval ')}", "run": run["name"],
        "status": "done" if run["finished"] else "interrupted", "created": run["created"], "command": run["command"],
        "environment": flat(history.environment(run["environment"])),
        "boards": [_board(session, history, run["id"], group) for group in groups.values()],
    }  # fmt: skip
    return Report(run["name"], data["title"], data)


def _board(session: Session, history: History, run: int, evals: Sequence[dict[str, Any]]) -> dict[str, Any]:
    suite = session.suite(history.suite_ref(evals[0]["suite_row"]))[0]
    rows = []
    for e in evals:
        done = Eval(e["id"], e["label"], e["split"], e["round"])
        whole, *parts = quality_rows(history, run, done, suite.metric_name, suite.metric_parts)
        rows.append({**whole, "parts": {part["metric"]: part["value"] for part in parts}})
    values = [{str(i["position"]): i["value"] for i in history.eval_items(e["id"])} for e in evals]
    metric, called = suite.metric_name, rows[0]["suite"]
    pairs = list(combinations(range(len(rows)), 2))
    deltas = {(a, b): compare(values[a], values[b], metric=metric, suite=called) for a, b in pairs}
    adjusted = dict(zip(pairs, holm([deltas[pair].p for pair in pairs])))

    def beats(a: int, b: int) -> bool:
        delta = deltas.get((a, b)) or deltas[b, a]
        ahead = delta.delta if (a, b) not in deltas else -delta.delta
        return ahead > 0 and adjusted[min(a, b), max(a, b)] < ALPHA

    order = sorted(range(len(rows)), key=lambda i: -rows[i]["value"])
    best = order[0]
    for i, row in enumerate(rows):
        others = [j for j in range(len(rows)) if j != i]
        row["rank"] = 1 + sum(beats(j, i) for j in others)
        row["last"] = len(rows) - sum(beats(i, j) for j in others)
        row["behind"] = None if i == best else _behind(deltas, adjusted, best, i)
    return {"suite": called, "split": evals[0]["split"], "metric": metric, "n": rows[0]["n"],
            "rows": [rows[i] for i in order]}  # fmt: skip


def _behind(deltas: Mapping[Any, Any], adjusted: Mapping[Any, float], best: int, i: int) -> dict[str, float]:
    """How far a policy is from the first one: its value minus the first one's, with the adjusted p-value."""
    if (best, i) in deltas:
        found, sign = deltas[best, i], 1
    else:
        found, sign = deltas[i, best], -1
    ends = sorted((sign * found.low, sign * found.high))
    return {"delta": sign * found.delta, "low": ends[0], "high": ends[1], "p": adjusted[min(best, i), max(best, i)]}
