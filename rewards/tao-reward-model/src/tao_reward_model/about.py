"""embed/about: the answer is about what the prompt asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pydantic

import tao_hub

from .encoder import Encoder

MAX_CHARS = 4_000  # of a text; the encoder itself reads a few hundred tokens
_PIECE = re.compile(r"[^\n]+?(?:[.!?:](?=\s)|$)", re.M)


class About(tao_hub.Reward):
    """Cosine of the input and the answer over `enough`, at most 1 and at least 0, by a sentence encoder.

    Rules alone can be kept by an answer to nothing ("ok ok ok" has no comma); this asks what the answer is about
    (Reimers & Gurevych 2019, arXiv 1908.10084). Sentences of the input that stand in the answer word by word do not
    count, so repeating the input earns nothing: an answer with nothing else is 0. From `enough` on all answers are
    alike, so nothing is gained by sounding like the input. Parts: "cosine". The encoder minilm reads English.
    """

    class Options(tao_hub.Options):
        enough: float = pydantic.Field(0.4, gt=0, le=1, description="The cosine from which the value is 1")
        encoder: str = pydantic.Field("minilm", description="minilm, or a folder or hub id of a sentence encoder")
        batch_size: int = pydantic.Field(32, gt=0, description="Texts encoded at a time")

    def __init__(self, options: pydantic.BaseModel | None = None) -> None:
        super().__init__(options)
        self._encode = Encoder(self.options.encoder, self.options.batch_size)

    def content_digest(self) -> str:
        return self._encode.content_digest()

    def close(self) -> None:
        self._encode.close()

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        asked = [prompt.text.strip()[:MAX_CHARS] for prompt, _ in pairs]
        said = [own_words(prompt.text, candidate.response)[:MAX_CHARS] for prompt, candidate in pairs]
        texts = list(dict.fromkeys(text for text in (*asked, *said) if text))
        vectors = dict(zip(texts, self._encode(texts))) if texts else {}
        return [self._score(vectors.get(a), vectors.get(s)) for a, s in zip(asked, said)]

    def _score(self, asked: np.ndarray | None, said: np.ndarray | None) -> tao_hub.Score:
        if asked is None:
            return tao_hub.Score.failed("the prompt has no user message to compare the answer with", type="ValueError")
        if said is None:
            return tao_hub.Score(0.0, why="nothing but the input's own sentences", parts={"cosine": 0.0})
        cosine = float(asked.astype(np.float64) @ said.astype(np.float64))
        return tao_hub.Score(
            min(1.0, max(0.0, cosine / self.options.enough)), why=f"cosine {cosine:.2f}", parts={"cosine": cosine}
        )


def own_words(source: str, answer: str) -> str:
    """The answer without its sentences that stand in the source word by word (case, blanks and punctuation aside)."""
    known = f" {_plain(source)} "
    kept = []
    for piece in _PIECE.findall(answer[: 5 * MAX_CHARS]):
        plain = _plain(piece)
        if plain and f" {plain} " not in known:
            kept.append(piece.strip())
    return " ".join(kept)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
