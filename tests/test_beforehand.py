"""Before anything is drawn: every component of a plan is there and takes its options, or that is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, Site, hub_of, write_rows
from learner import SOURCE, WITH_OPTIONS
from test_loop import settings, write_plan

from tao_hub import Plan, PluginError, Session, UsageError, load_plan, tune


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A suite on disk: prompts without gold, test items with it."""
    folder = tmp_path / "data"
    write_rows(folder / "prompts.jsonl", *({"id": f"p{i}", "prompt": f"Is {i} a number?"} for i in range(30)))
    write_rows(folder / "test.jsonl", {"id": "t", "prompt": "Is the sky a number?", "reference": "no"})
    return folder


def plan(data: Path, **changes: Any) -> Plan:
    return load_plan(settings(data, **changes))


@pytest.mark.parametrize("table", ["options", "later"])
def test_a_wrong_option_of_the_trainer_is_told_before_anything_is_drawn(
    site: Site, tmp_path: Path, data: Path, table: str
) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("learner", WITH_OPTIONS))) as session:
        asked = plan(data, rounds=2, train={"name": "learner/majority", table: {"epoch": 3}})
        with pytest.raises(UsageError, match="epoch"):
            tune(session, asked)
        assert session.store.one("SELECT count(*) FROM candidates") == (0,)


TOO_LATE = {
    "a candidate's strategy": ({"candidates": [{"strategy": "few-shot", "options": {"shots": 3}}]}, "few-shot.*shots"),
    "a strategy that lacks something": ({"candidates": [{"strategy": "few-shot"}]}, "few-shot has no examples"),
    "a strategy of a later round": (
        {"rounds": 3, "candidates": [{"strategy": "direct"}, {"strategy": "direct", "first_round": 3,
         "options": {"loud": 1}}]}, "direct.*loud"),
    "a strategy with examples of its own": (
        {"rounds": 2, "candidates": [{"strategy": "direct"}, {"strategy": "few-shot", "own_examples": 2,
         "options": {"style": "odd"}}]}, "few-shot.*style"),
    "a combining strategy": ({"combine": [{"strategy": "assemble", "options": {"mots": 3}}]}, "assemble.*mots"),
    "a varying strategy": ({"vary": [{"strategy": "direct", "options": {"much": 3}}]}, "direct.*much"),
    "a baseline": ({"baselines": [{"label": "b", "strategy": "direct", "options": {"loud": 1}}]}, "direct.*loud"),
    "a reward of a later round": (
        {"rounds": 2, "rewards": [{"name": "rules/length", "options": {"target": 5}, "later": {"tarket": 6}}]},
        "length.*tarket"),
}  # fmt: skip


@pytest.mark.parametrize("which", TOO_LATE)
def test_a_wrong_option_of_any_component_is_told_before_anything_is_drawn(
    site: Site, tmp_path: Path, data: Path, run: Run, which: str
) -> None:
    changes, told = TOO_LATE[which]
    learner = site.add("learner", SOURCE)
    with Session(tmp_path / "s.db", hub_of(learner)) as session:
        with pytest.raises(UsageError, match=rf"(?s){told}"):
            tune(session, plan(data, **changes))
        assert session.store.one("SELECT count(*) FROM candidates") == (0,)
    config = write_plan(tmp_path / "plan.toml", settings(data, **changes))
    done = run("update", config, "--store", tmp_path / "s.db")
    assert done.code == 2
    assert re.search(told, done.err, re.DOTALL)
    with Session(tmp_path / "s.db", hub_of(learner)) as session:
        assert session.store.one("SELECT count(*) FROM candidates") == (0,)


def test_a_strategy_with_examples_of_its_own_needs_none_before_the_second_round(
    site: Site, data: Path, tmp_path: Path
) -> None:
    ways = [{"strategy": "direct", "n": 4}, {"strategy": "few-shot", "own_examples": 2, "n": 1}]
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        assert tune(session, plan(data, rounds=2, candidates=ways))


def test_a_strategy_that_is_not_there_is_told_before_anything_is_drawn(site: Site, data: Path, tmp_path: Path) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        with pytest.raises(PluginError, match="asemble"):
            tune(session, plan(data, combine=[{"strategy": "asemble"}]))
        assert session.store.one("SELECT count(*) FROM candidates") == (0,)
