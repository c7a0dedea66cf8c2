"""A query without its conditions, what words can speak of in it, and which queries are seen as wholes."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .sketch import Condition, Outline, Sketch

SEEN = 0.15  # share of queries that are asked as a whole, as examples are, not put together from parts
HINT = 0.5  # nats that this may add at most: more would keep what no example has from being thought of


@dataclass(frozen=True)
class Frame:
    """An outline with its tables and columns; `prior` is log p of them."""

    outline: Outline
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    prior: float = field(default=0.0, compare=False)

    @classmethod
    def of(cls, sketch: Sketch) -> Frame:
        return cls(sketch.outline, sketch.tables, sketch.columns)

    @property
    def shown(self) -> list[tuple[str, str]]:
        """The columns outside WHERE, with their tables."""
        return [(self.tables[owner], name) for owner, name in zip(self.outline.owners, self.columns)]

    @property
    def parts(self) -> list[Any]:
        """What words can speak of."""
        tables = (("table", number, name) for number, name in enumerate(self.tables))
        return [self.outline, *tables, *(("column", *column) for column in self.shown)]

    @property
    def asked(self) -> list[Any]:
        """What a question's first words speak of: "which state …" shows states, "how many …" is a count."""
        found: list[Any] = [("select", self.outline.select, self.outline.after)]
        for role, (table, name) in zip(self.outline.roles, self.shown):
            found += [("asked", role, name), ("asked", role, table, name)]
        return found


Held = frozenset[tuple[Condition, int]]  # conditions with how often each is there, in no order


def held_by(conditions: Iterable[Condition]) -> Held:
    return frozenset(Counter(conditions).items())


def wholes_of(sketches: Sequence[Sketch], prior: Callable[[Sketch], float]) -> Mapping[Frame, Mapping[Held, float]]:
    """How much more probable a query is that examples have as a whole, with these or other constants, than its parts
    tell by `prior`: log of (1 - SEEN) p(parts) + SEEN p(whole), less that of a query that none has; HINT at most."""
    counts = Counter((Frame.of(s), held_by(s.conditions)) for s in sketches)
    found: dict[Frame, dict[Held, float]] = defaultdict(dict)
    for (frame, held), sketch in {(Frame.of(s), held_by(s.conditions)): s for s in sketches}.items():
        share = counts[frame, held] / len(sketches)
        found[frame][held] = min(HINT, math.log1p(SEEN / (1 - SEEN) * share / math.exp(prior(sketch))))
    return dict(found)
