"""Scored groups → pairs of a better and a worse answer, answers judged alone, and answers with weights."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

from tao_hub import Group, Message

from .advantages import advantages, group_values, why_not
from .examples import Learned, Pair, nothing


@dataclass(frozen=True)
class Preference:
    """A plain prompt, an answer and one that is worse. `ends` False: the worse one was cut."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    ends: bool = True


@dataclass(frozen=True)
class Judged:
    """A plain prompt and an answer that is wanted or not. `ends` False: it was cut."""

    messages: tuple[Message, ...]
    response: str
    wanted: bool
    ends: bool = True


@dataclass(frozen=True)
class Valued(Pair):
    """A plain prompt, an answer and how much it counts."""

    weight: float = 1.0


def prefer(groups: Iterable[Group], margin: float, most: int, refused_margin: float | None, seed: int) -> Learned:
    """From each group the `most` pairs whose totals lie farthest apart, at least `margin`; no pair of texts twice.

    Raises ValueError, saying why each group gave nothing, if there is no pair at all.
    """
    learned = Learned(unit="pairs")
    draw = random.Random(seed)
    for group in groups:
        learned.groups += 1
        values = group_values(group, refused_margin)
        pairs: dict[tuple[str, str], tuple[float, float, bool]] = {}
        for i, better in values.items():
            for j, worse in values.items():
                texts = (group.candidates[i].response, group.candidates[j].response)
                if better > worse and better - worse >= margin and texts[0] != texts[1]:
                    pairs.setdefault(texts, (worse - better, draw.random(), not group.candidates[j].truncated))
        if not pairs:
            learned.left_out[why_not(values, margin)] += 1
        for texts in sorted(pairs, key=lambda each: pairs[each][:2])[:most]:
            learned.examples.append(Preference(group.prompt.messages, *texts, pairs[texts][2]))
    return _checked(learned)


def judge(groups: Iterable[Group], threshold: float | None, refused_margin: float | None, seed: int) -> Learned:
    """Every usable candidate as wanted or not: its total is at least `threshold`, or (None) above its group's mean.

    The order is drawn. Raises ValueError if nothing is left.
    """
    learned = Learned()
    for group in groups:
        learned.groups += 1
        values = group_values(group, refused_margin)
        if not values or (threshold is None and max(values.values()) == min(values.values())):
            learned.left_out[why_not(values)] += 1
            continue
        level = sum(values.values()) / len(values) if threshold is None else threshold
        for i, value in values.items():
            candidate = group.candidates[i]
            refused = bool(group.rejected[i])
            wanted = not refused and (value >= level if threshold is not None else value > level)
            learned.examples.append(Judged(group.prompt.messages, candidate.response, wanted, not candidate.truncated))
    random.Random(seed).shuffle(learned.examples)
    wanted = sum(example.wanted for example in learned.examples)
    learned.seen = {"wanted": wanted, "unwanted": len(learned.examples) - wanted}
    return _checked(learned)


def value(groups: Iterable[Group], temperature: float, least: float) -> Learned:
    """The accepted candidates of each group whose totals differ, weighing exp(advantage / temperature), on average 1
    in a group; those under `least` are left out. Raises ValueError if nothing is left."""
    learned = Learned()
    for group in groups:
        learned.groups += 1
        values = group_values(group)
        if len(values) < 2 or max(values.values()) == min(values.values()):
            learned.left_out[why_not(values)] += 1
            continue
        scaled = advantages(list(values.values()), scale=True)
        powers = [math.exp((each - max(scaled)) / temperature) for each in scaled]  # only their ratios count
        for i, power in zip(values, powers):
            weight = power * len(powers) / sum(powers)
            if weight >= least:
                learned.examples.append(Valued(group.prompt.messages, group.candidates[i].response, weight=weight))
    return _checked(learned)


def _checked(learned: Learned) -> Learned:
    if not learned.examples:
        raise ValueError(nothing(learned))
    return learned
