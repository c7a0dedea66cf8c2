"""One plan with several seeds: what it gains on the mean, and how far the seeds lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from .budget import generated_tokens
from .config import Plan, opened_name
from .errors import UsageError
from .guards import tuning_slice
from .history import History
from .loop import suite_of, tune
from .runs import called, run_report
from .session import Session
from .stats import bootstrap_interval, proportion_interval
from .stats import compare as compare_items
from .student import t_critical
from .types import Report

Values = dict[str, float | None]  # by item
COSTS = ("output_tokens", "latency_s", "truncated", "errors")


@dataclass(frozen=True)
class Tuned:
    """A finished run: what is measured, values by item before and after per split, and what it took.

    `primary` is the run's own; `where` are the splits (suite, split, metric, sealed), the primary one among them, and
    `base` and `after` follow their order.
    """

    run: str
    primary: Mapping[str, Any]
    where: list[dict[str, Any]]
    base: list[Values]
    after: list[Values]
    base_cost: Mapping[str, float | None]
    cost: Mapping[str, float | None]
    labels_used: int
    worked_examples: int
    gates: list[dict[str, Any]]
    candidates: int
    tokens: int

    def of_primary(self, values: Sequence[Values]) -> Values:
        """Of `base` or `after` those of the primary split."""
        return values[next(i for i, place in enumerate(self.where) if same_place(place, self.primary))]


def repeated(session: Session, plan: Plan, seeds: Sequence[int], command: str = "") -> Report:
    """Tune once per seed; a report, in the shape of a run's, of every split: base, each seed, and the seeds' mean.

    An item's value is its mean over the seeds, so the interval of the mean's delta tells of other items (paired t), and
    the "spread" of other seeds: their levels, standard deviation and t interval. Seeds that were run before are not run
    again. Raises UsageError for fewer than two seeds, for a plan of several tasks or one that measures nothing.
    """
    seeds = list(dict.fromkeys(seeds))
    if plan.tasks:
        raise UsageError("--seeds takes a plan of one task: tune each task of [[tasks]] in a config of its own")
    if len(seeds) < 2 or not plan.eval:
        raise UsageError("--seeds takes two seeds or more, as in 0,1,2, and a plan with an [[eval]] split")
    runs = [tuned(session, plan.model_copy(update={"seed": seed}), command) for seed in seeds]
    first, label = runs[0], f"mean of {len(seeds)} seeds"
    quality, deltas, spread = [], [], []
    order = sorted(range(len(first.where)), key=lambda i: not same_place(first.where[i], first.primary))
    for i in order:
        place = first.where[i]
        means = mean_by_item([run.after[i] for run in runs])
        named = [("base", first.base[i]), *((f"seed {s}", run.after[i]) for s, run in zip(seeds, runs)), (label, means)]
        rows = [level_row(place, name, values) for name, values in named]
        if same_place(place, first.primary):
            costs = [first.base_cost, *(run.cost for run in runs), mean_cost([run.cost for run in runs])]
            rows = [{**row, **cost} for row, cost in zip(rows, costs)]
        quality += rows
        deltas += [delta_row(place, "base", name, first.base[i], values) for name, values in named[-1:] + named[1:-1]]
        spread.append({**place, **spread_of([row["value"] for row in rows[1:-1]])})
    title = f"{opened_name(plan.suite_ref)} · {called(plan.policy)} · {len(seeds)} seeds"
    data = {
        "title": title, "run": "", "status": "", "command": command, "seeds": seeds, "runs": [run.run for run in runs],
        "labels_used": max(run.labels_used for run in runs), "worked_examples": first.worked_examples,
        "quality": quality, "deltas": deltas, "spread": spread, "warnings": [], "examples": [], "rounds": [],
        "primary": {**first.primary, "before_label": "base", "after_label": label},
    }  # fmt: skip
    gates = [{**gate, "suite": f"seed {s}: {gate['suite']}"} for s, run in zip(seeds, runs) for gate in run.gates]
    data |= {"gates": gates} if gates else {}
    return Report("repeated", title, data)


def tuned(session: Session, plan: Plan, command: str = "") -> Tuned:
    """Tune a plan of one task (or find it done) and read what the store knows of it. Raises UsageError where nothing
    is tuned."""
    if not plan.rounds:
        raise UsageError("the plan tunes nothing: rounds = 0; give it a round or more")
    name = tune(session, plan, command=command)
    data, history = run_report(session, name).data, History(session.store)
    if "primary" not in data:
        raise UsageError(f"run {name} has no measured round: is budget = {plan.budget!r} enough for one?")
    primary = data["primary"]
    run = history.find(name, tuned=True)["id"]
    rounds = [r for r in history.rounds(run) if r["after"] is not None and r["number"] <= plan.rounds]
    where: list[dict[str, Any]] = []
    base: list[Values] = []
    after: list[Values] = []
    for use in plan.measured:
        ref = suite_of(plan, use)
        suite, row = session.suite(ref)
        found = {e["label"]: e["id"] for e in history.evals(run) if (e["suite_row"], e["split"]) == (row, use.split)}
        if primary["after_label"] not in found:
            continue
        place = {"suite": use.label or opened_name(ref), "split": use.split, "metric": suite.metric_name}
        where.append({**place, "sealed": use.sealed})
        items = [history.eval_items(found[label]) for label in ("base", primary["after_label"])]
        for values, of in zip((base, after), items):
            values.append({str(i["position"]): i["value"] for i in of})
    rows = {q["label"]: q for q in data["quality"] if same_place(q, primary)}
    return Tuned(
        run=name, primary=primary, where=where, base=base, after=after,
        base_cost={k: rows["base"][k] for k in COSTS}, cost={k: rows[primary["after_label"]][k] for k in COSTS},
        labels_used=data["labels_used"], worked_examples=data["worked_examples"], gates=data.get("gates", []),
        candidates=sum(r["stats"]["candidates"] for r in rounds),
        tokens=sum(generated_tokens(session.store, r["stats"], [tuning_slice(session, plan)]) for r in rounds),
    )  # fmt: skip


def same_place(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(row[key] == other[key] for key in ("suite", "split", "metric"))


def mean_by_item(values: Sequence[Values]) -> Values:
    """Mean by item; an item that failed with one seed counts as 0 there, as everywhere."""
    return {key: fmean(one[key] or 0.0 for one in values) for key in values[0]}


def mean_cost(costs: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The mean of each cost over those that are known."""
    known = {key: [c for cost in costs if (c := cost[key]) is not None] for key in costs[0]}
    return {key: fmean(some) if some else None for key, some in known.items()}


