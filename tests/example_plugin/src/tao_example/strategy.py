"""A strategy: the question with a word of courtesy, the answer without the full stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import tao_hub


class Please(tao_hub.Strategy):
    """Puts "Please: " before the last message."""

    def variants(self, prompt: tao_hub.Prompt, n: int) -> Sequence[tao_hub.Prompt]:
        *before, last = prompt.messages
        asked = replace(prompt, messages=(*before, replace(last, content=f"Please: {last.content}")))
        return [asked] * n

    def answer(self, prompt: tao_hub.Prompt, raw: str) -> str:
        return raw.strip().rstrip(".")
