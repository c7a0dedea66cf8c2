"""Rows of all sources → what is trained on and what is held out: caps, duplicates, contradictions, split by prompt."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tao_hub import UsageError

from .near import clusters, near_duplicates, templates, without, words
from .rows import Problems, Ranked

NEAR = 0.6  # similarity of prompts from which they are on one side, as in the core's check of tuning prompts
OPENING = 5  # words from which an equal first turn makes two dialogues relatives


@dataclass(frozen=True)
class Split:
    """`cluster` names per row the prompts that belong together: no cluster is on both sides."""

    train: list[Ranked]
    held_out: list[Ranked]
    train_clusters: list[int]
    held_out_clusters: list[int]


def capped(rows: Sequence[Ranked], cap: int | None, seed: int, problems: Problems) -> list[Ranked]:
    """At most `cap` rows, drawn by the seed, in their old order."""
    if cap is None or len(rows) <= cap:
        return list(rows)
    kept = set(random.Random(seed).sample(range(len(rows)), cap))
    for i, row in enumerate(rows):
        if i not in kept:
            problems.add("over the cap", row.where, f"{row.source} is cut to {cap} rows")
    return [rows[i] for i in sorted(kept)]


def usable(rows: Sequence[Ranked], pointwise: bool, problems: Problems) -> list[Ranked]:
    """Rows that the loss can learn from: some order among responses, or (pointwise) scores on a scale."""
    kept = []
    for row in rows:
        if pointwise and not any(part.graded for part in row.trained):
            problems.add("no scale", row.where, "an order only; this loss needs scores: use bradley-terry")
        elif not pointwise and len(row.responses) < 2:
            problems.add("single response", row.where, "nothing to compare it with; regression and bce can use it")
        elif not pointwise and not any(part.pairs for part in row.trained):
            problems.add("no order", row.where, f"all {len(row.responses)} responses have equal scores")
        else:
            kept.append(row)
    return kept


def consistent(rows: Sequence[Ranked], problems: Problems) -> list[Ranked]:
    """Rows without exact repetitions, and without those that contradict another about the same two responses."""
    seen: dict[tuple[str, frozenset[tuple[str, str, float]]], Ranked] = {}
    said: dict[tuple[str, str, str, str], Ranked] = {}
    distinct: list[Ranked] = []
    for row in rows:
        whole = frozenset((name, *told) for name, s in row.orders.items() for told in zip(row.responses, s))
        first = seen.setdefault((row.key, whole), row)
        if first is row:
            distinct.append(row)
        else:
            problems.add("duplicate", row.where, f"repeats {first.where}")
    opposite: dict[int, str] = {}
    for row in distinct:
        for name, scores in row.orders.items():
            for i, j in replace(row, scores=scores).pairs:
                other = said.get((row.key, name, row.responses[j], row.responses[i]))
                if other is not None:
                    opposite[id(row)], opposite[id(other)] = other.where, row.where
                said.setdefault((row.key, name, row.responses[i], row.responses[j]), row)
    for row in distinct:
        if id(row) in opposite:
            problems.add("opposite labels", row.where, f"{opposite[id(row)]} says the opposite of two responses")
    return [row for row in distinct if id(row) not in opposite]


def related(rows: Sequence[Ranked]) -> list[int]:
    """A cluster per row: equal or nearly equal prompts, and dialogues with the same opening of five words or more.

    What a template says does not count (`near.templates`, by source): 40 words of instruction that a tenth of a
    source's prompts begin with make no two questions alike. Two prompts of the same words are always in one cluster.
    """
    keys: dict[str, int] = {}
    said: dict[tuple[str, ...], int] = {}
    openings: dict[tuple[str, ...], int] = {}
    links = []
    for i, row in enumerate(rows):
        links.append((i, keys.setdefault(row.key, i)))
        opening = words(next((m.content for m in row.prompt if m.role == "user"), ""))
        if len(opening) >= OPENING:
            links.append((i, openings.setdefault(opening, i)))
    tokens = {i: words(rows[i].asked) for i in sorted(set(keys.values()))}
    links += [(i, said.setdefault(text or (rows[i].asked,), i)) for i, text in tokens.items()]  # "?!" has no words
    own = _beside_templates(rows, {i: tokens[i] for i in said.values()})
    firsts = [i for i, text in own.items() if text]
    near = near_duplicates([" ".join(own[i]) for i in firsts], NEAR)
    return clusters(len(rows), [*links, *((firsts[i], firsts[j]) for i, j in near)])


def _beside_templates(rows: Sequence[Ranked], tokens: Mapping[int, tuple[str, ...]]) -> dict[int, tuple[str, ...]]:
    """The words of prompts, by their row's place, without those of any source's template."""
    sources: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for i, text in tokens.items():
        sources[rows[i].source].append(text)
    common = set().union(*map(templates, sources.values()))
    return {i: without(text, common) for i, text in tokens.items()}


def without_near_duplicates(
    rows: Sequence[Ranked], groups: Sequence[int], problems: Problems
) -> tuple[list[Ranked], list[int]]:
    """Rows (and their clusters) whose responses, best first, do not nearly repeat those of an earlier row of the same
    cluster that rates the same attributes: two facts with the preference turned round are two rows."""
    alike: dict[tuple[int, frozenset[str]], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        alike[groups[i], frozenset(row.attributes)].append(i)
    again: dict[int, int] = {}
    for some in alike.values():
        if len(some) > 1:
            for later, earlier in near_duplicates([_best_first(rows[i]) for i in some]):
                again.setdefault(some[later], some[earlier])
    for later, earlier in again.items():
        problems.add("near-duplicate", rows[later].where, f"nearly repeats {rows[earlier].where}")
    kept = [i for i in range(len(rows)) if i not in again]
    return [rows[i] for i in kept], [groups[i] for i in kept]


def _best_first(row: Ranked) -> str:
    scores = row.scores or (0.0,) * len(row.responses)
    return "\n".join(text for _, text in sorted(zip((-s for s in scores), row.responses)))


def split(rows: Sequence[Ranked], groups: Sequence[int], share: float, seed: int) -> Split:
    """Hold out whole clusters until `share` of the rows is reached. Raises UsageError if a side would be empty."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, cluster in enumerate(groups):
        members[cluster].append(i)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    held: set[int] = set()
    for cluster in order:
        if len(held) + len(members[cluster]) > max(1, round(share * len(rows))):
            continue  # too large for what is left of the share
        held.update(members[cluster])
    if not held or len(held) == len(rows):
        largest = max(map(len, members.values()))
        raise UsageError(
            f"{len(rows)} rows of {len(members)} distinct prompts cannot be split into a training and a held-out side "
            f"(prompts that nearly repeat each other count as one: {largest} rows belong together): give more prompts, "
            "put what they share into a system message, or raise --held-out"
        )
    sides = [[i for i in range(len(rows)) if (i in held) is side] for side in (False, True)]
    return Split(*([rows[i] for i in side] for side in sides), *([groups[i] for i in side] for side in sides))


def weighted(rows: Sequence[Ranked], weights: Mapping[str, float], seed: int) -> list[Ranked]:
    """Rows as often as their source's weight says: 2 is twice per epoch, 0.5 a drawn half of them."""
    draw = random.Random(seed)
    repeated = []
    for row in rows:
        weight = weights.get(row.source, 1.0)
        repeated += [row] * (int(weight) + (draw.random() < weight % 1))
    return repeated
