"""embed/context and embed/places: does a value stand where the input speaks of what its field asks for?"""

from __future__ import annotations

import functools
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pydantic

import tao_hub

from .encoder import Encoder
from .kinds import read_record

CACHED = 200_000  # values whose level in an input is kept: a float each
MAX_CHARS = 20_000  # of an input that are read
MAX_PLACES = 50  # of a field in one input
Shares = Mapping[str, Mapping[str | None, float]]  # field → value → probability
GAP = "X"  # stands for the value in a context and in a description
_END = re.compile(r"\n|[.!?;](?=\s)")


class Meaning(tao_hub.Options):
    """What one field asks for, and how an input speaks of that and of other things."""

    here: list[str] = pydantic.Field(min_length=1, description=f"How the right value is spoken of, {GAP} in its place")
    elsewhere: list[str] = pydantic.Field(
        min_length=1, description=f"How other values are spoken of, {GAP} in their place"
    )
    form: str = pydantic.Field(
        "", description="Regular expression of what such a value looks like: it has to be one of those in the input"
    )
    absent: str = pydantic.Field(
        "", description="Without a form: regular expression of what an input says where it does not say the value"
    )
    null_at: float = pydantic.Field(
        0.0, description="What null counts beside a value: a difference of cosines; lower to prefer values"
    )

    @pydantic.field_validator("form", "absent")
    @classmethod
    def _compiles(cls, form: str) -> str:
        try:
            re.compile(form)
        except re.error as error:
            raise ValueError(f"{form[:60]!r} is no regular expression: {error}") from error
        return form


class ContextOptions(tao_hub.Options):
    fields: dict[str, Meaning] = pydantic.Field(min_length=1, description="Field → how it is spoken of, and its form")
    encoder: str = pydantic.Field("minilm", description="minilm, or a folder or hub id of a sentence encoder")
    temperature: float = pydantic.Field(0.05, gt=0, description="Lower is more certain; scale of the cosines")
    before: int = pydantic.Field(60, gt=0, description="Characters of context before a value, within its sentence")
    after: int = pydantic.Field(45, gt=0, description="Characters of context after it, within its sentence")
    batch_size: int = pydantic.Field(64, gt=0, description="Texts encoded at a time")


JUDGED = set(ContextOptions.model_fields)
Asked = tuple[str, str, str]  # input, field, value


class Judge:
    """How near the words around a value are to those of the right one: a difference of cosines by a sentence encoder.

    (Nearest description of the right place) - (nearest of another place), of the value's best place in the input: a
    zero-shot classification of mentions in context (Reimers & Gurevych 2019, arXiv 1908.10084).
    """

    def __init__(self, options: ContextOptions) -> None:
        self._options = options
        self._encode = Encoder(options.encoder, options.batch_size)
        self._forms = {field: re.compile(meaning.form) for field, meaning in options.fields.items() if meaning.form}
        self._described: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._known: OrderedDict[Asked, float | None] = OrderedDict()

    def content_digest(self) -> str:
        return self._encode.content_digest()

    def close(self) -> None:
        self._encode.close()

    def shares(self, texts: Sequence[str]) -> list[Shares]:
        """Per text and field with a form, the probability of each value of that form in it and of None; together 1:
        softmax of the levels and `null_at` over the temperature."""
        values = [{field: self._values(text, form) for field, form in self._forms.items()} for text in texts]
        asked = [(t, f, v) for t, fields in zip(texts, values) for f, found in fields.items() for v in found]
        level = dict(zip(asked, self.levels(asked)))
        return [
            {field: self._softmax(field, {v: level[text, field, v] for v in found}) for field, found in fields.items()}
            for text, fields in zip(texts, values)
        ]

    def share(self, field: str, level: float | None) -> float:
        """The probability of a value of that level against null: 0 where it has no place in the input."""
        return 0.0 if level is None else self._softmax(field, {"value": level})["value"]

    def levels(self, asked: Sequence[Asked]) -> list[float | None]:
        """Per value its best place's level, about -1 to 1; None where it occurs nowhere in the input."""
        found = {key: self._known[key] for key in asked if key in self._known}
        fresh = [key for key in dict.fromkeys(asked) if key not in found]
        found.update(zip(fresh, self._measure(fresh)))
        for key, level in found.items():
            self._known[key] = level
            self._known.move_to_end(key)
        while len(self._known) > CACHED:
            self._known.popitem(last=False)
        return [found[key] for key in asked]

    def _measure(self, asked: Sequence[Asked]) -> list[float | None]:
        """Encodes all contexts at once, so that batches are full."""
        contexts = [self._contexts(*key) for key in asked]
        distinct = list(dict.fromkeys(c for some in contexts for c in some))
        vectors = dict(zip(distinct, self._encode(distinct))) if distinct else {}
        return [
            max((self._level(field, vectors[c]) for c in some), default=None)
            for (_, field, _), some in zip(asked, contexts)
        ]

    def _level(self, field: str, vector: np.ndarray) -> float:
        if field not in self._described:
            meaning = self._options.fields[field]
            self._described[field] = (self._encode(meaning.here), self._encode(meaning.elsewhere))
        here, elsewhere = self._described[field]
        return float((here @ vector).max() - (elsewhere @ vector).max())

    def _values(self, text: str, form: re.Pattern[str]) -> list[str]:
        found = (m.group() for m in form.finditer(text[:MAX_CHARS]) if m.group().strip())
        return list(dict.fromkeys(found))[:MAX_PLACES]

    def _contexts(self, text: str, field: str, value: str) -> list[str]:
        """The words around each place of a value (of its form, if the field has one)."""
        text = text[:MAX_CHARS]
        form = self._forms.get(field)
        if form is not None:
            places = [m.span() for m in form.finditer(text) if m.group() == value]
        else:
            places = [m.span() for m in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE)]
        return [self._context(text, *place) for place in places[:MAX_PLACES]]

    def _context(self, text: str, start: int, end: int) -> str:
        """The sentence or line around a value, cut to so many characters, with `GAP` for the value."""
        left, right = text[max(0, start - self._options.before) : start], text[end : end + self._options.after]
        breaks = [m.end() for m in _END.finditer(left)]
        stop = _END.search(right)
        return ((left[breaks[-1] :] if breaks else left) + GAP + (right[: stop.start()] if stop else right)).strip()

    def _softmax(self, field: str, levels: Mapping[str, float | None]) -> dict[str | None, float]:
        all_levels = {None: self._options.fields[field].null_at, **levels}
        odds = np.exp((np.array(list(all_levels.values())) - max(all_levels.values())) / self._options.temperature)
        return dict(zip(all_levels, (odds / odds.sum()).tolist()))


