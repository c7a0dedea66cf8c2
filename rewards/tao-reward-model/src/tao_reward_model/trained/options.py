"""What can be chosen when a reward model is trained; each field is also an option of `tao-hub train-reward`."""

from __future__ import annotations

from typing import Any, Literal

import pydantic

import tao_hub

from .attributes import weighed

POINTWISE = ("regression", "bce")  # losses that need scores on a scale, and no second response


class TrainOptions(tao_hub.Options):
    base: str = pydantic.Field("minilm", description="minilm, a folder, a name of `tao-hub models`, a hub id")
    loss: Literal["bradley-terry", "plackett-luce", "regression", "bce"] = pydantic.Field(
        "bradley-terry", description="Pairs; whole rankings; ratings; verdicts in 0–1"
    )
    attributes: str = pydantic.Field(
        "", description="NAME[=WEIGHT],…: a head for each attribute that rows rate; the value is their weighted sum"
    )
    gate: bool = pydantic.Field(
        False, description="Weigh the attributes by prompt, learnt from rows that also compare answers as a whole"
    )
    margin: Literal["given", "scores", "none"] = pydantic.Field(
        "given", description="Bradley–Terry margin: the row's own, the difference of scores, or none"
    )
    centring: float = pydantic.Field(0.01, ge=0, description="Keeps the mean score near 0 (comparisons only)")
    frozen: bool = pydantic.Field(False, description="Train the head only, on the frozen body: minutes become seconds")
    l2: float = pydantic.Field(10.0, gt=0, description="Penalty of a frozen body's head")
    lora_rank: int = pydantic.Field(0, ge=0, description="Rank of LoRA adapters, merged at the end; 0: all weights")
    ensemble: int = pydantic.Field(1, ge=1, le=16, description="Members: other seeds (frozen: heads on drawn rows)")
    epochs: float = pydantic.Field(1.0, gt=0, description="Passes over the training rows")
    batch_size: int = pydantic.Field(32, ge=1, description="Prompts per optimizer step")
    accumulate: int = pydantic.Field(1, ge=1, description="Parts that a step's prompts are computed in, to save memory")
    learning_rate: float = pydantic.Field(0.0, ge=0, description="Peak; 0: 1e-4 encoder, 2e-5 decoder, 2e-4 LoRA")
    max_length: int = pydantic.Field(256, ge=16, description="Tokens of prompt and response together")
    layout: Literal["auto", "chat", "segments", "plain"] = pydantic.Field(
        "auto", description="Chat template, an encoder's two segments, or plain text; auto: what the base has"
    )
    held_out: float = pydantic.Field(0.15, gt=0, lt=0.9, description="Share of the rows held out, by prompt")
    seed: int = pydantic.Field(0, description="Of the split, the head, the order")
    device: Literal["auto", "cpu", "cuda"] = pydantic.Field("auto", description="auto: cuda if there is one, else cpu")
    checkpoint_minutes: float = pydantic.Field(
        5.0, ge=0, description="Time between checkpoints that a killed training goes on from (0: after every step)"
    )

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Any:
        if self.frozen and self.lora_rank:
            raise ValueError("frozen and lora_rank exclude each other: a frozen body has no adapters")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of accumulate {self.accumulate}")
        weights = weighed(self.attributes)
        if self.gate and (len(weights) < 2 or min(weights.values()) < 0):
            raise ValueError("a gate shares out 1 among two attributes or more: name them, none with a negative weight")
        return self

    @property
    def on_gpu(self) -> bool:
        import torch

        return self.device != "cpu" and torch.cuda.is_available()

    @property
    def heads(self) -> dict[str, float]:
        """Weights of the attributes by name; empty where one head scores the whole."""
        return weighed(self.attributes)

    @property
    def pointwise(self) -> bool:
        return self.loss in POINTWISE
