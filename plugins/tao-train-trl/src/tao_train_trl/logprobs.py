"""Log-probabilities of the tokens of answers, differentiable, without the logits of positions that do not count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from . import shared_prefix

LOSS_BYTES = 1 << 24  # of float32 logits in memory together on a processor, whose caches hold them
LOSS_CHUNK = 512  # positions whose logits are in memory together elsewhere
# configuration entries that say a model does more with its logits than project
LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


def unwrapped(model: Any) -> Any:
    """The model inside peft's wrapper, if it has one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def projects_only(model: Any) -> bool:
    """Whether the model's logits are its head's output, with nothing done to them and no loss beside them."""
    config = model.config.get_text_config()
    changed = any(getattr(config, name, None) is not None for name in LOGIT_CHANGES)
    return not changed and not hasattr(config, "output_router_logits")


def counted_states(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The states (N, H) before each label that counts, row by row, and those labels (N,).

    `ids`, `mask`, `labels` are (B, T), padded on the right; label -100 is not counted. A model that attends by
    `shared_prefix.ATTENTION` computes the rows' common prefix once: the same function of the weights, to rounding.
    """
    if model.config._attn_implementation == shared_prefix.ATTENTION:
        prefix = common_prefix(ids, mask, labels)
        hidden = shared_prefix.hidden_states(model, ids, prefix)  # (B, T - prefix, H)
        labels = labels[:, prefix:]
    else:
        hidden = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state  # (B, T, H)
    counted = labels[:, 1:] != -100
    return hidden[:, :-1][counted], labels[:, 1:][counted]


def common_prefix(ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> int:
    """How many tokens all rows begin with, stopping before the state that predicts the first counted token."""
    same = (ids == ids[:1]).all(0) & mask.bool().all(0) & (labels == -100).all(0)  # (T,)
    return max(0, int(same.long().cumprod(0).sum()) - 1)


def token_logprobs(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, own: bool = True
) -> torch.Tensor:
    """Natural-log probabilities (N,) of the counted labels, row by row, in float32. Shapes as in `counted_states`.

    `own` needs a model whose logits are only its head's projection; False goes through the model's own forward (and
    through whatever wraps it, as several processes need).
    """
    if own:
        inner = unwrapped(model)
        states, answers = counted_states(inner, ids, mask, labels)
        head = inner.get_output_embeddings()
        if getattr(head, "bias", None) is None:
            logprobs: torch.Tensor = ProjectedLogProbs.apply(states, head.weight, answers)
            return logprobs
        logits = head(states).float()
    else:
        counted = labels[:, 1:] != -100
        first = int(counted.any(0).long().argmax())  # no logits are needed before the first answer's first token
        kept = ids.shape[1] - first
        whole = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=kept).logits[:, -kept:-1]
        counted, answers = counted[:, first:], labels[:, 1:][counted]
        logits = whole[counted].float()  # (N, V)
    return logits.gather(1, answers[:, None])[:, 0] - logits.logsumexp(1)


def pieces(count: int, weight: torch.Tensor) -> Iterator[slice]:
    """`count` positions in pieces whose logits, projected by `weight` (V, H), are in memory together."""
    size = max(1, LOSS_BYTES // (4 * weight.shape[0])) if weight.device.type == "cpu" else LOSS_CHUNK
    for start in range(0, count, size):
        yield slice(start, start + size)


class ProjectedLogProbs(torch.autograd.Function):
    """Log-probabilities (N,) of `answers` (N,) under `states` (N, H) projected by `weight` (V, H).

    The logits exist piece by piece (`pieces`); the backward pass computes them again.
    """

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        sums = torch.empty(len(answers), dtype=torch.float32, device=states.device)
        found = torch.empty_like(sums)
        for piece in pieces(len(answers), weight):
            logits = F.linear(states[piece], weight).float()  # (C, V)
            sums[piece] = logits.logsumexp(1)
            found[piece] = logits.gather(1, answers[piece, None])[:, 0]
        ctx.save_for_backward(states, weight, answers, sums)
        return found - sums

    @staticmethod
    def backward(ctx: Any, slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, weight, answers, sums = ctx.saved_tensors
        by_state = torch.empty_like(states)
        by_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for piece in pieces(len(answers), weight):
            logits = F.linear(states[piece], weight).float()
            logits.sub_(sums[piece, None]).exp_().mul_(-slopes[piece, None])  # (1 at the answer - p) · slope
            logits.scatter_add_(1, answers[piece, None], slopes[piece, None].float())
            slope = logits.to(states.dtype)
            by_state[piece] = slope @ weight
            if by_weight is not None:
                by_weight += slope.T @ states[piece]
        return by_state, None if by_weight is None else by_weight.to(weight.dtype), None
