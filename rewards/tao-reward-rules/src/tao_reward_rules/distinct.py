"""rules/distinct: no two fields of a record hold the same words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pydantic

import tao_hub


class Distinct(tao_hub.Reward):
    """Whether each field has words of its own: a small model that does not know a value likes to repeat another one.

    Part of a field: 1 where its text is neither equal to nor inside another field's, else `repeated` (of two equal
    ones it cannot be told which is the wrong one, so both get it). Null, numbers and other values count 1. The value
    is the least part.
    """

    class Options(tao_hub.Options):
        trust: list[str] = pydantic.Field([], description="Fields never doubted; others may not repeat them")
        repeated: float = pydantic.Field(0.25, ge=0, lt=1, description="Part of a field whose words stand in another")

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        return [self._score(candidate.response) for _, candidate in pairs]

    def _score(self, response: str) -> tao_hub.Score:
        try:
            record = tao_hub.parse_record(response)
        except ValueError as error:
            return tao_hub.Score(0.0, why=str(error))
        names = [name for name in record if name not in self.options.trust]
        texts = {n: f" {tao_hub.normalise_text(v)} " for n, v in record.items() if isinstance(v, str)}
        twice = [n for n in names if n in texts and any(texts[n] in other for m, other in texts.items() if m != n)]
        parts = {name: self.options.repeated if name in twice else 1.0 for name in names}
        if not parts:
            return tao_hub.Score(0.0, why="no field to judge in the answer")
        why = f"words of other fields: {', '.join(twice)}" if twice else "distinct"
        return tao_hub.Score(min(parts.values()), why=why[:300], parts=parts)
