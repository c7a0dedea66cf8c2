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


def find_overlap(
    tuning: Iterable[tuple[str, str]], held_out: Iterable[tuple[str, str]], near: float = NEAR
) -> dict[str, str]:
    """Tuning id → id of the held-out text it equals or nearly equals. Items are (id, text).

    Equal: the same words. Near: Jaccard similarity of their sets of 5-word shingles (Broder 1997) of at least `near`;
    texts shorter than 2·5 words are compared for equality only, since two short requests are easily alike.
    """
    exact: dict[tuple[str, ...], str] = {}
    index: dict[tuple[str, ...], list[str]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for name, text in held_out:
        tokens = words(text)
        exact[tokens] = name
        grams = _shingles(tokens)
        sizes[name] = len(grams)
        for gram in grams:
            index[gram].append(name)
    found: dict[str, str] = {}
    for name, text in tuning:
        tokens = words(text)
        if tokens in exact:
            found[name] = exact[tokens]
            continue
        grams = _shingles(tokens)
        shared = Counter(other for gram in grams for other in index.get(gram, ()))
        for other, count in shared.most_common(1):
            if count / (len(grams) + sizes[other] - count) >= near:
                found[name] = other
    return found


def _shingles(tokens: tuple[str, ...]) -> set[tuple[str, ...]]:
    if len(tokens) < 2 * GRAM:
        return set()
    return {tokens[i : i + GRAM] for i in range(len(tokens) - GRAM + 1)}
