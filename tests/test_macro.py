"""The macro delta over suites and retention within a margin, against cases computed by hand and by simulation."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tao_hub.macro import compare_all, mean_of, retention
from tao_hub.stats import Estimate, paired_delta
from tao_hub.student import t_critical, t_two_sided


def test_retention_is_kept_lost_or_not_shown_by_one_sided_bounds() -> None:
    def held(before: list[int], after: list[int], margin: float) -> Any:
        return retention(dict(enumerate(before)), dict(enumerate(after)), margin)

    same = held([1] * 200, [1] * 200, 0.02)
    assert same.lower == pytest.approx(-(1 - 0.05 ** (1 / 200)))  # none of 200 differs: at most 1.5% would
    assert same.verdict == "kept"
    assert [held([1] * n, [1] * n, 0.02).verdict for n in (20, 148, 149)] == ["not shown", "not shown", "kept"]
    assert held([1] * 200, [0] * 40 + [1] * 160, 0.02).verdict == "lost"
    # 10 losses and 6 gains of 400, by hand (Bonett & Price): (6 − 10)/402 − 1.645·√(18 − 16/402)/402.
    some = held([1] * 10 + [0] * 6 + [1] * 384, [0] * 10 + [1] * 390, 0.05)
    assert some.lower == pytest.approx(-4 / 402 - 1.6449 * (18 - 16 / 402) ** 0.5 / 402, abs=1e-5)
    assert (some.verdict, some.delta) == ("kept", pytest.approx(-0.01))
    with pytest.raises(ValueError, match="above 0"):
        held([1], [1], 0.0)


def test_the_macro_delta_is_the_one_computed_by_hand() -> None:
    one = ({"a": 0, "b": 0, "c": 0, "d": 1}, {"a": 1, "b": 0, "c": 1, "d": 1})  # d = 1, 0, 1, 0
    two = (dict.fromkeys("abcde", 0.0), {**dict.fromkeys("abce", 0.0), "d": 1.0})  # d = 0, 0, 0, 1, 0
    found = compare_all({"one": one, "two": two}, metric="exact")
    # mean (0.5 + 0.2)/2; SE_1² = 1/12, SE_2² = 0.8/20; SE = √(1/12 + 1/25)/2
    assert found.delta == pytest.approx(0.35)
    se = (1 / 12 + 0.04) ** 0.5 / 2
    freedom = (1 / 12 + 0.04) ** 2 / ((1 / 12) ** 2 / 3 + 0.04**2 / 4)
    assert freedom == pytest.approx(5.603, abs=1e-3)
    assert found.high - found.delta == pytest.approx(t_critical(0.05, freedom) * se)
    assert found.p == pytest.approx(t_two_sided(0.35 / se, freedom))
    assert (found.n, found.gains, found.losses, found.before, found.after) == (9, 3, 0, 0.125, 0.475)
    assert found.verdict == "inconclusive"


def test_the_mean_of_one_suite_is_that_suite_and_suites_without_differences_are_not_certain() -> None:
    only = paired_delta([0, 0, 1, 0, 1], [1, 0, 1, 1, 0])
    assert mean_of([only]).low == pytest.approx(only.low)
    assert mean_of([only]).p == pytest.approx(only.p)
    flat = paired_delta([1] * 50, [1] * 50)
    assert flat.se == 0
    both = mean_of([flat, flat])
    assert both.low < 0 < both.high
    assert (both.delta, both.p) == (0, 1)
    unknown = mean_of([only, Estimate(0.5, None, -1, 1, 1.0, 1, 1)])
    assert (unknown.p, unknown.se) == (1.0, None)
    with pytest.raises(ValueError, match="no suites"):
        mean_of([])


def test_where_nothing_changed_the_macro_delta_says_so_in_nineteen_cases_of_twenty() -> None:
    draw, wrong = random.Random(7), 0
    for _ in range(1000):
        suites = [
            paired_delta([0.0] * n, [float(draw.choices((-1, 0, 1), (rate, 1 - 2 * rate, rate))[0]) for _ in range(n)])
            for n, rate in ((40, 0.1), (150, 0.05), (80, 0.2))
        ]
        found = mean_of(suites)
        wrong += found.p <= 0.05
        assert (found.p <= 0.05) == (found.low > 0 or found.high < 0)
    assert 25 <= wrong <= 75


def test_what_fell_by_the_whole_margin_is_called_kept_in_one_case_of_twenty_at_most() -> None:
    draw = random.Random(11)
    for n, losses, gains in ((149, 0.02, 0.0), (400, 0.06, 0.04), (200, 0.10, 0.05)):
        kept = 0
        for _ in range(1000):
            signs = draw.choices((-1, 0, 1), (losses, 1 - losses - gains, gains), k=n)
            before, after = [float(s < 0) for s in signs], [float(s > 0) for s in signs]
            kept += retention(dict(enumerate(before)), dict(enumerate(after)), losses - gains).verdict == "kept"
        assert kept <= 70  # 50, and three standard deviations of chance
