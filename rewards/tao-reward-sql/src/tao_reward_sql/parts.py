"""Queries put together from parts of known ones: which there are, how often each is, and what words ask for it."""

from __future__ import annotations

import heapq
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .conditions import taken_apart, widened
from .lexicon import NOTHING, Lexicon, words_of
from .linking import Asked, stem
from .sketch import Condition, Joins, Outline, Sketch, Slot, Tables, query_of, sketch_of
from .tables import Link, quoted
from .tables import Tables as Schema

if TYPE_CHECKING:
    import numpy as np

FRAMES = 80  # of a question that are looked at with all sets of conditions: those that explain its words best
WHOLE = 400  # combinations of a question that are written out
MOST_CONDITIONS = 3
FREE, HELD = 6, 12  # conditions without constants, and with some, that are thought of
RARE = 0.1  # how often a condition that no example has counts as seen
COLUMNS = 6  # of a table that are thought of in one place of an outline
WEIGHT = 0.7  # of log p(words | parts) beside log p(parts): its words are not as independent as it takes them
UNLIKELY = -7.0  # log p of a column that is not thought of in its place
UNSAID = 6.0  # nats that a value of the question costs which the query does not use
_CONSTANT = re.compile(r"'((?:[^']|'')*)'|\b(\d+(?:\.\d+)?)\b")


@dataclass(frozen=True)
class Frame:
    """An outline with its tables and columns; `prior` is log p of them."""

    outline: Outline
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    prior: float = 0.0

    @property
    def parts(self) -> list[Any]:
        """What words can speak of."""
        named = [("column", self.tables[owner], name) for owner, name in zip(self.outline.owners, self.columns)]
        return [self.outline, *(("table", number, name) for number, name in enumerate(self.tables)), *named]


@dataclass(frozen=True)
class Filled:
    """A set of conditions with the constants that fill their slots; `prior` is log p of the set."""

    conditions: tuple[Condition, ...]
    constants: tuple[str, ...]
    prior: float


