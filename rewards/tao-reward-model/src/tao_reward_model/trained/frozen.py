"""Heads on a frozen body: the body is computed once, each head is a convex problem that L-BFGS solves."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from tao_hub import UsageError

from .bases import head_of
from .fit import Item, taught
from .forward import logits
from .layout import Tokens
from .losses import group_loss
from .options import TrainOptions

STEPS = 200


def features(
    model: Any, tokens: Sequence[Tokens], told: Callable[[int], None] | None = None,
    prompts: Sequence[Hashable] | None = None,
) -> Tensor:  # fmt: skip
    """What the head sees of every text: (N, H) float32. `prompts` as for `logits`.

    The stock forward pass with an identity for the head, so pooling is the model's own.
    """
    _, name = head_of(model)
    owner, _, attribute = name.rpartition(".")
    parent = model.get_submodule(owner)
    head = getattr(parent, attribute)
    setattr(parent, attribute, torch.nn.Identity())
    try:
        return logits(model, tokens, told=told, prompts=prompts)
    finally:
        setattr(parent, attribute, head)


def fit_heads(states: Tensor, items: Sequence[Item], options: TrainOptions) -> tuple[Tensor, Tensor]:
    """(weights (k, A, H), biases (k, A)) of k members with a head for each of A attributes (1: the whole). One member:
    all rows; several: each on rows drawn with replacement (bagging, Breiman 1996), since a convex problem has one
    answer whatever its seed.

    Minimises loss + l2·H/(2n)·‖w‖² over states that are moved to mean 0 and scaled to unit variance. (The mean is the
    bias's to say: left in, it makes the problem so ill-conditioned that L-BFGS stops before the bias has moved.)
    """
    starts = torch.tensor([0, *(len(i.tokens) for i in items)]).cumsum(0)
    draw = torch.Generator().manual_seed(options.seed)
    weights, biases = [], []
    mean, scale = states.mean(0), states.std(0).mean().clamp(min=1e-6)
    for _ in range(options.ensemble):
        rows = torch.arange(len(items))
        if options.ensemble > 1:
            rows = torch.randint(len(items), (len(items),), generator=draw)
        places = torch.cat([torch.arange(starts[i], starts[i + 1]) for i in rows.tolist()])
        drawn = (states[places] - mean) / scale
        heads = {h["head"]: h for h in taught([items[i] for i in rows.tolist()], options.margin)}
        if missing := sorted(set(range(len(items[0].targets))) - set(heads)):
            name = [*options.heads][missing[0]]
            raise UsageError(f"no row of {name!r} was drawn for a member: give more, or lower --ensemble")
        fitted = [_fit_one(drawn[heads[i]["places"]], heads[i]["groups"], options) for i in sorted(heads)]
        weights.append(torch.stack([weight for weight, _ in fitted]) / scale)
        biases.append(torch.stack([bias for _, bias in fitted]) - weights[-1] @ mean)
    return torch.stack(weights), torch.stack(biases)


def _fit_one(states: Tensor, groups: dict[str, Tensor], options: TrainOptions) -> tuple[Tensor, Tensor]:
    width = states.shape[1]
    weight = torch.zeros(width, requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    penalty = options.l2 * width / (2 * len(groups["place"]))
    solver = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-6)

    def closure() -> Tensor:
        solver.zero_grad()
        scores = states @ weight + bias
        loss = group_loss(scores, groups, options.loss, options.centring) + penalty * (weight @ weight)
        loss.backward()
        return loss

    solver.step(closure)
    return weight.detach(), bias.detach()


def put(model: Any, weights: Tensor, biases: Tensor) -> tuple[dict[str, Tensor], list[float]]:
    """Give the model the mean of the members' heads; returns what `heads.safetensors` holds, (k·A, H) and (k·A,), and
    for each attribute the bias that the model has no place for.

    A stock decoder's head has no bias. Then the members' mean one is left to the contract, so that the folder gives the
    same logits in `transformers` and here, and the members keep what they differ from it by.
    """
    head, _ = head_of(model)
    mean = biases.mean(0)
    with torch.no_grad():
        head.weight.copy_(weights.mean(0))
        if head.bias is not None:
            head.bias.copy_(mean)
    own = biases if head.bias is not None else biases - mean
    heads = {"weight": weights.flatten(0, 1).contiguous(), "bias": own.flatten()}
    return heads, [0.0] * len(mean) if head.bias is not None else mean.tolist()
