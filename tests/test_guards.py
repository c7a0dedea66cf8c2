"""Label-free by construction: references reach nothing that tunes, and what is measured is not tuned on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, Site, hub_of, write_rows
from learner import SOURCE
from test_loop import plan, settings, write_plan

import tao_hub
from tao_hub import LabelLeak, Session, UsageError, tune
from tao_hub.overlap import find_overlap
from tao_hub.runs import run_report

SPY = '''
import tao_hub
SEEN = {}

def saw(who, *prompts):
    SEEN.setdefault(who, []).extend(p.reference for p in prompts)

class Spy(tao_hub.Generator):
    def policy_digest(self):
        return "spy"
    def generate(self, requests, sampling):
        saw("generator", *(r.prompt for r in requests))
        for i, r in enumerate(requests):
            yield i, [tao_hub.Completion("yes")] * r.n

class Ask(tao_hub.Strategy):
    def variants(self, prompt, n):
        saw("strategy variants", prompt)
        return [prompt] * n
    def answer(self, prompt, raw):
        saw("strategy answer", prompt)
        return raw
    def combine(self, group):
        saw("strategy combine", group.prompt)
        return [tao_hub.Candidate("", "yes", parents=tuple(c.id for c in group.candidates))]

class Free(tao_hub.Reward):
    def score_batch(self, pairs):
        saw("reward", *(p for p, _ in pairs))
        return [1.0] * len(pairs)

class Vote(tao_hub.GroupReward):
    def score_group(self, group):
        saw("group reward", group.prompt)
        return [1.0] * len(group.candidates)

class Judge(tao_hub.Reward):
    uses_reference = True
    def score_batch(self, pairs):
        saw("metric", *(p for p, _ in pairs))
        return [float(c.response == p.reference) for p, c in pairs]

class Jury(Vote):
    uses_reference = True

class Learn(tao_hub.Trainer):
    def update(self, groups, start, out, progress=None):
        saw("trainer", *(g.prompt for g in groups))
        return tao_hub.Ref("core/echo", {"template": "yes"})

@tao_hub.hookimpl
def register_generators(register):
    register("spy", Spy)
@tao_hub.hookimpl
def register_strategies(register):
    register("ask", Ask)
@tao_hub.hookimpl
def register_trainers(register):
    register("learn", Learn)
@tao_hub.hookimpl
def register_rewards(register):
    register("free", Free)
    register("vote", Vote)
    register("judge", Judge)
    register("jury", Jury)
'''


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Tuning prompts that carry gold (which nothing may see), and a test split."""
    folder = tmp_path / "data"
    for split, count in (("prompts", 12), ("test", 5)):
        rows = ({"id": f"{split}{i}", "prompt": f"{split} {i}", "reference": "yes"} for i in range(count))
        write_rows(folder / f"{split}.jsonl", *rows)
    return folder


def spied(data: Path, *rewards: str, **changes: Any) -> dict[str, Any]:
    suite = {"path": str(data), "metric": {"name": "spy/judge", "options": {}}}
    return settings(
        data, suite_options=suite, policy="spy/spy", policy_options={}, train={"name": "spy/learn"},
        candidates=[{"strategy": "spy/ask", "n": 2}], combine=[{"strategy": "spy/ask"}],
        rewards=[{"name": name} for name in rewards], **changes,
    )  # fmt: skip


def test_references_reach_the_metric_and_nothing_else(site: Site, tmp_path: Path, data: Path) -> None:
    point = site.add("spy", SPY)
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        name = tune(session, tao_hub.load_plan(spied(data, "spy/free", "spy/vote")))
        report = run_report(session, name).data
    seen = sys.modules[point.module].SEEN
    assert set(seen) == {
        "generator", "strategy variants", "strategy answer", "strategy combine", "reward", "group reward", "metric",
        "trainer",
    }  # fmt: skip
    assert set(seen.pop("metric")) == {"yes"}
    for who, references in seen.items():
        assert references, who
        assert set(references) == {None}, who
    assert report["labels_used"] == 0


def test_a_reward_that_uses_references_is_refused_before_anything_is_drawn(
    site: Site, tmp_path: Path, data: Path
) -> None:
    point = site.add("spy", SPY, version="6.6")
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        with pytest.raises(LabelLeak, match=r"spy/judge \(tao-spy 6\.6\) sees the references.*--allow-labels"):
            tune(session, tao_hub.load_plan(spied(data, "spy/free", "judge")))
        assert session.store.one("SELECT count(*) FROM candidates") == (0,)
        assert not sys.modules[point.module].SEEN
        name = tune(session, tao_hub.load_plan(spied(data, "spy/free", "judge", allow_labels=True)))
        assert run_report(session, name).data["labels_used"] == 12
    assert set(sys.modules[point.module].SEEN["reward"]) == {None}  # others still see none


def test_a_reward_of_groups_that_wants_references_is_told_that_the_loop_has_none(
    site: Site, tmp_path: Path, data: Path
) -> None:
    point = site.add("spy", SPY)
    refused = pytest.raises(UsageError, match="the loop gives groups none")
    with Session(tmp_path / "s.db", hub_of(point)) as session, refused:
        tune(session, tao_hub.load_plan(spied(data, "spy/jury", allow_labels=True)))


def test_the_command_refuses_labels_with_code_two_and_allows_them_when_told(
    site: Site, tmp_path: Path, data: Path, run: Run
) -> None:
    site.add("spy", SPY)
    config = write_plan(tmp_path / "plan.toml", spied(data, "spy/judge"))
    refused = run("tune", config, "--store", "s.db")
    assert refused.code == 2
    assert "--allow-labels" in refused.err
    assert run("update", config, "--store", "s.db").code == 2
    assert run("tune", config, "--store", "s.db", "--allow-labels", "--json").json["labels_used"] == 12


