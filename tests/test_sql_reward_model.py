"""The benchmark of a reward model in the loop: its other questions are others, and its steps run at a small size."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from tao_demo import make_backoffice
from tao_demo.office.suite import HERE, Backoffice, database

import tao_hub
from tao_hub import Candidate, Group, Message, Prompt, Score

pytest.importorskip("trl")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "sql"))
    database.cache_clear()
    yield importlib.import_module("reward_model")
    for name in ("reward_model", "picking", "judged", "base"):
        sys.modules.pop(name, None)
    database.cache_clear()


def asked_of(folder: Path, split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "other" / f"{split}.jsonl").read_text().splitlines()]


def test_other_questions_repeat_no_question_of_the_suite_and_no_labelled_query(
    script: ModuleType, tmp_path: Path
) -> None:
    script.questions(tmp_path, train=60, held=20)
    rows = [*asked_of(tmp_path, "train"), *asked_of(tmp_path, "held")]
    assert (len(rows), len({make_backoffice.normalised(row["question"]) for row in rows})) == (80, 80)
    suite = Backoffice()
    theirs = [(p.id, p.text) for split in suite.splits() for p in suite.prompts(split)]
    assert tao_hub.find_overlap([(row["id"], row["question"]) for row in rows], theirs) == {}
    labelled = {
        row["query"] for split in ("seed", "dev", "test")
        for row in map(json.loads, gzip.decompress((HERE / f"{split}.jsonl.gz").read_bytes()).splitlines())
    }  # fmt: skip
    assert not labelled & {row["query"] for row in rows}


def test_a_pick_is_the_first_best_candidate_and_mended_ones_only_where_they_count(script: ModuleType) -> None:
    prompt = Prompt((Message("user", "How many?"),))
    told = [("SELECT 1", (), 0.2, 0.0), ("SELECT 22", (), 0.9, 0.0), ("SELECT 3", (1,), 0.95, 1.0)]
    group = Group(
        prompt, tuple(Candidate(prompt.digest, sql, parents=parents) for sql, parents, _, _ in told),
        tuple({"rm": Score(rm), "executes": Score(1.0), "right": Score(right)} for _, _, rm, right in told),
    )  # fmt: skip
    ways = importlib.import_module("picking").ways({"consistency": 1.0, "rm": 1.0, "schema": 1.0})
    assert script.picked([group], ways["rm"], mended=False) == [0.0]
    assert script.picked([group], ways["rm"], mended=True) == [1.0]
    assert script.picked([group], ways["shortest"], mended=True) == [0.0]
    assert script.pairs_right(group, "rm", mended=True) == 1.0
    assert script.pairs_right(group, "rm", mended=False) is None


def test_the_steps_run_one_after_another_at_a_small_size(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def step(what: str, *more: str) -> str:
        sizes = ["--train", "30", "--held", "8", "--n", "4", "--prompts", "8", "--limit", "4"]
        monkeypatch.setattr(sys, "argv", ["reward_model.py", what, "--out", str(tmp_path), *sizes, *more])
        script.main()
        return capsys.readouterr().out

    step("questions")
    told = step("train", "--", "--epochs", "1", "--held-out", "0.3")
    assert "the base having learnt its own right answers: test" in told
    metrics = json.loads((tmp_path / "rm" / "metrics.json").read_text())
    assert {source["name"].rsplit("/")[-1] for source in metrics["sources"]} == {"judged", "right"}
    assert metrics["contract"]["layout"] == "chat"
    assert metrics["contamination"]["suites"]["demo/backoffice:test"] == 500
    assert "dev and test, best of 4, mended ones, too: 8 questions" in step("pick")
    lines = [json.loads(line) for line in step("tune", "--arms", "consistency", "consistency+rm").splitlines()]
    last = next(line for line in lines if line.get("arm") == "consistency+rm" and line.get("split") == "test")
    assert last["over consistency"]
    assert "right candidates, " in step("back", "--copies", "1")
    assert "8 questions" in (told := step("pick", "--model", "back", "--weight", "2"))
    assert "in order by rm" in told or "no pairs" in told
    assert "picked right" in step("recycle", "--", "--epochs", "1", "--held-out", "0.3")
    assert len(json.loads((tmp_path / "rm-2" / "metrics.json").read_text())["sources"]) == 3
