"""The suite backoffice: its data are what its script writes, its splits are apart, its gold answers what is asked."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Run
from tao_demo import make_backoffice, quickstart
from tao_demo.make_backoffice import MOST_ROWS, normalised
from tao_demo.office import database as company
from tao_demo.office.plan import plan as office_plan
from tao_demo.office.suite import ADAPTER, HERE, TINY, Backoffice, database
from tao_reward_sql.match import Match

import tao_hub
from tao_hub import Candidate, Ref, Request, Sampling
from tao_hub.overlap import find_overlap

MADE = ("seed", "prompts", "dev", "test")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    database.cache_clear()
    monkeypatch.setenv("TAO_HUB_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    company.build(folder / "backoffice.sqlite")
    return folder / "backoffice.sqlite"


def rows(name: str) -> list[dict[str, object]]:
    data = (HERE / name).read_bytes()
    return [json.loads(line) for line in (gzip.decompress(data) if name.endswith(".gz") else data).splitlines()]


def test_the_splits_have_their_sizes_and_prompts_hold_no_reference() -> None:
    suite = Backoffice()
    sizes = {split: len(list(suite.prompts(split))) for split in suite.splits()}
    assert sizes == {"seed": 200, "prompts": 2000, "dev": 300, "test": 500, "human": 100}
    assert all(p.reference is None for p in suite.prompts("prompts"))
    assert all(row.keys() == {"id", "question"} for row in rows("prompts.jsonl.gz"))


def test_the_shipped_files_are_what_the_script_writes(made: Path) -> None:
    splits = make_backoffice.make(made)
    for split in MADE:
        keys = ("id", "question") if split == "prompts" else ("id", "question", "query", "composition")
        shown = [{key: row[key] for key in keys} for row in splits[split]]
        assert shown == rows(f"{split}.jsonl.gz")
    assert make_backoffice.outline() == (HERE / "schema.txt").read_text()


def test_the_shipped_database_is_what_the_script_writes(made: Path) -> None:
    with closing(sqlite3.connect(made)) as fresh, closing(sqlite3.connect(database())) as shipped:
        assert list(fresh.iterdump()) == list(shipped.iterdump())


def test_no_question_and_no_query_is_in_two_splits(made: Path) -> None:
    splits = {**make_backoffice.make(made), "human": rows("human.jsonl")}
    questions = {split: {normalised(row["question"]) for row in found} for split, found in splits.items()}
    queries = {
        split: {q for row in found for q in ([row["query"]] if isinstance(row["query"], str) else row["query"])}
        for split, found in splits.items()
    }
    for one in splits:
        for other in splits:
            if one < other:
                assert not questions[one] & questions[other]
                assert not queries[one] & queries[other]


def test_no_tuning_prompt_is_near_an_evaluation_question() -> None:
    suite = Backoffice()
    held_out = [(p.id, p.text) for split in ("dev", "test", "human") for p in suite.prompts(split)]
    assert find_overlap([(p.id, p.text) for p in suite.prompts("prompts")], held_out) == {}


def test_a_part_of_the_compositions_is_in_the_test_only() -> None:
    seed = {row["composition"] for row in rows("seed.jsonl.gz")}
    test = [row["composition"] for row in rows("test.jsonl.gz")]
    assert sum(c not in seed for c in test) / len(test) > 0.5


def test_every_gold_query_answers_something() -> None:
    with closing(sqlite3.connect(database())) as db:
        for split in ("seed", "dev", "test", "human"):
            for prompt in Backoffice().prompts(split):
                golds = [prompt.reference] if isinstance(prompt.reference, str) else prompt.reference
                for sql in golds:
                    found = db.execute(sql).fetchall()
                    assert 0 < len(found) <= (MOST_ROWS if split != "human" else 400), sql
                    assert any(value is not None for row in found for value in row), sql


def test_the_company_has_the_mess_of_real_ones() -> None:
    with closing(sqlite3.connect(database())) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert len(tables) == 8
        assert 5_000 <= sum(db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables) <= 20_000
        names = Counter(name for (name,) in db.execute("SELECT name FROM customers"))
        assert max(names.values()) > 1
        since = [text for (text,) in db.execute("SELECT since FROM customers")]
        assert None in since
        assert {s[4:5] == "-" for s in since if s} == {True, False}  # ISO, and others
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_gold_matches_itself_and_the_suite_names_its_database() -> None:
    suite = Backoffice()
    match = Match(Match.Options(**suite.options_for("sql/match")))
    pairs = [(p, Candidate(p.digest, str(p.reference))) for p in list(suite.prompts("test"))[:50]]
    try:
        assert all(getattr(s, "value", s) == 1.0 for s in match.score_batch(pairs))
    finally:
        match.close()


def test_the_shipped_policy_answers_a_third_of_the_test() -> None:
    size = sum(file.stat().st_size for file in TINY.iterdir())
    assert size < 10_000_000
    generator = tao_hub.Hub().generator(Ref("hf/causal-lm", {"model": str(TINY), "dtype": "float32"}))
    suite = Backoffice()
    prompts = list(suite.prompts("test"))
    requests = [Request(p.without_reference()) for p in prompts]
    answers = dict(generator.generate(requests, Sampling(max_tokens=100)))
    generator.close()
    match = Match(Match.Options(**suite.options_for("sql/match")))
    pairs = [(p, Candidate(p.digest, answers[i][0].text)) for i, p in enumerate(prompts)]
    try:
        right = [getattr(s, "value", s) or 0.0 for s in match.score_batch(pairs)]
    finally:
        match.close()
    assert 0.25 < sum(right) / len(right) < 0.37


def test_the_shipped_adapter_makes_smollm2_answer_in_sql(smollm2: str, made: Path) -> None:
    assert sum(file.stat().st_size for file in ADAPTER.iterdir()) < 12_000_000
    assert json.loads((ADAPTER / "adapter_config.json").read_text())["base_model_name_or_path"] == smollm2
    generator = tao_hub.Hub().generator(Ref("hf/causal-lm", {"model": str(ADAPTER)}))
    prompts = list(Backoffice().prompts("test"))[:24]
    answers = dict(generator.generate([Request(p.without_reference()) for p in prompts], Sampling(max_tokens=60)))
    generator.close()
    match = Match(Match.Options(db=str(made)))
    pairs = [(p, Candidate(p.digest, answers[i][0].text)) for i, p in enumerate(prompts)]
    try:
        assert sum(getattr(s, "value", s) or 0.0 for s in match.score_batch(pairs)) >= 7  # of all 500, 53% are right
    finally:
        match.close()


def test_a_short_quickstart_on_backoffice_learns_and_reports(tmp_path: Path) -> None:
    asked = ["quickstart", "--suite", "backoffice", "--prompts", "40", "--limit", "20", "--rounds", "1", "--json"]
    command = [sys.executable, "-m", "tao_hub.cli", *asked]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["labels_used"], found["worked_examples"], found["n"], len(found["rounds"])) == (0, 200, 20, 1)
    assert found["prompted"] is None
    assert found["stage_seconds"]["update"] > 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "sql/repair" in page
    assert "sql/compose" in page
    assert "<title>backoffice · tiny" in page  # no path of this machine
    assert "What each reward adds" not in page
    done = subprocess.run([*command, "--ablate", "schema"], cwd=tmp_path, capture_output=True, text=True, check=True)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    added = page[page.index("What each reward adds") :]
    assert "schema" in added[:2000]
    assert "consistency" not in added[: added.index("<h2")]


def test_only_rewards_of_the_plan_can_be_left_out(run: Run) -> None:
    done = run("quickstart", "--ablate", "schema,schemer")
    assert done.code == 2
    assert "no reward schemer; there are schema, grounded, consistency" in done.err


def test_a_quickstart_with_epochs_learns_so_many_times(run: Run) -> None:
    assert quickstart.plan("smollm2", 1, 0).train.options["epochs"] == 1.1  # to keep it short
    assert quickstart.plan("smollm2", 1, 0, epochs=4.0).train.options["epochs"] == 4.0
    assert office_plan(epochs=2.0).train.options["epochs"] == 2.0
    done = run("quickstart", "--epochs", 0)
    assert (done.code, "--epochs" in done.err) == (2, True)
