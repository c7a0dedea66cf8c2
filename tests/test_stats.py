"""The statistics against scipy, hand-computed cases, degenerate inputs and simulated coverage."""

from __future__ import annotations

import math
import random

import pytest

from tao_hub import stats, student
from tao_hub.types import Delta

scipy_stats = pytest.importorskip("scipy.stats")
special = pytest.importorskip("scipy.special")


@pytest.mark.parametrize("a", [0.5, 1, 2.5, 40, 5000])
@pytest.mark.parametrize("b", [0.5, 1, 7, 300])
def test_the_incomplete_beta_equals_scipys(a, b):
    for x in (0.0, 1e-6, 0.02, 0.3, 0.5, 0.8, 0.999, 1.0):
        assert student.incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("df", [1, 2, 5, 29, 399, 20_000])
def test_t_quantiles_and_tails_equal_scipys(df):
    for alpha in (0.2, 0.05, 0.0304, 0.001, 1e-6):
        assert student.t_critical(alpha, df) == pytest.approx(scipy_stats.t.ppf(1 - alpha / 2, df), rel=1e-8)
    for t in (0.0, 0.3, 1.96, -4.0, 9.0):
        assert student.t_two_sided(t, df) == pytest.approx(2 * scipy_stats.t.sf(abs(t), df), rel=1e-8)


@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_kendalls_tau_is_scipys_tau_b_whatever_is_tied(levels):
    draw = random.Random(levels)
    for n in (2, 3, 8, 30):
        for _ in range(20):
            first, second = ([draw.randrange(levels) for _ in range(n)] for _ in range(2))
            theirs = float(scipy_stats.kendalltau(first, second, variant="b").statistic)
            assert stats.kendall_tau_b(first, second) == pytest.approx(0.0 if math.isnan(theirs) else theirs, abs=1e-12)
    assert stats.kendall_tau_b([1, 1, 1], [1, 2, 3]) == 0.0
    with pytest.raises(ValueError, match="two values or more"):
        stats.kendall_tau_b([1], [1])


def test_a_paired_delta_equals_scipys_paired_t_test():
    draw = random.Random(1)
    before = [draw.random() for _ in range(57)]
    after = [min(1.0, value + draw.gauss(0.05, 0.1)) for value in before]
    ours, theirs = stats.paired_delta(before, after), scipy_stats.ttest_rel(after, before)
    interval = theirs.confidence_interval(0.95)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert ours.n == ours.units == 57


def test_clusters_widen_the_interval_as_computed_by_hand():
    # d = 1, 1, 0, -1 with clusters a a b b: mean 1/4, cluster residual sums 1.5 and -1.5, SE = sqrt(2/1 * 4.5) / 4
    ours = stats.paired_delta([0, 0, 0, 1], [1, 1, 0, 0], clusters="aabb")
    assert ours.delta == 0.25
    assert ours.se == pytest.approx(3 / 4)
    assert ours.units == 2
    assert ours.high == pytest.approx(0.25 + 12.706204736 * 0.75)
    alone = stats.paired_delta([0, 0, 0, 1], [1, 1, 0, 0], clusters="abcd")
    assert alone == stats.paired_delta([0, 0, 0, 1], [1, 1, 0, 0])


def test_one_item_proves_nothing():
    ours = stats.paired_delta([0.2], [0.9])
    assert (ours.se, ours.p, ours.low, ours.high) == (None, 1.0, -1.0, 1.0)
    one_cluster = stats.paired_delta([0.1, 0.2], [0.3, 0.9], clusters="aa")
    assert (one_cluster.se, one_cluster.p) == (None, 1.0)
    assert stats.compare({"a": 0}, {"a": 1}, metric="exact", suite="s", alpha=0.05).verdict == "inconclusive"


