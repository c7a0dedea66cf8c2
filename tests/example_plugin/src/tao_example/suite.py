"""A suite: sums to tune on without their results, and others to measure with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pydantic

import tao_hub


class Sums(tao_hub.Suite):
    """`prompts`: sums of even numbers, no gold; `test`: sums of odd numbers, with gold."""

    class Options(tao_hub.Options):
        size: int = pydantic.Field(10, ge=1, description="Sums in a split")

    metric = tao_hub.Ref("example/sum")
    metric_name = "right"

    def splits(self) -> Sequence[str]:
        return ("prompts", "test")

    def prompts(self, split: str) -> Iterable[tao_hub.Prompt]:
        if split not in self.splits():
            raise ValueError(f"no split {split!r}; there are prompts, test")
        gold = split == "test"
        for i in range(self.options.size):
            a, b = 2 * i + gold, 2 * i + gold + 2
            message = tao_hub.Message("user", f"What is {a} + {b}?")
            yield tao_hub.Prompt((message,), id=f"{split}-{i}", reference=a + b if gold else None)
