"""Losses of reward models: Bradley–Terry, Plackett–Luce, regression and cross-entropy, as functions of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def bradley_terry(
    chosen: Tensor, rejected: Tensor, margin: Tensor | None = None, centring: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """Mean over pairs of −log σ(chosen − rejected − margin) + centring·(chosen + rejected)²; all are (P,).

    Bradley & Terry 1952; margin: Touvron et al. 2023 (arXiv 2307.09288, eq. 2); centring: Eisenstein et al. 2023
    (arXiv 2312.09244, eq. 2). With `weight` (P,) a weighted mean. Equal to TRL's RewardTrainer.
    """
    gap = chosen - rejected if margin is None else chosen - rejected - margin
    each = -F.logsigmoid(gap) + centring * (chosen + rejected) ** 2
    return each.mean() if weight is None else (weight * each).sum() / weight.sum()


def plackett_luce(scores: Tensor, targets: Tensor, mask: Tensor, centring: float = 0.0) -> Tensor:
    """Mean over groups of the negative log-likelihood of their order, per choice made; all are (G, N).

    −(1/K)·Σ_i log( e^{s_i} / Σ_{j: t_j ≤ t_i} e^{s_j} ) over the K items that have a worse one (Plackett 1975, Luce
    1959). Tied items stay in each other's sums (Breslow 1974). With two items this is Bradley–Terry. `mask` is True
    where an item exists; centring adds centring·(2·mean score of the group)², TRL's term where there are two.
    """
    there = mask[:, None, :] & (targets[:, None, :] <= targets[:, :, None])  # (G, N, N): j is a choice beside i
    beside = torch.where(there, scores[:, None, :], -torch.inf).logsumexp(-1)  # (G, N)
    worse = (mask[:, None, :] & (targets[:, None, :] < targets[:, :, None])).any(-1) & mask
    # an item that does not exist has an empty sum: keep its infinity out of the gradient
    nll = torch.where(worse, torch.where(mask, beside, 0.0) - scores, 0.0)
    per_group = nll.sum(-1) / worse.sum(-1).clamp(min=1)
    mean = torch.where(mask, scores, 0.0).sum(-1) / mask.sum(-1)
    counted = worse.any(-1)
    return ((per_group + centring * (2 * mean) ** 2) * counted).sum() / counted.sum().clamp(min=1)


def regression(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of scores against ratings; both (M,)."""
    return F.mse_loss(scores, targets)


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of σ(scores) against verdicts in 0–1; both (M,)."""
    return F.binary_cross_entropy_with_logits(scores, targets)


def group_loss(scores: Tensor, groups: dict[str, Tensor], loss: str, centring: float = 0.0) -> Tensor:
    """One of the losses for a batch of groups. `scores` (M,) are those of all its responses, one group after another.

    `groups` is what `batch_of` made: "better"/"worse"/"margin"/"weight" (P,) for pairs (indices into scores), "place"
    and "mask" (G, N) with "ranks" for lists, "targets" (M,).
    """
    if loss == "bradley-terry":
        return bradley_terry(
            scores[groups["better"]], scores[groups["worse"]], groups["margin"], centring, groups["weight"]
        )
    if loss == "plackett-luce":
        return plackett_luce(scores[groups["place"]], groups["ranks"], groups["mask"], centring)
    return (regression if loss == "regression" else cross_entropy)(scores, groups["targets"])


def heads_loss(logits: Tensor, heads: Sequence[dict[str, Any]], loss: str, centring: float = 0.0) -> Tensor:
    """Sum over heads of the share of groups that a head learns from × its loss over them; `logits` (M, heads).

    `heads` is what `batch_of_heads` made. A group that one head learns nothing from leaves that head alone.
    """
    total = sum(
        h["share"] * group_loss(logits[h["places"], h["head"]], h["groups"], loss, centring) for h in heads
    )  # fmt: skip
    return logits.sum() * 0.0 if isinstance(total, int) else total  # a batch that teaches no head moves nothing


def batch_of_heads(
    targets: Sequence[Sequence[tuple[float, ...] | None]], sizes: Sequence[int], margins: Sequence[float | None],
    margin: str = "given",
) -> list[dict[str, Any]]:  # fmt: skip
    """What `heads_loss` takes, from the scores per group and head (None: nothing to learn) and responses per group."""
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    made = []
    for head in range(len(targets[0])):
        taught = [g for g, target in enumerate(targets) if target[head] is not None]
        if taught:
            made.append({
                "head": head, "share": len(taught) / len(targets),
                "places": torch.tensor([i for g in taught for i in range(starts[g], starts[g + 1])]),
                "groups": batch_of([targets[g][head] or () for g in taught], [margins[g] for g in taught], margin),
            })  # fmt: skip
    return made


def batch_of(scores: list[tuple[float, ...]], margins: list[float | None], margin: str = "given") -> dict[str, Tensor]:
    """Index tensors for `group_loss` from the scores (and margins) of each group of a batch.

    A group's pairs weigh 1 together, so that long lists do not drown pairs (Ouyang et al. 2022, arXiv 2203.02155).
    `margin`: "given" uses a row's own, "scores" the difference in score, "none" none.
    """
    better, worse, gaps, weights = [], [], [], []
    longest, start = max(map(len, scores)), 0
    place = torch.zeros(len(scores), longest, dtype=torch.long)
    mask = torch.zeros(len(scores), longest, dtype=torch.bool)
    ranks = torch.zeros(len(scores), longest)
    for g, (group, given) in enumerate(zip(scores, margins)):
        order = range(len(group))
        pairs = [(i, j) for i in order for j in order if group[i] > group[j]]
        for i, j in pairs:
            better.append(start + i)
            worse.append(start + j)
            own = {"given": given or 0.0, "scores": group[i] - group[j], "none": 0.0}[margin]
            gaps.append(own)
            weights.append(1 / len(pairs))
        place[g, : len(group)] = torch.arange(start, start + len(group))
        mask[g, : len(group)] = True
        ranks[g, : len(group)] = torch.tensor(group)
        start += len(group)
    return {
        "better": torch.tensor(better, dtype=torch.long), "worse": torch.tensor(worse, dtype=torch.long),
        "margin": torch.tensor(gaps), "weight": torch.tensor(weights), "place": place, "mask": mask, "ranks": ranks,
        "targets": torch.tensor([s for group in scores for s in group]),
    }  # fmt: skip
