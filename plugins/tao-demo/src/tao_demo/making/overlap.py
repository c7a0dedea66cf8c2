"""Finds near-duplicate texts by the runs of words they share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

N = 8
LIMIT = 0.6  # Jaccard above this is a near-duplicate


def grams(text: str, n: int = N) -> frozenset[str]:
    """The word `n`-grams of the normalised text; a shorter text is one gram."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1)))


class Seen:
    """Texts to compare others with."""

    def __init__(self, texts: Iterable[str] = (), n: int = N) -> None:
        self._n = n
        self._texts: list[frozenset[str]] = []
        self._by_gram: dict[str, list[int]] = {}
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        mine = grams(text, self._n)
        for gram in mine:
            self._by_gram.setdefault(gram, []).append(len(self._texts))
        self._texts.append(mine)

    def nearest(self, text: str) -> float:
        """Highest Jaccard similarity of n-grams with any text seen; 1.0 for the same words."""
        mine = grams(text, self._n)
        others: Sequence[int] = sorted({i for gram in mine for i in self._by_gram.get(gram, ())})
        return max((len(mine & self._texts[i]) / len(mine | self._texts[i]) for i in others), default=0.0)
