"""core/echo: a generator that needs no model, for plumbing and for measuring the hub itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pydantic

from .. import components
from ..components import Generator
from ..types import Completion, Request, Sampling, digest


class Echo(Generator):
    """Answers with the last user message, or with given replies in turn."""

    class Options(components.Options):
        template: str = pydantic.Field("{input}", description="The answer; {input} becomes the last user message")
        replies: list[str] = pydantic.Field(
            [],
            description="Answers instead: sample j of a request is number seed + j of them, in turn",
        )

    def policy_digest(self) -> str:
        return digest(["core/echo", self.options.model_dump()])

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        replies = self.options.replies
        for i, request in enumerate(requests):
            if replies:
                texts = [replies[(request.seed + j) % len(replies)] for j in range(request.n)]
            else:
                texts = [self.options.template.replace("{input}", request.prompt.text)] * request.n
            yield i, [Completion(text) for text in texts]
