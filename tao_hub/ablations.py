"""What each reward adds: runs of the same store whose plans differ by that one reward, compared on identical items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .config import Plan, load_plan
from .history import History
from .stats import bootstrap_interval, compare, proportion_interval

BOUNDS = ("min_parts", "null_parts", "enough_parts")  # options that name rewards by their labels


def without(plan: Plan, label: str) -> Plan:
    """The plan with the reward `label` left out, and the bounds that go by it (`label`, `label.field`): the trainer's,
    and those of rewards that learn from the round.

    Raises ValueError if it has none of that label.
    """
    rest = [
        use.model_copy(update={key: _silent(getattr(use, key), label, BOUNDS) for key in ("options", "later")})
        for use in plan.rewards if use.key != label
    ]  # fmt: skip
    if len(rest) == len(plan.rewards):
        known = ", ".join(dict.fromkeys(use.key for use in plan.rewards))
        raise ValueError(f"no reward {label!r} in the plan; its rewards: {known}")
    options = {key: _silent(getattr(plan.train, key), label) for key in ("options", "later")}
    return plan.model_copy(update={"rewards": rest, "train": plan.train.model_copy(update=options)})


def _silent(options: Mapping[str, Any], label: str, only: Iterable[str] | None = None) -> dict[str, Any]:
    """Options without what they (of those in `only`) say of one reward."""
    return {
        name: {k: v for k, v in some.items() if k != label and not k.startswith(f"{label}.")}
        if isinstance(some, dict) and (only is None or name in only)
        else some
        for name, some in options.items()
    }


def what_each_adds(
    history: History, run: Mapping[str, Any], split: str, metric: str, suite: str
) -> list[dict[str, Any]]:
    """For each reward that a sibling run left out: the metric with and without it after the last common round."""
    plan = load_plan(run["plan"])
    found = []
    for other in history.runs():
        if other["id"] == run["id"] or not other["plan"].get("rewards"):
            continue
        label = _missing(plan, load_plan(other["plan"]))
        if not label:
            continue
        common = min(run["rounds"], other["rounds"])
        with_, without_ = (_values(history, r["id"], split, f"round {common}") for r in (run, other))
        if common and with_ and with_.keys() == without_.keys():
            delta = compare(without_, with_, metric=metric, suite=suite)
            found.append({
                "reward": label, "metric": metric, "split": split, "n": delta.n, "p": delta.p,
                "with": _level(list(with_.values())), "without": _level(list(without_.values())),
                "delta": delta.delta, "low": delta.low, "high": delta.high, "note": f"after round {common}",
            })  # fmt: skip
    return found


def _missing(plan: Plan, other: Plan) -> str:
    """The one reward that `other` lacks if all else is the same, else ""."""
    theirs_too = {use.key for use in other.rewards}
    lacking = [key for key in dict.fromkeys(use.key for use in plan.rewards) if key not in theirs_too]
    if len(lacking) != 1:
        return ""
    mine, theirs = without(plan, lacking[0]).as_dict(), other.as_dict()
    for key in ("rounds", "timeout"):
        mine.pop(key)
        theirs.pop(key)
    return lacking[0] if mine == theirs else ""


def _values(history: History, run: int, split: str, label: str) -> dict[str, float | None]:
    for e in history.evals(run):
        if e["split"] == split and e["label"] == label:
            return {str(i["position"]): i["value"] for i in history.eval_items(e["id"])}
    return {}


def _level(values: Sequence[float | None]) -> dict[str, float]:
    known = [v or 0.0 for v in values]
    if all(v in (0.0, 1.0) for v in known):
        low, high = proportion_interval(sum(known), len(known))
    else:
        low, high = bootstrap_interval(known)
    return {"value": sum(known) / len(known), "low": low, "high": high}
