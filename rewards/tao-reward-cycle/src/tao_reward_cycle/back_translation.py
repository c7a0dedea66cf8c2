"""cycle/back-translation: the likelihood of the input under a model that reads the answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

import tao_hub

from .asking import ASK, backward_prompt

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.bin")


class BackTranslation(tao_hub.Reward):
    """Mean log-probability, in nats per token, of the input given the answer: log p(input | answer) / tokens, ≤ 0.

    An answer to another question makes the question that was asked unlikely (dual learning, He et al. 2016, arXiv
    1611.00179; cycle consistency for semantic parsing: Cao et al. 2019). Only answers to one input compare: inputs are
    more or less likely by themselves. The model is a causal one that was trained on the way back: `tao-hub
    train-backward`, or the trainer `cycle/backward`.
    """

    class Options(tao_hub.Options):
        model: str = pydantic.Field(description="Folder or registered name of the model of the way back")
        ask: str = pydantic.Field(ASK, description="How it is asked; {answer} becomes the answer. As in its training")
        max_length: int = pydantic.Field(1024, ge=16, description="Longer pairs (in tokens) have no score")
        batch_tokens: int = pydantic.Field(8192, ge=256, description="Tokens, with padding, of a batch")
        dtype: Literal["float32", "bfloat16"] = pydantic.Field("float32", description="Type of the computation")
        device: str = pydantic.Field("auto", description="auto, cpu, cuda, cuda:1, …")

        @pydantic.field_validator("ask")
        @classmethod
        def _asks(cls, ask: str) -> str:
            if "{answer}" not in ask:
                raise ValueError(f"ask {ask!r} has no {{answer}}: the model would not see what it judges")
            return ask

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._path = Path(tao_hub.model_path(self.options.model))
        if not (self._path / "config.json").is_file():
            raise tao_hub.UsageError(
                f"{self.options.model} is no model folder (it has no config.json): `tao-hub train-backward` makes one"
            )
        self._loaded: tuple[Any, Any] | None = None

    def content_digest(self) -> str:
        """BLAKE2b of the model's files."""
        found = hashlib.blake2b(digest_size=16)
        for file in sorted(f for pattern in MODEL_FILES for f in self._path.glob(pattern)):
            if file.name == "tao-hub.json":  # the record of a training: when and how long
                continue
            found.update(file.name.encode())
            with file.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    found.update(chunk)
        return found.hexdigest()

    def close(self) -> None:
        self._loaded = None

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        model, tokenizer = self._load()
        scores: dict[int, tao_hub.Score] = {}
        rows: dict[int, tuple[list[int], list[int]]] = {}
        for i, (prompt, candidate) in enumerate(pairs):
            row = self._row(tokenizer, prompt, candidate)
            if isinstance(row, tao_hub.Score):
                scores[i] = row
            else:
                rows[i] = row
        for batch in self._batches(rows):
            for i, logprobs in zip(batch, _logprobs(model, [rows[i] for i in batch])):
                mean = sum(logprobs) / len(logprobs)
                scores[i] = tao_hub.Score(mean, parts={"tokens": len(logprobs), "worst": min(logprobs)})
        return [scores[i] for i in range(len(pairs))]

    def _row(
        self, tokenizer: Any, prompt: tao_hub.Prompt, candidate: tao_hub.Candidate
    ) -> tuple[list[int], list[int]] | tao_hub.Score:
        """(tokens of what is asked, tokens of the input and its end), or why there is no score."""
        if not prompt.text.strip():
            return tao_hub.Score.failed("the prompt has no input to be likely or not", "NoInput")
        asked = [{"role": m.role, "content": m.content}
                 for m in backward_prompt(candidate.response, self.options.ask).messages]  # fmt: skip
        given = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        context = tokenizer(given, add_special_tokens=False)["input_ids"]
        told = tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        if tokenizer.eos_token_id is not None:
            told = [*told, tokenizer.eos_token_id]
        if len(context) + len(told) > self.options.max_length:
            size = len(context) + len(told)
            return tao_hub.Score.failed(f"{size} tokens, max_length is {self.options.max_length}", "TooLong")
        return context, told

    def _batches(self, rows: dict[int, tuple[list[int], list[int]]]) -> Iterator[list[int]]:
        """Rows of like length together, each batch within `batch_tokens` with its padding."""
        batch: list[int] = []
        for i in sorted(rows, key=lambda i: (len(rows[i][0]) + len(rows[i][1]), i)):
            longest = len(rows[i][0]) + len(rows[i][1])
            if batch and (len(batch) + 1) * longest > self.options.batch_tokens:
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            device = self.options.device
            if device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            if device.startswith("cuda") and not torch.cuda.is_available():
                told = f"device {device!r}: torch {torch.__version__} sees no GPU here; use auto or cpu"
                raise tao_hub.UsageError(told)
            tokenizer = AutoTokenizer.from_pretrained(self._path)
            if not tokenizer.chat_template:
                raise tao_hub.UsageError(f"{self._path} has no chat template: train the way back from a chat model")
            model = AutoModelForCausalLM.from_pretrained(self._path, dtype=getattr(torch, self.options.dtype))
            self._loaded = (model.to(device).eval(), tokenizer)
        return self._loaded


def _logprobs(model: Any, rows: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
    """Natural-log probabilities of each row's second part given its first; padding is on the right, never looked at."""
    import torch

    longest = max(len(a) + len(b) for a, b in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)  # (B, T)
    mask = torch.zeros_like(ids)
    for i, (a, b) in enumerate(rows):
        ids[i, : len(a) + len(b)] = torch.tensor(a + b)
        mask[i, : len(a) + len(b)] = 1
    found = []
    with torch.inference_mode():
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits  # (B, T, V)
        for i, (a, b) in enumerate(rows):
            part = logits[i, len(a) - 1 : len(a) + len(b) - 1].float().log_softmax(-1)  # (len(b), V)
            picked = part.gather(1, torch.tensor(b, device=part.device)[:, None])[:, 0]
            found.append([float(x) for x in picked.cpu()])
    return found


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(input, answer) of JSONL rows {"prompt", "response"}; a list of accepted answers gives its first.

    Raises UsageError naming file, line and what was found.
    """
    pairs = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise tao_hub.UsageError(f"{path}: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            answer = row["response"]
            answer = answer[0] if isinstance(answer, list) else answer
            if not (isinstance(row["prompt"], str) and isinstance(answer, str) and row["prompt"] and answer):
                raise ValueError
            pairs.append((row["prompt"], answer))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            expected = '{"prompt": text, "response": text}'
            raise tao_hub.UsageError(f"{path}:{number}: expected {expected}, found {line[:80]}") from error
    return pairs