class Parts:
    """The parts of known queries, with their counts and their words."""

    def __init__(self, sketches: Sequence[Sketch], lexicon: Lexicon, joins: Joins, schema: Schema) -> None:
        self.lexicon, self.joins, self.schema, self.total = lexicon, joins, schema, len(sketches)
        self.tables = _columns(schema)
        self.outlines = Counter(s.outline for s in sketches)
        self.together = Counter((s.outline, s.tables) for s in sketches)
        self.mains = Counter(s.tables for s in sketches)
        self.columns = Counter(
            (role, s.tables[owner], name)
            for s in sketches for role, owner, name in zip(s.outline.roles, s.outline.owners, s.columns)
        )  # fmt: skip
        self.conditions = Counter(c for s in sketches for c in s.conditions)
        self.usable = widened(self.conditions, schema)
        self.of_table = Counter(c.table for s in sketches for c in s.conditions)
        self.own = Counter(c.table == s.tables[0] for s in sketches for c in s.conditions)
        self.sizes = Counter(len(s.conditions) for s in sketches)
        self.frames = list(self._frames())
        self.spoken = self._spoken()

    @classmethod
    def learnt(cls, pairs: Iterable[tuple[Asked, str]], schema: Schema) -> Parts:
        """From questions as they are read and their queries; queries that have no such parts are left out. Raises
        ValueError if none has."""
        joins = {frozenset((k.parent.casefold(), k.child.casefold())):
                 _joined(k) for k in schema.links}  # fmt: skip
        sketches, told = [], [*_names(_columns(schema))]
        for asked, sql in pairs:
            found = sketch_of(sql, asked, _columns(schema))
            if found is not None:
                sketch, on = found
                joins.update(on)
                sketches.append(sketch)
                frame = Frame(sketch.outline, sketch.tables, sketch.columns)
                held = [part for c in sketch.conditions for part in taken_apart(c, schema).parts]
                told.append((words_of(asked), [*frame.parts, *held]))
        if not sketches:
            raise ValueError("none of the examples is a query that can be taken apart (one SELECT from plain tables)")
        return cls(sketches, Lexicon.learnt(told), joins, schema)

    def queries(self, asked: Asked) -> Iterator[tuple[str, float]]:
        """(query, log p(words, parts) up to a constant), the most probable first, each query once."""
        import numpy as np

        table = self.lexicon.of(words_of(asked))  # (parts, words)
        said = self.spoken @ table  # (frames, words)
        spoken = self.spoken.sum(1)
        worth = WEIGHT * np.log(said / spoken[:, None]).sum(1) + [frame.prior for frame in self.frames]
        best = np.argsort(-worth)[:FRAMES]
        sets = self._sets(asked, table)
        padded = np.vstack([table, np.zeros_like(table[:1])])  # the last row is that of no condition
        held = {c: i for i, c in enumerate(dict.fromkeys(c for s in sets for c in s.conditions))}
        rows = np.array([padded[self._places(c)].sum(0) for c in held] + [padded[-1]])  # (conditions + 1, words)
        counts = np.array([len(self.usable[c].parts) for c in held] + [0])
        places = np.full((len(sets), MOST_CONDITIONS), -1)
        for row, s in zip(places, sets):
            row[: len(s.conditions)] = [held[c] for c in s.conditions]
        more, sizes = rows[places].sum(1), counts[places].sum(1)  # (sets, words), (sets,)
        priors = np.array([s.prior for s in sets])
        joined = {main: self._joined(main, sets) for main in {self.frames[i].tables[0] for i in best}}
        unsaid = {n: _unsaid(n, sets, asked) for n in {self.frames[i].outline.numbers for i in best}}
        totals = np.stack([
            WEIGHT * np.log((said[i] + more) / (spoken[i] + sizes)[:, None]).sum(1) + self.frames[i].prior + priors
            + joined[self.frames[i].tables[0]] - UNSAID * unsaid[self.frames[i].outline.numbers]
            for i in best
        ])  # (frames, sets)
        given: set[str] = set()
        for place in np.argsort(-totals, axis=None)[:WHOLE]:
            if not math.isfinite(totals.flat[place]):
                return
            sql = self._query(self.frames[best[place // len(sets)]], sets[place % len(sets)], asked)
            if sql is not None and sql not in given:
                given.add(sql)
                yield sql, float(totals.flat[place])

    def likelihood(self, sql: str, asked: Asked) -> dict[str, float]:
        """Of any query, in nats: `words`, mean log p(word | parts) of the words that are known; `parts`, log p(parts);
        and `unsaid`, how many of the question's values it does not use. One that cannot be taken apart is an outline
        that no example has and no word asks for."""
        import numpy as np

        found = sketch_of(sql, asked, self.tables)
        table, nothing = self.lexicon.of(words_of(asked)), self.lexicon.parts[NOTHING]
        parts, prior = [nothing], math.log(0.1 / (self.total + 1)) + UNLIKELY
        constants = [text or number for text, number in _CONSTANT.findall(sql)]
        if found is not None:
            sketch = found[0]
            frame = Frame(sketch.outline, sketch.tables, sketch.columns)
            held = [part for c in sketch.conditions for part in taken_apart(c, self.schema).parts]
            parts = [self.lexicon.parts.get(part, nothing) for part in (NOTHING, *frame.parts, *held)]
            prior, constants = self._prior(sketch), list(sketch.constants)
        words = np.log(table[parts].mean(0))
        return {
            "words": float(words.mean()) if len(words) else 0.0, "parts": prior,
            "unsaid": float(len(asked.missed(constants))),
        }  # fmt: skip

    def _prior(self, sketch: Sketch) -> float:
        """log p(parts); a part that no example has counts as seen a tenth of a time."""
        outline, main = sketch.outline, sketch.tables[0]
        told = math.log((self.outlines[outline] + 0.1) / (self.total + 1))
        seen = self.together[outline, sketch.tables] + 0.5 * (self.mains[sketch.tables] + 0.1) / self.total
        told += math.log(seen / (self.outlines[outline] + 0.5))
        for role, owner, name in zip(outline.roles, outline.owners, sketch.columns):
            told += dict(self._likely(role, sketch.tables[owner])).get(name, UNLIKELY)
        told += math.log((self.sizes[len(sketch.conditions)] + 0.2) / (self.total + 1))
        for condition in sketch.conditions:
            known = math.log((self.conditions[condition] + RARE) / (self.of_table[condition.table] + 1))
            own = self.own[condition.table == main] + 0.5
            told += known + math.log(own / (sum(self.own.values()) + 1))
        return told

    def _places(self, condition: Condition) -> list[int]:
        """Rows of the lexicon that explain words for a condition."""
        nothing = self.lexicon.parts[NOTHING]
        return [self.lexicon.parts.get(part, nothing) for part in self.usable[condition].parts]

    def _query(self, frame: Frame, chosen: Filled, asked: Asked) -> str | None:
        left = [value for value in asked.counted if value not in chosen.constants][: frame.outline.numbers]
        constants = (*left, *chosen.constants)
        return query_of(Sketch(frame.outline, frame.tables, frame.columns, chosen.conditions, constants), self.joins)

    def _frames(self) -> Iterator[Frame]:
        """All outlines with all tables that outlines of as many tables were seen with, and likely columns."""
        for outline, count in self.outlines.items():
            for tables in self.mains:
                if len(tables) != outline.tables:
                    continue
                seen = self.together[outline, tables] + 0.5 * self.mains[tables] / self.total
                prior = math.log(count / self.total) + math.log(seen / (count + 0.5))
                choices = [self._likely(role, tables[owner]) for role, owner in zip(outline.roles, outline.owners)]
                for picked in itertools.product(*choices):
                    names = tuple(name for name, _ in picked)
                    if len(set(zip(outline.owners, names))) == len(names):
                        yield Frame(outline, tables, names, prior + sum(cost for _, cost in picked))

    def _spoken(self) -> np.ndarray:
        """How often each part, a row of the lexicon, may explain a frame's words: (frames, parts). A part that no words
        are known of explains what `NOTHING` does."""
        import numpy as np

        found = np.zeros((len(self.frames), len(self.lexicon.parts)))
        nothing = self.lexicon.parts[NOTHING]
        for row, frame in zip(found, self.frames):
            for part in (NOTHING, *frame.parts):
                row[self.lexicon.parts.get(part, nothing)] += 1
        return found

    def _likely(self, role: str, table: str) -> list[tuple[str, float]]:
        """Columns of a table in a role, with log p."""
        counts = {name: self.columns[role, table, name] + 0.02 for name in self.tables[table]}
        whole = sum(counts.values())
        best = heapq.nlargest(COLUMNS, counts, key=counts.__getitem__)
        return [(name, math.log(counts[name] / whole)) for name in best]

    def _sets(self, asked: Asked, table: np.ndarray) -> list[Filled]:
        """Sets of up to three conditions that the question's values can fill, each value in one place."""
        import numpy as np

        values = [*(m.value for m in asked.mentions), *asked.counted]
        ways: dict[Condition, list[tuple[str, ...]]] = {}
        for condition in self.usable:
            fitting = [[v for v in values if _fits(slot, v, asked)] for slot in condition.slots]
            ways[condition] = [way for way in itertools.product(*fitting) if len(set(way)) == len(way)]
        able = [c for c in self.usable if ways[c]]
        nothing = table[self.lexicon.parts[NOTHING]]
        costs = {c: math.log((self.conditions[c] + RARE) / (self.of_table[c.table] + 1)) for c in able}
        gain = {c: costs[c] + WEIGHT * float(np.log((nothing + table[rows].sum(0)) / (1 + len(rows))).sum())
                for c in able for rows in [self._places(c)]}  # fmt: skip
        ranked = sorted(able, key=lambda c: -gain[c])
        best = {*[c for c in ranked if c.slots][:HELD], *[c for c in ranked if not c.slots][:FREE]}
        usable = [c for c in able if c in best]  # in one order in all queries
        found = []
        for size in range(MOST_CONDITIONS + 1):
            few = math.log((self.sizes[size] + 0.2) / (self.total + 1))
            for chosen in itertools.combinations(usable, size):
                prior = few + sum(costs[c] for c in chosen)
                for filled in itertools.product(*(ways[c] for c in chosen)):
                    used = tuple(itertools.chain(*filled))
                    if len(set(used)) == len(used):
                        found.append(Filled(chosen, used, prior))
        return found

    def _joined(self, table: str, sets: Sequence[Filled]) -> np.ndarray:
        """log p that a query about `table` has conditions on these tables: -inf where they are not joined to it."""
        import numpy as np

        of_all = sum(self.own.values()) + 1
        here, there = (math.log((self.own[own] + 0.5) / of_all) for own in (True, False))
        costs = {other: here if other == table else there if frozenset((table, other)) in self.joins else -math.inf
                 for other in {c.table for s in sets for c in s.conditions}}  # fmt: skip
        return np.array([sum(costs[c.table] for c in s.conditions) for s in sets])


def _unsaid(numbers: int, sets: Sequence[Filled], asked: Asked) -> np.ndarray:
    """How many of the question's values are used nowhere; inf where an outline's `numbers` find none."""
    import numpy as np

    whole = len(asked.mentions) + len(asked.counted) - numbers
    left = np.array([whole - len(chosen.constants) for chosen in sets], dtype=float)
    if numbers:
        counted = [sum(value not in chosen.constants for value in asked.counted) for chosen in sets]
        left[np.array(counted) < numbers] = math.inf
    return left


def _joined(link: Link) -> str:
    parent, key, child, column = (quoted(n.casefold()) for n in (link.parent, link.key, link.child, link.column))
    return f"{parent}.{key} = {child}.{column}"


def _columns(schema: Schema) -> Tables:
    """Columns by table, in lower case."""
    return {t.casefold(): tuple(c.name.casefold() for c in table.columns) for t, table in schema.tables.items()}


def _fits(slot: Slot, value: str, asked: Asked) -> bool:
    if slot.number:
        return value in asked.counted
    return any(
        m.value == value and any((t.casefold(), c.casefold()) == (slot.table, slot.column) for t, c in m.columns)
        for m in asked.mentions
    )


def _names(tables: Tables) -> Iterator[tuple[list[str], list[Any]]]:
    """Each table and column as asked for by the words of its own name."""
    for table, columns in tables.items():
        yield [stem(word) for word in table.split("_")], [("table", 0, table)]
        for column in columns:
            yield [stem(word) for word in column.split("_")], [("column", table, column)]
