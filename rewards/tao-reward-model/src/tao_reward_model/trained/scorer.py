"""A reward model in memory: prompt and response → one logit per member of its ensemble, and per attribute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tao_hub import Message, UsageError

from .bases import head_of, longest, quiet
from .folder import HEADS, Contract, check_head, read_contract
from .gate import Gate
from .layout import Layout

Texts = Sequence[tuple[Sequence[Message], str]]


@dataclass(frozen=True)
class Raw:
    """`logits` (N, members) float64, before the temperature; `cut` (N,) tokens that did not fit in. `attributes`
    (N, A) are the members' mean scores by attribute, whose weighted sum the logits are; (N, 0) where there are none."""

    logits: np.ndarray
    cut: np.ndarray
    attributes: np.ndarray


class Scorer:
    """Any folder that `AutoModelForSequenceClassification` loads. Raises UsageError where its head is not in it."""

    def __init__(
        self, folder: Path, dtype: str = "float32", device: str = "auto", label: str = "", batch_tokens: int = 8192,
        weights: str = "",
    ) -> None:  # fmt: skip
        from transformers import AutoTokenizer

        config = check_head(folder)
        self._batch_tokens = batch_tokens
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        own = read_contract(folder)
        self.models = [_load(folder / m, dtype, device) for m in (own.members if own else ["."])]
        self.contract = (own or _guessed(self.models[0], self.tokenizer)).weighted(weights)
        if self.contract.heads:
            _swap_heads(self.models[0], folder / HEADS)
        self.layout = Layout(self.contract.layout, self.contract.max_length)
        own_outputs = self.contract.heads or self.contract.attributes
        self._label = 0 if own_outputs else _label(config, label, folder)
        self._log_odds = not own_outputs and self.models[0].config.num_labels > 1
        self._gate = Gate.load(folder) if self.contract.gate else None
        if label and self.contract.attributes:
            raise UsageError(f"{folder} has attributes, no labels: say what counts with -o weights={label}")

    def score(self, texts: Texts, told: Callable[[int], None] | None = None) -> Raw:
        """One row per text, in order. Batch, order and padding do not matter (≤ 1e-5 in float32)."""
        import torch

        from .forward import logits

        tokens = self.layout.encode_all(self.tokenizer, texts)
        prompts = [tuple(prompt) for prompt, _ in texts]
        columns = []
        for model in self.models:
            found = logits(model, tokens, self._batch_tokens, told, prompts)
            if self._log_odds:  # of the label against all others
                others = [i for i in range(found.shape[1]) if i != self._label]
                found = found[:, [self._label]] - torch.logsumexp(found[:, others], 1, keepdim=True)
            columns.append(found)
        whole = torch.cat(columns, 1).double().numpy()
        cut, heads = np.array([t.cut for t in tokens]), self.contract.attributes
        if not heads:
            return Raw(whole, cut, np.empty((len(whole), 0)))
        scores = whole.reshape(len(whole), -1, len(heads)) / np.array([a.temperature for a in heads])
        if self._gate is None:
            return Raw(scores @ np.array([a.weight for a in heads]), cut, scores.mean(1))
        weights = self._gate.weights(self.states(prompts))  # (N, A)
        return Raw((scores * weights[:, None]).sum(2), cut, scores.mean(1))

    def states(self, prompts: Sequence[tuple[Message, ...]]) -> np.ndarray:
        """(N, H) float64: what the head sees of each prompt with an empty response."""
        from .frozen import features

        distinct = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        tokens = self.layout.encode_all(self.tokenizer, [(prompt, "") for prompt in distinct])
        seen = features(self.models[0], tokens).double().numpy()
        return np.asarray(seen[[distinct[prompt] for prompt in prompts]])


def _load(folder: Path, dtype: str, device: str) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device {device!r}: torch {torch.__version__} sees no GPU here; use auto or cpu")
    with quiet():
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=getattr(torch, dtype), local_files_only=True, output_loading_info=True
        )
    if info["missing_keys"]:
        raise UsageError(
            f"{folder} has no weights for {', '.join(sorted(info['missing_keys']))[:200]}: they would be random"
        )
    return model.to(device).eval()


def _guessed(model: Any, tokenizer: Any) -> Contract:
    """What a folder that another library made asks for."""
    kind = "chat" if tokenizer.chat_template else "segments" if head_of(model)[1] != "score" else "plain"
    return Contract(layout=kind, max_length=min(4096, longest(model)))


def _label(config: dict[str, Any], label: str, folder: Path) -> int:
    names = {str(name): int(i) for i, name in (config.get("id2label") or {}).items()} or {"0": 0}
    if not label:
        if len(names) > 1:
            raise UsageError(f"{folder} has the labels {', '.join(names)}: choose with -o label=NAME what is scored")
        return 0
    if label not in names:
        raise UsageError(f"{folder} has no label {label!r}; it has {', '.join(names)}")
    return names[label]


def _swap_heads(model: Any, file: Path) -> None:
    """Put all heads in the place of the one: the same stock forward pass then gives one output per head."""
    import torch
    from safetensors.torch import load_file

    head, name = head_of(model)
    saved = load_file(file)
    several = torch.nn.Linear(head.in_features, len(saved["weight"]), bias="bias" in saved)
    several.load_state_dict(saved)
    owner, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner), attribute, several.to(head.weight.device, head.weight.dtype))
    model.config.num_labels = len(saved["weight"])
    model.num_labels = len(saved["weight"])


def combined(raw: np.ndarray, way: str, weight: float = 1.0) -> np.ndarray:
    """(N, members) → (N,): "mean", "min" (worst case) or "uncertain" (mean − weight · standard deviation).

    Coste et al. 2023 (arXiv 2310.02743).
    """
    if way == "min":
        return np.asarray(raw.min(1))
    if way == "uncertain" and raw.shape[1] > 1:
        return np.asarray(raw.mean(1) - weight * raw.std(1, ddof=1))
    return np.asarray(raw.mean(1))
