"""What a difference is worth: paired deltas, exact tests, intervals and detectable effects as pure functions."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import TypeVar

from .student import t_critical, t_two_sided
from .types import Delta

Item = TypeVar("Item")
POWER = 0.8


@dataclass(frozen=True)
class Estimate:
    """A mean difference with its interval. `se` is None where it cannot be estimated (fewer than two units);
    `units` counts what was sampled independently: items, or clusters where there are some."""

    delta: float
    se: float | None
    low: float
    high: float
    p: float
    n: int
    units: int


def _z(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


# --- paired differences ----------------------------------------------------------------------------------------------


def paired_delta(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    alpha: float = 0.05,
) -> Estimate:
    """Mean of after − before over paired items, with a two-sided (1 − alpha) t interval and p-value.

    Average the K samples of an item first. Without clusters SE = √[Σ(d−d̄)²/(n(n−1))], t with n−1; with clusters
    (one label per item) SE = (1/n)√[G/(G−1)·Σ_g(Σ_{i∈g}(d_i−d̄))²], t with G−1: Miller 2024 (arXiv 2411.00640),
    Liang & Zeger 1986.

    Where the differences do not vary, SE = 0 would claim certainty. Then p is the sign test's and the interval lets a
    share 1 − alpha^(1/units) of unseen items (the rule of three, Hanley & Lippman-Hand 1983) differ by as much as the
    scale allows: 1 for values in [0, 1], else the range seen. Below two units nothing is known: p = 1 and the whole
    scale. Raises ValueError on unequal lengths, no items, or values that are not finite.
    """
    _check_alpha(alpha)
    if len(before) != len(after):
        raise ValueError(f"paired values are needed: found {len(before)} before and {len(after)} after")
    if clusters is not None and len(clusters) != len(before):
        raise ValueError(f"one cluster label per item is needed: found {len(clusters)} for {len(before)} items")
    if not before:
        raise ValueError("no items to compare: found 0 pairs")
    if not all(math.isfinite(value) for value in (*before, *after)):
        raise ValueError("values must be finite; give a failed item as None to `compare`, never as NaN")
    d = [new - old for old, new in zip(before, after)]
    n, mean = len(d), math.fsum(d) / len(d)
    sums: dict[Hashable, list[float]] = {}
    for i, difference in enumerate(d):
        sums.setdefault(i if clusters is None else clusters[i], []).append(difference - mean)
    units = len(sums)
    scale = _scale([*before, *after])
    if units < 2:
        return Estimate(mean, None, -scale, scale, 1.0, n, units)
    squares = math.fsum(math.fsum(residuals) ** 2 for residuals in sums.values())
    se = math.sqrt(units / (units - 1) * squares) / n
    if se <= 1e-12 * scale:
        unseen = discordance_bound(units, alpha)
        p = 1.0 if abs(mean) <= 1e-12 * scale else min(1.0, 2.0 ** (1 - units))
        return Estimate(mean, 0.0, mean - unseen * (scale + mean), mean + unseen * (scale - mean), p, n, units)
    half = t_critical(alpha, units - 1) * se
    return Estimate(mean, se, mean - half, mean + half, t_two_sided(mean / se, units - 1), n, units)


def _scale(values: Sequence[float]) -> float:
    low, high = min(values), max(values)
    return 1.0 if low >= 0 and high <= 1 else high - low or abs(high)


def discordance_bound(n: int, alpha: float = 0.05) -> float:
    """Upper (1 − alpha) bound for the share of items that would differ, when none of n did: 1 − alpha^(1/n) <= 3/n.

    The rule of three: Hanley & Lippman-Hand 1983.
    """
    _check_alpha(alpha)
    _check_counts(n=n)
    return -math.expm1(math.log(alpha) / n)


# --- binary outcomes -------------------------------------------------------------------------------------------------


def mcnemar_exact(gains: int, losses: int) -> float:
    """Two-sided exact p of McNemar's test: min(1, 2·Σ_{k<=min(b,c)} C(b+c,k)/2^(b+c)) (McNemar 1947)."""
    _check_counts(1, gains, losses)
    total = gains + losses
    tail = sum(math.comb(total, k) for k in range(min(gains, losses) + 1))
    return min(1.0, 2 * tail / (1 << total))  # integers until here, so a large total cannot overflow or round


