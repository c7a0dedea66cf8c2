"""Best-of-n: what picking the best of n by a reward gains by a gold one, without drawing again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import tao_hub
from tao_hub import best_of_n_kl, best_of_n_sizes, best_of_n_value

from . import pairwise
from .items import Judged, Measure, Outcome


@dataclass(frozen=True)
class Point:
    """Mean gold and proxy reward of the best of n by proxy, the closed-form KL from the policy in nats, √KL."""

    n: int
    kl: float
    distance: float
    proxy: float
    gold: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Points over n = 1, 2, 4, … on the same prompts, the fit gold(d) − gold(0) = d(α − βd), and the paired difference
    between the last point and the best one."""

    points: tuple[Point, ...]
    prompts: int
    left_out: int
    alpha: float
    beta: float
    peak: float | None
    fall: float
    fall_low: float
    fall_high: float
    verdict: str


def fit(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least-squares (α, β) of gain = d(α − βd) over (d, gain): Gao, Schulman & Hilton 2022 (arXiv 2210.10760).

    (0, 0) where fewer than two distances are above 0.
    """
    far = [(d, gain) for d, gain in points if d > 0]
    if len({d for d, _ in far}) < 2:
        return 0.0, 0.0
    s2, s3, s4 = (math.fsum(d**k for d, _ in far) for k in (2, 3, 4))
    t1, t2 = (math.fsum(d**k * gain for d, gain in far) for k in (1, 2))
    across = s2 * s4 - s3 * s3
    return (t1 * s4 - t2 * s3) / across, (t1 * s3 - t2 * s2) / across


def curve(proxy: Sequence[Judged], gold: Sequence[Judged], most: int | None = None) -> Curve:
    """The curve over items that both could score and that have `most` candidates (default: what most items have).

    Raises ValueError where fewer than two such items are left.
    """
    both = [(p, g) for p, g in zip(proxy, gold) if not p.failed and not g.failed and len(p.scores) > 1]
    counts = [len(p.scores) for p, _ in both]
    most = most or max(set(counts), key=lambda n: (counts.count(n), n), default=0)
    used = [(p.values, g.values, p.item.cluster) for p, g in both if len(p.scores) >= most]
    if len(used) < 2:
        raise ValueError(f"best-of-n needs two or more prompts with several scored candidates, found {len(used)}")
    clusters = [cluster for _, _, cluster in used]
    by_n = {n: [best_of_n_value(p, g, n) for p, g, _ in used] for n in best_of_n_sizes(most)}
    points = []
    for n, values in by_n.items():
        low, high = _interval(values, clusters)
        mean_proxy = fmean(best_of_n_value(p, p, n) for p, _, _ in used)
        points.append(Point(n, best_of_n_kl(n), math.sqrt(best_of_n_kl(n)), mean_proxy, fmean(values), low, high))
    alpha, beta = fit([(p.distance, p.gold - points[0].gold) for p in points])
    trend = tao_hub.best_of_n_trend(by_n, clusters)
    return Curve(
        tuple(points), len(used), len(proxy) - len(used), alpha, beta, alpha / (2 * beta) if beta > 0 < alpha else None,
        trend.fall.delta, trend.fall.low, trend.fall.high, trend.verdict,
    )  # fmt: skip


def _interval(values: Sequence[float], clusters: Sequence[str]) -> tuple[float, float]:
    found = tao_hub.paired_delta([0.0] * len(values), values, clusters)
    return found.low, found.high


def measure(judged: Sequence[Judged]) -> Outcome:
    """How candidates are ordered against their grades (`label`): pairs with different grades, top 1, Kendall's τ-b.

    Top 1 is the share of prompts whose highest score goes to one of the best grades, ties shared, and `chance` what a
    blind pick would do. Prompts whose grades are all equal tell nothing and are left out; as are those without grades.
    """
    telling = [j for j in judged if j.item.label and len(set(j.item.label)) > 1]
    if not telling:
        return Outcome((Measure("accuracy", None, errors=sum(j.failed for j in judged)),))
    scored = [j for j in telling if not j.failed]
    credit = {j.item.id: ordered(j.values, j.item.label) for j in scored}
    top = {j.item.id: top_one(j.values, j.item.label) for j in scored}
    chance = {j.item.id: top_one([0.0] * len(j.scores), j.item.label) for j in scored}
    tau = [tao_hub.kendall_tau_b(j.values, j.item.label) for j in scored]
    measures = [pairwise.over("accuracy", telling, credit), pairwise.over("top 1", telling, top),
                pairwise.over("top 1 by chance", telling, chance)]  # fmt: skip
    if tau:
        low, high = _interval(tau, [j.item.cluster for j in scored])
        measures.append(Measure("kendall tau-b", fmean(tau), max(-1, low), min(1, high), len(tau), measures[0].errors))
    return Outcome(tuple(measures), credit)


def _pairs(item_grades: Sequence[float]) -> list[tuple[int, int]]:
    """Indices (better, worse) of all candidates with different grades."""
    n = range(len(item_grades))
    return [(i, j) for i in n for j in n if item_grades[i] > item_grades[j]]


def ordered(scores: Sequence[float], grades: Sequence[float]) -> float:
    """The share of pairs with different grades that the scores order alike; a tie is a loss."""
    pairs = _pairs(grades)
    return sum(scores[i] > scores[j] for i, j in pairs) / len(pairs)


def top_one(scores: Sequence[float], grades: Sequence[float]) -> float:
    top, best = max(scores), max(grades)
    chosen = [g for s, g in zip(scores, grades) if s == top]
    return sum(g == best for g in chosen) / len(chosen)
