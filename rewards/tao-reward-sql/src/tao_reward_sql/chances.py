"""How probable a condition is, from those that examples have."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from .conditions import looked_up, lookups_of
from .nested import Lookup
from .sketch import Condition
from .tables import Tables

RARE = 0.1  # how often a condition that no example has counts as seen
LOOKED = 1.0  # and all lookups of a table together that no example has


class Chances:
    """log p(condition | its table): as often as examples have it, in WHERE or inside; a lookup that none has by what it
    is made of."""

    def __init__(self, conditions: Iterable[Condition], schema: Tables) -> None:
        self.schema, held = schema, list(conditions)
        lookups = lookups_of(held, schema)
        self.seen = Counter([*held, *(inner for _, inner in lookups)])
        self.of_table = Counter(c.table for c in self.seen.elements())
        self.ways = Counter((lookup.own, lookup.tail) for lookup, _ in lookups)
        self.tails = Counter(lookup.tail for lookup, _ in lookups)
        self._known: dict[Condition, float] = {}

    def log(self, condition: Condition) -> float:
        if condition not in self._known:
            inside, unseen = looked_up(condition, self.schema), RARE
            if inside is not None:
                unseen = LOOKED * self._way(inside[0]) * math.exp(self.log(inside[1]))
            whole = self.of_table[condition.table] + 1
            self._known[condition] = math.log((self.seen[condition] + unseen) / whole)
        return self._known[condition]

    def _way(self, lookup: Lookup) -> float:
        """p(where it is looked up), half of it by the column, too."""
        seen = 0.5 * self.ways[lookup.own, lookup.tail] + 0.5 * self.tails[lookup.tail]
        return (seen + RARE) / (self.ways.total() + 1)
