"""Queries put together for a question from known parts, the most probable first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .frames import Frame
from .lexicon import Told, told_by
from .linking import Asked
from .parts import AROUND, ASKED, UNSAID, WEIGHT, Parts, Slots, own_of
from .sketch import Condition, Outline, Sketch, Slot, query_of

if TYPE_CHECKING:
    import numpy as np

FRAMES = 80  # of a question that are looked at with all sets of conditions: those that explain its words best
WHOLE = 400  # combinations of a question that are written out
MOST_CONDITIONS = 3
FREE, HELD = 6, 12  # conditions without constants, and with some, that are thought of


@dataclass(frozen=True)
class Filled:
    """A set of conditions with the constants that fill their slots; `prior` is log p of the set."""

    rows: tuple[int, ...]  # the numbers of the conditions in `Parts.usable`, rising
    conditions: tuple[Condition, ...]
    constants: tuple[str, ...]
    prior: float  # with what stands around the constants


@dataclass(frozen=True)
class Composer:
    """Weighs outlines with tables and columns (`Frame`) together with sets of conditions (`Filled`)."""

    parts: Parts

    def queries(self, asked: Asked) -> Iterator[tuple[str, float]]:
        """(query, log p(words, parts) up to a constant), the most probable first, each query once."""
        import numpy as np

        told = told_by(asked)
        table = self.parts.lexicon.of(told.words)  # (parts, words)
        said = self.parts.spoken.sums(table)  # (frames, words)
        opened = self.parts.opened.sums(self.parts.openings.of(told.first)) / self.parts.opened.sizes[:, None]
        framed = np.array([frame.prior for frame in self.parts.frames]) + ASKED * np.log(opened).sum(1)
        worth = WEIGHT * np.log(said / self.parts.spoken.sizes[:, None]).sum(1) + framed
        best = np.argsort(-worth)[:FRAMES].tolist()
        sets = self._sets(asked, told, table, self._reach(best, worth))
        words = self._words(best, sets, said, table)
        priors = np.array([s.prior for s in sets])
        joined = {main: self._joined(main, sets) for main in {self.parts.frames[i].tables[0] for i in best}}
        unsaid = {n: self._unsaid(n, sets, asked) for n in {self.parts.frames[i].outline.numbers for i in best}}
        numbers = {o: self._numbers(o, sets, asked, told) for o in {self.parts.frames[i].outline for i in best}}
        totals = np.stack([
            spoken + framed[i] + priors + joined[self.parts.frames[i].tables[0]]
            + numbers[self.parts.frames[i].outline] - UNSAID * unsaid[self.parts.frames[i].outline.numbers]
            for spoken, i in zip(words, best)
        ])  # (frames, sets)
        given: set[str] = set()
        for place in np.argsort(-totals, axis=None)[:WHOLE]:
            if not math.isfinite(totals.flat[place]):
                return
            sql = self._query(self.parts.frames[best[place // len(sets)]], sets[place % len(sets)], asked, told)
            if sql is not None and sql not in given:
                given.add(sql)
                yield sql, float(totals.flat[place])

    def _words(self, best: Sequence[int], sets: Sequence[Filled], said: np.ndarray, table: np.ndarray) -> np.ndarray:
        """log p(words | frame, conditions), with how probable they are together: (frames, sets). Sets that differ in
        their constants alone are computed once."""
        import numpy as np

        conditions = {row: condition for s in sets for row, condition in zip(s.rows, s.conditions)}
        order = {row: number for number, row in enumerate(conditions)}
        nothing, known = table[self.parts.lexicon.rows([])], list(conditions)  # it counts once, with the frame
        held = np.vstack([self.parts.held.sums(table, known) - nothing, np.zeros_like(nothing)])  # last: no condition
        counts = np.array([*(self.parts.held.sizes[known] - 1), 0])
        owns = [own_of(self.parts.usable[c].parts) for c in conditions.values()]
        different = {rows: number for number, rows in enumerate(dict.fromkeys(s.rows for s in sets))}
        places = np.full((len(different), MOST_CONDITIONS), -1)
        for place, rows in zip(places, different):
            place[: len(rows)] = [order[row] for row in rows]
        more, sizes = held[places].sum(1), counts[places].sum(1)  # (different, words), (different,)
        found = np.empty((len(best), len(different)))
        for worth, i in zip(found, best):
            frame, size = self.parts.frames[i], self.parts.spoken.sizes[i]
            worth[:] = WEIGHT * np.log((said[i] + more) / (size + sizes)[:, None]).sum(1)
            worth[:] += self._overlap(frame, owns)[places].sum(1)
            for rows, gain in self.parts.seen.get(frame, {}).items():
                if rows in different:
                    worth[different[rows]] += gain
        return found[:, [different[s.rows] for s in sets]]

    def _query(self, frame: Frame, chosen: Filled, asked: Asked, told: Told) -> str | None:
        constants = (*self._left(frame.outline, chosen, asked, told), *chosen.constants)
        sketch = Sketch(frame.outline, frame.tables, frame.columns, chosen.conditions, constants)
        return query_of(sketch, self.parts.joins)

    def _left(self, outline: Outline, chosen: Filled, asked: Asked, told: Told) -> list[str]:
        """The numbers that fill the outline's places: of those that no condition has, the ones that stand as there."""
        left = [value for value in asked.counted if value not in chosen.constants]
        taken = []
        for number in range(min(outline.numbers, len(left))):
            best = max(left, key=lambda value: self.parts.places.gain([(outline, number)], value, told))
            taken.append(best)
            left.remove(best)
        return taken

    def _numbers(self, outline: Outline, sets: Sequence[Filled], asked: Asked, told: Told) -> Any:
        """What stands around the numbers of the outline, for each set of conditions."""
        import numpy as np

        if not outline.numbers:
            return 0.0
        known: dict[tuple[str, ...], float] = {}
        found = []
        for chosen in sets:
            if chosen.constants not in known:
                left = enumerate(self._left(outline, chosen, asked, told))
                known[chosen.constants] = sum(self.parts.places.gain([(outline, i)], value, told) for i, value in left)
            found.append(AROUND * known[chosen.constants])
        return np.array(found)

    def _overlap(self, frame: Frame, owns: Sequence[tuple[Any, Any]]) -> np.ndarray:
        """For each condition, log p that its column is, or is not, one of the frame's; 0 at the end."""
        import numpy as np

        named = frame.shown
        return np.array([*(self.parts.shares(pattern, column in named) for pattern, column in owns), 0.0])

    def _unsaid(self, numbers: int, sets: Sequence[Filled], asked: Asked) -> np.ndarray:
        """How many of the question's values are used nowhere; inf where an outline's `numbers` find none."""
        import numpy as np

        matters = {value: self.parts.matters(value) for value in (*(m.value for m in asked.mentions), *asked.counted)}
        whole = sum(map(self.parts.matters, (*(m.value for m in asked.mentions), *asked.counted))) - numbers
        left = np.array([whole - sum(matters[v] for v in chosen.constants) for chosen in sets], dtype=float)
        if numbers:
            counted = [sum(value not in chosen.constants for value in asked.counted) for chosen in sets]
            left[np.array(counted) < numbers] = math.inf
        return left

    def _fits(self, slot: Slot, value: str, asked: Asked) -> bool:
        if slot.number:
            return value in asked.counted
        own = (slot.table, slot.column)
        columns = self.parts.alike.get(own, {own})
        return any(
            m.value == value and any((t.casefold(), c.casefold()) in columns for t, c in m.columns)
            for m in asked.mentions
        )

    def _reach(self, best: Sequence[int], worth: Sequence[float]) -> dict[str, float]:
        """What the best frame is worth that a condition on a table can stand in; no table that none can reach."""
        here, there = self._beside()
        found: dict[str, float] = {}
        for i in best:
            main = self.parts.frames[i].tables[0]
            near = {other: there for pair in self.parts.joins if main in pair for other in pair}
            for table, cost in {**near, main: here}.items():
                found[table] = max(found.get(table, -math.inf), float(worth[i]) + cost)
        return found

    def _beside(self) -> tuple[float, float]:
        """log p that a condition is on the query's first table, and on another one."""
        of_all = sum(self.parts.own.values()) + 1
        return math.log((self.parts.own[True] + 0.5) / of_all), math.log((self.parts.own[False] + 0.5) / of_all)

    def _sets(self, asked: Asked, told: Told, table: np.ndarray, reach: Mapping[str, float]) -> list[Filled]:
        """Sets of up to three conditions that the question's values can fill, each value in one place."""
        import numpy as np

        ways = [self._ways(slots, asked, told) for slots in self.parts.kinds_of_slots]
        able = [
            (row, condition) for row, (condition, kind) in enumerate(zip(self.parts.usable, self.parts.kinds))
            if ways[kind] and condition.table in reach
        ]  # fmt: skip
        rows = [row for row, _ in able]
        words = WEIGHT * np.log(self.parts.held.sums(table, rows) / self.parts.held.sizes[rows][:, None]).sum(1)
        placed = {row: ways[self.parts.kinds[row]] for row in rows}
        around = [max((gain for _, gain in of), default=0.0) for of in ways]
        worth = [
            (self.parts.costs[row] + said + around[self.parts.kinds[row]] + reach[condition.table], row)
            for said, (row, condition) in zip(words.tolist(), able)
        ]
        ranked = [row for _, row in sorted(worth, key=lambda of: -of[0])]
        held = [row for row in ranked if self.parts.slots[row].slots][:HELD]
        free = [row for row in ranked if not self.parts.slots[row].slots][:FREE]
        best = {*held, *free}
        usable = [(row, condition) for row, condition in able if row in best]  # in one order in all queries
        found = []
        for size in range(MOST_CONDITIONS + 1):
            few = math.log((self.parts.sizes[size] + 0.2) / (self.parts.total + 1))
            for chosen in itertools.combinations(usable, size):
                prior = few + sum(self.parts.costs[row] for row, _ in chosen)
                conditions = tuple(condition for _, condition in chosen)
                rows = tuple(row for row, _ in chosen)
                for filled in itertools.product(*(placed[row] for row, _ in chosen)):
                    used = tuple(itertools.chain(*(values for values, _ in filled)))
                    if len(set(used)) == len(used):
                        found.append(Filled(rows, conditions, used, prior + sum(around for _, around in filled)))
        return found

    def _ways(self, slots: Slots, asked: Asked, told: Told) -> list[tuple[tuple[str, ...], float]]:
        """The values of the question that can fill the slots, each in one, with what stands around them."""
        values = [*(m.value for m in asked.mentions), *asked.counted]
        each = [[v for v in values if self._fits(slot, v, asked)] for slot in slots.slots]
        return [
            (way, AROUND * sum(self.parts.places.gain(keys, v, told) for keys, v in zip(slots.places, way)))
            for way in itertools.product(*each) if len(set(way)) == len(way)
        ]  # fmt: skip

    def _joined(self, table: str, sets: Sequence[Filled]) -> np.ndarray:
        """log p that a query about `table` has conditions on these tables: -inf where they are not joined to it."""
        import numpy as np

        here, there = self._beside()
        beside = {other for pair in self.parts.joins if table in pair for other in pair}
        costs = {other: here if other == table else there if other in beside else -math.inf
                 for other in {c.table for s in sets for c in s.conditions}}  # fmt: skip
        return np.array([sum(costs[c.table] for c in s.conditions) for s in sets])
