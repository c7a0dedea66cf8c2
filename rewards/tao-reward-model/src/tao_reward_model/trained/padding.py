"""Token ids of several texts → padded tensors, in batches of like length."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .layout import Tokens

BATCH_TOKENS = 8192  # padded, in one forward pass
BATCH_ROWS = 64


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
