"""What a reward model's card draws: how calibrated it is, and what the best of n by it is worth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from tao_reward_model.trained import measure, plots
from tao_reward_model.trained.rows import Ranked

from tao_hub import Message

SVG = "{http://www.w3.org/2000/svg}"


def judged(values: list[float], scores: list[float], cluster: int, graded: bool = True) -> measure.Judged:
    responses = tuple(f"answer {i}" for i in range(len(values)))
    row = Ranked((Message("user", f"question {cluster}"),), responses, tuple(scores), graded=graded)
    return measure.Judged(row, tuple(values), cluster)


def test_the_curve_is_the_expected_score_of_the_best_of_n_by_the_model() -> None:
    right = judged([3.0, 2.0, 1.0], [1.0, 0.5, 0.0], 0)
    wrong = judged([1.0, 2.0, 3.0], [1.0, 0.5, 0.0], 1)
    found = measure.curve([right, wrong, judged([1.0, 0.0], [1.0, 0.0], 2)])
    assert found is not None
    assert found["prompts"] == 2  # a pair has no curve
    one, two, three = found["points"]
    assert [p["n"] for p in found["points"]] == [1, 2, 3]
    assert (one["value"], one["chance"]) == (0.5, 0.5)
    # of the pairs of `right` two hold its best answer, one its second: (2 · 1 + 0.5) / 3; of `wrong` (2 · 0 + 0.5) / 3
    assert two["value"] == pytest.approx((2.5 / 3 + 0.5 / 3) / 2)
    assert two["best"] == pytest.approx(2.5 / 3)
    assert three["value"] == pytest.approx(0.5)
    assert three["best"] == 1.0
    assert three["kl"] == pytest.approx(math.log(3) - 2 / 3)
    assert found["verdict"] == "inconclusive"


def test_a_ranking_counts_its_best_answers_and_a_model_that_is_misled_by_many_is_called_over_optimised() -> None:
    # what scores highest is wrong, what comes next is right: fine among few, bad among many
    rows = [judged([3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], i, graded=False) for i in range(40)]
    rows += [judged([3.0, 2.0, 1.0, 0.0], [0.0, 2.0, 2.0, 0.0], 40 + i, graded=False) for i in range(40)]
    found = measure.curve(rows)
    assert found is not None
    values = {p["n"]: p["value"] for p in found["points"]}
    assert values == {1: 0.5, 2: pytest.approx(0.5), 4: 0.0}
    assert found["verdict"] == "over-optimised"
    assert measure.curve(rows[:1]) is None


def test_bins_hold_who_was_predicted_so_and_how_many_came_true() -> None:
    predicted = np.array([0.05, 0.08, 0.55, 0.56, 0.57, 0.58, 1.0])
    came = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    bins = measure.reliability(predicted, came)
    assert [(b["n"], b["observed"]) for b in bins] == [(2, 0.0), (4, 0.75), (1, 1.0)]
    assert bins[1]["predicted"] == pytest.approx(0.565)
    assert bins[1]["low"] < 0.75 < bins[1]["high"]
    gaps = sum(b["n"] * abs(b["predicted"] - b["observed"]) for b in bins) / len(predicted)
    assert measure.ece(predicted, came) == pytest.approx(gaps)


def test_drawings_show_every_bin_and_every_point(tmp_path: Path) -> None:
    bins = measure.reliability(np.array([0.1, 0.4, 0.9]), np.array([0.0, 1.0, 1.0]))
    curve = measure.curve([judged([2.0, 1.0, 0.0], [1.0, 0.0, 0.0], i) for i in range(3)])
    plots.write_plots({"calibration": {"bins": bins}, "curve": curve}, tmp_path)
    told = dots(tmp_path / "calibration.svg")
    assert told == ["0.00 of 1 at 0.10", "1.00 of 1 at 0.40", "1.00 of 1 at 0.90"]
    assert dots(tmp_path / "best-of-n.svg") == ["n = 1: 0.333", "n = 2: 0.667", "n = 3: 1.000"]
    plots.write_plots({"calibration": None, "curve": None}, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_drawing_of_levels_that_are_all_alike_stays_in_its_frame() -> None:
    same: dict[str, Any] = {"value": 1.0, "low": 1.0, "high": 1.0, "chance": 1.0, "best": 1.0}
    root = ElementTree.fromstring(plots.curve([{"n": 1, **same}]))
    (circle,) = root.iter(f"{SVG}circle")
    assert 0 < float(circle.attrib["cx"]) < plots.WIDTH
    assert 0 < float(circle.attrib["cy"]) < plots.HEIGHT


def dots(file: Path) -> list[str]:
    """What the dots of a drawing tell, from left to right."""
    circles = ElementTree.parse(file).getroot().iter(f"{SVG}circle")
    ordered = sorted(circles, key=lambda c: float(c.attrib["cx"]))
    return [str(c.findtext(f"{SVG}title")) for c in ordered]
