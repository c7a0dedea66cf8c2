"""model/preference: what a trained reward model says of an answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

import tao_hub

from . import folder, registry


class Preference(tao_hub.Reward):
    """The score of a sequence-classification model: one that `tao-hub train-reward` made, or any other's folder.

    By default a logit without bounds, divided by the temperature that was fitted on held-out pairs, so that
    σ(difference of two scores of one prompt) is the probability that the first is the better one. `scale=probability`
    gives σ(score − centre): for models trained on verdicts the probability that the answer is right; for those trained
    on comparisons, that it is preferred to an average held-out answer. Parts: "logit" (before the temperature), "std"
    (over an ensemble's members, after it), "cut" (tokens that did not fit in, where there were any). A model of several
    attributes is their weighted sum; each attribute's score, its logit divided by its own temperature, is a part.
    """

    class Options(tao_hub.Options):
        model: str = pydantic.Field(description="Folder, or NAME@VERSION of `train-reward --name NAME`")
        digest: str = pydantic.Field("", description="Refuse the folder if its content has another digest")
        scale: Literal["logit", "probability"] = pydantic.Field("logit", description="What the value is")
        combine: Literal["mean", "min", "uncertain"] = pydantic.Field(
            "mean", description="Of an ensemble: mean, least, or mean − std_weight · standard deviation"
        )
        std_weight: float = pydantic.Field(1.0, ge=0, description="For combine=uncertain")
        confidence: float = pydantic.Field(
            0.5, ge=0.5, lt=1, description="Abstain (no score) where max(p, 1 − p) is below; p: scale=probability"
        )
        weights: str = pydantic.Field("", description="NAME[=WEIGHT],… of its attributes; default: the model's own")
        label: str = pydantic.Field("", description="Of a classifier with several labels: the one whose log-odds count")
        dtype: Literal["float32", "bfloat16", "float16"] = pydantic.Field("float32", description="Of the weights")
        device: str = pydantic.Field("auto", description="auto, cpu, cuda, …")
        batch_tokens: int = pydantic.Field(8192, gt=0, description="Padded tokens of a pass (CPU: 2048 at most)")

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        path, wanted = registry.resolve(self.options.model)
        folder.check_head(path)
        if self.options.weights:
            (folder.read_contract(path) or folder.Contract()).weighted(self.options.weights)
        wanted = self.options.digest or wanted
        self._path: Path = path
        self._scorer: Any = None
        self._digest = ""
        if wanted and self.content_digest() != wanted:
            raise tao_hub.UsageError(f"{path} has the digest {self._digest}, not {wanted}: its content has changed")

    def content_digest(self) -> str:
        """Digest of the folder: what another training wrote into it is another reward."""
        self._digest = self._digest or folder.digest(self._path)
        return self._digest

    def close(self) -> None:
        self._scorer = None

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        from .scorer import Scorer, combined

        o = self.options
        if self._scorer is None:
            self._scorer = Scorer(self._path, o.dtype, o.device, o.label, o.batch_tokens, o.weights)
        contract = self._scorer.contract
        raw = self._scorer.score([(prompt.messages, candidate.response) for prompt, candidate in pairs])
        values = combined(raw.logits, o.combine, o.std_weight)
        spread = raw.logits.std(1, ddof=1) if raw.logits.shape[1] > 1 else None
        scores = []
        for i, logit in enumerate(values):
            parts = {"logit": float(raw.logits[i].mean())}
            parts |= {a.name: float(x) for a, x in zip(contract.attributes, raw.attributes[i])}
            if spread is not None:
                parts["std"] = float(spread[i]) / contract.temperature
            if raw.cut[i]:
                parts["cut"] = float(raw.cut[i])
            scores.append(self._score(float(logit), contract.temperature, contract.centre, parts))
        return scores

    def _score(self, logit: float, temperature: float, centre: float, parts: dict[str, float]) -> tao_hub.Score:
        if strange := [x for x in (logit, *parts.values()) if not math.isfinite(x)]:
            return tao_hub.Score.failed(f"the model gave {strange[0]}", "NotFinite")
        probability = sigmoid((logit - centre) / temperature)
        sure = max(probability, 1 - probability)
        if sure < self.options.confidence:
            return tao_hub.Score.failed(f"confidence {sure:.2f} is below {self.options.confidence:g}", "Abstained")
        value = probability if self.options.scale == "probability" else logit / temperature
        return tao_hub.Score(value, parts=parts)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
