"""embed/options: proposes the options that the input is nearest to, as if the model had drawn them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pydantic

import tao_hub

from .choice import Choice


class NearestOptions(tao_hub.Strategy):
    """Combines: the `most` options whose description is nearest to the input, each as a candidate of its own.

    A small model seldom writes the name of an option by itself, and what is not among the candidates cannot be chosen.
    Options that a finished candidate has written are not proposed again. Proposals have no parents: name
    `embed/options` in `unheard` of rules/consistency, so that they have no vote.
    """

    class Options(tao_hub.Options):
        choices: dict[str, str | list[str]] = pydantic.Field(
            min_length=2, description="Option → a sentence, or several, that says what it means"
        )
        encoder: str = pydantic.Field("minilm", description="minilm, or a folder or hub id of a sentence encoder")
        most: int = pydantic.Field(3, ge=1, description="Options proposed for one input")

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._names = list(self.options.choices)
        self._choice = Choice(Choice.Options(choices=self.options.choices, encoder=self.options.encoder))

    def close(self) -> None:
        self._choice.close()

    def variants(self, prompt: tao_hub.Prompt, n: int) -> Sequence[tao_hub.Prompt]:
        return []

    def combine(self, group: tao_hub.Group) -> Sequence[tao_hub.Candidate]:
        (cosines,) = self._choice.similarities([group.prompt.text])
        nearest = sorted(range(len(self._names)), key=lambda i: -cosines[i])[: self.options.most]
        written = {c.response for c in group.candidates if not c.error and not c.truncated}
        policy = group.candidates[0].policy if group.candidates else ""
        return [
            tao_hub.Candidate(
                group.prompt.digest, self._names[i], policy=policy, strategy="embed/options", index=rank
            )
            for rank, i in enumerate(nearest)
            if self._names[i] not in written
        ]  # fmt: skip
