"""What a reward model is worth on held-out rows: accuracy, ties, intervals, temperature, length alone."""

from __future__ import annotations

import numpy as np
import pytest
from tao_reward_model.trained import measure
from tao_reward_model.trained.rows import Ranked

from tao_hub import Message

ASK = (Message("user", "is it so?"),)


def judged(values: np.ndarray, cluster: np.ndarray | None = None) -> list[measure.Judged]:
    rows = [Ranked(ASK, ("aaaa", "bbbb"), (1.0, 0.0), domain="d") for _ in values]
    clusters = range(len(values)) if cluster is None else cluster
    return [measure.Judged(r, (float(v), 0.0), int(c)) for r, v, c in zip(rows, values, clusters)]


def test_the_fitted_temperature_is_the_one_that_made_the_data() -> None:
    draw = np.random.default_rng(0)
    gap = draw.normal(0, 6, 6000)
    better = draw.random(6000) < 1 / (1 + np.exp(-gap / 3))
    pairs = measure.pairs_of(judged(np.where(better, gap, -gap)))
    found = measure.calibrate([], pairs, "bradley-terry")
    assert found is not None
    assert found["temperature"] == pytest.approx(3, rel=0.06)
    assert found["ece_after"] < 0.03 < found["ece_before"]
    assert found["nll_after"] < found["nll_before"]
    accuracies = [s["accuracy"] for s in found["selective"]]
    assert accuracies == sorted(accuracies)


def test_ties_count_as_wrong_and_intervals_know_prompts() -> None:
    values = np.array([1.0, 1.0, 0.0, -1.0] * 20)
    alone = measure.accuracy(measure.pairs_of(judged(values)), {})
    assert alone["accuracy"]["value"] == 0.5
    assert alone["accuracy"]["ties"] == 20
    together = measure.accuracy(measure.pairs_of(judged(np.sort(values), np.arange(80) // 8)), {})
    widths = [r["accuracy"]["high"] - r["accuracy"]["low"] for r in (alone, together)]
    assert widths[1] > 1.5 * widths[0]


def test_length_alone_is_learnt_for_each_source_and_its_rule_is_told() -> None:
    def row(domain: str, longer: bool) -> Ranked:
        return Ranked(ASK, ("aaaa", "b") if longer else ("a", "bbbb"), (1.0, 0.0), domain=domain)

    rows = [row("chat", True)] * 6 + [row("harm", False)] * 4
    signs = measure.length_signs(rows)
    assert signs == {"chat": 1, "harm": -1}
    pairs = measure.pairs_of([measure.Judged(r, (1.0, 0.0), i) for i, r in enumerate(rows)])
    found = measure.accuracy(pairs, signs)
    assert found["length_only"]["value"] == 1.0
    assert found["length_only"]["rule"] == "chat: longer wins, harm: shorter wins"
    assert found["verdict"] == "not better than length"
    assert (found["accuracy"]["low"], found["accuracy"]["high"]) == pytest.approx((0.7225, 1.0), abs=1e-3)  # Wilson


def test_of_equal_scores_any_may_be_the_best_of_n() -> None:
    ranked = Ranked(ASK, ("aaaa", "bbbb", "cc"), (1.0, 0.0, 0.0), domain="d")
    flat = measure.ranking([measure.Judged(ranked, (0.5, 0.5, 0.5), i) for i in range(4)])
    assert flat is not None
    assert flat["best_of_n"]["value"] == pytest.approx(flat["chance"])
