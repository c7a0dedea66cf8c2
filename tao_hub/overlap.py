"""Which tuning prompts also occur in an eval split: the same text, or nearly."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

GRAM = 5  # words per shingle
LONG = 13  # words of a run that tells a template (as of one that tells a copy: Brown et al. 2020, appendix C) …
COMMON, SHARE = 10, 0.1  # … where more texts than these have it: so many, and this share of all
NEAR = 0.6  # Jaccard similarity of shingle sets from which two texts count as near-duplicates
_WORD = re.compile(r"\w+")

Gram = tuple[str, ...]


def words(text: str) -> tuple[str, ...]:
    """Case-folded words: what is left when layout and punctuation do not count."""
    return tuple(_WORD.findall(text.casefold()))


class Known:
    """Texts by id, in which equal or nearly equal ones are found.

    Equal: the same words. Near: Jaccard similarity of their sets of 5-word shingles (Broder 1997) of at least `near`;
    texts shorter than 2·5 words are compared for equality only, since two short requests are easily alike. What many of
    the first `items` share, an instruction before each question say, makes none of them alike: it is left out.
    """

    def __init__(self, items: Iterable[tuple[str, str]] = (), near: float = NEAR) -> None:
        self.near = near
        self._exact: dict[tuple[str, ...], str] = {}
        self._index: dict[Gram, list[str]] = defaultdict(list)
        self._sizes: dict[str, int] = {}
        first = list(items)
        self._template = _template(words(text) for _, text in first)
        for name, text in first:
            self.add(name, text)

    def add(self, name: str, text: str) -> None:
        tokens = words(text)
        self._exact[tokens] = name
        rest = self._beside(tokens)
        if rest:
            self._exact.setdefault(rest, name)
        grams = _shingles(rest)
        self._sizes[name] = len(grams)
        for gram in grams:
            self._index[gram].append(name)

    def find(self, text: str) -> str:
        """The id of a text that equals this one, else of the one nearest to it, "" if none is near."""
        tokens = words(text)
        rest = self._beside(tokens)
        for same in (tokens, rest or tokens):
            if same in self._exact:
                return self._exact[same]
        grams = _shingles(rest)
        shared = Counter(other for gram in grams for other in self._index.get(gram, ()))
        alike = {other: count / (len(grams) + self._sizes[other] - count) for other, count in shared.items()}
        nearest = max(alike, key=lambda other: alike[other], default="")
        return nearest if nearest and alike[nearest] >= self.near else ""

    def _beside(self, tokens: tuple[str, ...]) -> tuple[str, ...]:
        """The words that are in no run of the template."""
        runs = _runs(tokens, LONG) if self._template else []
        hidden = {at for i, run in enumerate(runs) if hash(run) in self._template for at in range(i, i + LONG)}
        return tuple(token for i, token in enumerate(tokens) if i not in hidden)


def find_overlap(
    tuning: Iterable[tuple[str, str]], held_out: Iterable[tuple[str, str]], near: float = NEAR
) -> dict[str, str]:
    """Tuning id → id of the held-out text it equals or nearly equals (see `Known`). Items are (id, text)."""
    known = Known(held_out, near)
    return {name: other for name, text in tuning if (other := known.find(text))}


def _template(texts: Iterable[tuple[str, ...]]) -> set[int]:
    """Hashes of the runs that so many texts have that they belong to a template."""
    counts: Counter[int] = Counter()
    total = 0
    for tokens in texts:
        counts.update({hash(run) for run in _runs(tokens, LONG)})
        total += 1
    return {run for run, count in counts.items() if count > max(COMMON, SHARE * total)}


def _runs(tokens: tuple[str, ...], size: int = GRAM) -> list[Gram]:
    return [tokens[i : i + size] for i in range(len(tokens) - size + 1)]


def _shingles(tokens: tuple[str, ...]) -> set[Gram]:
    return set(_runs(tokens)) if len(tokens) >= 2 * GRAM else set()
