"""What rewards are measured on: prompts with responses whose order is known, and what a measurement gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tao_hub


@dataclass(frozen=True)
class Item:
    """One prompt and its responses. `label` is what the protocol knows about them (see each suite);
    `id` is unique within a split, `category` the subset it is reported under, `best` the index of a response that is
    right, `rewordings` say the same as it in other words."""

    id: str
    prompt: tao_hub.Prompt
    responses: tuple[str, ...]
    category: str = ""
    label: Any = None
    best: int = 0
    rewordings: tuple[str, ...] = ()

    @property
    def cluster(self) -> str:
        """Items on one prompt are one draw, not several."""
        return self.prompt.digest


@dataclass(frozen=True)
class Judged:
    """An item with one score per response, None where the reward failed."""

    item: Item
    scores: tuple[float | None, ...]

    @property
    def failed(self) -> bool:
        return any(score is None for score in self.scores)

    @property
    def values(self) -> list[float]:
        """The scores of an item without failures."""
        return [score for score in self.scores if score is not None]


@dataclass(frozen=True)
class Measure:
    """One number with its 95% interval, over `n` items; `errors` items could not be scored and are in neither."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    errors: int = 0


@dataclass(frozen=True)
class Outcome:
    """Measures, the headline first; `credits` are each item's share in it, for paired comparison of two rewards."""

    measures: tuple[Measure, ...]
    credits: Mapping[str, float] = field(default_factory=dict)


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, in their order: of each subset (`category`) its share, evenly over it, and one at least
    where there is room for all subsets. Files list subsets one after the other, so the first items are of one only."""
    if len(items) <= most:
        return list(items)
    subsets: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        subsets.setdefault(item.category, []).append(place)
    if len(subsets) > most:
        return [items[i * len(items) // most] for i in range(most)]
    counts = dict.fromkeys(subsets, 1)
    for _ in range(most - len(subsets)):  # each further one goes to the subset that is furthest below its share
        owed = max(subsets, key=lambda name: len(subsets[name]) * most / len(items) - counts[name])
        counts[owed] += 1
    kept = [own[i * len(own) // counts[name]] for name, own in subsets.items() for i in range(counts[name])]
    return [items[place] for place in sorted(kept)]


class PreferenceSuite(tao_hub.Suite):
    """A suite that measures rewards: besides prompts it has items, and says what their scores amount to.

    Its prompts alone can be tuned on or answered like any suite's; there is no gold answer, so they have no reference.
    """

    metric = tao_hub.Ref("rules/exact")
    metric_name = "exact"

    def items(self, split: str) -> Iterator[Item]:
        """The items of a split, lazily. Raises ValueError (file, line, what was found) and FileNotFoundError."""
        raise NotImplementedError

    def seen(self, split: str) -> list[dict[str, Any]]:
        """Options of the suites that hold what a measurement on this split has seen, paths in them absolute."""
        return [self.options.model_dump(mode="json")]

    def measure(self, judged: Sequence[Judged]) -> Outcome:
        """What the protocol makes of the scores. Raises ValueError where there is no item."""
        raise NotImplementedError

    def prompts(self, split: str) -> Iterator[tao_hub.Prompt]:
        seen: set[str] = set()
        for item in self.items(split):
            if item.cluster not in seen:
                seen.add(item.cluster)
                yield item.prompt.without_reference()
