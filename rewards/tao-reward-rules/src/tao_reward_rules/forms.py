"""rules/forms: what looks like an order number is one, if nothing else in the input does."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic
import regex

import tao_hub

MAX_CHARS = 20_000  # of an input that are searched
SECONDS = 1.0  # that one pattern may take on one input


class Forms(tao_hub.Strategy):
    """Generates nothing; proposes the values that their form gives away.

    A field whose pattern matches one text of the input, and no other, gets that text; a field with several is left
    out, unless all others of them are the only match of another field. The candidate holds those fields alone: votes
    for `core/assemble` to weigh, no answer. What a small model overlooks or mixes up is among the votes.
    """

    class Options(tao_hub.Options):
        forms: dict[str, str] = pydantic.Field(description="Field → pattern of what it holds (the module regex's)")

        @pydantic.field_validator("forms")
        @classmethod
        def _compile(cls, forms: dict[str, str]) -> dict[str, str]:
            for field, pattern in forms.items():
                try:
                    regex.compile(pattern)
                except regex.error as error:
                    raise ValueError(f"forms[{field!r}] is no pattern: {error}") from None
            return forms

    def variants(self, prompt: tao_hub.Prompt, n: int) -> Sequence[tao_hub.Prompt]:
        return []

    def combine(self, group: tao_hub.Group) -> Sequence[tao_hub.Candidate]:
        record = self.read(group.prompt.text)
        if not record:
            return []
        policy = group.candidates[0].policy if group.candidates else ""
        response = tao_hub.dump_record(record)
        return [tao_hub.Candidate(group.prompt.digest, response, policy=policy, strategy="rules/forms")]

    def read(self, text: str) -> dict[str, str]:
        """Field → the one text that has its form."""
        found = {field: _matches(pattern, text[:MAX_CHARS]) for field, pattern in self.options.forms.items()}
        for field, some in found.items():
            if len(_texts(some)) == 1:
                taken = some[0]
                for other, rest in found.items():
                    if other != field and len(_texts(rest)) > 1:
                        found[other] = [m for m in rest if m[1] <= taken[0] or m[0] >= taken[1]]
        return {field: some[0][2] for field, some in found.items() if len(_texts(some)) == 1}


def _matches(pattern: str, text: str) -> list[tuple[int, int, str]]:
    try:
        return [(m.start(), m.end(), m.group()) for m in regex.finditer(pattern, text, timeout=SECONDS) if m.group()]
    except TimeoutError:
        return []


def _texts(matches: Sequence[tuple[int, int, str]]) -> set[str]:
    return {text for _, _, text in matches}
