"""What a reward model is worth on held-out rows: accuracy, ranking, calibration, and what length alone would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tao_hub

from .rows import Ranked

BINS = 10
CONFIDENCES = (0.6, 0.7, 0.8, 0.9)
MATCHED = 1.1  # lengths whose ratio is at most this are alike
LOG_TEMPERATURES = (-6.0, 6.0)  # natural logarithms between which the temperature is sought


@dataclass(frozen=True)
class Judged:
    """A held-out row with the model's logit per response; `cluster` names prompts that belong together."""

    row: Ranked
    values: tuple[float, ...]
    cluster: int


@dataclass(frozen=True)
class Pairs:
    """All held-out pairs as arrays (P,): gaps are better − worse, in logits and in characters."""

    gap: np.ndarray
    length: np.ndarray
    ratio: np.ndarray
    cluster: np.ndarray
    domain: np.ndarray

    def __len__(self) -> int:
        return len(self.gap)

    def where(self, mask: np.ndarray) -> Pairs:
        return Pairs(*(getattr(self, f)[mask] for f in ("gap", "length", "ratio", "cluster", "domain")))


def pairs_of(judged: Sequence[Judged]) -> Pairs:
    rows = [
        (j.values[a] - j.values[b], len(j.row.responses[a]) - len(j.row.responses[b]),
         len(j.row.responses[a]) / len(j.row.responses[b]), j.cluster, j.row.domain)
        for j in judged for a, b in j.row.pairs
    ]  # fmt: skip
    columns = list(zip(*rows)) if rows else [()] * 5
    kinds: list[Any] = [float, float, float, int, object]
    return Pairs(*(np.array(column, dtype=kind) for column, kind in zip(columns, kinds)))


def length_signs(rows: Sequence[Ranked]) -> dict[str, int]:
    """By source: +1 if the better response is the longer one in most of its training pairs, else −1. One rule for all
    would be no rule for a source that goes the other way, and easily beaten there."""
    sums: dict[str, float] = {}
    for r in rows:
        gaps = [len(r.responses[a]) - len(r.responses[b]) for a, b in r.pairs]
        sums[r.domain] = sums.get(r.domain, 0.0) + float(sum(np.sign(gaps)))
    return {domain: 1 if total >= 0 else -1 for domain, total in sums.items()}


def share(values: np.ndarray, clusters: np.ndarray) -> dict[str, Any]:
    """A mean of values in 0–1 with its 95% interval, clustered by prompt (see `tao_hub.paired_delta`)."""
    found = tao_hub.paired_delta([0.0] * len(values), values.tolist(), clusters.tolist())
    low, high = max(0.0, found.low), min(1.0, found.high)
    if len(set(values.tolist()) - {0.0, 1.0}) == 0 and (found.units == len(values) or len(set(values.tolist())) == 1):
        low, high = tao_hub.proportion_interval(found.delta * found.units, found.units)  # Wilson: independent, or alike
    return {"value": found.delta, "low": low, "high": high, "n": len(values), "prompts": found.units}


def accuracy(pairs: Pairs, signs: Mapping[str, int], others: dict[str, np.ndarray] | None = None) -> dict[str, Any]:
    """Share of pairs whose better response scores strictly higher, and the same for length alone (`signs` by source, 1
    where it has none) and `others`.

    A tie of the model counts as wrong, one of length or of a baseline as half. The verdict is "better than length" only
    if the paired interval of the difference lies above 0 and that of the accuracy above one half.
    """
    right = (pairs.gap > 0).astype(float)
    sign = np.array([signs.get(domain, 1) for domain in pairs.domain.tolist()])
    by_length = (np.sign(sign * pairs.length) + 1) / 2
    by_others = {name: (np.sign(gap) + 1) / 2 for name, gap in (others or {}).items()}

    def over(baseline: np.ndarray) -> dict[str, float]:
        gain = tao_hub.paired_delta(baseline.tolist(), right.tolist(), pairs.cluster.tolist())
        return {"delta": gain.delta, "low": gain.low, "high": gain.high, "p": gain.p}

    own, over_length = share(right, pairs.cluster), over(by_length)
    better = over_length["low"] > 0 and own["low"] > 0.5
    matched = pairs.where(np.maximum(pairs.ratio, 1 / pairs.ratio) <= MATCHED)
    return {
        "accuracy": {**own, "ties": int((pairs.gap == 0).sum())},
        "length_only": {**share(by_length, pairs.cluster), "rule": _rule(pairs, sign)},
        "baselines": {name: {**share(b, pairs.cluster), "over": over(b)} for name, b in by_others.items()},
        "over_length": over_length,
        "length_matched": share((matched.gap > 0).astype(float), matched.cluster) if len(matched) else None,
        "prefers_longer": float((np.sign(pairs.gap) == np.sign(pairs.length)).mean()),
        "verdict": "better than length" if better else "not better than length",
    }


