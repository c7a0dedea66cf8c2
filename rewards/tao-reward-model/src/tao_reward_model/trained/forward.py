"""Token ids → logits, in batches of like length; what else is in a batch, and its order, never changes a score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .layout import Tokens

BATCH_TOKENS = 8192  # padded, in one forward pass
BATCH_ROWS = 64
CPU_TOKENS, CPU_ROWS = 2048, 16  # at most, on a processor: what a layer makes of them stays in its cache


def pad(tokens: Sequence[Tokens], pad_id: int) -> dict[str, torch.Tensor]:
    """Right-padded (B, T) tensors as the model takes them."""
    longest = max(len(t.ids) for t in tokens)
    rows = [[*t.ids, *[pad_id] * (longest - len(t.ids))] for t in tokens]
    made = {
        "input_ids": torch.tensor(rows, dtype=torch.long),
        "attention_mask": torch.tensor([[1] * len(t.ids) + [0] * (longest - len(t.ids)) for t in tokens]),
    }
    if tokens[0].types is not None:
        made["token_type_ids"] = torch.tensor([[*(t.types or ()), *[0] * (longest - len(t.ids))] for t in tokens])
    return made


def batches(tokens: Sequence[Tokens], limit: int = BATCH_TOKENS, rows: int = BATCH_ROWS) -> list[list[int]]:
    """Indices by length, so many that rows × longest stays within `limit`."""
    order = sorted(range(len(tokens)), key=lambda i: (len(tokens[i].ids), i))
    made: list[list[int]] = []
    for i in order:
        full = made and (len(made[-1]) >= rows or (len(made[-1]) + 1) * len(tokens[i].ids) > limit)
        if not made or full:
            made.append([])
        made[-1].append(i)
    return made


def logits(
    model: Any, tokens: Sequence[Tokens], batch_tokens: int = BATCH_TOKENS, told: Callable[[int], None] | None = None
) -> torch.Tensor:
    """(N, outputs) in float32 on the CPU. A model without a padding id is asked one text at a time."""
    pad_id = model.config.get_text_config().pad_token_id
    rows = 1 if pad_id is None else BATCH_ROWS
    found: torch.Tensor | None = None
    device = next(model.parameters()).device
    if device.type == "cpu":
        batch_tokens, rows = min(batch_tokens, CPU_TOKENS), min(rows, CPU_ROWS)
    model.eval()
    with torch.inference_mode():
        for batch in batches(tokens, batch_tokens, rows):
            inputs = pad([tokens[i] for i in batch], pad_id or 0)
            out = model(**{name: tensor.to(device) for name, tensor in inputs.items()}).logits.float().cpu()
            if found is None:
                found = torch.empty(len(tokens), out.shape[-1])
            found[batch] = out
            if told:
                told(len(batch))
    return torch.empty(0, 1) if found is None else found
