"""Queries put together from parts of known ones: which there are, how often each is, and what words ask for it."""

from __future__ import annotations

import heapq
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .chances import Chances
from .conditions import Pattern, lookups_of, taken_apart, widened
from .frames import Frame
from .lexicon import Lexicon, Told, told_by
from .linking import Asked, stem
from .nested import alike
from .places import Places
from .sketch import Condition, Joins, Outline, Sketch, Slot, Tables, query_of, sketch_of
from .tables import Link, quoted
from .tables import Tables as Schema

if TYPE_CHECKING:
    import numpy as np

FRAMES = 80  # of a question that are looked at with all sets of conditions: those that explain its words best
WHOLE = 400  # combinations of a question that are written out
MOST_CONDITIONS, MOST_COLUMNS = 3, 6
FREE, HELD = 6, 12  # conditions without constants, and with some, that are thought of
KNOWN = 5000  # outlines with tables and columns that are thought of at all: the most probable
FREEDOM = {1: 6, 2: 6, 3: 4, 4: 4}  # columns that are thought of in a place of an outline with so many; more: none
WEIGHT = 1.0  # of log p(words | parts) beside log p(parts)
ASKED = 0.5  # weight of the first words, for what is asked for
AROUND = 1.0  # weight of what stands around values
UNLIKELY = -7.0  # log p of a column that is none of the six most likely in its place
UNSAID = 6.0  # nats that a value of the question costs which the query does not use
_CONSTANT = re.compile(r"'((?:[^']|'')*)'|\b(\d+(?:\.\d+)?)\b")


@dataclass(frozen=True)
class Filled:
    """A set of conditions with the constants that fill their slots; `prior` is log p of the set."""

    conditions: tuple[Condition, ...]
    constants: tuple[str, ...]
    prior: float  # with what stands around the constants