def test_equal_differences_are_not_certainty():
    few = stats.paired_delta([0.0, 0.1], [0.5, 0.6])
    assert few.delta == pytest.approx(0.5)
    assert few.p == 0.5  # the sign test with two items
    assert few.low < 0 < few.high
    many = stats.paired_delta([0.1] * 100, [0.3] * 100)
    assert many.p < 1e-20
    assert 0 < many.low < 0.2 < many.high < 0.3
    none = stats.paired_delta([0.5] * 100, [0.5] * 100)
    assert (none.delta, none.p) == (0.0, 1.0)
    assert none.high == pytest.approx(0.03, abs=0.0005)
    assert none.low == -none.high


@pytest.mark.parametrize(
    ("before", "after", "clusters", "words"),
    [([1], [1, 0], None, "1 before and 2 after"), ([], [], None, "0 pairs"), ([math.nan], [1], None, "finite"),
     ([1], [1], ["a", "b"], "cluster label")],
)  # fmt: skip
def test_unpaired_values_are_refused_with_a_reason(before, after, clusters, words):
    with pytest.raises(ValueError, match=words):
        stats.paired_delta(before, after, clusters)


@pytest.mark.parametrize(("gains", "losses"), [(0, 0), (1, 0), (5, 0), (3, 11), (20, 9), (400, 300), (3000, 2900)])
def test_mcnemars_exact_p_equals_the_binomial_test(gains, losses):
    expected = scipy_stats.binomtest(gains, gains + losses).pvalue if gains + losses else 1.0
    assert stats.mcnemar_exact(gains, losses) == pytest.approx(expected, rel=1e-9)


def test_binary_differences_follow_the_formula():
    # b = 30, c = 10, n = 200: SE = sqrt(40 - 400/200) / 200
    assert stats.binary_se(30, 10, 200) == pytest.approx(math.sqrt(38) / 200)
    before, after = [0] * 30 + [1] * 10 + [1] * 160, [1] * 30 + [0] * 10 + [1] * 160
    estimate, gains, losses = stats.binary_delta(before, after)
    assert (gains, losses, estimate.delta) == (30, 10, 0.1)
    wald = 1.959964 * math.sqrt(38) / 200
    assert estimate.low == pytest.approx(0.1 - wald, abs=0.003)
    assert estimate.high == pytest.approx(0.1 + wald, abs=0.003)
    with pytest.raises(ValueError, match="0 or 1"):
        stats.binary_delta([0.5], [1])


def test_the_interval_of_bonett_and_price_by_hand():
    # b = 5, c = 1, n = 20: centre 4/22, SE = sqrt(8 - 16/22) / 22
    low, high = stats.mcnemar_interval(5, 1, 20)
    half = 1.959964 * math.sqrt(8 - 16 / 22) / 22
    assert (low, high) == pytest.approx((4 / 22 - half, 4 / 22 + half), rel=1e-6)


def test_without_discordance_the_rule_of_three_bounds_the_difference():
    low, high = stats.mcnemar_interval(0, 0, 200)
    assert high == -low == pytest.approx(3 / 200, rel=0.01)
    assert stats.discordance_bound(200) < 3 / 200
    assert stats.discordance_bound(200, alpha=0.001) == pytest.approx(6.9 / 200, rel=0.02)


