"""Which words speak of which parts of a query: learnt from question–query pairs, without alignments."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .cues import SUPERLATIVES
from .linking import Asked, stem

if TYPE_CHECKING:
    import numpy as np

ROUNDS = 6  # of expectation and maximisation; more of them fit the words of single examples
SMOOTHING = 0.5  # words that a part has seen beside its own, spread as they are over all questions
NOTHING = "nothing"  # the part that explains words which no part of a query is asked by
TEXT, NUMBER = "<text>", "<number>"
FIRST = 4  # words of a question that tell what is asked for
_WORD = re.compile(r"\0\d+\0|[^\W_]+")

Part = Hashable


@dataclass(frozen=True)
class Told:
    """A question's words without case and endings; a value of the data reads <text>, a number <number>."""

    words: tuple[str, ...]  # each once; then <most>, <least> where one of them is a superlative
    first: tuple[str, ...]  # those that it begins with, each once
    around: Mapping[str, tuple[tuple[str, str], ...]]  # value or number → the words before and after, where it stands


def told_by(asked: Asked) -> Told:
    """What the question tells."""
    text, end, said = asked.text, len(asked.text), [m.value for m in asked.mentions]
    for number, mention in sorted(enumerate(asked.mentions), key=lambda m: -m[1].start):
        if mention.end <= end:
            text, end = f"{text[: mention.start]} \0{number}\0 {text[mention.end :]}", mention.start
    tokens: list[tuple[str, str]] = []  # (word, value or "")
    for found in _WORD.findall(text):
        value = said[int(found.strip("\0"))] if found[0] == "\0" else found if found in asked.counted else ""
        word = TEXT if found[0] == "\0" else NUMBER if value else stem(found)
        tokens.append((word, value))
    words, around = [word for word, _ in tokens], dict[str, list[tuple[str, str]]]()
    for before, (_, value), after in zip(["", *words], tokens, [*words[1:], ""]):
        if value:
            around.setdefault(value, []).append((before, after))
    first = tuple(dict.fromkeys(words[:FIRST]))
    words += [kind for kind, pattern in SUPERLATIVES.items() if pattern.search(asked.text)]
    return Told(tuple(dict.fromkeys(words)), first, {v: tuple(pairs) for v, pairs in around.items()})


@dataclass(frozen=True)
class Explainers:
    """Of many queries the rows of a lexicon that may explain their words."""

    rows: np.ndarray  # (queries, most parts), -1 beyond a query's own
    sizes: np.ndarray  # (queries,)

    def sums(self, table: np.ndarray, some: Sequence[int] | slice = slice(None)) -> np.ndarray:
        """p(word | part) of `Lexicon.of`, (parts, words), summed over each query's parts: (queries, words)."""
        import numpy as np

        return np.vstack([table, np.zeros_like(table[:1])])[self.rows[some]].sum(1)


@dataclass(frozen=True)
class Lexicon:
    """p(word | part), learnt as in IBM's first model of translation (Brown et al. 1993): each word of a question is
    said for one of its query's parts, or for none, whichever explains it."""

    parts: Mapping[Part, int]
    words: Mapping[str, int]
    table: np.ndarray  # (parts, words), each row sums to one

    @classmethod
    def learnt(cls, pairs: Iterable[tuple[Sequence[str], Iterable[Part]]]) -> Lexicon:
        """From (words of a question, parts of its query)."""
        import numpy as np

        known = [(list(told), [NOTHING, *dict.fromkeys(parts)]) for told, parts in pairs]
        words = {word: i for i, word in enumerate(dict.fromkeys(w for told, _ in known for w in told))}
        parts = {part: i for i, part in enumerate(dict.fromkeys(p for _, of in known for p in of))}
        places = [np.ix_([parts[p] for p in of], [words[w] for w in told]) for told, of in known]
        spread = np.bincount([words[w] for told, _ in known for w in told], minlength=len(words)).astype(float)
        spread /= spread.sum()
        table = np.tile(spread, (len(parts), 1))
        for _ in range(ROUNDS):
            counts = np.tile(SMOOTHING * spread, (len(parts), 1))
            for here in places:
                counts[here] += table[here] / table[here].sum(0)
            table = counts / counts.sum(1, keepdims=True)
        return cls(parts, words, table)

    def rows(self, parts: Iterable[Part]) -> list[int]:
        """Rows of the table: of `NOTHING`, and of each part; one that no words are known of explains what it does."""
        nothing = self.parts[NOTHING]
        return [nothing, *(self.parts.get(part, nothing) for part in parts)]

    def explainers(self, queries: Iterable[Iterable[Part]]) -> Explainers:
        """Which rows of the table may explain each query's words."""
        import numpy as np

        rows = [self.rows(parts) for parts in queries]
        found = np.full((len(rows), max(map(len, rows), default=1)), -1)
        for places, of_query in zip(found, rows):
            places[: len(of_query)] = of_query
        return Explainers(found, np.array([len(of_query) for of_query in rows]))

    def of(self, told: Sequence[str]) -> np.ndarray:
        """p(word | part) of those of the words that the lexicon knows: (parts, words)."""
        return self.table[:, [self.words[word] for word in told if word in self.words]]
