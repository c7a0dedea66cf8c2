"""Policies measured on the same items, best first, with ranks that say how far the order can be trusted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

from .history import Eval, History
from .runs import flat, quality_rows
from .session import Session
from .stats import Estimate, compare, standings
from .types import Delta, Report


def leaderboard(session: Session, name: str, labels: Collection[str] | None = None) -> Report:
    """The report of a run of `tao-hub eval`, from the store alone: a board per suite, split and number of items.

    `labels`: of these policies only. Ranks are those of `stats.standings`. Raises UsageError for an unknown run.
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
    rows, values = {}, {}
    for e in evals:
        done = Eval(e["id"], e["label"], e["split"], e["round"])
        whole, *parts = quality_rows(history, run, done, suite.metric_name, suite.metric_parts)
        rows[e["label"]] = {**whole, "parts": {part["metric"]: part["value"] for part in parts}}
        values[e["label"]] = {str(i["position"]): i["value"] for i in history.eval_items(e["id"])}
    called = next(iter(rows.values()))["suite"]
    deltas = {
        (a, b): compare(values[a], values[b], metric=suite.metric_name, suite=called) for a, b in combinations(rows, 2)
    }
    return board(called, evals[0]["split"], suite.metric_name, evals[0]["count"], rows, deltas)


def board(
    suite: str, split: str, metric: str, n: int, rows: Mapping[str, Mapping[str, Any]],
    deltas: Mapping[tuple[str, str], Delta | Estimate],
) -> dict[str, Any]:  # fmt: skip
    """A leaderboard as reports show it: `rows` by label with "value", "low", "high" (and "parts", what it cost), ranked
    by paired `deltas`, second − first (`tao_hub.stats.standings`)."""
    places = standings({label: row["value"] for label, row in rows.items()}, deltas)
    ranked = []
    for place in places:
        behind = None if place.behind is None else dict(zip(("delta", "low", "high", "p"), place.behind))
        ranked.append({**rows[place.label], "label": place.label, "rank": place.rank, "last": place.last,
                       "behind": behind})  # fmt: skip
    return {"suite": suite, "split": split, "metric": metric, "n": n, "rows": ranked}
