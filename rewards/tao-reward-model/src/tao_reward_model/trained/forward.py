"""Token ids → logits, in batches of like length; what else is in a batch, and its order, never changes a score."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch

from . import prefix
from .layout import Tokens
from .padding import BATCH_ROWS, BATCH_TOKENS, batches, pad

CPU_TOKENS, CPU_ROWS = 2048, 16  # at most, on a processor: what a layer makes of them stays in its cache


def logits(
    model: Any, tokens: Sequence[Tokens], batch_tokens: int = BATCH_TOKENS, told: Callable[[int], None] | None = None,
    prompts: Sequence[Hashable] | None = None,
) -> torch.Tensor:  # fmt: skip
    """(N, outputs) in float32 on the CPU. A model without a padding id is asked one text at a time.

    `prompts` name each text's prompt: where the model allows it, texts of one prompt read it once.
    """
    pad_id = model.config.get_text_config().pad_token_id
    limit, rows = batch_tokens, 1 if pad_id is None else BATCH_ROWS
    if next(model.parameters()).device.type == "cpu":
        limit, rows = min(limit, CPU_TOKENS), min(rows, CPU_ROWS)
    groups = prefix.groups_of(tokens, prompts, pad_id) if prompts and prefix.applies(model) else []
    shared = {i for group in groups for i in group.places}
    alone = [i for i in range(len(tokens)) if i not in shared]
    found: torch.Tensor | None = None
    model.eval()
    with torch.inference_mode():
        together = prefix.scored(model, tokens, groups, limit, rows, batch_tokens)
        for places, out in chain(_plain(model, tokens, alone, limit, rows), together):
            if found is None:
                found = torch.empty(len(tokens), out.shape[-1])
            found[places] = out.float().cpu()
            if told:
                told(len(places))
    return torch.empty(0, 1) if found is None else found


def _plain(
    model: Any, tokens: Sequence[Tokens], places: Sequence[int], limit: int, rows: int
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """(places, (B, outputs)) of each whole text at these places."""
    pad_id, device = model.config.get_text_config().pad_token_id, next(model.parameters()).device
    for batch in batches([tokens[i] for i in places], limit, rows):
        some = [places[j] for j in batch]
        inputs = pad([tokens[i] for i in some], pad_id or 0)
        yield some, model(**{name: tensor.to(device) for name, tensor in inputs.items()}).logits
