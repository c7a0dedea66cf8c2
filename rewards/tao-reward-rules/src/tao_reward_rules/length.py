"""rules/length: the answer is neither too short nor too long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pydantic

import tao_hub


class Length(tao_hub.Reward):
    """0.0 outside the window [min, max], 1.0 inside it; beyond `target` it halves with every `half` more units.

    Units are characters, or words (runs without blanks).
    """

    class Options(tao_hub.Options):
        unit: Literal["characters", "words"] = pydantic.Field("characters", description="What is counted")
        min: int | None = pydantic.Field(None, ge=0, description="Shorter answers score 0")
        max: int | None = pydantic.Field(None, ge=0, description="Longer answers score 0")
        target: int | None = pydantic.Field(None, ge=0, description="Up to this length the score is 1")
        half: int | None = pydantic.Field(None, gt=0, description="Units beyond target that halve it (default: target)")

        @pydantic.model_validator(mode="after")
        def _bounds(self) -> Any:
            if self.min is None and self.max is None and self.target is None:
                raise ValueError("nothing to judge by: give min, max or target, as in -o max=200")
            if self.min is not None and self.max is not None and self.min > self.max:
                raise ValueError(f"min {self.min} is more than max {self.max}")
            if self.half is not None and self.target is None:
                raise ValueError("half counts from target: give target too")
            return self

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        return [self._score(candidate.response) for _, candidate in pairs]

    def _score(self, response: str) -> tao_hub.Score:
        o = self.options
        size = len(response.split()) if o.unit == "words" else len(response)
        why = f"{size} {o.unit}"
        if (o.min is not None and size < o.min) or (o.max is not None and size > o.max):
            return tao_hub.Score(0.0, why=why)
        excess = max(0, size - o.target) if o.target is not None else 0
        return tao_hub.Score(2.0 ** (-excess / (o.half or o.target or 1)), why=why)
