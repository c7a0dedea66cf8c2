"""rules/exact: the answer equals the reference, as text or as JSON."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import pydantic

import tao_hub


class Exact(tao_hub.Reward):
    """1.0 for an answer equal to the reference, else 0.0.

    A text is compared as text, without blanks at its ends. A list holds the accepted answers, or is itself the JSON
    value asked for. An object, number, true, false is compared as JSON, whatever the order of its keys; for an object
    the parts tell each of its fields, 1.0 where right. A pair without a reference is an error.
    """

    uses_reference = True

    class Options(tao_hub.Options):
        ignore_case: bool = pydantic.Field(False, description="Upper and lower case are the same")
        normalise_space: bool = pydantic.Field(False, description="Any run of blanks is one space")

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        return [self._score(candidate.response, prompt.reference) for prompt, candidate in pairs]

    def _score(self, response: str, reference: Any) -> tao_hub.Score:
        if reference is None:
            return tao_hub.Score.failed("this prompt has no reference: use a split with gold", type="MissingReference")
        if isinstance(reference, str):
            return self._verdict(self._text(response) == self._text(reference))
        if isinstance(reference, list) and any(
            isinstance(a, str) and self._text(a) == self._text(response) for a in reference
        ):
            return self._verdict(True)
        try:
            value = tao_hub.parse_json(response)
        except ValueError as error:
            parts = dict.fromkeys(reference, 0.0) if isinstance(reference, Mapping) else {}
            return tao_hub.Score(0.0, why=str(error), parts=parts)
        if isinstance(reference, Mapping):
            return self._fields(value, reference)
        accepted = (
            [reference, *(a for a in reference if not isinstance(a, str))]
            if isinstance(reference, list)
            else [reference]
        )
        return self._verdict(self._key(value) in {self._key(a) for a in accepted})

    def _fields(self, value: Any, reference: Mapping[str, Any]) -> tao_hub.Score:
        found = value if isinstance(value, Mapping) else {}
        parts = {n: float(n in found and self._key(found[n]) == self._key(gold)) for n, gold in reference.items()}
        wrong = [name for name, right in parts.items() if not right] + [n for n in found if n not in reference]
        if not isinstance(value, Mapping):
            return tao_hub.Score(0.0, why="not a JSON object", parts=parts)
        return tao_hub.Score(
            float(not wrong), why=f"wrong: {', '.join(wrong)[:300]}" if wrong else "equal", parts=parts
        )

    def _verdict(self, equal: bool) -> tao_hub.Score:
        return tao_hub.Score(float(equal), why="equal" if equal else "not equal")

    def _text(self, text: str) -> str:
        text = " ".join(text.split()) if self.options.normalise_space else text.strip()
        return text.casefold() if self.options.ignore_case else text

    def _key(self, value: Any) -> Hashable:
        """Equal for equal JSON values: 2 is 2.0, true is not 1."""
        if isinstance(value, str):
            return ("text", self._text(value))
        if isinstance(value, Mapping):
            return ("object", frozenset((name, self._key(item)) for name, item in value.items()))
        if isinstance(value, (list, tuple)):
            return ("array", tuple(self._key(item) for item in value))
        return (isinstance(value, bool), value)
