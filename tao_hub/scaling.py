"""Quality against tuning compute: the same plan with more candidates per prompt or more prompts, and what inference
costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from .budget import fitted, with_n
from .config import Plan, opened_name
from .errors import NothingToLearn, UsageError
from .guards import tuning_slice
from .repeats import delta_row, level_row, mean_by_item, mean_cost, tuned
from .runs import called
from .session import Session
from .types import Report


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
    base = {**level_row(primary, "base", points[0]["base_values"]), **points[0]["base_cost"]}
    quality = [base, *({**level_row(primary, p["label"], p["values"]), **p["cost"]} for p in points)]
    values = {"base": points[0]["base_values"], **{p["label"]: p["values"] for p in points}}
    pairs = [("base", p["label"]) for p in points] + [(points[0]["label"], points[-1]["label"])]
    deltas = [delta_row(primary, a, b, values[a], values[b]) for a, b in pairs]
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
    found = [tuned(session, plan.model_copy(update={"seed": seed}), command) for seed in seeds]
    first, after = found[0], [one.of_primary(one.after) for one in found]
    return {
        "primary": first.primary, "base_values": first.of_primary(first.base), "values": mean_by_item(after),
        "levels": [fmean(v or 0.0 for v in values.values()) for values in after],
        "base_cost": first.base_cost, "cost": mean_cost([one.cost for one in found]),
        "labels_used": first.labels_used, "examples": first.worked_examples,
        "candidates": sum(one.candidates for one in found) // len(found),
        "tokens": sum(one.tokens for one in found) // len(found),
    }  # fmt: skip
