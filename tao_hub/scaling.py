"""Quality against tuning compute: the same plan with more candidates per prompt or more prompts, and what inference
costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from .budget import fitted, generated_tokens, with_n
from .config import Plan, opened_name
from .errors import NothingToLearn, UsageError
from .guards import tuning_slice
from .history import History
from .loop import tune
from .runs import called, run_report
from .session import Session
from .stats import bootstrap_interval, proportion_interval
from .stats import compare as compare_items
from .types import Report

Values = dict[str, float | None]


@dataclass(frozen=True)
class Knob:
    """What a sweep turns."""

    label: str  # before a size
    name: str
    turned: Callable[[Plan, int], Plan]


KNOBS = {
    "n": Knob("n = ", "candidates per prompt", with_n),
    "prompts": Knob("prompts = ", "prompts", lambda plan, size: plan.model_copy(update={"prompts": size})),
}


def sweep(
    session: Session, plan: Plan, sizes: Sequence[int], seeds: Sequence[int], command: str = "", over: str = "n"
) -> Report:
    """Tune once per size and seed and report the primary split's metric by size, in the shape of a run's report.

    A size is the number of candidates per prompt and round (`over` "n"), or of the first prompts that are tuned on
    ("prompts"). Sizes share what they can: the first of many candidates or prompts are those of few. With several seeds
    an item's value is its mean over them. A size that gave nothing to learn from is left out with a warning, as is one
    that asks for more prompts than there are. Raises UsageError for fewer than two sizes.
    """
    knob = KNOBS[over]
    if plan.tasks:
        raise UsageError("a sweep takes a plan of one task: tune each task of [[tasks]] in a config of its own")
    plan = fitted(plan)
    sizes = sorted(set(sizes))
    if len(sizes) < 2 or not seeds or not plan.eval:
        told = f"a sweep needs two sizes or more (--{over} 1,4,16), a seed, and a plan with an [[eval]] split"
        raise UsageError(told)
    points, notes = [], []
    for size in sizes:
        turned = knob.turned(plan, size)
        if over == "prompts" and (there := tuning_slice(session, turned).count) < size:
            notes.append(f"prompts = {size} is left out: there are {there}")
            continue
        try:
            points.append({**_point(session, turned, seeds, command), "size": size, "label": f"{knob.label}{size}"})
        except NothingToLearn as error:  # votes need several candidates, say
            notes.append(f"{knob.label}{size} is left out: {error}")
    if len(points) < 2:
        raise UsageError("a sweep needs two sizes that can be learnt from: " + "; ".join(notes))
    primary = points[0]["primary"]
    base = {**_level(primary, "base", points[0]["base_values"], 1), **points[0]["base_cost"]}
    quality = [base, *({**_level(primary, p["label"], p["values"], len(seeds)), **p["cost"]} for p in points)]
    values = {"base": points[0]["base_values"], **{p["label"]: p["values"] for p in points}}
    pairs = [("base", p["label"]) for p in points] + [(points[0]["label"], points[-1]["label"])]
    deltas = [_delta(primary, a, b, values[a], values[b]) for a, b in pairs]
    title = f"{opened_name(plan.suite_ref)} · {called(plan.policy)} · {knob.name}"
    data = {
        "title": title, "run": "", "status": "", "command": command, "seeds": list(seeds),
        "step": knob.label, "over": knob.name,
        "labels_used": max(p["labels_used"] for p in points), "worked_examples": max(p["examples"] for p in points),
        "quality": quality, "deltas": deltas, "warnings": notes, "examples": [], "rounds": [],
        "primary": {**primary, "before_label": points[0]["label"], "after_label": points[-1]["label"]},
        "sweep": [{k: p[k] for k in ("size", "candidates", "tokens", "levels")} for p in points],
    }  # fmt: skip
    return Report("sweep", title, data)


def _point(session: Session, plan: Plan, seeds: Sequence[int], command: str) -> dict[str, Any]:
    """What a size gave: values by item (mean over seeds), candidates and tokens they took."""
    found = [_one(session, plan.model_copy(update={"seed": seed}), command) for seed in seeds]
    first = found[0]
    return {
        **first, "values": _mean([f["values"] for f in found]),
        "levels": [fmean(v or 0.0 for v in f["values"].values()) for f in found],
        "candidates": sum(f["candidates"] for f in found) // len(found),
        "tokens": sum(f["tokens"] for f in found) // len(found),
        "cost": {k: _known([f["cost"][k] for f in found]) for k in first["cost"]},
    }  # fmt: skip


def _one(session: Session, plan: Plan, command: str) -> dict[str, Any]:
    name = tune(session, plan, command=command)
    data, history = run_report(session, name).data, History(session.store)
    primary = data["primary"]
    run = history.find(name)["id"]
    rounds = [r for r in history.rounds(run) if r["after"] is not None and r["number"] <= plan.rounds]
    parts = [tuning_slice(session, plan)]
    rows = {q["label"]: q for q in data["quality"] if _same(q, primary)}
    cost = {k: rows[primary["after_label"]][k] for k in ("output_tokens", "latency_s", "truncated", "errors")}
    base = {k: rows["base"][k] for k in cost}
    evals = {e["label"]: e["id"] for e in history.evals(run) if e["split"] == primary["split"]}
    items = {
        label: {str(i["position"]): i["value"] for i in history.eval_items(evals[label])}
        for label in ("base", primary["after_label"])
    }
    return {
        "primary": primary, "values": items[primary["after_label"]], "base_values": items["base"], "cost": cost,
        "base_cost": base, "labels_used": data["labels_used"], "examples": data["worked_examples"],
        "candidates": sum(r["stats"]["candidates"] for r in rounds),
        "tokens": sum(generated_tokens(session.store, r["stats"], parts) for r in rounds),
    }  # fmt: skip


def _same(row: Mapping[str, Any], primary: Mapping[str, Any]) -> bool:
    return all(row[key] == primary[key] for key in ("suite", "split", "metric"))


def _mean(values: Sequence[Values]) -> Values:
    """Mean by item; an item that failed with one seed counts as 0 there, as everywhere."""
    return {key: fmean(one[key] or 0.0 for one in values) for key in values[0]}


def _known(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return fmean(known) if known else None


def _level(primary: Mapping[str, Any], label: str, values: Values, seeds: int) -> dict[str, Any]:
    """A report row: the level with its interval over items (of shares by Wilson, of means over seeds by bootstrap)."""
    found = [v or 0.0 for v in values.values()]
    binary = all(v in (0.0, 1.0) for v in found)
    low, high = proportion_interval(sum(found), len(found)) if binary else bootstrap_interval(found, B=2000)
    where = {key: primary[key] for key in ("suite", "split", "metric")}
    return {**where, "label": label, "value": fmean(found), "low": low, "high": high, "n": len(found), "seeds": seeds}


def _delta(primary: Mapping[str, Any], before: str, after: str, old: Values, new: Values) -> dict[str, Any]:
    found = compare_items(old, new, metric=primary["metric"], suite=primary["suite"])
    labels = {"before_label": before, "after_label": after, "split": primary["split"], "sealed": primary["sealed"]}
    return {**found.__dict__, **labels}
