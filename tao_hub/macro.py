"""Several suites as one number, and whether one of them was kept: pure functions beside `tao_hub.stats`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .stats import Estimate, compare, paired_delta, verdict
from .student import t_critical, t_two_sided
from .types import Delta

Values = Mapping[str, "float | None"]
MACRO = "macro"  # what reports call the mean over suites


def mean_of(estimates: Sequence[Estimate], alpha: float = 0.05) -> Estimate:
    """The mean of independent mean differences, each suite weighing the same however many items it has.

    SE = (1/T)·√ΣSE_t², t with the degrees of freedom of Welch and Satterthwaite, (ΣSE_t²)²/Σ(SE_t⁴/(units_t − 1)): the
    stratified mean with equal weights (Cochran 1977, sections 5.3-5.4; Satterthwaite 1946). A suite whose differences
    do not vary has no SE of its own: the half width of its interval (`paired_delta`) divided by its t stands for it,
    so that it does not pass for certain. Where a suite has one unit nothing is known: p = 1 and the mean of the
    intervals. Raises ValueError for no estimates.
    """
    if not estimates:
        raise ValueError("no suites to take the mean of: found 0 estimates")
    count = len(estimates)
    delta, n = math.fsum(e.delta for e in estimates) / count, sum(e.n for e in estimates)
    units = sum(e.units for e in estimates)
    if any(e.se is None for e in estimates):
        low, high = (math.fsum(getattr(e, end) for e in estimates) / count for end in ("low", "high"))
        return Estimate(delta, None, low, high, 1.0, n, units)
    squares = [_se(e, alpha) ** 2 for e in estimates]
    se = math.sqrt(math.fsum(squares)) / count
    freedom = math.fsum(squares) ** 2 / math.fsum(s * s / (e.units - 1) for s, e in zip(squares, estimates))
    half = t_critical(alpha, freedom) * se
    return Estimate(delta, se, delta - half, delta + half, t_two_sided(delta / se, freedom), n, units)


def _se(estimate: Estimate, alpha: float) -> float:
    return estimate.se or (estimate.high - estimate.low) / 2 / t_critical(alpha, estimate.units - 1)


def compare_all(
    suites: Mapping[str, tuple[Values, Values]], *, metric: str, alpha: float = 0.05, note: str = ""
) -> Delta:
    """The macro delta: the mean over suites of (after − before), by suite the values of identical items before and
    after. Items are independent across suites; each suite's differences are paired (`mean_of`, `paired_delta`).

    An item whose value is None failed and counts as 0. `n`, gains, losses and errors are sums over suites; `mde` is
    2.80·SE, at 80% power. Raises ValueError where a suite has other items before than after, or none.
    """
    parts = [compare(old, new, metric=metric, suite=name, alpha=alpha) for name, (old, new) in suites.items()]
    found = mean_of([_estimate(old, new, alpha) for old, new in suites.values()], alpha)
    count = len(parts)
    mde = math.sqrt(math.fsum(part.mde**2 for part in parts)) / count
    return Delta(
        metric=metric, suite=MACRO, before=math.fsum(p.before for p in parts) / count,
        after=math.fsum(p.after for p in parts) / count, n=found.n, delta=found.delta, low=found.low, high=found.high,
        p=found.p, gains=sum(p.gains for p in parts), losses=sum(p.losses for p in parts), mde=mde,
        verdict=verdict(found.delta, found.low, found.high, found.p, alpha), errors=sum(p.errors for p in parts),
        alpha=alpha, note=note or f"mean of {', '.join(suites)}",
    )  # fmt: skip


def _estimate(before: Values, after: Values, alpha: float) -> Estimate:
    items = sorted(before)
    return paired_delta([before[i] or 0.0 for i in items], [after[i] or 0.0 for i in items], alpha=alpha)


# --- retention -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Retention:
    """Whether a metric was kept within a margin. `lower` and `upper` are one-sided (1 − alpha) bounds of the delta.

    verdict: "kept" (lower > −margin: shown not to be worse by so much), "lost" (upper < −margin: shown to be worse by
    more), else "not shown". Only "kept" passes.
    """

    before: float
    after: float
    n: int
    delta: float
    margin: float
    lower: float
    upper: float
    verdict: str
    alpha: float


def retention(before: Values, after: Values, margin: float, alpha: float = 0.05) -> Retention:
    """Non-inferiority of `after` within `margin`, on identical items: the lower one-sided bound of the paired delta
    lies above −margin (ICH E9, 3.3.2). The bounds are the ends of the two-sided 1 − 2·alpha interval of
    `tao_hub.stats.compare`. Where all items differ by the same, unseen ones may all lie on one side, so it is the rule
    of three at alpha itself: with margin 0.02 at least 149 items that do not differ.

    Several gates that must all pass need no correction: each is tested at alpha, and so is their intersection (Berger
    1982). Raises ValueError for other items before than after, or a margin that is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above 0, found {margin!r}")
    alike = len({(after.get(item) or 0.0) - (value or 0.0) for item, value in before.items()}) == 1
    delta = compare(before, after, metric="", suite="", alpha=alpha if alike else 2 * alpha)
    word = "kept" if delta.low > -margin else "lost" if delta.high < -margin else "not shown"
    return Retention(delta.before, delta.after, delta.n, delta.delta, margin, delta.low, delta.high, word, alpha)
