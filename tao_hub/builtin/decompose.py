"""core/decompose: one short question per field, and the record put together from the answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pydantic

from .. import components
from ..components import Strategy
from ..records import dump_record
from ..types import Message, Prompt

NULLS = frozenset(["", "null", "none", "nil", "n/a", "na", "unknown", "unspecified"])
NOT_SAID = frozenset(["not mentioned", "not stated", "not specified", "not given", "not provided", "not available"])
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


class WorkedAnswers(components.Options):
    """A worked example, answered field by field."""

    input: str = pydantic.Field(description="What the user says")
    answers: dict[str, str] = pydantic.Field(description="Field → what the assistant should answer to its question")


class Decompose(Strategy):
    """Asks one question per field about the same message, and puts the record together from the answers.

    The message comes before the question, so the questions of a message share a prefix. Not an answer to one whole
    prompt but to parts of it (least-to-most prompting, Zhou et al. 2022, arXiv 2205.10625, is a relative).
    """

    class Options(components.Options):
        questions: dict[str, str] = pydantic.Field(min_length=1, description="Field → question, in the record's order")
        system: str = pydantic.Field("Read the message and answer the question.", description="System message")
        context: str = pydantic.Field("{input}\n\n{question}", description="What the user says; both places are filled")
        integers: list[str] = pydantic.Field([], description="Fields whose answer is an integer")
        examples: list[WorkedAnswers] = pydantic.Field(
            [], description='Worked examples before each question: [{"input": …, "answers": {field: …}}]'
        )
        max_chars: int = pydantic.Field(200, gt=0, description="Longer answers are cut")

        @pydantic.field_validator("context")
        @classmethod
        def _has_both(cls, context: str) -> str:
            if sorted(re.findall(r"\{(input|question)\}", context)) != ["input", "question"]:
                raise ValueError(f"must hold {{input}} and {{question}} once each, found {context!r}")
            return context

        @pydantic.model_validator(mode="after")
        def _known_fields(self) -> Any:
            named = [*self.integers, *(field for e in self.examples for field in e.answers)]
            if unknown := [field for field in named if field not in self.questions]:
                raise ValueError(f"no question for field {unknown[0]!r}; there are {', '.join(self.questions)}")
            return self

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.steps = len(self.options.questions)

    def variants(self, prompt: Prompt, n: int) -> Sequence[Prompt]:
        return [self._ask(prompt, field) for field in self.options.questions] * n

    def answer(self, prompt: Prompt, raw: str) -> str:
        return self.assemble(prompt, [raw])

    def assemble(self, prompt: Prompt, raws: Sequence[str]) -> str:
        if len(raws) != self.steps:
            raise ValueError(f"core/decompose asks {self.steps} questions, found {len(raws)} answers")
        return dump_record({field: self._value(field, raw) for field, raw in zip(self.options.questions, raws)})

    def worked_examples(self) -> int:
        return len({e.input for e in self.options.examples})

    def _ask(self, prompt: Prompt, field: str) -> Prompt:
        messages = [Message("system", self.options.system)]
        for example in self.options.examples:
            if field in example.answers:
                messages.append(Message("user", self._context(example.input, field)))
                messages.append(Message("assistant", example.answers[field]))
        return replace(prompt, messages=(*messages, Message("user", self._context(prompt.text, field))))

    def _context(self, text: str, field: str) -> str:
        """Both places filled at once: a message may itself hold "{question}"."""
        filled = {"{input}": text, "{question}": self.options.questions[field]}
        return re.sub(r"\{input\}|\{question\}", lambda place: filled[place.group()], self.options.context)

    def _value(self, field: str, raw: str) -> str | int | None:
        text = clean(raw, self.options.max_chars)
        if text.casefold() in NULLS | NOT_SAID:
            return None
        return integer(text) if field in self.options.integers else text


def clean(raw: str, max_chars: int) -> str:
    """The first line that says something, without quotes around it or a full stop at its end."""
    line = next((found for line in raw.splitlines() if (found := line.strip())), "")
    return line[:max_chars].strip(" \t.\"'`“”‘’")


def integer(text: str) -> int | None:
    """The first integer of a short answer: "4", "4 pieces", "1,200", "four"."""
    for word in re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.casefold()).split():
        plain = word.strip(".,;:!?()#\"'")
        if plain.isascii() and plain.isdigit() and len(plain) <= 15:
            return int(plain)
        if plain in NUMBERS:
            return NUMBERS.index(plain)
    return None