def _rule(pairs: Pairs, sign: np.ndarray) -> str:
    names = {1: "longer wins", -1: "shorter wins"}
    found = dict(zip(pairs.domain.tolist(), sign.tolist()))
    if len(set(found.values())) == 1:
        return names[next(iter(found.values()))]
    return ", ".join(f"{domain}: {names[own]}" for domain, own in sorted(found.items()))


def ranking(judged: Sequence[Judged]) -> dict[str, Any] | None:
    """Best-of-n (is the top-scored response one of the best? beside chance) and Kendall's τ-b, where there are three
    or more responses; None where no row has them."""
    lists = [j for j in judged if len(j.values) > 2 and j.row.pairs]
    if not lists:
        return None
    top, chance, taus = [], [], []
    for j in lists:
        best = [s == max(j.row.scores) for s in j.row.scores]
        first = [good for good, value in zip(best, j.values) if value == max(j.values)]
        top.append(sum(first) / len(first))  # of equals any may be picked
        chance.append(sum(best) / len(best))
        taus.append(tao_hub.kendall_tau_b(j.values, j.row.scores))
    clusters = np.array([j.cluster for j in lists])
    return {
        "best_of_n": share(np.array(top), clusters), "chance": float(np.mean(chance)),
        "mean_n": float(np.mean([len(j.values) for j in lists])), "kendall_tau_b": float(np.mean(taus)),
    }  # fmt: skip


def curve(judged: Sequence[Judged]) -> dict[str, Any] | None:
    """What the best of n by the model is worth by the held-out scores, as n grows: Gao, Schulman & Hilton 2022 (arXiv
    2210.10760), with the estimator of `tao_hub.best_of_n_value` over the responses that there are.

    Of rows with three or more responses those that have as many as most have (or more); a ranking counts 1 for its
    best ones, 0 for the others. "over-optimised" where the last point lies significantly below the best one. None for
    fewer than two such rows.
    """
    lists = [j for j in judged if len(j.values) > 2]
    counts = [len(j.values) for j in lists]
    most = max(set(counts), key=lambda n: (counts.count(n), n), default=0)
    used = [j for j in lists if len(j.values) >= most]
    if len(used) < 2:
        return None
    worth = [
        j.row.scores if j.row.graded else tuple(float(s == max(j.row.scores)) for s in j.row.scores) for j in used
    ]
    clusters = [j.cluster for j in used]
    by_n = {
        n: [tao_hub.best_of_n_value(j.values, own, n) for j, own in zip(used, worth)]
        for n in tao_hub.best_of_n_sizes(most)
    }
    points = []
    for n, values in by_n.items():
        found = tao_hub.paired_delta([0.0] * len(values), values, clusters)
        points.append({
            "n": n, "kl": tao_hub.best_of_n_kl(n), "value": found.delta, "low": found.low, "high": found.high,
            "chance": float(np.mean([np.mean(own) for own in worth])),
            "best": float(np.mean([tao_hub.best_of_n_value(own, own, n) for own in worth])),
        })  # fmt: skip
    trend = tao_hub.best_of_n_trend(by_n, clusters)
    gain = {"delta": trend.gain.delta, "low": trend.gain.low, "high": trend.gain.high}
    return {"points": points, "prompts": len(used), "peak": trend.peak, "gain": gain, "verdict": trend.verdict}


