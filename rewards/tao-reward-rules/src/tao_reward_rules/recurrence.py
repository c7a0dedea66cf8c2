"""rules/recurrence: what all inputs together say about a value: is it this one's own, and is it a whole phrase?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pydantic

import tao_hub

MAX_WORDS = 6  # of a phrase that is counted
MAX_CHARS = 20_000  # of an input that are read
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")

Phrase = tuple[str, ...]


class Recurrence(tao_hub.Reward):
    """Judges copied values by the inputs they occur in; no labels, no model.

    `own`: a value that says who or what this input is about is rarely found in others, while the names of staff or of
    the shop recur (inverse document frequency, Spärck Jones 1972). Part: 1 up to the given share of inputs, 0 from
    twice that share on, a straight line between.
    `phrase`: "bowl" is mostly found inside "salad bowl", so it is a piece of a name and no name. Part: the share of
    the inputs with the value in which it is not a piece of its most frequent extension (the idea of the C-value,
    Frantzi et al. 2000). Words that more than `common` of the inputs hold extend nothing.
    The value is the mean of the parts; null is 1. Case and a plural -s make no difference.
    """

    reads_inputs = True

    class Options(tao_hub.Options):
        own: dict[str, float] = pydantic.Field(
            {}, description="Field → greatest share of the inputs that may hold its value"
        )
        phrase: list[str] = pydantic.Field([], description="Fields whose value is a whole phrase")
        common: float = pydantic.Field(
            0.08, gt=0, le=1, description="Share of the inputs above which a word is no part of a name"
        )

        @pydantic.model_validator(mode="after")
        def _something(self) -> Any:
            if not self.own and not self.phrase:
                raise ValueError("name at least one field in own or in phrase")
            if bad := [field for field, share in self.own.items() if not 0 < share <= 1]:
                raise ValueError(f"own[{bad[0]!r}] is a share of the inputs, above 0 and at most 1")
            return self

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._inputs = 0
        self._held: Counter[Phrase] = Counter()  # phrase → inputs that hold it
        self._longer: dict[Phrase, int] = {}  # phrase → inputs that hold its most frequent extension by a word

    def read(self, inputs: Iterable[tao_hub.Prompt]) -> None:
        self._inputs, self._held, self._longer = 0, Counter(), {}
        for prompt in inputs:
            self._inputs += 1
            self._held.update(_phrases(prompt.text[:MAX_CHARS]))
        most = self.options.common * self._inputs
        for phrase, count in self._held.items():
            # one word more, at either end
            for shorter, added in ((phrase[:-1], phrase[-1]), (phrase[1:], phrase[0])):
                names = shorter and not added.isdigit() and self._held[(added,)] <= most
                if names and count > self._longer.get(shorter, 0):
                    self._longer[shorter] = count

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        if not self._inputs:
            raise RuntimeError("rules/recurrence has read no inputs: call read() with the prompts first")
        return [self._score(candidate.response) for _, candidate in pairs]

    def _score(self, response: str) -> tao_hub.Score:
        try:
            record = tao_hub.parse_record(response)
        except ValueError as error:
            return tao_hub.Score(0.0, why=str(error))
        parts: dict[str, float] = {}
        notes = []
        for field in dict.fromkeys([*self.options.own, *self.options.phrase]):
            if field not in record:
                continue
            value = record[field]
            words = words_of(value) if isinstance(value, str) else ()
            parts[field] = 1.0 if value is None else self._part(field, words) if words else 0.0
            if parts[field] < 0.5:
                notes.append(f"{field} {' '.join(words)[:40]!r}: in {self._held[words]} of {self._inputs} inputs")
        if not parts:
            return tao_hub.Score(0.0, why="no field to judge in the answer")
        return tao_hub.Score(sum(parts.values()) / len(parts), why="; ".join(notes)[:300] or "its own", parts=parts)

    def _part(self, field: str, words: Phrase) -> float:
        part = 1.0
        held = self._held[words]
        if field in self.options.own:
            part *= min(1.0, max(0.0, 2.0 - held / self._inputs / self.options.own[field]))
        if field in self.options.phrase and held:
            part *= 1.0 - self._longer.get(words, 0) / held
        return part


def words_of(text: str) -> Phrase:
    """The words of a text without case and plural -s."""
    found = (m.group().casefold() for m in _WORD.finditer(text[:MAX_CHARS]))
    return tuple(w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in found)


def _phrases(text: str) -> set[Phrase]:
    """Every phrase of up to MAX_WORDS words that stands in one line, between marks."""
    found = set()
    for piece in re.split(r"[\n.,;:!?|\t\"()]+", text):
        words = words_of(piece)
        for start in range(len(words)):
            for stop in range(start + 1, min(start + MAX_WORDS, len(words)) + 1):
                found.add(words[start:stop])
    return found
