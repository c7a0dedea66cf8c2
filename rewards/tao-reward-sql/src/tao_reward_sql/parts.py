"""Queries put together from parts of known ones: which there are, how often each is, and what words ask for it."""

from __future__ import annotations

import heapq
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .chances import Chances
from .conditions import Pattern, lookups_of, taken_apart, widened
from .frames import Frame, held_by, wholes_of
from .lexicon import Lexicon, told_by
from .linking import Asked, stem
from .nested import alike
from .places import Places
from .sketch import Condition, Joins, Sketch, Slot, Tables, sketch_of
from .tables import Link, quoted
from .tables import Tables as Schema

MOST_COLUMNS = 6  # of a place, the most likely ones
KNOWN = 5000  # outlines with tables and columns that are thought of at all: the most probable
FREEDOM = {1: 6, 2: 6, 3: 4, 4: 4}  # columns that are thought of in a place of an outline with so many; more: none
WEIGHT = 1.0  # of log p(words | parts) beside log p(parts)
ASKED = 0.5  # weight of the first words, for what is asked for
AROUND = 1.0  # weight of what stands around values
UNLIKELY = -7.0  # log p of a column that is none of the six most likely in its place
UNSAID = 6.0  # nats that a value of the question costs which the query does not use
_CONSTANT = re.compile(r"'((?:[^']|'')*)'|\b(\d+(?:\.\d+)?)\b")


@dataclass(frozen=True)
class Slots:
    """What fills a condition's slots, and what is known of their places; many conditions have the same."""

    slots: tuple[Slot, ...]
    places: tuple[tuple[Any, ...], ...]


