"""What stands before and after a value in a question tells which place of a query it fills: "top 5", "more than 5"."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

from .lexicon import Told

SMOOTHING = 2.0  # neighbours that a place has seen beside its own, spread as they are over all places


class Places:
    """log p(neighbours | place) / p(neighbours) of values, from questions whose queries are known."""

    def __init__(self, seen: Iterable[tuple[Sequence[Hashable], tuple[str, str]]]) -> None:
        self.of: dict[Hashable, Counter[tuple[int, str]]] = defaultdict(Counter)
        self.sizes: Counter[Hashable] = Counter()
        self.all: Counter[tuple[int, str]] = Counter()
        self.total = 0
        for keys, neighbours in seen:
            self.total += 1
            self.all.update(enumerate(neighbours))
            for key in keys:
                self.of[key].update(enumerate(neighbours))
                self.sizes[key] += 1

    def known(self, keys: Iterable[Hashable]) -> tuple[Hashable, ...]:
        """Those that examples tell something of; the others change no gain."""
        return tuple(key for key in keys if key in self.sizes)

    def gain(self, keys: Sequence[Hashable], value: str, told: Told) -> float:
        """In nats, the best of where the value stands; 0 for what nothing is known of."""
        return max((self._gain(keys, pair) for pair in told.around.get(value, ())), default=0.0)

    def _gain(self, keys: Sequence[Hashable], neighbours: tuple[str, str]) -> float:
        if not keys:
            return 0.0
        gain, size = 0.0, sum(self.sizes[key] for key in keys)
        for found in enumerate(neighbours):
            share = (self.all[found] + 0.1) / (self.total + 1)
            here = sum(self.of[key][found] for key in keys if key in self.of)
            gain += math.log((here + SMOOTHING * share) / (size + SMOOTHING) / share)
        return gain