def level_row(place: Mapping[str, Any], label: str, values: Values) -> dict[str, Any]:
    """A report row: the level with its interval over items (of shares by Wilson, of means over seeds by bootstrap)."""
    found = [v or 0.0 for v in values.values()]
    binary = all(v in (0.0, 1.0) for v in found)
    low, high = proportion_interval(sum(found), len(found)) if binary else bootstrap_interval(found, B=2000)
    where = {key: place[key] for key in ("suite", "split", "metric")}
    return {**where, "label": label, "value": fmean(found), "low": low, "high": high, "n": len(found)}


def delta_row(place: Mapping[str, Any], before: str, after: str, old: Values, new: Values) -> dict[str, Any]:
    found = compare_items(old, new, metric=place["metric"], suite=place["suite"])
    labels = {"before_label": before, "after_label": after, "split": place["split"], "sealed": place["sealed"]}
    return {**found.__dict__, **labels}


def spread_of(levels: Sequence[float]) -> dict[str, Any]:
    """Levels of the seeds, their mean, standard deviation (n − 1), and the mean's 95% t interval over seeds."""
    deviation, mean = stdev(levels), fmean(levels)
    half = t_critical(0.05, len(levels) - 1) * deviation / sqrt(len(levels))
    return {"levels": list(levels), "mean": mean, "sd": deviation, "low": mean - half, "high": mean + half}
