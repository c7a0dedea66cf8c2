"""Strategies in one request: the prompt as it is, a chain of thought, worked examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, Literal

import pydantic

from .. import components
from ..components import Strategy
from ..errors import UsageError
from ..records import dump_record, find_record
from ..types import Message, Prompt

Extract = Literal["text", "json", "auto"]
EXTRACT = (
    "Final answer: text (all of it, stripped); json or auto: the first JSON object in it, in one line, else the text"
)


def extract(raw: str, how: Extract) -> str:
    """The final answer in a raw text: stripped, or its first JSON object re-written in one line."""
    record = None if how == "text" else find_record(raw)
    return raw.strip() if record is None else dump_record(record)


class CopyOptions(components.Options):
    """Options of strategies whose JSON answers may be limited to words of the input while they are generated."""

    copy_strings: bool = pydantic.Field(
        False, description="Strings of the JSON answer are decoded as spans of the input, by generators that can"
    )
    copy_keys: list[str] = pydantic.Field([], description="Keys of the JSON answer in order: these, and no others")
    copy_skip: list[str] = pydantic.Field([], description="Fields that are not copied (a choice of options, say)")
    copy_match: dict[str, str] = pydantic.Field(
        {}, description="Field → regular expression of a whole value: one of its matches, null only where none is"
    )
    copy_choices: dict[str, list[str]] = pydantic.Field({}, description="Field → the options that it is one of")
    copy_start: dict[str, str] = pydantic.Field({}, description="Field → regular expression its span starts with")
    copy_numbers: list[str] = pydantic.Field([], description="Fields that hold a number of the input, or null")

    def marked(self, asked: Prompt, source: Prompt) -> Prompt:
        """The prompt that is asked, with what a generator needs for copy decoding in its meta."""
        if not self.copy_strings:
            return asked
        names = ("copy_skip", "copy_match", "copy_start", "copy_numbers")
        wish = {name: getattr(self, name) for name in names}
        wish |= {name: some for name in ("copy_keys", "copy_choices") if (some := getattr(self, name))}
        return replace(asked, meta={**asked.meta, "copy_from": source.text, **wish})


class Direct(Strategy):
    """The prompt as it is."""

    class Options(CopyOptions):
        extract: Extract = pydantic.Field("text", description=EXTRACT)

    def variants(self, prompt: Prompt, n: int) -> Sequence[Prompt]:
        return [self.options.marked(prompt, prompt)] * n

    def answer(self, prompt: Prompt, raw: str) -> str:
        return extract(raw, self.options.extract)


class ChainOfThought(Strategy):
    """Asks for steps before the answer (Wei et al. 2022, arXiv 2201.11903); the answer follows the last marker.

    A text without the marker is an answer as a whole.
    """

    class Options(components.Options):
        instruction: str = pydantic.Field(
            'Think step by step. Then write the final answer alone after "Answer:".',
            description="Appended to the last user message; it should name the marker",
        )
        marker: str = pydantic.Field("Answer:", min_length=1, description="What the final answer follows")
        extract: Extract = pydantic.Field("text", description=EXTRACT)

    def variants(self, prompt: Prompt, n: int) -> Sequence[Prompt]:
        return [with_user_text(prompt, f"{prompt.text}\n\n{self.options.instruction}")] * n

    def answer(self, prompt: Prompt, raw: str) -> str:
        return extract(raw.rpartition(self.options.marker)[2], self.options.extract)


class Example(components.Options):
    """A worked example."""

    input: str = pydantic.Field(description="What the user says")
    output: str = pydantic.Field(description="What the assistant should answer")


class FewShot(Strategy):
    """Worked examples before the message (in-context learning, Brown et al. 2020, arXiv 2005.14165).

    Which examples a variant shows, and in which order, depends on its index and `seed` alone: the prompts of a round
    share their prefix, so a generator computes it once.
    """

    class Options(CopyOptions):
        examples: list[Example] = pydantic.Field([], description='Worked examples: [{"input": …, "output": …}]')
        k: int = pydantic.Field(0, ge=0, description="Examples in each prompt; 0 is all")
        shuffle: bool = pydantic.Field(False, description="Another choice and order of examples for each variant")
        seed: int = pydantic.Field(0, description="Of the shuffling")
        style: Literal["turns", "inline"] = pydantic.Field(
            "turns", description="Examples as earlier turns of the chat, or inside the system message"
        )
        extract: Extract = pydantic.Field("text", description=EXTRACT)

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        if not self.options.examples:
            raise UsageError(
                "core/few-shot has no examples: use a suite that brings them, or give "
                '-o examples=\'[{"input": "…", "output": "…"}]\''
            )
        if self.options.k > len(self.options.examples):
            raise UsageError(f"core/few-shot: k={self.options.k}, but there are {len(self.options.examples)} examples")

    def variants(self, prompt: Prompt, n: int) -> Sequence[Prompt]:
        chosen = ([e for e in self._chosen(i) if e.input != prompt.text] for i in range(n))  # never its own answer
        variants = [self._with_examples(prompt, examples) for examples in chosen]
        return [self.options.marked(variant, prompt) for variant in variants]

    def answer(self, prompt: Prompt, raw: str) -> str:
        return extract(raw, self.options.extract)

    def worked_examples(self) -> int:
        """All that may be shown: each of the examples where variants draw their own."""
        given = len({(e.input, e.output) for e in self.options.examples})
        return given if self.options.shuffle else len({(e.input, e.output) for e in self._chosen(0)})

    def _chosen(self, variant: int) -> list[Example]:
        examples: list[Example] = self.options.examples
        k = self.options.k or len(examples)
        return Random(f"{self.options.seed}/{variant}").sample(examples, k) if self.options.shuffle else examples[:k]

    def _with_examples(self, prompt: Prompt, examples: Sequence[Example]) -> Prompt:
        if self.options.style == "turns":
            turns = [Message(r, t) for e in examples for r, t in (("user", e.input), ("assistant", e.output))]
            return after_system(prompt, turns)
        if not examples:
            return prompt
        shown = "\n\n".join(f"Input: {e.input}\nOutput: {e.output}" for e in examples)
        return with_system_text(prompt, f"Examples:\n\n{shown}")


def with_user_text(prompt: Prompt, text: str) -> Prompt:
    """The prompt with another last user message (added where there is none)."""
    messages = list(prompt.messages)
    last = next((i for i in reversed(range(len(messages))) if messages[i].role == "user"), None)
    if last is None:
        return replace(prompt, messages=(*messages, Message("user", text)))
    messages[last] = Message("user", text)
    return replace(prompt, messages=tuple(messages))


def after_system(prompt: Prompt, turns: Sequence[Message]) -> Prompt:
    """The prompt with `turns` between its leading system messages and the rest."""
    start = next((i for i, m in enumerate(prompt.messages) if m.role != "system"), len(prompt.messages))
    return replace(prompt, messages=(*prompt.messages[:start], *turns, *prompt.messages[start:]))


def with_system_text(prompt: Prompt, text: str) -> Prompt:
    """The prompt with `text` at the end of its system message (made where there is none)."""
    first, *rest = prompt.messages or (Message("user", ""),)
    if first.role != "system":
        return replace(prompt, messages=(Message("system", text), first, *rest))
    return replace(prompt, messages=(Message("system", f"{first.content}\n\n{text}"), *rest))