class Parts:
    """The parts of known queries, with their counts and their words."""

    def __init__(
        self, sketches: Sequence[Sketch], lexicon: Lexicon, openings: Lexicon, places: Places, joins: Joins,
        schema: Schema, said: Counter[str], used: Counter[str],
    ) -> None:  # fmt: skip
        self.lexicon, self.openings, self.places = lexicon, openings, places
        self.joins, self.schema, self.total = joins, schema, len(sketches)
        self.said, self.used = said, used  # values of questions, and those that their queries have
        self.tables = schema.folded
        self.outlines = Counter(s.outline for s in sketches)
        self.together = Counter((s.outline, s.tables) for s in sketches)
        self.mains: Counter[tuple[str, ...]] = Counter(s.tables for s in sketches)
        self.columns = Counter(
            (role, s.tables[owner], name)
            for s in sketches for role, owner, name in zip(s.outline.roles, s.outline.owners, s.columns)
        )  # fmt: skip
        self.conditions = Counter(c for s in sketches for c in s.conditions)
        self.usable = widened(self.conditions, schema)
        self.alike = alike((lookup for lookup, _ in lookups_of(self.conditions, schema)), schema.links)
        self.chances = Chances((c for s in sketches for c in s.conditions), schema)
        self.own = Counter(c.table == s.tables[0] for s in sketches for c in s.conditions)
        self.sizes = Counter(len(s.conditions) for s in sketches)
        self.patterns: Counter[Any] = Counter()
        self.shared: Counter[Any] = Counter()  # patterns whose column is one of the outline's, too
        for sketch in sketches:
            named = Frame.of(sketch).shown
            for condition in sketch.conditions:
                pattern, column = own_of(self.usable[condition].parts)
                self.patterns[pattern] += 1
                self.shared[pattern] += column in named
        self.wholes = wholes_of(sketches, self._prior)
        numbers = {c: number for number, c in enumerate(self.usable)}
        self.seen = {  # the same by the numbers of the conditions, each once
            frame: {tuple(sorted(numbers[c] for c, _ in held)): more for held, more in seen.items()
                    if all(n == 1 for _, n in held)}
            for frame, seen in self.wholes.items()
        }  # fmt: skip
        self.frames = heapq.nlargest(KNOWN, self._frames(), key=lambda frame: frame.prior)
        self.spoken = lexicon.explainers(frame.parts for frame in self.frames)
        self.opened = openings.explainers(frame.asked for frame in self.frames)
        # of each condition that is usable:
        self.held = lexicon.explainers(w.parts for w in self.usable.values())
        self.costs = [self.chances.log(c) for c in self.usable]
        self.slots = [
            Slots(c.slots, tuple(places.known(keys_of(c, i, w.parts)) for i in range(len(c.slots))))
            for c, w in self.usable.items()
        ]
        self.kinds_of_slots = list(dict.fromkeys(self.slots))
        known = {slots: kind for kind, slots in enumerate(self.kinds_of_slots)}
        self.kinds = [known[slots] for slots in self.slots]

    @classmethod
    def learnt(cls, pairs: Iterable[tuple[Asked, str]], schema: Schema) -> Parts:
        """From questions as they are read and their queries; queries that have no such parts are left out. Raises
        ValueError if none has."""
        joins = {frozenset((k.parent.casefold(), k.child.casefold())):
                 _joined(k) for k in schema.links}  # fmt: skip
        sketches, told, opened, places = [], [*_names(schema.folded)], [], []
        said, used = Counter[str](), Counter[str]()
        for asked, sql in pairs:
            found = sketch_of(sql, asked, schema.folded)
            if found is not None:
                sketch, on = found
                joins.update(on)
                sketches.append(sketch)
                said.update(value.casefold() for value in asked.said)
                used.update({text.casefold() for text in sketch.constants} & {v.casefold() for v in asked.said})
                held = [part for c in sketch.conditions for part in taken_apart(c, schema).parts]
                question = told_by(asked)
                told.append((question.words, [*Frame.of(sketch).parts, *held]))
                opened.append((question.first, Frame.of(sketch).asked))
                for keys, value in _constants(sketch, schema):
                    places += [(keys, pair) for pair in question.around.get(value, ())[:1]]
        if not sketches:
            raise ValueError("none of the examples is a query that can be taken apart (one SELECT from plain tables)")
        return cls(sketches, Lexicon.learnt(told), Lexicon.learnt(opened), Places(places), joins, schema, said, used)

    def likelihood(self, sql: str, asked: Asked) -> dict[str, float]:
        """Of any query, in nats per word of the question that is known: `words`, log p(words | parts); `asked`, that of
        the first words by what the query shows; `parts`, log p(parts); `around`, what stands around the values for
        their places; `unsaid`, what values of the question cost that it does not use. Together they rank queries as
        `Composer.queries` does. What cannot be taken apart is an outline that no example has and no word asks for."""
        import numpy as np

        found = sketch_of(sql, asked, self.tables)
        question, around = told_by(asked), 0.0
        parts, shown, prior = self.lexicon.rows([]), self.openings.rows([]), math.log(0.1 / (self.total + 1)) + UNLIKELY
        constants = [text or number for text, number in _CONSTANT.findall(sql)]
        if found is not None:
            sketch = found[0]
            held = [part for c in sketch.conditions for part in taken_apart(c, self.schema).parts]
            parts = self.lexicon.rows([*Frame.of(sketch).parts, *held])
            shown = self.openings.rows(Frame.of(sketch).asked)
            prior, constants = self._prior(sketch), list(sketch.constants)
            prior += self.wholes.get(Frame.of(sketch), {}).get(held_by(sketch.conditions), 0.0)
            around = sum(self.places.gain(keys, value, question) for keys, value in _constants(sketch, self.schema))
        words = np.log(self.lexicon.of(question.words)[parts].mean(0))
        first = np.log(self.openings.of(question.first)[shown].mean(0))
        unsaid = -UNSAID * sum(map(self.matters, asked.missed(constants)))
        told = {
            "words": WEIGHT * float(words.sum()), "asked": ASKED * float(first.sum()), "parts": prior,
            "around": AROUND * around, "unsaid": unsaid,
        }  # fmt: skip
        return {name: value / max(1, len(words)) for name, value in told.items()}

    def _prior(self, sketch: Sketch) -> float:
        """log p(parts); a part that no example has counts as seen a tenth of a time."""
        outline, main = sketch.outline, sketch.tables[0]
        told = math.log((self.outlines[outline] + 0.1) / (self.total + 1))
        seen = self.together[outline, sketch.tables] + 0.5 * (self.mains[sketch.tables] + 0.1) / self.total
        told += math.log(seen / (self.outlines[outline] + 0.5))
        for role, owner, name in zip(outline.roles, outline.owners, sketch.columns):
            told += dict(self._likely(role, sketch.tables[owner])[:MOST_COLUMNS]).get(name, UNLIKELY)
        told += math.log((self.sizes[len(sketch.conditions)] + 0.2) / (self.total + 1))
        for condition in sketch.conditions:
            known = self.chances.log(condition)
            own = self.own[condition.table == main] + 0.5
            told += known + math.log(own / (sum(self.own.values()) + 1))
            pattern, column = own_of(taken_apart(condition, self.schema).parts)
            told += self.shares(pattern, column in Frame.of(sketch).shown)
        return told

    def shares(self, pattern: Any, shared: bool) -> float:
        share = (self.shared[pattern] + 0.3) / (self.patterns[pattern] + 1)
        return math.log(share if shared else 1 - share)

    def _frames(self) -> Iterator[Frame]:
        """All outlines with all tables that outlines of as many tables were seen with, and likely columns."""
        for outline, count in self.outlines.items():
            for tables in {**self.mains, **dict.fromkeys((name,) for name in self.tables)}:
                if len(tables) != outline.tables:
                    continue
                seen = self.together[outline, tables] + 0.5 * (self.mains[tables] + 0.1) / self.total
                prior = math.log(count / self.total) + math.log(seen / (count + 0.5))
                choices = [
                    self._likely(role, tables[owner])[: FREEDOM.get(len(outline.roles), 1)]
                    for role, owner in zip(outline.roles, outline.owners)
                ]
                for picked in itertools.product(*choices):
                    names = tuple(name for name, _ in picked)
                    if len(set(zip(outline.owners, names))) == len(names):
                        yield Frame(outline, tables, names, prior + sum(cost for _, cost in picked))

    def matters(self, value: str) -> float:
        """How much a value of the question asks to be used, at most 1: less where examples that say it do not."""
        said, used = self.said[value.casefold()], self.used[value.casefold()]
        return (used + 1) / (said + 1)

    def _likely(self, role: str, table: str) -> list[tuple[str, float]]:
        """Columns of a table in a role, with log p."""
        counts = {name: self.columns[role, table, name] + 0.02 for name in self.tables[table]}
        whole = sum(counts.values())
        best = sorted(counts, key=lambda name: -counts[name])
        return [(name, math.log(counts[name] / whole)) for name in best]

