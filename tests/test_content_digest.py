"""Scores belong to what a reward judges by: another model behind the same options makes other scores."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Site, hub_of

import tao_hub
from tao_hub import Ref

REWARD = """
import os
import tao_hub

class Judge(tao_hub.Reward):
    def content_digest(self):
        return os.environ.get("WEIGHTS", "")

    def score_batch(self, pairs):
        return [float(os.environ["WEIGHTS"])] * len(pairs)

@tao_hub.hookimpl
def register_rewards(register):
    register("weights", Judge)
"""


def test_scores_of_other_content_are_made_again_and_those_of_the_same_are_not(site: Site, tmp_path: Path, monkeypatch):
    hub = hub_of(site.add("judging", REWARD))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.jsonl").write_text('{"id": "1", "prompt": "hello"}\n')
    suite = Ref("jsonl", {"path": str(tmp_path / "data"), "metric": {"name": "rules/exact"}})
    rows = []
    for weights in ("1", "2", "1"):
        monkeypatch.setenv("WEIGHTS", weights)
        with tao_hub.Session(tmp_path / "s.db", hub=hub) as session:
            part = session.slice(suite, "test")
            member = tao_hub.generate(session, part, session.policy("core/echo"), Ref("direct"), tao_hub.Sampling())
            done = tao_hub.score(session, part, [member], session.reward(Ref("judging/weights")))
            rows.append(done.row)
            (group,) = [g for _, g in session.store.groups(part, [member], {"judge": (done.row, False)})]
            assert group.scores[0]["judge"].value == float(weights)
    assert rows[0] == rows[2] != rows[1]


@pytest.mark.parametrize("named", ["folder", "file"])
def test_a_database_that_has_changed_gives_an_answer_another_score(tmp_path: Path, named: str) -> None:
    file = tmp_path / "data" / "shop" / "shop.sqlite"
    file.parent.mkdir(parents=True)
    (tmp_path / "questions.jsonl").write_text('{"id": "1", "prompt": "How many?"}\n')
    brought = {"databases": str(tmp_path / "data"), "db": "shop"} if named == "folder" else {"db": str(file)}
    suite = Ref("jsonl", {"path": str(tmp_path), "metric": {"name": "rules/exact"}})
    rows, values = [], []
    for price in (None, 3, 3):
        with closing(sqlite3.connect(file)) as db:
            db.execute("CREATE TABLE IF NOT EXISTS sale (price REAL)")
            db.execute("DELETE FROM sale")
            db.executemany("INSERT INTO sale VALUES (?)", [] if price is None else [[price]])
            db.commit()
        with tao_hub.Session(tmp_path / "s.db") as session:
            part = session.slice(suite, "questions")
            policy = session.policy(Ref("core/echo", {"replies": ["SELECT price FROM sale"]}))
            member = tao_hub.generate(session, part, policy, Ref("direct"), tao_hub.Sampling())
            done = tao_hub.score(session, part, [member], session.reward(Ref("sql/executes", brought)))
            rows.append(done.row)
            (group,) = [g for _, g in session.store.groups(part, [member], {"runs": (done.row, False)})]
            values.append(group.scores[0]["runs"].value)
    assert values == [0.5, 1.0, 1.0]
    assert rows[0] != rows[1]


def test_an_encoder_that_was_trained_on_is_another_reward_and_the_packaged_one_is_known_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"1")
    hub, choices = tao_hub.Hub(), {"a": "an apple", "b": "a pear"}

    def digest(encoder: str) -> str:
        return hub.reward(Ref("embed/choice", {"choices": choices, "encoder": encoder})).content_digest()

    before = digest(str(folder))
    other = tmp_path / "other"
    folder.rename(other)
    assert digest(str(other)) == before != ""
    (other / "model.safetensors").write_bytes(b"2")
    moved = tmp_path / "moved"
    other.rename(moved)
    assert digest(str(moved)) != before
    assert digest("minilm") == ""