def _judge(options: ContextOptions) -> Judge:
    """The judge of these options: the reward and the strategy share what they have encoded."""
    return _judge_of(tao_hub.canonical_json(options.model_dump(include=JUDGED)))


@functools.lru_cache(maxsize=4)
def _judge_of(options: str) -> Judge:
    return Judge(ContextOptions.model_validate_json(options))


class Context(tao_hub.Reward):
    """How probably a value stands in the place that its field asks for: parts 0–1, the value their mean.

    "My number is 81242, not 308796": both look like order numbers, and the words around them say which is meant. A
    field with a form: the probability among all values of that form in the input and null, so one that occurs nowhere
    in it gets 0. A field without: the probability against null of a value that occurs in the input (else 0); null has
    0.5, or 1 where the input says what `absent` tells.
    """

    Options = ContextOptions

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._judge = _judge(self.options)

    def content_digest(self) -> str:
        return self._judge.content_digest()

    def close(self) -> None:
        self._judge.close()

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        records = [read_record(candidate.response) for _, candidate in pairs]
        shares = self._judge.shares([prompt.text for prompt, _ in pairs])
        free = [field for field, meaning in self.options.fields.items() if not meaning.form]
        asked = [
            (prompt.text, field, value)
            for (prompt, _), record in zip(pairs, records)
            for field in free
            if isinstance(record, dict) and (value := _text(record.get(field)))
        ]
        level = dict(zip(asked, self._judge.levels(asked)))
        return [self._score(prompt.text, r, found, level) for (prompt, _), r, found in zip(pairs, records, shares)]

    def _score(
        self, text: str, record: dict[str, Any] | str, shares: Shares, level: Mapping[Asked, float | None]
    ) -> tao_hub.Score:
        if isinstance(record, str):
            return tao_hub.Score(0.0, why=record)
        parts, rather = {}, []
        for field in self.options.fields:
            if field not in record:
                continue
            value, found = record[field], shares.get(field)
            if found is not None:
                parts[field] = _share(found, value)
                best = max(found, key=lambda v: found[v])
                if parts[field] < found[best]:
                    rather.append(f"{field}: rather {'null' if best is None else best}")
            elif value is None:
                absent = self.options.fields[field].absent
                parts[field] = 1.0 if absent and re.search(absent, text[:MAX_CHARS]) else 0.5
            else:
                parts[field] = self._judge.share(field, level.get((text, field, _text(value))))
        if not parts:
            return tao_hub.Score(0.0, why="no field to judge in the answer")
        return tao_hub.Score(sum(parts.values()) / len(parts), why="; ".join(rather)[:300] or "places fit", parts=parts)


def _share(found: Mapping[str | None, float], value: Any) -> float:
    if value is None:
        return found[None]
    wanted = _text(value).casefold()
    return sum(share for text, share in found.items() if text is not None and text.strip().casefold() == wanted)


def _text(value: Any) -> str:
    """The value as it would stand in the input; empty for what cannot stand there."""
    return "" if value is None or isinstance(value, (bool, list, dict)) else str(value).strip()


class Places(tao_hub.Strategy):
    """Generates nothing; proposes the values of a field's form in the input, the one in the likeliest place first.

    Candidate i holds, for each field, its i-th likeliest value, and nothing else: votes for `core/assemble` to weigh.
    """

    class Options(ContextOptions):
        most: int = pydantic.Field(3, gt=0, description="Values proposed for a field, at most")

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._judge = _judge(self.options)

    def variants(self, prompt: tao_hub.Prompt, n: int) -> Sequence[tao_hub.Prompt]:
        return []

    def combine(self, group: tao_hub.Group) -> Sequence[tao_hub.Candidate]:
        shares = self._judge.shares([group.prompt.text])[0]
        ranked = {
            field: [value for value in sorted(found, key=lambda v: -found[v]) if value is not None]
            for field, found in shares.items()
        }
        policy = group.candidates[0].policy if group.candidates else ""
        proposals = [
            {field: values[i] for field, values in ranked.items() if i < len(values)}
            for i in range(self.options.most)
        ]
        return [
            tao_hub.Candidate(
                prompt=group.prompt.digest, response=tao_hub.dump_record(proposal), policy=policy,
                strategy="embed/places", index=i,
            )
            for i, proposal in enumerate(proposals) if proposal
        ]  # fmt: skip