def own_of(parts: Sequence[Any]) -> tuple[Any, tuple[str, str] | None]:
    """(pattern, column) of a condition's parts; what has no pattern stands for itself."""
    if len(parts) == 3 and isinstance(parts[1], Pattern) and parts[2][0] == "column":
        return parts[1], parts[2][1:]
    return parts[0], None


def keys_of(condition: Condition, slot: int, parts: Sequence[Any]) -> list[Any]:
    """The places of a condition's slot: its own, and that of its pattern."""
    return [(part, slot) for part in parts[:2]]


def _constants(sketch: Sketch, schema: Schema) -> Iterator[tuple[list[Any], str]]:
    """Each constant of the question with the places that it fills."""
    texts = iter(sketch.constants)
    for number in range(sketch.outline.numbers):
        yield [(sketch.outline, number)], next(texts)
    for condition in sketch.conditions:
        parts = taken_apart(condition, schema).parts
        for slot in range(len(condition.slots)):
            yield keys_of(condition, slot, parts), next(texts)


def _joined(link: Link) -> str:
    parent, key, child, column = (quoted(n.casefold()) for n in (link.parent, link.key, link.child, link.column))
    return f"{parent}.{key} = {child}.{column}"


def _names(tables: Tables) -> Iterator[tuple[list[str], list[Any]]]:
    """Each table and column as asked for by the words of its own name."""
    for table, columns in tables.items():
        yield [stem(word) for word in table.split("_")], [("table", 0, table)]
        for column in columns:
            yield [stem(word) for word in column.split("_")], [("column", table, column)]