def binary_se(gains: int, losses: int, n: int) -> float:
    """SE of (gains − losses)/n over n paired 0/1 items: √[(b+c) − (b−c)²/n]/n (Agresti, Categorical Data Analysis)."""
    _check_counts(n, gains, losses)
    return math.sqrt(max(0.0, gains + losses - (gains - losses) ** 2 / n)) / n


def mcnemar_interval(gains: int, losses: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """(1 − alpha) interval for the difference (gains − losses)/n of paired proportions: Bonett & Price 2012.

    The Wald interval (`binary_se`) with one gain and one loss added among n + 2 items, since the plain Wald interval
    covers too little when few items differ. With no discordant item: ± `discordance_bound`. Clipped to [−1, 1].
    """
    _check_alpha(alpha)
    _check_counts(n, gains, losses)
    if gains + losses == 0:
        bound = discordance_bound(n, alpha)
        return -bound, bound
    half = _z(1 - alpha / 2) * binary_se(gains + 1, losses + 1, n + 2)
    centre = (gains - losses) / (n + 2)
    return max(-1.0, centre - half), min(1.0, centre + half)


def binary_delta(before: Sequence[float], after: Sequence[float], alpha: float = 0.05) -> tuple[Estimate, int, int]:
    """Difference of paired 0/1 outcomes with McNemar's exact p and interval; also the numbers of gains and losses.

    Raises ValueError on unequal lengths, no items, or a value other than 0 and 1.
    """
    if len(before) != len(after):
        raise ValueError(f"paired values are needed: found {len(before)} before and {len(after)} after")
    if not before or any(value not in (0, 1) for value in (*before, *after)):
        raise ValueError("binary outcomes must be one or more values of 0 or 1; use paired_delta for any other")
    n = len(before)
    gains = sum(new > old for old, new in zip(before, after))
    losses = sum(new < old for old, new in zip(before, after))
    low, high = mcnemar_interval(gains, losses, n, alpha)
    se, p = binary_se(gains, losses, n), mcnemar_exact(gains, losses)
    return Estimate((gains - losses) / n, se if n > 1 else None, low, high, p, n, n), gains, losses


def proportion_interval(successes: float, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927). `successes` may be fractional: a sum of scores in [0, 1]."""
    _check_alpha(alpha)
    _check_counts(n)
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in 0..{n}, found {successes!r}")
    z, share = _z(1 - alpha / 2), successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


# --- two orders of the same things -----------------------------------------------------------------------------------


def kendall_tau_b(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's τ-b, −1 to 1: (concordant − discordant pairs) / √(pairs that differ in the first · in the second), so
    that ties on either side are allowed for (Kendall 1945).

    0 where either is constant, and τ-b is 0/0: what calls all alike orders nothing. O(n²). Raises ValueError on unequal
    lengths or fewer than two values.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"two values or more on both sides are needed: found {len(first)} and {len(second)}")
    pairs = [(first[i] - first[j], second[i] - second[j]) for i in range(len(first)) for j in range(i)]
    signs = [((a > 0) - (a < 0), (b > 0) - (b < 0)) for a, b in pairs]
    apart = sum(map(abs, (a for a, _ in signs))) * sum(map(abs, (b for _, b in signs)))
    return sum(a * b for a, b in signs) / math.sqrt(apart) if apart else 0.0


# --- what could have been seen ---------------------------------------------------------------------------------------


def minimum_detectable_effect(
    n: int,
    between: float,
    *,
    within_before: float = 0.0,
    within_after: float = 0.0,
    samples: int = 1,
    alpha: float = 0.05,
    power: float = POWER,
) -> float:
    """Smallest true difference found with this power: (z_{1−α/2} + z_power)·√[(ω² + (σ²_A + σ²_B)/K)/n].

    `between` is ω², the variance over items of the true difference (or, with K = 1, of the observed one); σ² are the
    variances between the K samples of one item. 2.80·√(…) at 5% and 80%: Miller 2024 (arXiv 2411.00640).
    """
    _check_alpha(alpha)
    _check_counts(n)
    if min(between, within_before, within_after) < 0 or samples < 1:
        raise ValueError("variances must be >= 0 and samples >= 1")
    return (_z(1 - alpha / 2) + _z(power)) * math.sqrt((between + (within_before + within_after) / samples) / n)


def minimum_detectable_binary(discordance: float, n: int, alpha: float = 0.05, power: float = POWER) -> float:
    """Smallest true difference found between greedy 0/1 outcomes: 2.80·√(ψ/n), ψ = (b+c)/n, at 5% and 80%."""
    return minimum_detectable_effect(n, discordance, alpha=alpha, power=power)


def bootstrap_interval(
    items: Sequence[Item],
    statistic: Callable[[Sequence[Item]], float] = fmean,  # type: ignore[assignment]
    *,
    clusters: Sequence[Hashable] | None = None,
    B: int = 10_000,
    seed: int = 0,
    alpha: float = 0.05,
) -> tuple[float, float]:
    """Percentile bootstrap interval of `statistic(items)` (Efron & Tibshirani 1993, chapter 13), for F1, BLEU, ratings.

    An item holds what both models did on one prompt, so the resampling is joint; whole clusters (one label per item)
    are drawn where given. Equal seeds give equal intervals. Raises ValueError on no items or unequal lengths.
    """
    _check_alpha(alpha)
    if not items or B < 2 or (clusters is not None and len(clusters) != len(items)):
        raise ValueError("bootstrap_interval needs items, B >= 2, and, where clusters are given, one label per item")
    groups: dict[Hashable, list[Item]] = {}
    for i, item in enumerate(items):
        groups.setdefault(i if clusters is None else clusters[i], []).append(item)
    units, draw = list(groups.values()), random.Random(seed)
    values = sorted(statistic([item for unit in draw.choices(units, k=len(units)) for item in unit]) for _ in range(B))
    return _quantile(values, alpha / 2), _quantile(values, 1 - alpha / 2)


def bootstrap_ratio(
    numerators: Sequence[float], denominators: Sequence[float], *, B: int = 10_000, seed: int = 0, alpha: float = 0.05
) -> dict[str, float | None]:
    """Σ numerators / Σ denominators over paired items, with a percentile bootstrap interval.

    For the share of a gap that is closed: what one way gained per item, to what another did. Where the denominators
    add up to nothing or less there is no gap to close: all three are None; so are the ends if that is so in more than
    `alpha` of the resamples. Raises ValueError on no items or unequal lengths.
    """
    _check_alpha(alpha)
    if not numerators or len(numerators) != len(denominators):
        raise ValueError("bootstrap_ratio needs items, as many numerators as denominators")
    whole, n, draw = sum(denominators), len(numerators), random.Random(seed)
    if whole <= 0:
        return {"value": None, "low": None, "high": None}
    values = []
    pairs = list(zip(numerators, denominators))
    for _ in range(B):
        sample = draw.choices(pairs, k=n)
        below = sum(d for _, d in sample)
        if below > 0:
            values.append(sum(x for x, _ in sample) / below)
    known = sorted(values) if len(values) > (1 - alpha) * B else []
    low, high = (_quantile(known, share) if known else None for share in (alpha / 2, 1 - alpha / 2))
    return {"value": sum(numerators) / whole, "low": low, "high": high}


def _quantile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    i = min(int(position), len(ordered) - 2)
    return ordered[i] + (position - i) * (ordered[i + 1] - ordered[i])


# --- many looks, many tests ------------------------------------------------------------------------------------------


def holm(pvalues: Sequence[float]) -> list[float]:
    """Adjusted p-values that bound the chance of any false finding (Holm 1979), in the order given."""
    adjusted, running = [0.0] * len(pvalues), 0.0
    for rank, i in enumerate(sorted(range(len(pvalues)), key=pvalues.__getitem__)):
        running = max(running, min(1.0, (len(pvalues) - rank) * pvalues[i]))
        adjusted[i] = running
    return adjusted


def benjamini_hochberg(pvalues: Sequence[float]) -> list[float]:
    """Adjusted p-values that bound the share of false findings (Benjamini & Hochberg 1995), in the order given."""
    total, running = len(pvalues), 1.0
    adjusted = [1.0] * total
    for rank, i in reversed(list(enumerate(sorted(range(total), key=pvalues.__getitem__), start=1))):
        running = min(running, total * pvalues[i] / rank)
        adjusted[i] = running
    return adjusted


def alpha_spent(look: int, alpha: float = 0.05) -> float:
    """The level of look r = 1, 2, …: 6α/(π²r²). Over any number of looks these sum to at most α (Basel series)."""
    _check_alpha(alpha)
    _check_counts(look)
    return 6 * alpha / (math.pi**2 * look**2)


def verdict(delta: float, low: float, high: float, p: float, alpha: float = 0.05) -> str:
    """Return "improved" or "regressed" only where test and interval agree on it at `alpha`; else "inconclusive"."""
    if p <= alpha and delta > 0 and low > 0:
        return "improved"
    if p <= alpha and delta < 0 and high < 0:
        return "regressed"
    return "inconclusive"


# --- a metric before and after ---------------------------------------------------------------------------------------


def compare(
    before: Mapping[str, float | None],
    after: Mapping[str, float | None],
    *,
    metric: str,
    suite: str,
    alpha: float = 0.05,
    note: str = "",
    clusters: Mapping[str, Hashable] | None = None,
) -> Delta:
    """The Delta of a metric over identical items, keyed by item.

    An item whose value is None failed: it counts as 0 (intent to treat) and in `errors`. Where all values are 0 or 1
    the test and interval are McNemar's, otherwise (or with clusters) the paired t. `mde` is at 80% power.
    Raises ValueError if the two sides do not hold exactly the same items, or none.
    """
    _check_same_items(before, after, suite)
    items = sorted(before)
    old = [float(before[item] or 0.0) for item in items]
    new = [float(after[item] or 0.0) for item in items]
    groups = None if clusters is None else [clusters[item] for item in items]
    gains, losses = sum(b > a for a, b in zip(old, new)), sum(b < a for a, b in zip(old, new))
    n = len(items)
    if groups is None and all(value in (0, 1) for value in (*old, *new)):
        estimate, gains, losses = binary_delta(old, new, alpha)
        mde = minimum_detectable_binary((gains + losses) / n or discordance_bound(n, alpha), n, alpha)
    else:
        estimate = paired_delta(old, new, groups, alpha)
        variance = n * estimate.se**2 if estimate.se else _scale([*old, *new]) ** 2 * discordance_bound(n, alpha)
        mde = minimum_detectable_effect(n, variance, alpha=alpha)
    failed_before = sum(before[item] is None for item in items)
    failed_after = sum(after[item] is None for item in items)
    errors = sum(before[item] is None or after[item] is None for item in items)
    notes = [note] if note else []
    if errors:
        notes.append(f"errors count as 0: {failed_before} before, {failed_after} after")
    if gains + losses == 0:
        notes.append(f"no item differs: at most {100 * discordance_bound(n, alpha):.1f}% of items would")
    return Delta(
        metric=metric, suite=suite, before=math.fsum(old) / n, after=math.fsum(new) / n, n=n,
        delta=estimate.delta, low=estimate.low, high=estimate.high, p=estimate.p, gains=gains, losses=losses, mde=mde,
        verdict=verdict(estimate.delta, estimate.low, estimate.high, estimate.p, alpha),
        errors=errors, alpha=alpha, note="; ".join(notes),
    )  # fmt: skip


def _check_same_items(before: Mapping[str, float | None], after: Mapping[str, float | None], suite: str) -> None:
    if before.keys() != after.keys():
        only = [sorted(a.keys() - b.keys()) for a, b in ((before, after), (after, before))]
        raise ValueError(
            f"suite {suite!r}: a delta needs identical items, found {len(only[0])} only before and {len(only[1])} only "
            f"after (such as {', '.join((only[0] + only[1])[:3])}); evaluate both policies on the same split and limit"
        )
    if not before:
        raise ValueError(f"suite {suite!r}: no items to compare; evaluate both policies on it first")


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, found {alpha!r}")


def _check_counts(n: int, gains: int = 0, losses: int = 0) -> None:
    if n < 1 or gains < 0 or losses < 0:
        raise ValueError(f"counts must be >= 0 and n >= 1, found n={n!r}, gains={gains!r}, losses={losses!r}")
