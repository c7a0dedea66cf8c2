"""What a question's words and a query's names and constants have in common (schema linking, by words)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sqlglot import exp

from .databases import names_of, state_of
from .engines import Place, engine_of
from .values import SHORT, Mention, values_of

WORD = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
SMALL = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
         "nine": "9", "ten": "10"}  # fmt: skip

KEYS = frozenset(("id", "key", "nr", "no", "uid", "code"))


@dataclass(frozen=True)
class Asked:
    """What a question says of a database."""

    text: str
    stems: frozenset[str]
    names: tuple[str, ...]  # tables and columns whose whole name it holds
    mentions: tuple[Mention, ...]
    counted: tuple[str, ...]  # numbers beside the mentions, small ones written out as digits
    numbers: frozenset[str]  # all words and numbers that a constant may be

    @property
    def said(self) -> list[str]:
        """Values and numbers that a query should use as constants."""
        return [*dict.fromkeys([*(mention.value for mention in self.mentions), *self.counted])]

    def holds(self, constant: str) -> bool:
        """Whether a constant stands in the question, whatever its case."""
        bare = constant.strip("%").casefold()
        if not bare or constant in self.numbers:
            return True
        if bare.isalpha() and len(bare) >= SHORT:  # "republics" stand for 'Republic', "Asian" for 'Asia'
            return any(word.casefold().startswith(bare[:SHORT]) for word in self.numbers)
        return bool(re.search(rf"(?<!\w){re.escape(bare)}(?!\w)", self.text.casefold()))

    def unused(self, used: Iterable[str]) -> list[str]:
        """Names of the question that are none of `used`, columns and tables of a query in lower case."""
        there = set(used)
        parts = all_stems(there)
        return [name for name in self.names if name not in there and not stems(name) <= parts]

    def missed(self, constants: Iterable[str]) -> list[str]:
        """Values and numbers of the question that are no constants of the query."""
        held = {text.strip("%").casefold() for text in constants}
        return [value for value in self.said if value.casefold() not in held]


def read(question: str, database: Place) -> Asked:
    """What the question says of the database as it is now."""
    return _read(question, database, state_of(database))


@lru_cache(maxsize=4096)
def _read(question: str, database: Place, state: int) -> Asked:
    words = frozenset(stems(question))
    whole = [name for name in names_of(database) if (parts := stems(name)) and parts <= words]
    names = tuple(name for name in whole if _key(name, question))
    said = values_of(Path(database)).mentions(question) if engine_of(database) == "sqlite" else []
    said = [mention for mention in said if mention.value.casefold() not in names]  # a column's name is no value
    rest = "".join(" " if any(m.start <= i < m.end for m in said) else sign for i, sign in enumerate(question))
    small = [SMALL[w] for w in question.casefold().split() if w in SMALL]
    counted = [w for w in WORD.findall(rest) if w[0].isdigit()] + [number for number in small if number != "1"]
    numbers = frozenset({*WORD.findall(question), *small})
    return Asked(question, words, names, tuple(said), tuple(dict.fromkeys(counted)), numbers)


def _key(name: str, question: str) -> bool:
    """Whether the question speaks of keys, if a name is a key's: "singers" are no `singer_id`."""
    keys = KEYS & {word.casefold() for word in WORD.findall(_CAMEL.sub(" ", name))}
    return all(re.search(rf"\b{key}s?\b", question, re.IGNORECASE) for key in keys)


def stems(text: str) -> set[str]:
    """Words without case and endings, those of `camelCase` and `snake_case` apart; none of less than three letters."""
    return {stem(w) for w in WORD.findall(_CAMEL.sub(" ", text)) if len(w) > 2}


def stem(word: str) -> str:
    """A word without case and ending."""
    folded = word.casefold()
    return re.sub(r"(?:ies|es|s|ing|ed|e|y)$", "", folded) if len(folded) > 4 else folded


def all_stems(names: Iterable[str]) -> set[str]:
    return set().union(*map(stems, names))


def shown(tree: exp.Expression) -> set[str]:
    """Names of the columns outside join conditions, in lower case."""
    return {
        c.name.casefold() for c in tree.find_all(exp.Column)
        if c.name != "*" and not any(isinstance(p, exp.Join) for p in _parents(c))
    }  # fmt: skip


def _parents(node: exp.Expression) -> Iterator[exp.Expression]:
    while (node := node.parent) is not None and not isinstance(node, exp.Subquery):
        yield node


def literals_of(tree: exp.Expression) -> Iterator[str]:
    """Constants that are compared with something; those of LIMIT and of functions are no claims about the question."""
    for node in tree.find_all(exp.Literal):
        if isinstance(node.parent, (exp.Predicate, exp.In, exp.Between)):
            yield str(node.this)
