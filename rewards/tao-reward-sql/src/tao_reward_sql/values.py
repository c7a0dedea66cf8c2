"""Values of the data that stand in a question, and questions made anew with other values of the same columns."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

import sqlglot
from sqlglot import exp
from sqlglot.tokens import TokenType

from .databases import columns_of, read_only, state_of
from .gate import NotAQuery, parse

MOST_VALUES = 20_000  # of a column; one with more is free text or a key
LONGEST = 60  # characters of a value
SHORT = 4  # characters
FUNCTION_WORDS = frozenset(
    """
    about after also among been before both does each even every from have having into less list many more most
    much name none number only other over same show some such than that their them then there these they this
    those total type under until used using very were what when where which while whose will with within year
    your
    """.split()  # noqa: SIM905
)
_WORD = re.compile(r"\w+")
_SHAPED = re.compile(r"[\d\s.,:/+-]*")  # numbers, dates, times: no names

Column = tuple[str, str]


@dataclass(frozen=True)
class Mention:
    """Characters `start` to `end` of a question that are a value of `columns`; `value` as the data has it."""

    start: int
    end: int
    value: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Values:
    """The texts of a database: by their words in lower case, and by column."""

    known: Mapping[tuple[str, ...], tuple[tuple[str, Column], ...]]
    of: Mapping[Column, tuple[str, ...]]
    longest: int  # words

    def mentions(self, question: str) -> list[Mention]:
        """Values that stand in the question word by word, longer ones first; none overlaps another."""
        words = list(_WORD.finditer(question))
        folded = [word.group().casefold() for word in words]
        found: list[Mention] = []
        taken: set[int] = set()
        for length in range(min(self.longest, len(words)), 0, -1):
            for first in range(len(words) - length + 1):
                places = range(first, first + length)
                phrase = tuple(folded[first : first + length])
                there = None if self._names_its_kind(phrase) else self.known.get(phrase)
                said = question[words[first].start() : words[places[-1]].end()]
                if there is None or not taken.isdisjoint(places) or not _meant(said, there[0][0]):
                    continue
                taken.update(places)
                columns = tuple(sorted({column for _, column in there}))
                found.append(Mention(words[first].start(), words[places[-1]].end(), there[0][0], columns))
        return sorted(found, key=lambda m: m.start)

    def _names_its_kind(self, phrase: tuple[str, ...]) -> bool:
        """Whether the last word only says what the others are: "ohio river" where the table `river` has an "ohio"."""
        return any(table.casefold() == phrase[-1] for _, (table, _) in self.known.get(phrase[:-1], ()))


def _meant(said: str, value: str) -> bool:
    """Whether words of a question are a value and not just spelt like it: a short one keeps its case ("in" is not the
    country code "IN"), and words that hold a sentence together are never one."""
    return said == value if len(value) < SHORT else said.casefold() not in FUNCTION_WORDS


def values_of(database: Path) -> Values:
    """The texts of a database that questions can name: those of columns with few, short ones that are no numbers."""
    return _values(database, state_of(database))


@lru_cache(maxsize=64)
def _values(database: Path, state: int) -> Values:
    known: dict[tuple[str, ...], list[tuple[str, Column]]] = defaultdict(list)
    of: dict[Column, tuple[str, ...]] = {}
    with contextlib.closing(read_only(database)) as db:
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for table, column in ((t, c) for t, columns in columns_of(database).items() for c in columns):
            t, c = (name.replace('"', '""') for name in (table, column))
            rows = db.execute(
                f'SELECT DISTINCT "{c}" FROM "{t}" WHERE typeof("{c}") = \'text\' AND length("{c}") <= {LONGEST} '
                f"ORDER BY 1 LIMIT {MOST_VALUES + 1}"
            ).fetchall()
            named = [text for (text,) in rows if not _SHAPED.fullmatch(text)]
            if not named or len(named) < len(rows) / 2 or len(rows) > MOST_VALUES:
                continue
            of[table, column] = tuple(named)
            for text in named:
                if words := tuple(_WORD.findall(text.casefold())):
                    known[words].append((text, (table, column)))
    longest = max(map(len, known), default=0)
    return Values({words: tuple(there) for words, there in known.items()}, of, longest)


def vary(question: str, queries: Sequence[str], database: Path, rng: Random) -> tuple[str, list[str]] | None:
    """The question and its queries with other values of the same columns and other numbers, or None if nothing in it
    can be exchanged. Without queries every value and number of the question is exchanged; with them only those that
    all of them hold as constants, there too.
    """
    data = values_of(database)
    trees = []
    for query in queries:
        try:
            trees.append(parse(query))
        except NotAQuery:
            return None
    constants = [{str(node.this) for node in tree.find_all(exp.Literal)} for tree in trees]
    exchanged: dict[str, str] = {}
    pieces: list[tuple[int, int, str]] = []
    for mention in data.mentions(question):
        if not all(mention.value in held for held in constants):
            continue
        column = _column(trees, mention) or rng.choice(mention.columns)
        new = rng.choice(data.of[column])
        if new != mention.value and new in exchanged.values():
            continue
        exchanged[mention.value] = new
        pieces.append((mention.start, mention.end, new))
    covered = [(start, end) for start, end, _ in pieces]
    for number in re.finditer(r"(?<![\w.])\d+(?![\w.]*\w)", question):
        text = number.group()
        inside = any(start <= number.start() < end for start, end in covered)
        if inside or text in exchanged or not all(text in held for held in constants):
            continue
        exchanged[text] = _other_number(text, rng)
        pieces.append((number.start(), number.end(), exchanged[text]))
    if not pieces:
        return None
    for start, end, new in sorted(pieces, reverse=True):
        question = question[:start] + new + question[end:]
    return question, [_with_constants(query, exchanged) for query in queries]


def _with_constants(query: str, exchanged: Mapping[str, str]) -> str:
    """The query with other constants, all else as it was written."""
    for token in reversed(sqlglot.tokenize(query, dialect="sqlite")):
        if token.token_type not in (TokenType.STRING, TokenType.NUMBER) or token.text not in exchanged:
            continue
        new = exchanged[token.text]
        if token.token_type is TokenType.STRING:
            new = "'" + new.replace("'", "''") + "'"
        query = query[: token.start] + new + query[token.end + 1 :]
    return query


def _column(trees: Sequence[exp.Expression], mention: Mention) -> Column | None:
    """Which of the mention's columns the queries compare with it."""
    for tree in trees:
        for node in tree.find_all(exp.Literal):
            if str(node.this) == mention.value and node.parent is not None:
                names = {c.name.casefold() for c in node.parent.find_all(exp.Column)}
                for column in mention.columns:
                    if column[1].casefold() in names:
                        return column
    return None


def _other_number(text: str, rng: Random) -> str:
    """A number of like size and roundness; a year stays near."""
    number = int(text)
    if 1900 <= number <= 2100:
        return str(number + rng.randint(-3, 3))
    zeros = len(text) - len(text.rstrip("0")) if number else 0
    unit = 10 ** max(0, zeros - (len(text) - 1 == zeros and zeros > 1))
    return str(unit * rng.randint(1, max(2, 2 * number // unit)))
