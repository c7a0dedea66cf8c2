"""SQL rewards in the loop: the database of a question stands in its meta, and reaches every reward."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Site, installed, write_rows
from learner import SOURCE

from tao_hub import Hub, Prompt, Session, load_plan, tune
from tao_hub.runs import run_report, show_prompts
from tao_hub.types import Message


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name, cities in (("north", ("Oslo", "Bergen", "Oslo")), ("south", ("Rome", "Bari", "Rome"))):
        with closing(sqlite3.connect(tmp_path / f"{name}.sqlite")) as db:
            db.execute("CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city TEXT)")
            db.executemany("INSERT INTO customer (name, city) VALUES (?, ?)", zip(("Ann", "Bo", "Cy"), cities))
            db.commit()
    # the same question about two databases: two prompts
    write_rows(folder / "prompts.jsonl", *(
        {"id": f"{name}{i}", "prompt": f"How many customers? ({i})", "meta": {"db": name}}
        for i in range(6) for name in ("north", "south")
    ))  # fmt: skip
    write_rows(folder / "test.jsonl", *(
        {"id": f"t{i}", "prompt": f"How many customers, please? ({i})", "meta": {"db": "north"},
         "reference": "SELECT count(*) FROM customer"} for i in range(4)
    ))  # fmt: skip
    return folder


def test_a_prompt_is_its_messages_and_its_meta() -> None:
    turn = (Message("user", "How many?"),)
    assert Prompt(turn, meta={"db": "a"}).digest != Prompt(turn, meta={"db": "b"}).digest
    assert Prompt(turn).digest == Prompt(turn, meta={}).digest == Prompt(turn, id="x", reference="y").digest


def test_sql_rewards_tune_without_labels(site: Site, tmp_path: Path, data: Path) -> None:
    point = site.add("learner", SOURCE)
    options = {"databases": str(tmp_path)}
    settings = {
        "suite": "core/jsonl",
        "suite_options": {"path": str(data), "metric": {"name": "sql/match", "options": options}},
        "policy": "core/echo", "rounds": 1, "seed": 3,
        "policy_options": {"replies": ["SELECT count(*) FROM customer", "SELECT 3", "SELECT count(id) FROM customer"]},
        "candidates": [{"strategy": "direct", "n": 3}],
        "rewards": [
            {"name": "sql/executes", "options": options, "gate": 0.5},
            {"name": "sql/consistency", "options": {**options, "perturbed": 2}},
        ],
        "train": {"name": "learner/majority"}, "eval": [{"split": "test"}],
    }  # fmt: skip
    with Session(tmp_path / "s.db", Hub([*installed("core", "sql"), point])) as session:
        name = tune(session, load_plan(settings))
        report = run_report(session, name).data
        (shown, *_) = show_prompts(session, name)
    assert report["labels_used"] == 0
    quality = {q["label"]: q["value"] for q in report["quality"]}
    assert quality["round 1"] == 1.0
    values = {c["response"]: c["scores"] for c in shown["candidates"]}
    votes = {response: scores["sql/consistency"]["value"] for response, scores in values.items()}
    assert votes == {
        "SELECT count(*) FROM customer": pytest.approx(2 / 3), "SELECT count(id) FROM customer": pytest.approx(2 / 3),
        "SELECT 3": 0.0,
    }  # fmt: skip
