"""TRL's SFTTrainer made fast on processors: only counted positions are projected, a shared prefix is computed once.

Imports torch and TRL, so only functions import this module.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F
from trl import SFTTrainer

from .fit import ByLength
from .logprobs import counted_states, pieces, unwrapped


class CompletionTrainer(ByLength, SFTTrainer):
    """SFTTrainer whose loss projects only the positions it counts and computes a batch's common prefix once.

    TRL's own loss projects every position where there is no Triton; with `own_loss` False it is left as it is.
    """

    own_loss = True

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if return_outputs or not self.own_loss:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inner = unwrapped(model)
        total, count = completion_loss(inner, inputs["input_ids"], inputs["attention_mask"], inputs["labels"])
        return total / (count if num_items_in_batch is None else num_items_in_batch)


def completion_loss(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """Sum of the negative log-likelihoods of `labels` (-100: not counted) in nats, and how many there are.

    All three are (B, T), padded on the right.
    """
    states, answers = counted_states(model, ids, mask, labels)
    return _nll(model.get_output_embeddings(), states, answers), len(answers)


def _nll(head: torch.nn.Module, states: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    if getattr(head, "bias", None) is not None:
        return F.cross_entropy(head(states).float(), answers, reduction="sum")
    loss: torch.Tensor = ProjectedLoss.apply(states, head.weight, answers)
    return loss


class ProjectedLoss(torch.autograd.Function):
    """Sum of the cross-entropies of `states` (N, H) projected by `weight` (V, H) against `answers` (N,).

    The gradients are computed along with the loss, piece by piece (`pieces`), and no logit twice. (The idea of
    Liger's fused linear cross-entropy, Hsu et al. 2024.)
    """

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        by_state = torch.empty_like(states)
        by_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for piece in pieces(len(answers), weight):
            target = answers[piece, None]
            logits = F.linear(states[piece], weight).log_softmax(1, dtype=torch.float32)  # (C, V)
            total -= logits.gather(1, target).sum()
            logits.exp_()  # probabilities; less 1 at the target they are the gradient
            logits.scatter_add_(1, target, -torch.ones_like(target, dtype=logits.dtype))
            slope = logits.to(states.dtype)
            by_state[piece] = slope @ weight
            if by_weight is not None:
                by_weight += slope.T @ states[piece]
        ctx.save_for_backward(by_state, None if by_weight is None else by_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        by_state, by_weight = ctx.saved_tensors
        return by_state * scale, None if by_weight is None else by_weight * scale, None
