"""Picking among judged candidates, and what a difference between two ways to pick is worth.

Used by reward_model.py and geoquery.py beside it. A group's candidates hold the score "right": the verdict of gold.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from tao_demo.office.plan import EXAMPLES

from tao_hub import Group
from tao_hub.stats import binary_delta, paired_delta

UNSCORED = -1e9
Key = Callable[[Group, int], float]


def value(label: str) -> Key:
    """A candidate's score; what could not be scored is picked last."""
    def key(group: Group, i: int) -> float:
        score = group.scores[i].get(label)
        return UNSCORED if score is None or score.value is None else score.value

    return key


def total(weights: Mapping[str, float], *labels: str) -> Key:
    """The weighted sum, as a plan's rewards give it."""
    return lambda group, i: sum(weights[label] * value(label)(group, i) for label in labels)


def mean_log_probability(group: Group, i: int) -> float:
    found = group.candidates[i].logprobs
    return sum(found) / len(found) if found else UNSCORED  # a mended one has none


def ways(weights: Mapping[str, float], seed: int = 0) -> dict[str, Key]:
    """By name: what the rewards "rm", "consistency" and "schema" say, their sums, and what asks no reward."""
    rng = random.Random(seed)
    return {
        "at random": lambda group, i: rng.random(),
        "shortest": lambda group, i: -len(group.candidates[i].response),
        "longest": lambda group, i: len(group.candidates[i].response),
        "log-probability": mean_log_probability,
        "consistency": value("consistency"), "schema": value("schema"), "rm": value("rm"),
        "consistency+schema": total(weights, "consistency", "schema"),
        "consistency+rm": total(weights, "consistency", "rm"), "rm+schema": total(weights, "rm", "schema"),
        "all": total(weights, "consistency", "rm", "schema"),
    }  # fmt: skip


def choices(group: Group, mended: bool) -> list[int]:
    """The candidates that may be picked: those that run, if one does, whoever picks."""
    some = [i for i, c in enumerate(group.candidates) if mended or not c.parents]
    return [i for i in some if value("executes")(group, i) == 1.0] or some


def picked(groups: Sequence[Group], key: Key, mended: bool) -> list[float]:
    """1.0 per group whose first best candidate is right."""
    best = (max(choices(group, mended), key=lambda i, g=group: key(g, i)) for group in groups)
    return [max(0.0, value("right")(group, i)) for group, i in zip(groups, best)]


def pairs_right(group: Group, label: str, mended: bool) -> float | None:
    """Share of a group's pairs of a right and a wrong candidate that the label's scores put in order; ties are half."""
    some = {group.candidates[i].response: i for i in choices(group, mended)}.values()
    right, wrong = ([value(label)(group, i) for i in some if value("right")(group, i) == v] for v in (1.0, 0.0))
    found = [(a > b) + 0.5 * (a == b) for a in right for b in wrong]
    return mean(found) if found else None


def against(before: Sequence[float], after: Sequence[float]) -> str:
    d, gains, losses = binary_delta(before, after)
    return f"{d.delta:+.1%} [{d.low:.1%}, {d.high:.1%}] p {d.p:.2g} ({gains}, {losses})"


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def gain(before: Sequence[float], after: Sequence[float]) -> str:
    d = paired_delta(before, after)
    return f"{d.delta:+.1%} [{d.low:.1%}, {d.high:.1%}] p {d.p:.2g}"


def compared(groups: Sequence[Group], title: str, weights: Mapping[str, float], mended: bool) -> None:
    """Print how often each way picks right, what "rm" and "all" add to each, and what the model adds to the others."""
    able = picked(groups, value("right"), mended)
    pairs = [share for g in groups if (share := pairs_right(g, "rm", mended)) is not None]
    told = f"{mean(pairs):.1%} of {len(pairs)} questions' pairs in order by rm" if pairs else "no pairs"
    print(f"{title}: {len(groups)} questions, a right one among them {mean(able):.1%}, {told}")
    hits = {name: picked(groups, key, mended) for name, key in ways(weights).items()}
    for name, own in hits.items():
        more = "".join(f" | {other} {against(own, hits[other])}" for other in ("rm", "all") if name != other)
        print(f"{name:20} {mean(own):.1%}{more}")
    print(f"consistency+rm over consistency {against(hits['consistency'], hits['consistency+rm'])}")
    for name in ("consistency", "consistency+rm", "consistency+schema", "all"):
        learnt = surest(groups, ways(weights)[name], mended)
        print(f"{name:20} {mean(learnt):.1%} of the {len(learnt)} picks with the highest totals")


def surest(groups: Sequence[Group], key: Key, mended: bool) -> list[float]:
    """1.0 per right pick of the share of groups that the shipped plan learns from: those with the highest totals."""
    totals = [max(key(group, i) for i in choices(group, mended)) for group in groups]
    order = sorted(range(len(groups)), key=lambda i: -totals[i])[: max(1, round(EXAMPLES * len(groups)))]
    return picked([groups[i] for i in order], key, mended)