@pytest.mark.parametrize(("gain", "loss", "n"), [(0.1, 0.05, 100), (0.02, 0.02, 200), (0.3, 0.0, 60), (0.01, 0.0, 100)])
def test_the_mcnemar_interval_covers_as_often_as_it_says(gain, loss, n):
    draw, covered, trials = random.Random(7), 0, 1500
    for _ in range(trials):
        outcomes = [draw.random() for _ in range(n)]
        gains, losses = sum(u < gain for u in outcomes), sum(u > 1 - loss for u in outcomes)
        low, high = stats.mcnemar_interval(gains, losses, n)
        covered += low <= gain - loss <= high
    assert covered / trials > 0.935


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (7, 10), (10, 10), (187, 400)])
def test_the_proportion_interval_is_wilsons(successes, n):
    theirs = scipy_stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert stats.proportion_interval(successes, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_detectable_effects_match_the_design_figures():
    assert stats.minimum_detectable_binary(0.1, 200) == pytest.approx(0.0626, abs=0.0002)  # 6.3 points at n = 200
    assert stats.minimum_detectable_effect(100, 0.04) == pytest.approx(2.8016 * 0.02, rel=1e-4)
    sampled = stats.minimum_detectable_effect(100, 0.04, within_before=0.1, within_after=0.1, samples=5)
    assert sampled == pytest.approx(2.8016 * math.sqrt(0.08 / 100), rel=1e-4)


def test_a_test_finds_its_minimum_detectable_effect_four_times_in_five():
    n, psi, draw, found = 400, 0.2, random.Random(3), 0
    effect = stats.minimum_detectable_binary(psi, n)
    for _ in range(600):
        outcomes = [draw.random() for _ in range(n)]
        gains = sum(u < (psi + effect) / 2 for u in outcomes)
        losses = sum(u > 1 - (psi - effect) / 2 for u in outcomes)
        found += stats.mcnemar_exact(gains, losses) <= 0.05
    assert 0.72 < found / 600 < 0.85  # the exact test is a little conservative


def test_the_bootstrap_is_seeded_and_agrees_with_the_t_interval():
    draw = random.Random(5)
    d = [draw.gauss(0.1, 0.3) for _ in range(80)]
    low, high = stats.bootstrap_interval(d, B=2000, seed=4)
    assert (low, high) == stats.bootstrap_interval(d, B=2000, seed=4)
    assert (low, high) != stats.bootstrap_interval(d, B=2000, seed=5)
    t = stats.paired_delta([0] * 80, d)
    assert (low, high) == pytest.approx((t.low, t.high), abs=0.015)


def test_the_bootstrap_draws_whole_clusters_and_any_statistic():
    pairs = [(0, 1)] * 10 + [(1, 1)] * 10

    def gain(items):
        return sum(after - before for before, after in items) / len(items)

    wide = stats.bootstrap_interval(pairs, gain, clusters=[i // 10 for i in range(20)], B=500)
    narrow = stats.bootstrap_interval(pairs, gain, B=500)
    assert wide == (0.0, 1.0)
    assert 0.2 < narrow[0] < 0.5 < narrow[1] < 0.8


def test_holm_and_benjamini_hochberg_by_hand_and_by_scipy():
    pvalues = [0.04, 0.01, 0.03, 0.5]
    assert stats.holm(pvalues) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert stats.benjamini_hochberg(pvalues) == pytest.approx(list(scipy_stats.false_discovery_control(pvalues)))
    assert stats.holm([]) == stats.benjamini_hochberg([]) == []


def test_the_level_spent_over_all_looks_is_the_level():
    spent = [stats.alpha_spent(look) for look in range(1, 2000)]
    assert spent[0] == pytest.approx(0.0304, abs=1e-4)
    assert 0.0499 < sum(spent) <= 0.05
    with pytest.raises(ValueError, match="n >= 1"):
        stats.alpha_spent(0)


def test_a_verdict_needs_both_the_test_and_the_interval():
    assert stats.verdict(0.1, 0.02, 0.18, 0.01, 0.05) == "improved"
    assert stats.verdict(-0.1, -0.18, -0.02, 0.01, 0.05) == "regressed"
    assert stats.verdict(0.1, 0.002, 0.2, 0.06, 0.05) == "inconclusive"
    assert stats.verdict(0.1, -0.01, 0.2, 0.04, 0.05) == "inconclusive"
    assert stats.verdict(0.1, 0.02, 0.18, 0.04, 0.01) == "inconclusive"
    assert stats.verdict(0.0, 0.0, 0.0, 0.0, 0.05) == "inconclusive"


def test_ten_null_rounds_rarely_improve_when_the_level_is_spent():
    draw, false_alarms, n = random.Random(11), {"plain": 0, "spent": 0}, 400
    for _ in range(200):
        rounds = [[draw.random() for _ in range(n)] for _ in range(10)]
        counts = [(sum(u < 0.05 for u in r), sum(u > 0.95 for u in r)) for r in rounds]
        tests = [(gains > losses, stats.mcnemar_exact(gains, losses)) for gains, losses in counts]
        false_alarms["plain"] += any(up and p <= 0.05 for up, p in tests)
        false_alarms["spent"] += any(up and p <= stats.alpha_spent(look) for look, (up, p) in enumerate(tests, start=1))
    assert false_alarms["plain"] / 200 > 0.08
    assert false_alarms["spent"] / 200 < 0.05


def test_compare_pairs_items_whatever_their_order():
    before = {f"i{k}": float(k < 40) for k in range(100)}
    after = {f"i{k}": float(k < 70) for k in reversed(range(100))}
    delta = stats.compare(before, after, metric="exact", suite="inbox", alpha=0.05, note="sealed")
    assert isinstance(delta, Delta)
    assert (delta.before, delta.after, delta.n, delta.gains, delta.losses) == (0.4, 0.7, 100, 30, 0)
    assert delta.delta == pytest.approx(0.3)
    assert delta.p == stats.mcnemar_exact(30, 0)
    assert (delta.verdict, delta.note, delta.errors) == ("improved", "sealed", 0)
    assert delta.mde == pytest.approx(stats.minimum_detectable_binary(0.3, 100))


def test_compare_counts_errors_as_zero_and_says_so():
    delta = stats.compare({"a": 1, "b": None, "c": 1}, {"a": None, "b": 1, "c": 1}, metric="m", suite="s", alpha=0.05)
    assert (delta.before, delta.after, delta.gains, delta.losses) == (2 / 3, 2 / 3, 1, 1)
    assert delta.errors == 2
    assert delta.note == "errors count as 0: 1 before, 1 after"


def test_compare_uses_the_paired_t_for_graded_metrics():
    draw = random.Random(2)
    before = {str(k): draw.random() for k in range(50)}
    after = {k: value * draw.random() for k, value in before.items()}
    delta = stats.compare(before, after, metric="f1", suite="s", alpha=0.01)
    theirs = scipy_stats.ttest_rel([after[k] for k in before], [before[k] for k in before])
    assert delta.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert delta.high == pytest.approx(theirs.confidence_interval(0.99).high)
    assert (delta.verdict, delta.alpha) == ("regressed", 0.01)


def test_compare_without_any_difference_reports_a_bound_not_certainty():
    same = {str(k): 1.0 for k in range(100)}
    delta = stats.compare(same, same, metric="exact", suite="s", alpha=0.05)
    assert (delta.delta, delta.p, delta.verdict) == (0.0, 1.0, "inconclusive")
    assert delta.high == pytest.approx(0.03, rel=0.02)
    assert delta.mde > 0
    assert "at most 3.0%" in delta.note


def test_compare_refuses_items_that_are_not_the_same():
    with pytest.raises(ValueError, match=r"1 only before and 2 only after \(such as b, c, d\)"):
        stats.compare({"a": 1, "b": 1}, {"a": 1, "c": 1, "d": 0}, metric="m", suite="s", alpha=0.05)
    with pytest.raises(ValueError, match="no items"):
        stats.compare({}, {}, metric="m", suite="s", alpha=0.05)


def test_compare_respects_clusters():
    before = {str(k): 0 for k in range(40)}
    after = {str(k): int(k < 20) for k in range(40)}
    alone = stats.compare(before, after, metric="m", suite="s", alpha=0.05)
    clustered = stats.compare(
        before, after, metric="m", suite="s", alpha=0.05, clusters={str(k): k // 20 for k in range(40)}
    )
    assert (alone.verdict, clustered.verdict) == ("improved", "inconclusive")
    assert clustered.high - clustered.low > alone.high - alone.low