LONG = "Dear team, the blue kettle of my order 4711 leaks since Monday morning, please send me a new one soon"


def test_overlap_is_exact_or_near_and_knows_which_prompt_repeats_which() -> None:
    held_out = [("t1", LONG), ("t2", "Where is it?"), ("t3", "One two three four five six seven eight nine ten")]
    tuning = [
        ("same", LONG.upper().replace(",", " ;")),
        ("near", LONG.replace("soon", "now")),
        ("other", "Dear team, the lamp is fine, I only want to know when the next one arrives at my address here"),
        ("short", "Where is she?"),
        ("short-same", "where is IT"),
        ("reordered", "six seven eight nine ten One two three four five"),
    ]
    assert find_overlap(tuning, held_out) == {"same": "t1", "near": "t1", "short-same": "t2"}


def test_a_long_text_that_shares_more_words_does_not_hide_the_one_that_is_near() -> None:
    asked = "please tell me how many of the orders of last year were paid for in the month after they were placed"
    near = asked.replace("please tell me ", "")  # fewer shared shingles than the long text has, of far fewer in all
    long = asked + " " + " ".join(f"and another word {i}" for i in range(40))
    assert find_overlap([("asked", asked)], [("long", long), ("near", near)]) == {"asked": "near"}
    assert find_overlap([("asked", asked)], [("long", long)]) == {}


def test_an_instruction_before_every_question_makes_no_two_of_them_alike() -> None:
    told = "Read the ticket below and say in one word which of our six departments has to answer it today, please. "
    asked = ["The lamp is broken", "Where is my parcel", "I was billed twice", *(f"{i} lamps" for i in range(20))]
    held_out = [(f"t{i}", told + text) for i, text in enumerate(asked)]
    tuning = [("other", told + "The lamp is dim"), ("same", told + "Where is my parcel?"), ("bare", "7 lamps"),
              ("near", told + "By mistake you billed me twice for one single order of three lamps in March"),
              ("copy", "By mistake you billed me twice for one single order of three lamps in May")]  # fmt: skip
    held_out += [("long", told + "By mistake you billed me twice for one single order of three lamps in May")]
    assert find_overlap(tuning, held_out) == {"same": "t1", "bare": "t10", "near": "long", "copy": "long"}
    few = held_out[:10]  # of so few texts nobody can say what is a template
    assert find_overlap(tuning[:1], few) == {"other": "t0"}


def overlapping(folder: Path) -> Path:
    more = [{"prompt": "Quite another message"}, {"id": "again", "prompt": "test  0!"}, {"id": "near", "prompt": LONG}]
    exam = {"t0": "Test 0", "t1": f"{LONG}!!", "t2": LONG.replace("Dear", "Dearest")}
    test = [{"id": name, "prompt": text, "reference": "yes"} for name, text in exam.items()]
    write_rows(folder / "prompts.jsonl", *more, *({"prompt": f"unrelated {i}"} for i in range(9)))
    write_rows(folder / "test.jsonl", *test)
    return folder


def test_tuning_prompts_that_occur_in_an_eval_split_are_refused_with_the_list(
    site: Site, tmp_path: Path, run: Run
) -> None:
    data = overlapping(tmp_path / "data")
    point = site.add("learner", SOURCE)
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        with pytest.raises(LabelLeak, match=r"(?s)2 tuning prompts.*again ~ test:t0.*near ~ test:t1.*--drop-overlap"):
            tune(session, plan(data))
        assert session.store.one("SELECT count(*) FROM candidates") == (0,)
        name = tune(session, plan(data, drop_overlap=True))
        asked = {p for (p,) in session.store.rows(
            "SELECT p.messages FROM candidates c JOIN prompts p ON p.id = c.prompt WHERE c.source IN "
            "(SELECT source FROM candidates WHERE slot = 3)")}  # fmt: skip
        assert len(asked) == 10
        assert not any("test" in p or "kettle" in p for p in asked)
        assert run_report(session, name).data["rounds"][0]["prompts"] == 10
    config = write_plan(tmp_path / "plan.toml", settings(data))
    refused = run("tune", config, "--store", "other.db")
    assert refused.code == 2
    assert "again ~ test:t0" in refused.err
    assert run("tune", config, "--store", "other.db", "--drop-overlap", "--json").code == 0


def test_prompts_without_ids_are_dropped_one_by_one(site: Site, tmp_path: Path) -> None:
    source = """
        import tao_hub
        class Bare(tao_hub.Suite):
            metric = tao_hub.Ref("rules/exact")
            def splits(self):
                return ("prompts", "test")
            def prompts(self, split):
                for text in ("shared text", "one", "two") if split == "prompts" else ("exam", "Shared text."):
                    yield tao_hub.Prompt((tao_hub.Message("user", text),), reference="x" if split == "test" else None)
        @tao_hub.hookimpl
        def register_suites(register):
            register("bare", Bare)
    """
    with Session(tmp_path / "s.db", hub_of(site.add("bare", source), site.add("learner", SOURCE))) as session:
        asked = plan(tmp_path, suite="bare/bare", suite_options={}, drop_overlap=True)
        with pytest.raises(LabelLeak, match=r"1 tuning prompts.*\n  0 ~ test:1"):
            tune(session, plan(tmp_path, suite="bare/bare", suite_options={}))
        name = tune(session, asked)
        assert run_report(session, name).data["rounds"][0]["prompts"] == 2
