"""What picking the best of n candidates by a reward gives: expected value, KL, and where more of it harms."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from .stats import Estimate, paired_delta


@dataclass(frozen=True)
class Trend:
    """What `best_of_n_trend` finds: the n with the highest mean, and the last n against it and against the first."""

    peak: int
    fall: Estimate
    gain: Estimate
    verdict: str


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n from the policy it draws from, log n − (n − 1)/n nats: an upper bound that is tight where draws
    differ (Beirami et al. 2024, arXiv 2401.01879)."""
    return math.log(n) - (n - 1) / n


def best_of_n_value(proxy: Sequence[float], values: Sequence[float], n: int) -> float:
    """Expected `values` of the best of n by `proxy`, over all subsets of size n of the N candidates.

    With candidates in the order of their proxy: Σ_{i=n..N} C(i−1, n−1)/C(N, n)·value₍ᵢ₎, which is unbiased (Nakano et
    al. 2021, arXiv 2112.09332). Equal proxies are broken at random: each stands for the mean of its block.
    Raises ValueError unless 1 <= n <= N.
    """
    total = len(proxy)
    if not 1 <= n <= total:
        raise ValueError(f"the best of {n} cannot be told from {total} candidates")
    blocks: dict[float, list[float]] = {}
    for p, value in zip(proxy, values):
        blocks.setdefault(p, []).append(value)
    ordered = [fmean(blocks[p]) for p in sorted(proxy)]
    weights = [math.comb(i, n - 1) / math.comb(total, n) for i in range(total)]
    return math.fsum(w * value for w, value in zip(weights, ordered))


def best_of_n_sizes(most: int) -> list[int]:
    """1, 2, 4, … and `most`."""
    return sorted({*(2**k for k in range(most.bit_length()) if 2**k <= most), most})


def best_of_n_trend(by_n: Mapping[int, Sequence[float]], clusters: Sequence[Hashable]) -> Trend:
    """Where the mean over prompts peaks as n grows, what the last n lost since then and gained since the first one.

    `by_n` holds one value per prompt for each n. "over-optimised": the last n lies significantly
    below the peak; else "gains" or "loses" where it differs significantly from the first, or "inconclusive".
    """
    first, last = min(by_n), max(by_n)
    peak = max(by_n, key=lambda n: fmean(by_n[n]))
    fall, gain = (paired_delta(by_n[n], by_n[last], clusters) for n in (peak, first))
    verdict = "gains" if gain.low > 0 else "loses" if gain.high < 0 else "inconclusive"
    return Trend(peak, fall, gain, "over-optimised" if peak != last and fall.high < 0 else verdict)
