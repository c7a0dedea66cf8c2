"""rules/regex: the answer matches a pattern, or must not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import pydantic
import regex

import tao_hub


class Regex(tao_hub.Reward):
    """1.0 where the pattern matches (or, with `match = false`, does not), else 0.0.

    Patterns are those of the `regex` package. A match that takes longer than `timeout` is an error, not a verdict.
    """

    class Options(tao_hub.Options):
        pattern: str = pydantic.Field(description="Regular expression (syntax of the PyPI package regex)")
        match: bool = pydantic.Field(True, description="true: the answer must match; false: it must not")
        mode: Literal["search", "fullmatch"] = pydantic.Field("search", description="Somewhere, or the whole answer")
        ignore_case: bool = pydantic.Field(False, description="Upper and lower case are the same")
        multiline: bool = pydantic.Field(False, description="^ and $ also match at line ends")
        dot_all: bool = pydantic.Field(False, description=". also matches a line end")
        timeout: float = pydantic.Field(1.0, gt=0, description="Seconds one answer may take")

        @pydantic.field_validator("pattern")
        @classmethod
        def _compiles(cls, pattern: str) -> str:
            try:
                regex.compile(pattern)
            except regex.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
            return pattern

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        o = self.options
        chosen = ((o.ignore_case, regex.IGNORECASE), (o.multiline, regex.MULTILINE), (o.dot_all, regex.DOTALL))
        pattern = regex.compile(o.pattern, flags=sum(flag for on, flag in chosen if on))
        match = pattern.fullmatch if o.mode == "fullmatch" else pattern.search
        for _, candidate in pairs:
            try:
                found = match(candidate.response, timeout=o.timeout)
            except TimeoutError:
                yield tao_hub.Score.failed(f"the pattern took over {o.timeout} s", type="TimeoutError")
                continue
            why = f"found {found.group()[:80]!r}" if found else "no match"
            yield tao_hub.Score(float((found is not None) == o.match), why=why)