class Parts:
    """The parts of known queries, with their counts and their words."""

    def __init__(
        self, sketches: Sequence[Sketch], lexicon: Lexicon, openings: Lexicon, places: Places, joins: Joins,
        schema: Schema, said: Counter[str], used: Counter[str],
    ) -> None:  # fmt: skip
        self.lexicon, self.openings, self.places = lexicon, openings, places
        self.joins, self.schema, self.total = joins, schema, len(sketches)
        self.said, self.used = said, used  # values of questions, and those that their queries have
        self.tables = _columns(schema)
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
                pattern, column = _own(self.usable[condition].parts)
                self.patterns[pattern] += 1
                self.shared[pattern] += column in named
        self.frames = heapq.nlargest(KNOWN, self._frames(), key=lambda frame: frame.prior)
        self.spoken = lexicon.counts([frame.parts for frame in self.frames])
        self.opened = openings.counts([frame.asked for frame in self.frames])
        self.held = lexicon.counts([w.parts for w in self.usable.values()])
        self.rows = {c: i for i, c in enumerate(self.usable)}

    @classmethod
    def learnt(cls, pairs: Iterable[tuple[Asked, str]], schema: Schema) -> Parts:
        """From questions as they are read and their queries; queries that have no such parts are left out. Raises
        ValueError if none has."""
        joins = {frozenset((k.parent.casefold(), k.child.casefold())):
                 _joined(k) for k in schema.links}  # fmt: skip
        sketches, told, opened, places = [], [*_names(_columns(schema))], [], []
        said, used = Counter[str](), Counter[str]()
        for asked, sql in pairs:
            found = sketch_of(sql, asked, _columns(schema))
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

    def queries(self, asked: Asked) -> Iterator[tuple[str, float]]:
        """(query, log p(words, parts) up to a constant), the most probable first, each query once."""
        import numpy as np

        told = told_by(asked)
        table = self.lexicon.of(told.words)  # (parts, words)
        said = self.spoken @ table  # (frames, words)
        spoken = self.spoken.sum(1)
        opened = self.opened @ self.openings.of(told.first) / self.opened.sum(1)[:, None]
        framed = np.array([frame.prior for frame in self.frames]) + ASKED * np.log(opened).sum(1)
        worth = WEIGHT * np.log(said / spoken[:, None]).sum(1) + framed
        best = np.argsort(-worth)[:FRAMES]
        sets = self._sets(asked, told, table, self._reach(best, worth))
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
        unsaid = {n: self._unsaid(n, sets, asked) for n in {self.frames[i].outline.numbers for i in best}}
        numbers = {o: self._numbers(o, sets, asked, told) for o in {self.frames[i].outline for i in best}}
        owns = [_own(self.usable[c].parts) for c in held]
        totals = np.stack([
            WEIGHT * np.log((said[i] + more) / (spoken[i] + sizes)[:, None]).sum(1) + framed[i] + priors
            + joined[self.frames[i].tables[0]] - UNSAID * unsaid[self.frames[i].outline.numbers]
            + numbers[self.frames[i].outline] + self._overlap(self.frames[i], owns)[places].sum(1)
            for i in best
        ])  # (frames, sets)
        given: set[str] = set()
        for place in np.argsort(-totals, axis=None)[:WHOLE]:
            if not math.isfinite(totals.flat[place]):
                return
            sql = self._query(self.frames[best[place // len(sets)]], sets[place % len(sets)], asked, told)
            if sql is not None and sql not in given:
                given.add(sql)
                yield sql, float(totals.flat[place])

    def likelihood(self, sql: str, asked: Asked) -> dict[str, float]:
        """Of any query, in nats per word of the question that is known: `words`, log p(words | parts); `asked`, that of
        the first words by what the query shows; `parts`, log p(parts); `around`, what stands around the values for
        their places; `unsaid`, what values of the question cost that it does not use. Together they rank queries as
        `queries` does. What cannot be taken apart is an outline that no example has and no word asks for."""
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
            around = sum(self.places.gain(keys, value, question) for keys, value in _constants(sketch, self.schema))
        words = np.log(self.lexicon.of(question.words)[parts].mean(0))
        first = np.log(self.openings.of(question.first)[shown].mean(0))
        unsaid = -UNSAID * sum(map(self._matters, asked.missed(constants)))
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
            pattern, column = _own(taken_apart(condition, self.schema).parts)
            told += self._shares(pattern, column in Frame.of(sketch).shown)
        return told

    def _places(self, condition: Condition) -> list[int]:
        """Rows of the lexicon that explain words for a condition."""
        return self.lexicon.rows(self.usable[condition].parts)[1:]

    def _query(self, frame: Frame, chosen: Filled, asked: Asked, told: Told) -> str | None:
        constants = (*self._left(frame.outline, chosen, asked, told), *chosen.constants)
        return query_of(Sketch(frame.outline, frame.tables, frame.columns, chosen.conditions, constants), self.joins)

    def _left(self, outline: Outline, chosen: Filled, asked: Asked, told: Told) -> list[str]:
        """The numbers that fill the outline's places: of those that no condition has, the ones that stand as there."""
        left = [value for value in asked.counted if value not in chosen.constants]
        taken = []
        for number in range(min(outline.numbers, len(left))):
            best = max(left, key=lambda value: self.places.gain([(outline, number)], value, told))
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
                known[chosen.constants] = sum(self.places.gain([(outline, i)], value, told) for i, value in left)
            found.append(AROUND * known[chosen.constants])
        return np.array(found)

    def _overlap(self, frame: Frame, owns: Sequence[tuple[Any, Any]]) -> np.ndarray:
        """For each condition, log p that its column is, or is not, one of the frame's; 0 at the end."""
        import numpy as np

        named = frame.shown
        return np.array([*(self._shares(pattern, column in named) for pattern, column in owns), 0.0])

    def _shares(self, pattern: Any, shared: bool) -> float:
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

    def _unsaid(self, numbers: int, sets: Sequence[Filled], asked: Asked) -> np.ndarray:
        """How many of the question's values are used nowhere; inf where an outline's `numbers` find none."""
        import numpy as np

        matters = {value: self._matters(value) for value in (*(m.value for m in asked.mentions), *asked.counted)}
        whole = sum(map(self._matters, (*(m.value for m in asked.mentions), *asked.counted))) - numbers
        left = np.array([whole - sum(matters[v] for v in chosen.constants) for chosen in sets], dtype=float)
        if numbers:
            counted = [sum(value not in chosen.constants for value in asked.counted) for chosen in sets]
            left[np.array(counted) < numbers] = math.inf
        return left

    def _fits(self, slot: Slot, value: str, asked: Asked) -> bool:
        if slot.number:
            return value in asked.counted
        own = (slot.table, slot.column)
        columns = self.alike.get(own, {own})
        return any(
            m.value == value and any((t.casefold(), c.casefold()) in columns for t, c in m.columns)
            for m in asked.mentions
        )

    def _matters(self, value: str) -> float:
        """How much a value of the question asks to be used, at most 1: less where examples that say it do not."""
        said, used = self.said[value.casefold()], self.used[value.casefold()]
        return (used + 1) / (said + 1)

    def _likely(self, role: str, table: str) -> list[tuple[str, float]]:
        """Columns of a table in a role, with log p."""
        counts = {name: self.columns[role, table, name] + 0.02 for name in self.tables[table]}
        whole = sum(counts.values())
        best = sorted(counts, key=lambda name: -counts[name])
        return [(name, math.log(counts[name] / whole)) for name in best]

    def _reach(self, best: Sequence[int], worth: Sequence[float]) -> dict[str, float]:
        """What the best frame is worth that a condition on a table can stand in; no table that none can reach."""
        here, there = self._beside()
        found: dict[str, float] = {}
        for i in best:
            main = self.frames[i].tables[0]
            near = {other: there for pair in self.joins if main in pair for other in pair}
            for table, cost in {**near, main: here}.items():
                found[table] = max(found.get(table, -math.inf), float(worth[i]) + cost)
        return found

    def _beside(self) -> tuple[float, float]:
        """log p that a condition is on the query's first table, and on another one."""
        of_all = sum(self.own.values()) + 1
        return math.log((self.own[True] + 0.5) / of_all), math.log((self.own[False] + 0.5) / of_all)

    def _sets(self, asked: Asked, told: Told, table: np.ndarray, reach: Mapping[str, float]) -> list[Filled]:
        """Sets of up to three conditions that the question's values can fill, each value in one place."""
        import numpy as np

        values = [*(m.value for m in asked.mentions), *asked.counted]
        ways: dict[Condition, list[tuple[tuple[str, ...], float]]] = {}
        alike: dict[tuple[Slot, ...], list[tuple[str, ...]]] = {}
        for condition in self.usable:
            if condition.slots not in alike:
                fitting = [[v for v in values if self._fits(slot, v, asked)] for slot in condition.slots]
                alike[condition.slots] = [w for w in itertools.product(*fitting) if len(set(w)) == len(w)]
            some = alike[condition.slots]
            keys = [_keys(condition, i, self.usable[condition].parts) for i in range(len(condition.slots))]
            ways[condition] = [
                (way, AROUND * sum(self.places.gain(k, v, told) for k, v in zip(keys, way))) for way in some
            ]
        able = [c for c in self.usable if ways[c] and c.table in reach]
        costs = {c: self.chances.log(c) for c in able}
        held = [self.rows[c] for c in able]
        words = WEIGHT * np.log((self.held[held] @ table) / self.held[held].sum(1, keepdims=True)).sum(1)
        gain = {c: costs[c] + float(said) + max(around for _, around in ways[c]) for c, said in zip(able, words)}
        ranked = sorted(able, key=lambda c: -gain[c] - reach[c.table])
        best = {*[c for c in ranked if c.slots][:HELD], *[c for c in ranked if not c.slots][:FREE]}
        usable = [c for c in able if c in best]  # in one order in all queries
        found = []
        for size in range(MOST_CONDITIONS + 1):
            few = math.log((self.sizes[size] + 0.2) / (self.total + 1))
            for chosen in itertools.combinations(usable, size):
                prior = few + sum(costs[c] for c in chosen)
                for filled in itertools.product(*(ways[c] for c in chosen)):
                    used = tuple(itertools.chain(*(values for values, _ in filled)))
                    if len(set(used)) == len(used):
                        found.append(Filled(chosen, used, prior + sum(around for _, around in filled)))
        return found

    def _joined(self, table: str, sets: Sequence[Filled]) -> np.ndarray:
        """log p that a query about `table` has conditions on these tables: -inf where they are not joined to it."""
        import numpy as np

        here, there = self._beside()
        costs = {other: here if other == table else there if frozenset((table, other)) in self.joins else -math.inf
                 for other in {c.table for s in sets for c in s.conditions}}  # fmt: skip
        return np.array([sum(costs[c.table] for c in s.conditions) for s in sets])


def _own(parts: Sequence[Any]) -> tuple[Any, tuple[str, str] | None]:
    """(pattern, column) of a condition's parts; what has no pattern stands for itself."""
    if len(parts) == 3 and isinstance(parts[1], Pattern) and parts[2][0] == "column":
        return parts[1], parts[2][1:]
    return parts[0], None


def _keys(condition: Condition, slot: int, parts: Sequence[Any]) -> list[Any]:
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
            yield _keys(condition, slot, parts), next(texts)


def _joined(link: Link) -> str:
    parent, key, child, column = (quoted(n.casefold()) for n in (link.parent, link.key, link.child, link.column))
    return f"{parent}.{key} = {child}.{column}"


def _columns(schema: Schema) -> Tables:
    """Columns by table, in lower case."""
    return {t.casefold(): tuple(c.name.casefold() for c in table.columns) for t, table in schema.tables.items()}


def _names(tables: Tables) -> Iterator[tuple[list[str], list[Any]]]:
    """Each table and column as asked for by the words of its own name."""
    for table, columns in tables.items():
        yield [stem(word) for word in table.split("_")], [("table", 0, table)]
        for column in columns:
            yield [stem(word) for word in column.split("_")], [("column", table, column)]
