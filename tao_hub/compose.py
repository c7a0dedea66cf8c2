"""Rewards → one total per candidate: weighted sum, hard gates, and never a total where a component failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .config import RewardUse
from .types import Group, Score


def compose(group: Group, rewards: Sequence[RewardUse], min_total: float | None = None) -> Group:
    """The group with `totals` and `rejected` filled.

    total = Σ weight·value over the rewards. A candidate with a missing or failed component has no total: it is
    unscored, never scored on another scale than its siblings. A value below a reward's gate refuses the candidate.
    """
    totals, rejected = [], []
    for candidate, scores in zip(group.candidates, group.scores):
        total, why = _total(scores, rewards)
        if candidate.error:
            total, why = None, "generation failed"
        elif candidate.truncated:
            why = "truncated"
        elif total is not None and not why and min_total is not None and (total.value or 0.0) < min_total:
            why = f"total below {min_total:g}"
        totals.append(total)
        rejected.append(why)
    return replace(group, totals=tuple(totals), rejected=tuple(rejected))


def _total(scores: Mapping[str, Score], rewards: Sequence[RewardUse]) -> tuple[Score | None, str]:
    total, why = 0.0, ""
    for use in rewards:
        score = scores.get(use.key)
        if score is None:
            return None, f"not scored by {use.key}"
        if score.value is None:
            kind = (score.error or {}).get("type", "Error")
            return Score.failed(f"{use.key}: {(score.error or {}).get('message', '')}", kind), f"{use.key} failed"
        total += use.weight * score.value
        if use.gate is not None and score.value < use.gate and not why:
            why = f"{use.key} below {use.gate:g}"
    return Score(total, parts={u.key: s.value for u in rewards if (s := scores[u.key]).value is not None}), why
