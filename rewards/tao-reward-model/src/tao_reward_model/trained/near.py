"""Near-duplicate texts: MinHash with banding (Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3)."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set

import numpy as np

GRAM = 5  # words per shingle
BANDS, ROWS = 32, 3  # texts of similarity 0.6 meet in a band with probability 0.9996, of 0.2 with 0.23
MEETINGS = 20  # texts of a full bucket that one is compared with
COMMON = 10  # texts that may share a passage as copies of each other (GPT-3's limit: Brown et al. 2020, appendix C) …
SHARE = 0.1  # … or so many of all: one family is then smaller than the held-out side, by default 0.15 of the rows
_WORD = re.compile(r"\w+")
_PRIME = (1 << 31) - 1


def words(text: str) -> tuple[str, ...]:
    """Case-folded words: what is left when layout and punctuation do not count."""
    return tuple(_WORD.findall(text.casefold()))


def grams(tokens: Sequence[str], size: int) -> list[int]:
    """Hashes (CRC-32) of all runs of `size` words, in order."""
    return [zlib.crc32(" ".join(tokens[i : i + size]).encode()) for i in range(len(tokens) - size + 1)]


def templates(texts: Iterable[Sequence[str]], size: int = GRAM) -> set[int]:
    """Hashes of the runs of `size` words that belong to a template: more than `COMMON` of the texts (each a sequence of
    words) have them, and more than `SHARE` of all. Copies of a text lie below that, a common instruction above."""
    found = [np.unique(np.array(grams(text, size), dtype=np.uint32)) for text in texts]
    values, counts = np.unique(np.concatenate([np.empty(0, dtype=np.uint32), *found]), return_counts=True)
    return set(values[counts > max(COMMON, SHARE * len(found))].tolist())


def without(tokens: Sequence[str], common: Set[int], size: int = GRAM) -> tuple[str, ...]:
    """The words that are in no run of `common`: what a text says beside its template."""
    hidden = bytearray(len(tokens))
    for i, gram in enumerate(grams(tokens, size) if common else ()):
        if gram in common:
            hidden[i : i + size] = b"\1" * size
    return tuple(token for token, shared in zip(tokens, hidden) if not shared)


def near_duplicates(texts: Sequence[str], near: float = 0.8) -> list[tuple[int, int]]:
    """(later, earlier) indices of texts whose 5-word shingle sets have a Jaccard similarity of at least `near`.

    Texts of fewer than 10 words are compared for equal words only, since two short ones are easily alike.
    """
    found: list[tuple[int, int]] = []
    whole: dict[tuple[str, ...], int] = {}
    shingles: dict[int, np.ndarray] = {}
    signatures: dict[int, np.ndarray] = {}
    draw = np.random.default_rng(0)
    a, b = draw.integers(1, _PRIME, (2, BANDS * ROWS), dtype=np.uint64)
    for i, text in enumerate(texts):
        tokens = words(text)
        if (earlier := whole.setdefault(tokens, i)) != i:
            found.append((i, earlier))
        elif len(tokens) >= 2 * GRAM:
            shingles[i] = np.unique(np.array(grams(tokens, GRAM), dtype=np.uint32))
            hashes = shingles[i].astype(np.uint64) % _PRIME
            signatures[i] = ((hashes[:, None] * a + b) % _PRIME).min(axis=0).astype(np.uint32)  # (bands · rows,)
    met: set[tuple[int, int]] = set()
    for band in range(BANDS):  # one at a time, so that only one band's buckets are in memory
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for i, signature in signatures.items():
            bucket = buckets[signature[band * ROWS : (band + 1) * ROWS].tobytes()]
            met.update((i, j) for j in bucket[:MEETINGS])
            bucket.append(i)
    return found + [(i, j) for i, j in sorted(met) if jaccard(shingles[i], shingles[j]) >= near]


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the values of two sorted sets that both have."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


def clusters(count: int, links: Sequence[tuple[int, int]]) -> list[int]:
    """For each of `count` items the least index that it is linked to, over any number of links (union-find)."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for one, other in links:
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    return [root(i) for i in range(count)]