def fit_temperature(gap: np.ndarray, target: np.ndarray) -> float:
    """T > 0 that makes σ(gap / T) most likely for outcomes in 0–1 (Guo et al. 2017, arXiv 1706.04599), by golden
    section over log T (the loss is convex in 1/T, so it has one minimum).

    Outcomes are smoothed to (n·t + 1)/(n + 2) (Platt 1999): where all of n are right, T would go to 0 otherwise.
    """
    target = (len(target) * target + 1) / (len(target) + 2)
    low, high = LOG_TEMPERATURES
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        one, two = high - ratio * (high - low), low + ratio * (high - low)
        if nll(gap / np.exp(one), target) < nll(gap / np.exp(two), target):
            high = two
        else:
            low = one
    return float(np.exp((low + high) / 2))


def nll(logit: np.ndarray, target: np.ndarray) -> float:
    """Mean negative log-likelihood in nats of outcomes in 0–1 under σ(logit)."""
    return float(np.mean(np.logaddexp(0, logit) - target * logit))


def ece(probability: np.ndarray, outcome: np.ndarray) -> float:
    """Expected calibration error over ten bins of equal width (Naeini et al. 2015)."""
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    gaps = [abs(probability[bins == b].sum() - outcome[bins == b].sum()) for b in range(BINS)]
    return float(sum(gaps) / len(probability))


def reliability(probability: np.ndarray, outcome: np.ndarray) -> list[dict[str, float]]:
    """The bins that have members: their mean predicted probability, and the share that came true with its 95% interval
    (Wilson; a bin's members count as independent)."""
    bins, found = np.minimum((probability * BINS).astype(int), BINS - 1), []
    for b in sorted(set(bins.tolist())):
        own = outcome[bins == b]
        low, high = tao_hub.proportion_interval(float(own.sum()), len(own))
        told = {"predicted": float(probability[bins == b].mean()), "observed": float(own.mean())}
        found.append({"n": len(own), **told, "low": low, "high": high})
    return found


def calibration(logit: np.ndarray, target: np.ndarray, clusters: np.ndarray) -> dict[str, Any]:
    """Temperature (fitted on all), and NLL, ECE and selective accuracy by cross-fitting: each half of the prompts is
    judged with the temperature of the other half."""
    temperature = fit_temperature(logit, target)
    half = np.isin(clusters, sorted(set(clusters.tolist()))[::2])
    scaled = np.empty_like(logit)
    for side in (half, ~half):
        fitted = fit_temperature(logit[~side], target[~side]) if (~side).any() else temperature
        scaled[side] = logit[side] / fitted
    raw, own = _sigmoid(logit), _sigmoid(scaled)
    sure = np.maximum(own, 1 - own)
    right = ((own > 0.5) == (target > 0.5)).astype(float)
    return {
        "temperature": temperature, "nll_before": nll(logit, target), "nll_after": nll(scaled, target),
        "ece_before": ece(raw, target), "ece_after": ece(own, target), "n": len(logit),
        "bins": reliability(own, target),
        "selective": [
            {"confidence": c, "coverage": float((sure >= c).mean()),
             "accuracy": float(right[sure >= c].mean()) if (sure >= c).any() else None}
            for c in CONFIDENCES
        ],
    }  # fmt: skip


def calibrate(judged: Sequence[Judged], pairs: Pairs, loss: str) -> dict[str, Any] | None:
    """For verdicts the probability of being right; else of the better response of a pair, each pair in a fixed
    direction that does not depend on which is better. None where there is nothing to fit on."""
    if loss == "bce":
        values = np.array([v for j in judged for v in j.values])
        target = np.array([s for j in judged for s in j.row.scores])
        return calibration(values, target, np.array([j.cluster for j in judged for _ in j.values]))
    if len(pairs) < 2:
        return None
    turned = np.where(np.arange(len(pairs)) % 2, -1.0, 1.0)
    return calibration(pairs.gap * turned, (turned + 1) / 2, pairs.cluster)


def with_length(judged: Sequence[Judged]) -> float | None:
    """Spearman's correlation of score and characters over all held-out responses; None where one never varies."""
    from scipy.stats import spearmanr

    values = [v for j in judged for v in j.values]
    lengths = [len(r) for j in judged for r in j.row.responses]
    if len(set(values)) < 2 or len(set(lengths)) < 2:
        return None
    return float(spearmanr(values, lengths).statistic)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(0, -x)))
