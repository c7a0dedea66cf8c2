"""rules/coverage: are the words that make this input special in the answer?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pydantic

import tao_hub

from .recurrence import MAX_CHARS, words_of


class Coverage(tao_hub.Reward):
    """The share of an input's rare words that stand in the values of the record; no labels, no model.

    What is filled into requests of one kind is rare, what they are phrased in recurs. So a record that leaves a rare
    word out has left out something that was said. A word weighs 1 - share / `common` where `share` of all inputs hold
    it, and nothing from `common` on (after the inverse document frequency, Spärck Jones 1972). A value covers the first
    run of words equal to its own. An input without rare words scores 1. For inputs that say little else than what the
    record asks for: long messages have rare words that belong in no field.
    """

    reads_inputs = True

    class Options(tao_hub.Options):
        common: float = pydantic.Field(
            0.02, gt=0, le=1, description="Share of the inputs from which a word is no part of what is filled in"
        )

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._inputs = 0
        self._held: Counter[str] = Counter()  # word → inputs that hold it

    def read(self, inputs: Iterable[tao_hub.Prompt]) -> None:
        self._inputs, self._held = 0, Counter()
        for prompt in inputs:
            self._inputs += 1
            self._held.update(set(words_of(prompt.text[:MAX_CHARS])))

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        if not self._inputs:
            raise RuntimeError("rules/coverage has read no inputs: call read() with the prompts first")
        return [self._score(prompt.text, candidate.response) for prompt, candidate in pairs]

    def _score(self, text: str, response: str) -> tao_hub.Score:
        try:
            record = tao_hub.parse_record(response)
        except ValueError as error:
            return tao_hub.Score(0.0, why=str(error))
        words = words_of(text[:MAX_CHARS])
        covered = [False] * len(words)
        for value in _texts(record):
            wanted = words_of(value)
            starts = (i for i in range(len(words) - len(wanted) + 1) if words[i : i + len(wanted)] == wanted)
            if wanted and (start := next(starts, None)) is not None:
                covered[start : start + len(wanted)] = [True] * len(wanted)
        weights = [max(0.0, 1.0 - self._held[w] / self._inputs / self.options.common) for w in words]
        total = sum(weights)
        if not total:
            return tao_hub.Score(1.0, why="no rare word in the input")
        left = [w for w, weight, there in zip(words, weights, covered) if weight and not there]
        share = sum(weight for weight, there in zip(weights, covered) if there) / total
        return tao_hub.Score(share, why=("left out: " + ", ".join(left))[:300] if left else "every rare word is there")


def _texts(value: Any) -> Iterator[str]:
    """The strings and numbers of a record, at any depth."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)
