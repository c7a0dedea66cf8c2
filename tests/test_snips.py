"""The SNIPS benchmark's arithmetic: slots right, said and there; and the published figures, where the data is."""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
import regex

import tao_hub

HERE = Path(__file__).parent.parent / "benchmarks" / "snips"


@pytest.fixture(scope="module")
def snips() -> ModuleType:
    spec = importlib.util.spec_from_file_location("snips_run", HERE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_precision_recall_and_f1_are_those_counted_by_hand(snips: ModuleType) -> None:
    gold = {"artist": "Nina F", "year": None, "genre": "jazz"}
    items = [
        ({"artist": "nina  f", "year": None, "genre": None}, gold),  # one right, one missed
        ({"artist": "Tom", "year": "1987", "genre": "Jazz"}, gold),  # one right, one wrong, one too many
    ]
    found = snips.scores(snips.count(items, ["artist", "year", "genre"]))
    assert found["micro"] == pytest.approx({"precision": 2 / 4, "recall": 2 / 4, "f1": 0.5})
    assert found["slots"]["artist"] == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5})
    assert found["slots"]["genre"] == pytest.approx({"precision": 1.0, "recall": 0.5, "f1": 2 / 3})
    assert "year" not in found["slots"], "a slot that nobody names has no recall"
    assert found["macro"]["recall"] == pytest.approx(0.5)


def test_a_plan_is_made_for_each_intent(snips: ModuleType, tmp_path: Path) -> None:
    for task in snips.load_tasks().values():
        assert all(list(record) == task["slots"] for _, record in task["examples"])
        assert all(v is None or v in text for text, record in task["examples"] for v in record.values())
        numbers = {"seed": 0, "prompts": 10, "n": 2, "null_weight": 0.5, "agree": 0.5, "examples": 5, "covered": 0.9}
        options = argparse.Namespace(**numbers, epochs=1, learning_rate=1e-3)
        assert snips.plan(task, tmp_path, options).suite == "jsonl"
    with tao_hub.open_session(tmp_path / "store.db") as session:
        assert session.hub.find("reward", "demo/record")


def test_patterns_are_spelled_out_and_find_what_the_worked_examples_hold(snips: ModuleType) -> None:
    assert snips.spelled_out("at <TIME>", {"TIME": "<HOUR> pm", "HOUR": "[1-9]"}) == "at [1-9] pm"
    for task in snips.load_tasks().values():
        whole = [(slot, pattern) for slot, pattern in task["match"].items() if "kinds" in task]  # learnt by field
        for text, record in task["examples"]:
            for slot, pattern in whole:
                found = [m[0] for m in regex.finditer(pattern, text)]
                assert record[slot] is None or record[slot] in found, (slot, text, found)


def test_the_interval_holds_the_difference_and_is_zero_for_the_same_answers(snips: ModuleType) -> None:
    gold = {"a": "x"}
    good, bad = {i: ({"a": "x"}, gold) for i in range(20)}, {i: ({"a": None}, gold) for i in range(20)}
    half = {i: (good if i % 2 else bad)[i] for i in range(20)}
    assert snips.interval(half, half, ["a"]) == [0.0, 0.0]
    low, high = snips.interval(bad, half, ["a"])
    assert 0.3 < low < 2 / 3 < high < 0.9  # F1 of half of all: precision 1, recall 0.5


def test_published_macro_recall_is_the_mean_over_slots_and_repetitions(snips: ModuleType) -> None:
    data = Path(os.environ.get("TAO_HUB_DATA", "")) / "snips"
    if not (data / "published_metrics.json.gz").is_file():
        pytest.skip("needs $TAO_HUB_DATA/snips")
    found = snips.published(data, "AddToPlaylist")
    playlist, item, owner = (0.86 + 0.85 + 0.80) / 3, (29 + 26 + 33) / 55 / 3, (49 + 49 + 51) / 54 / 3
    title, artist = (11 + 10 + 13) / 18 / 3, (15 + 21 + 19) / 46 / 3
    assert found["Alexa"]["70"] == pytest.approx((playlist + item + owner + title + artist) / 5, abs=5e-4)
    assert len(found) == 5
