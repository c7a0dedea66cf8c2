"""embed/kind and embed/spans: is a value the kind of thing its field holds, in the eyes of a sentence encoder?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pydantic

import tao_hub

from .encoder import Encoder

CACHED = 200_000  # values whose kinds are kept: a few floats each
MAX_CHARS = 200  # of a value; a longer one is no name
MAX_SPANS = 2_000  # of one input
NEAREST = 2  # examples of a kind that its similarity is the mean of
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*\.?")
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_COUNT = r"\d{1,3}|" + "|".join(NUMBERS)
# No name of a thing or a person starts or ends with one of these.
EDGES = frozenset(
    """
    a an the i we you he she it they my your our his her its their me us him them is are was were be been am do does did
    have has had will would can could should shall may might must not no and or but if then so as at by for from in into
    of on onto to with without this that these those there here what which who whom when where why how all any some more
    most other another again also very just only than too please hi hello dear thanks thank regards kind best yours
    sincerely
    """.split()  # noqa: SIM905
)


class KindOptions(tao_hub.Options):
    kinds: dict[str, list[str]] = pydantic.Field(
        min_length=2, description="Kind → a few examples or descriptions of such things; one kind for all else"
    )
    fields: dict[str, str] = pydantic.Field(min_length=1, description="Field → the kind of thing that it holds")
    encoder: str = pydantic.Field("minilm", description="minilm, or a folder or hub id of a sentence encoder")
    temperature: float = pydantic.Field(0.05, gt=0, description="Lower is more certain; scale of the cosines")
    least: float = pydantic.Field(0.15, ge=0, lt=1, description="A lower probability counts as 0")
    batch_size: int = pydantic.Field(64, gt=0, description="Texts encoded at a time")

    @pydantic.model_validator(mode="after")
    def _known(self) -> Any:
        if empty := [kind for kind, examples in self.kinds.items() if not all(e.strip() for e in examples or [""])]:
            raise ValueError(f"kind {empty[0]!r} has no example, or an empty one")
        if unknown := [kind for kind in self.fields.values() if kind not in self.kinds]:
            raise ValueError(f"no kind {unknown[0]!r}; there are {', '.join(self.kinds)}")
        return self


class Judge:
    """The probability of each kind for a text: softmax of its mean cosine with the nearest examples / temperature.

    Zero-shot typing by a sentence encoder (Reimers & Gurevych 2019, arXiv 1908.10084) with prototypes (Snell et al.
    2017, arXiv 1703.05175).
    """

    def __init__(self, options: Any) -> None:
        self._options = options
        self._encode = Encoder(options.encoder, options.batch_size)
        self._kinds = list(options.kinds)
        self._examples: np.ndarray | None = None
        self._known: dict[str, np.ndarray] = {}

    def content_digest(self) -> str:
        return self._encode.content_digest()

    def close(self) -> None:
        self._encode.close()

    def probability(self, texts: Sequence[str], kind: str) -> list[float]:
        """P(kind) per text, 0–1; 0 where it is below `least`."""
        fresh = [t for t in dict.fromkeys(texts) if t not in self._known]
        if fresh:
            if len(self._known) + len(fresh) > CACHED:
                self._known.clear()
                fresh = list(dict.fromkeys(texts))
            self._known.update(zip(fresh, self._measure(fresh)))
        column = self._kinds.index(kind)
        found = (float(self._known[t][column]) for t in texts)
        return [p if p >= self._options.least else 0.0 for p in found]

    def _measure(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, kinds)"""
        examples = [e for kind in self._kinds for e in self._options.kinds[kind]]
        owner = np.array([i for i, kind in enumerate(self._kinds) for _ in self._options.kinds[kind]])
        if self._examples is None:
            self._examples = self._encode(examples)
        cosines = self._encode(texts) @ self._examples.T  # (texts, examples)
        nearest = [np.sort(cosines[:, owner == i], axis=1)[:, -NEAREST:].mean(axis=1) for i in range(len(self._kinds))]
        scaled = np.stack(nearest, axis=1).astype(np.float64) / self._options.temperature
        odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        shares: np.ndarray = odds / odds.sum(axis=1, keepdims=True)
        return shares


class Kind(tao_hub.Reward):
    """How probably each field's value is the kind of thing that the field holds: parts 0–1, the value their mean.

    "Umar Moreau" is a person and no order number; "label printer" is a product and no greeting. It needs a few
    examples of each kind of thing, none of any answer, and does not ask whether the value is the right one.
    """

    class Options(KindOptions):
        null_score: float = pydantic.Field(1.0, ge=0, le=1, description="What null counts: less to prefer values")

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._judge = Judge(self.options)

    def content_digest(self) -> str:
        return self._judge.content_digest()

    def close(self) -> None:
        self._judge.close()

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        records = [read_record(candidate.response) for _, candidate in pairs]
        judged: dict[str, dict[str, float]] = {}
        for field, kind in self.options.fields.items():
            values = [text for r in records if isinstance(r, dict) and (text := _text(r.get(field)))]
            judged[field] = dict(zip(values, self._judge.probability(values, kind)))
        return [self._score(record, judged) for record in records]

    def _score(self, record: dict[str, Any] | str, judged: dict[str, dict[str, float]]) -> tao_hub.Score:
        if isinstance(record, str):
            return tao_hub.Score(0.0, why=record)
        parts = {
            field: self.options.null_score if record[field] is None else judged[field].get(_text(record[field]), 0.0)
            for field in self.options.fields
            if field in record
        }
        if not parts:
            return tao_hub.Score(0.0, why="no field to judge in the answer")
        doubted = [f"{f} is hardly a {self.options.fields[f]}" for f, p in parts.items() if not p and record[f]]
        return tao_hub.Score(sum(parts.values()) / len(parts), why="; ".join(doubted)[:300] or "kinds fit", parts=parts)


