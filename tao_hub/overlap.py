"""Which tuning prompts also occur in an eval split: the same text, or nearly."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

GRAM = 5  # words per shingle
NEAR = 0.6  # Jaccard similarity of shingle sets from which two texts count as near-duplicates
_WORD = re.compile(r"\w+")


def words(text: str) -> tuple[str, ...]:
    """Case-folded words: what is left when layout and punctuation do not count."""
    return tuple(_WORD.findall(text.casefold()))


class Known:
    """Texts by id, in which equal or nearly equal ones are found.

    Equal: the same words. Near: Jaccard similarity of their sets of 5-word shingles (Broder 1997) of at least `near`;
    texts shorter than 2·5 words are compared for equality only, since two short requests are easily alike.
    """

    def __init__(self, items: Iterable[tuple[str, str]] = (), near: float = NEAR) -> None:
        self.near = near
        self._exact: dict[tuple[str, ...], str] = {}
        self._index: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self._sizes: dict[str, int] = {}
        for name, text in items:
            self.add(name, text)

    def add(self, name: str, text: str) -> None:
        tokens = words(text)
        self._exact[tokens] = name
        grams = _shingles(tokens)
        self._sizes[name] = len(grams)
        for gram in grams:
            self._index[gram].append(name)

    def find(self, text: str) -> str:
        """The id of a text that equals this one, else of the one nearest to it, "" if none is near."""
        tokens = words(text)
        if tokens in self._exact:
            return self._exact[tokens]
        grams = _shingles(tokens)
        shared = Counter(other for gram in grams for other in self._index.get(gram, ()))
        alike = {other: count / (len(grams) + self._sizes[other] - count) for other, count in shared.items()}
        nearest = max(alike, key=lambda other: alike[other], default="")
        return nearest if nearest and alike[nearest] >= self.near else ""


def find_overlap(
    tuning: Iterable[tuple[str, str]], held_out: Iterable[tuple[str, str]], near: float = NEAR
) -> dict[str, str]:
    """Tuning id → id of the held-out text it equals or nearly equals (see `Known`). Items are (id, text)."""
    known = Known(held_out, near)
    return {name: other for name, text in tuning if (other := known.find(text))}


def _shingles(tokens: tuple[str, ...]) -> set[tuple[str, ...]]:
    if len(tokens) < 2 * GRAM:
        return set()
    return {tokens[i : i + GRAM] for i in range(len(tokens) - GRAM + 1)}
