"""rules/near: two values of an answer that belong together stand together in the input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import pydantic

import tao_hub

from .occurs import WORDS

MAX_CHARS = 20_000  # of an input that are read
MAX_PLACES = 50  # of a value in it
_WORD = re.compile(r"[^\W_]+(?:['’.,/-][^\W_]+)*")


class Near(tao_hub.Reward):
    """How near a field's value stands to the value of another field, in words of the input.

    "3 wool jumpers, one of them torn": the quantity is 3. Part of a field: 1 where at most `within` words stand
    between the two, else within / distance, so it halves at twice that distance; `far` where one of the two has no
    place in the input; 1 for null. The value is the mean of the parts.
    """

    class Options(tao_hub.Options):
        fields: dict[str, str] = pydantic.Field(min_length=1, description="Field → the field it stands near to")
        within: int = pydantic.Field(2, gt=0, description="Words between them that make no difference")
        far: float = pydantic.Field(
            0.25, ge=0, le=1, description="Part where the distance is unknown, and least part where it is known"
        )

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        read: dict[str, list[str]] = {}
        for prompt, candidate in pairs:
            text = prompt.text[:MAX_CHARS]
            if text not in read:
                read[text] = _words(text)
            yield self._score(read[text], candidate.response)

    def _score(self, words: Sequence[str], response: str) -> tao_hub.Score:
        try:
            record = tao_hub.parse_record(response)
        except ValueError as error:
            return tao_hub.Score(0.0, why=str(error))
        parts, notes = {}, []
        for field, other in self.options.fields.items():
            if field not in record:
                continue
            if record[field] is None:
                parts[field] = 1.0
                continue
            gap = _gap(_places(words, record[field]), _places(words, record.get(other)))
            within = self.options.within
            parts[field] = self.options.far if gap is None else max(self.options.far, min(1.0, within / max(1, gap)))
            notes.append(f"{field}: " + ("unknown" if gap is None else f"{gap} words from {other}"))
        if not parts:
            return tao_hub.Score(0.0, why="no field to judge in the answer")
        return tao_hub.Score(sum(parts.values()) / len(parts), why="; ".join(notes)[:300] or "null", parts=parts)


def _words(text: str) -> list[str]:
    return [m.group().casefold() for m in _WORD.finditer(text)]


def _places(words: Sequence[str], value: Any) -> list[tuple[int, int]]:
    """Where the value stands: (first word, one past the last) of each place. A small number may be written out."""
    if value is None or isinstance(value, (bool, list, dict)):
        return []
    wanted = [_words(str(value))]
    if isinstance(value, int) and 1 <= value <= len(WORDS):
        wanted.append([WORDS[value - 1]])
    found = []
    for some in wanted:
        width = len(some)
        for start in range(len(words) - width + 1 if width else 0):
            if words[start] == some[0] and list(words[start : start + width]) == some:
                found.append((start, start + width))
    return found[:MAX_PLACES]


def _gap(a: Sequence[tuple[int, int]], b: Sequence[tuple[int, int]]) -> int | None:
    """Words between the nearest two places; None where one value has no place."""
    gaps = [max(s2 - e1, s1 - e2, 0) for s1, e1 in a for s2, e2 in b]
    return min(gaps, default=None)