class Spans(tao_hub.Strategy):
    """Generates nothing; proposes the spans of the input that are the right kind of thing for a field.

    Candidate i holds, for each field, its i-th likeliest span, and nothing else: votes for `core/assemble` to weigh,
    no answers. Spans have up to `words` words, cross no punctuation and hold no digits. A number beside a span
    ("3 wool jumpers", "wool jumper;3") is proposed with it for the field that counts it. What a small model
    overlooks is among the candidates, as every option is for a field with choices.
    """

    class Options(KindOptions):
        most: int = pydantic.Field(8, gt=0, description="Spans proposed for a field, at most")
        words: int = pydantic.Field(4, gt=0, description="Longest span")
        counts: dict[str, str] = pydantic.Field(
            {}, description="Field for a number → the field whose span it stands right before or after"
        )

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._judge = Judge(self.options)

    def variants(self, prompt: tao_hub.Prompt, n: int) -> Sequence[tao_hub.Prompt]:
        return []

    def combine(self, group: tao_hub.Group) -> Sequence[tao_hub.Candidate]:
        found = list(dict.fromkeys(spans(group.prompt.text, self.options.words)))[:MAX_SPANS]
        best: dict[str, list[str]] = {}
        for field, kind in self.options.fields.items():
            ranked = sorted(zip(self._judge.probability(found, kind), found), key=lambda pair: -pair[0])
            best[field] = [span for p, span in ranked[: self.options.most] if p > 0]
        policy = group.candidates[0].policy if group.candidates else ""
        return [
            tao_hub.Candidate(
                prompt=group.prompt.digest,
                response=tao_hub.dump_record(self._proposal(group.prompt.text, best, i)),
                policy=policy,
                strategy="embed/spans",
                index=i,
            )
            for i in range(max(map(len, best.values())))
        ]

    def _proposal(self, text: str, best: dict[str, list[str]], index: int) -> dict[str, Any]:
        record: dict[str, Any] = {field: some[index] for field, some in best.items() if index < len(some)}
        for field, counted in self.options.counts.items():
            number = _beside(text, record[counted]) if counted in record else None
            if number is not None:
                record[field] = number
        return record


def _beside(text: str, span: str) -> int | None:
    """The number right before the first place of a span (or with "pairs of" or the like between), else right after."""
    at = text.find(span)
    before = re.search(
        rf"(?<![\w/.-])({_COUNT})(?:\s*[x×;|\t,]\s*|\s+(?:\w+\.? of\s+)?)$", text[max(0, at - 40) : at], re.I
    )
    after = re.match(rf"\s*[;|\t,:(x×]*\s*({_COUNT})(?![\w/.-])", text[at + len(span) :], re.I)
    found = before or after
    if found is None:
        return None
    word = found.group(1).casefold()
    return int(word) if word.isdigit() else NUMBERS.index(word) + 1


def spans(text: str, most: int) -> Iterator[str]:
    """Runs of up to `most` words of one line, as written, that neither start nor end with a function word."""
    for line in text.split("\n"):
        words = [(m.start(), m.end()) for m in _WORD.finditer(line)]
        for first, (start, _) in enumerate(words):
            if _is_edge(line[start : words[first][1]]):
                continue
            for last in range(first, min(first + most, len(words))):
                begin, end = words[last]
                if last > first:
                    before = words[last - 1]
                    ended = line[before[1] - 1] == "." and before[1] - before[0] > 2  # "J. Kim" goes on
                    if line[before[1] : begin] != " " or ended:
                        break
                word = line[begin:end]
                if not _is_edge(word) and (last > first or len(word.rstrip(".")) > 1):
                    yield line[start : end - 1] if len(word) > 2 and word.endswith(".") else line[start:end]


def _is_edge(word: str) -> bool:
    return word.casefold().rstrip(".") in EDGES


def read_record(response: str) -> dict[str, Any] | str:
    """The record that an answer is, or why it is none."""
    try:
        return dict(tao_hub.parse_record(response))
    except ValueError as error:
        return str(error)


def _text(value: Any) -> str:
    """The value as text to be typed; empty for what is no text, or too long to be a name."""
    return value.strip() if isinstance(value, str) and len(value) <= MAX_CHARS else ""
