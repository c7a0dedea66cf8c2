"""rules/grounded: every value of the answer occurs in the input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pydantic

import tao_hub

from .occurs import Source


class Grounded(tao_hub.Reward):
    """How much of the answer occurs in the input (the last user message), 0–1.

    The answer is a JSON object: a part per field, and their mean or minimum; or, with `form = "text"`, a text that has
    to occur as a whole. Case, blanks and typography do not matter. Texts must start and end at word boundaries, numbers
    must not be pieces of longer ones and may be written as words (one … twelve). It judges copying, not understanding:
    leave out fields whose value is chosen or computed (`ignore`).
    """

    class Options(tao_hub.Options):
        form: Literal["record", "text"] = pydantic.Field(
            "record", description="A JSON object, or a text to occur whole"
        )
        fields: list[str] = pydantic.Field([], description="Judge these fields only; a missing one counts 0")
        ignore: list[str] = pydantic.Field([], description="Fields that are not judged (chosen or computed values)")
        null_score: float = pydantic.Field(
            1.0, ge=0, le=1, description="What null counts: 1 as grounded, less to prefer values"
        )
        mode: Literal["mean", "min"] = pydantic.Field("mean", description="How the parts become the value")

        @pydantic.model_validator(mode="after")
        def _disjoint(self) -> Any:
            if both := set(self.fields) & set(self.ignore):
                raise ValueError(f"{sorted(both)[0]!r} is both in fields and in ignore")
            return self

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        sources: dict[str, Source] = {}
        for prompt, candidate in pairs:
            text = prompt.text
            if text not in sources:
                sources[text] = Source(text)
            yield self._score(sources[text], candidate.response)

    def _score(self, source: Source, response: str) -> tao_hub.Score:
        o = self.options
        if o.form == "text":
            occurs = len(response) <= len(source.text) * 4 + 100 and source.has_text(response)
            return tao_hub.Score(float(occurs), why="occurs" if occurs else "does not occur in the input")
        try:
            record = tao_hub.parse_record(response)
        except ValueError as error:
            return tao_hub.Score(0.0, why=str(error))
        names = o.fields or [name for name in record if name not in o.ignore]
        parts = {n: source.share(record[n], o.null_score) if n in record else 0.0 for n in names}
        if not parts:
            return tao_hub.Score(0.0, why="no field to judge in the answer")
        value = min(parts.values()) if o.mode == "min" else sum(parts.values()) / len(parts)
        absent = [n for n, part in parts.items() if part == 0 and record.get(n) is not None]
        missing = [n for n in names if n not in record]
        notes = [("not in the input", absent), ("missing", missing)]
        why = "; ".join(f"{note}: {', '.join(found)}" for note, found in notes if found)
        return tao_hub.Score(value, why=why[:300] or "grounded", parts=parts)
