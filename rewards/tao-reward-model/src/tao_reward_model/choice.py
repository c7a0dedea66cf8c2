"""embed/choice: how near the input is to a description of the option that the answer chose."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pydantic

import tao_hub

from .encoder import Encoder

CACHED = 65_536  # input texts whose similarities are kept: a few floats each
MAX_SENTENCES = 64
MAX_CHARS = 20_000  # of an input; the encoder itself reads a few hundred tokens of a text
MIN_WORDS = 3  # of a piece inside a sentence
_SEPARATOR = re.compile(r"\t| \| |;| / |: |=| -- |\"| > ")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|\n+")


class Choice(tao_hub.Reward):
    """The probability of the chosen option, 0–1: softmax over options of cosine(input, description) / temperature.

    Zero-shot classification by a sentence encoder (Reimers & Gurevych 2019, arXiv 1908.10084). It judges the option
    by the input (the last user message) alone and needs no labels: one sentence per option says what it means. Parts:
    the field's probability, and "cosine". An answer outside the options is a wrong answer: 0.
    """

    class Options(tao_hub.Options):
        choices: dict[str, str | list[str]] = pydantic.Field(
            min_length=2, description='Option → a sentence, or several, that says what it means (null: key "null")'
        )
        field: str = pydantic.Field("", description="Field of the JSON answer that holds the option; empty: all of it")
        encoder: str = pydantic.Field("minilm", description="minilm, or a folder or hub id of a sentence encoder")
        temperature: float = pydantic.Field(0.03, gt=0, description="Lower is more certain; scale of the cosines")
        pooling: Literal["whole", "sentences", "mean"] = pydantic.Field(
            "mean", description="Similarity of the whole input, of its nearest sentence, or the mean of both"
        )
        batch_size: int = pydantic.Field(32, gt=0, description="Texts encoded at a time")

        @pydantic.field_validator("choices")
        @classmethod
        def _described(cls, choices: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
            for option, description in choices.items():
                if not description or not all(s.strip() for s in _sentences_of(description)):
                    raise ValueError(f"option {option!r} has an empty description")
            return choices

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._encode = Encoder(self.options.encoder, self.options.batch_size)
        self._names = list(self.options.choices)
        self._described: np.ndarray | None = None
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()

    def content_digest(self) -> str:
        return self._encode.content_digest()

    def close(self) -> None:
        self._encode.close()

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        cosines = self.similarities([prompt.text for prompt, _ in pairs])
        return [self._score(c.response, row) for (_, c), row in zip(pairs, cosines)]

    def similarities(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Per text its pooled cosine with each option, in the order of `choices`: float32 (options,)."""
        found = {text: self._known[text] for text in texts if text in self._known}
        fresh = [text for text in dict.fromkeys(texts) if text not in found]
        if fresh:
            found.update(zip(fresh, self._measure(fresh)))
        for text, cosines in found.items():
            self._known[text] = cosines
            self._known.move_to_end(text)
        while len(self._known) > CACHED:
            self._known.popitem(last=False)
        return [found[text] for text in texts]

    def _measure(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encode all distinct texts (and sentences) at once, so that batches are full."""
        if self._described is None:
            self._described = self._describe()
        pooling = self.options.pooling
        pieces = [_pieces(text, pooling) for text in texts]
        distinct = list(dict.fromkeys(piece for some in pieces for piece in some))
        rows = dict(zip(distinct, self._encode(distinct) @ self._described.T))  # (texts, options)
        pooled = []
        for some in pieces:
            if pooling == "whole":
                pooled.append(rows[some[0]])
                continue
            nearest = np.max([rows[s] for s in (some[1:] if pooling == "mean" else some)], axis=0)
            pooled.append((rows[some[0]] + nearest) / 2 if pooling == "mean" else nearest)
        return pooled

    def _describe(self) -> np.ndarray:
        """One unit vector per option, (options, dimensions): the mean direction of its sentences."""
        sentences = [_sentences_of(d) for d in self.options.choices.values()]
        vectors = self._encode([s for some in sentences for s in some])  # at once, so that batches are full
        ends = np.cumsum([len(some) for some in sentences])[:-1]
        stacked = np.stack([own.mean(axis=0) for own in np.split(vectors, ends)])
        unit: np.ndarray = stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
        return unit

    def _score(self, response: str, cosines: np.ndarray) -> tao_hub.Score:
        part = self.options.field or "choice"
        try:
            option = self._option(response)
        except ValueError as error:
            return tao_hub.Score(0.0, why=str(error))
        if option not in self.options.choices:
            why = f"unknown option {option[:60]!r}: one of {', '.join(self._names)}"
            return tao_hub.Score(0.0, why=why[:300], parts={part: 0.0})
        scaled = cosines.astype(np.float64) / self.options.temperature
        odds = np.exp(scaled - scaled.max())
        chosen = self._names.index(option)
        probability = float(odds[chosen] / odds.sum())
        best = self._names[int(np.argmax(cosines))]
        why = f"{option} {probability:.2f}" + (f", nearest is {best}" if best != option else "")
        return tao_hub.Score(probability, why=why, parts={"cosine": float(cosines[chosen]), part: probability})

    def _option(self, response: str) -> str:
        """The option that the answer chose. Raises ValueError where the answer has none to look at."""
        if not self.options.field:
            return response.strip()
        record = tao_hub.parse_record(response)
        if self.options.field not in record:
            raise ValueError(f"no field {self.options.field!r} in the answer")
        value = record[self.options.field]
        return value if isinstance(value, str) else tao_hub.canonical_json(value)


def _sentences_of(description: str | list[str]) -> list[str]:
    return [description] if isinstance(description, str) else description


def _pieces(text: str, pooling: str) -> list[str]:
    """What is encoded for a text: the whole, its sentences, or the whole and then its sentences."""
    text = text.strip()[:MAX_CHARS]
    sentences = [s.strip() for s in _SENTENCE_END.split(text) if s.strip()]
    # What people say stands between separators of rows, forms, quotes and speakers, too.
    finer = [f.strip() for s in sentences for f in _SEPARATOR.split(s) if len(f.split()) >= MIN_WORDS]
    sentences = list(dict.fromkeys([*sentences, *finer]))[:MAX_SENTENCES] or [text]
    return {"whole": [text], "sentences": sentences}.get(pooling, [text, *sentences])
