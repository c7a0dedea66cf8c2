"""Two rewards: one that needs no labels, and the metric of the suite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pydantic

import tao_hub


class Polite(tao_hub.Reward):
    """The share of `words` that occur in the answer."""

    class Options(tao_hub.Options):
        words: list[str] = pydantic.Field(["please", "thank"], min_length=1, description="What a polite answer says")

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        for _, candidate in pairs:
            said = [w for w in self.options.words if w in candidate.response.casefold()]
            yield tao_hub.Score(len(said) / len(self.options.words), why=f"says {said}")


class RightSum(tao_hub.Reward):
    """1.0 if the answer is the reference, else 0.0."""

    uses_reference = True

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        return [float(candidate.response.strip() == str(prompt.reference)) for prompt, candidate in pairs]
