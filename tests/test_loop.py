"""The loop: rounds that do only what is owed, learn from what the rewards prefer, and report what the store holds."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, Site, hub_of, write_rows
from learner import SOURCE, WITH_OPTIONS, yes_or_no

import tao_hub
from tao_hub import (
    Plan,
    Ref,
    Sampling,
    Session,
    UsageError,
    load_plan,
    tune,
)
from tao_hub.history import History
from tao_hub.loop import generate
from tao_hub.runs import run_report, show_prompts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return yes_or_no(tmp_path / "data")


def settings(data: Path, **changes: Any) -> dict[str, Any]:
    return {
        "suite": "core/jsonl", "suite_options": {"path": str(data)}, "policy": "core/echo",
        "policy_options": {"replies": ["no", "yes", "perhaps"]}, "rounds": 1, "seed": 3,
        "candidates": [{"strategy": "direct", "n": 4}],
        "rewards": [{"name": "rules/regex", "options": {"pattern": "^yes$"}, "gate": 0.5},
                    {"name": "rules/length", "options": {"target": 5}, "weight": 0.5}],
        "train": {"name": "learner/majority"}, "eval": [{"split": "test", "sealed": True}], **changes,
    }  # fmt: skip


BEST = '''
import tao_hub
class Best(tao_hub.Strategy):
    """The best candidate by the totals, with a mark."""
    def combine(self, group):
        best = group.candidates[group.best()]
        return [tao_hub.Candidate(best.prompt, best.response + "!", parents=(best.id,))]
@tao_hub.hookimpl
def register_strategies(register):
    register("best", Best)
'''


def plan(data: Path, **changes: Any) -> Plan:
    return load_plan(settings(data, **changes))


def test_what_combines_sees_the_totals_of_its_own_run(site: Site, data: Path, tmp_path: Path) -> None:
    hub = hub_of(site.add("learner", SOURCE), site.add("best", BEST))
    with Session(tmp_path / "s.db", hub) as session:
        for wanted in ("yes", "perhaps", "yes"):
            uses = [
                {"name": "rules/regex", "label": word, "options": {"pattern": f"^{word}!?$"}, "weight": word == wanted}
                for word in ("yes", "perhaps")
            ]
            run = tune(session, plan(data, combine=[{"strategy": "best/best"}], rewards=uses))
            made = {c.response for g in tao_hub.run_groups(session, run) for c in g.candidates if c.parents}
            assert made == {wanted + "!"}


def toml(value: Any) -> str:
    """Enough of a TOML writer for a plan: every value as an inline one."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(map(toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def write_plan(path: Path, given: dict[str, Any]) -> Path:
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in given.items()), encoding="utf-8")
    return path


def dump(session: Session) -> dict[str, list[Any]]:
    """All rows that a run makes, without what tells the time."""
    tables = ("prompts", "items", "candidates", "scores", "rounds", "chosen", "eval_items", "deltas", "policies")
    return {t: sorted(session.store.rows(f"SELECT * FROM {t}"), key=repr) for t in tables}


def test_a_round_learns_what_the_rewards_prefer_and_measures_it(site: Site, tmp_path: Path, data: Path) -> None:
    point = site.add("learner", SOURCE)
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        name = tune(session, plan(data))
        report = run_report(session, name).data
    quality = {q["label"]: q for q in report["quality"]}
    assert quality["base"]["value"] < 0.7
    assert quality["round 1"]["value"] == 1.0
    (delta,) = report["deltas"]
    assert (delta["metric"], delta["n"], delta["losses"], delta["verdict"]) == ("score", 20, 0, "improved")
    assert delta["delta"] == pytest.approx(quality["round 1"]["value"] - quality["base"]["value"])
    assert report["labels_used"] == 0
    assert report["worked_examples"] == 0
    assert report["status"] == "done"
    assert report["primary"]["after_label"] == "round 1"


def test_the_same_tuning_again_does_nothing_and_more_rounds_go_on(site: Site, tmp_path: Path, data: Path) -> None:
    point = site.add("learner", SOURCE)
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        name = tune(session, plan(data))
        before = dump(session)
        calls = sys.modules[point.module].CALLS
        assert len(calls) == 1
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        assert tune(session, plan(data)) == name
        assert dump(session) == before
        assert len(calls) == 1
        assert "generate" not in session.clock
        assert "score" not in session.clock
        assert tune(session, plan(data, rounds=3)) == name
        assert tao_hub.rounds_done(session, plan(data, rounds=3)) == 3
        after = dump(session)
        kept = {t: [r for r in rows if r in after[t]] for t, rows in before.items()}
        assert kept["candidates"] == before["candidates"]
        assert kept["scores"] == before["scores"]
        assert len(calls) == 2  # round 3 has the very candidates of round 2, so its update is the one that is there
        labels = [e["label"] for e in History(session.store).evals(1)]
        assert labels == ["base", "round 1", "round 3"]  # the sealed split is measured at base and at the end


def test_options_of_the_trainer_may_be_others_from_round_2_on(site: Site, tmp_path: Path, data: Path) -> None:
    train = {"name": "learner/majority", "options": {"epochs": 3, "min_parts": {"regex": 0.1}},
             "later": {"min_parts": {"regex": 0.9, "length.all": 0.2}}}  # fmt: skip
    point = site.add("learner", WITH_OPTIONS)
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        asked = plan(data, rounds=3, train=train)
        tune(session, asked)
    seen = sys.modules[point.module].SEEN
    assert seen[:2] == [(3, {"regex": 0.1}), (3, {"regex": 0.9, "length.all": 0.2})]
    assert set(map(str, seen[1:])) == {str(seen[1])}
    assert tao_hub.without(asked, "rules/regex").train.later == {"min_parts": {"regex": 0.9, "length.all": 0.2}}
    named = plan(data, train=train, rewards=[{**asked.rewards[0].model_dump(), "label": "regex"}])
    assert tao_hub.without(named, "regex").train.later == {"min_parts": {"length.all": 0.2}}
    assert "later" not in plan(data).as_dict()["train"]  # plans from before it was there keep their digest


COUNTED = """
import tao_hub

ASKED = []

class Counted(tao_hub.Generator):
    def policy_digest(self):
        return "counted"
    def generate(self, requests, sampling):
        ASKED.append((sampling.max_tokens, len(requests)))
        for i, r in enumerate(requests):
            yield i, [tao_hub.Completion("yes")] * r.n

@tao_hub.hookimpl
def register_generators(register):
    register("counted", Counted)
"""


def test_splits_of_a_suite_are_answered_in_one_call_and_only_the_open_ones_before_the_end(
    site: Site, tmp_path: Path, data: Path
) -> None:
    for name, count in {"dev": 5, "human": 7}.items():
        rows = ({"id": f"{name}{i}", "prompt": f"Is {i} a {name}?", "reference": "yes"} for i in range(count))
        write_rows(data / f"{name}.jsonl", *rows)
    point = site.add("counted", COUNTED)
    exams = [{"split": "dev"}, {"split": "test", "sealed": True}, {"split": "human", "sealed": True},
             {"split": "dev", "limit": 3, "max_tokens": 9}]  # fmt: skip
    with Session(tmp_path / "s.db", hub_of(point, site.add("learner", SOURCE))) as session:
        asked = plan(data, policy="counted/counted", policy_options={}, eval=exams, prompts=4)
        tune(session, asked)
        assert sys.modules[point.module].ASKED == [(256, 32), (9, 3), (256, 4)]  # echo answers round 1's
        evals = {e["split"] for e in History(session.store).evals(1) if e["label"] == "round 1"}
    assert evals == {"dev", "test", "human"}


@pytest.mark.parametrize("deterministic", [False, True])
def test_calls_of_a_generator_are_even_whatever_slices_they_come_from(
    site: Site, tmp_path: Path, deterministic: bool
) -> None:
    write_rows(tmp_path / "d" / "many.jsonl", *({"prompt": f"Is {i} a number?"} for i in range(1399)))
    point = site.add("counted", COUNTED)
    with Session(tmp_path / "s.db", hub_of(point), deterministic=deterministic) as session:
        suite = Ref("jsonl", {"path": str(tmp_path / "d")})
        parts = [session.slice(suite, "many", limit) for limit in (10, None)]  # the second holds the first
        member = generate(session, parts, session.policy("counted/counted"), Ref("direct"), Sampling())
        assert [count for _, count in sys.modules[point.module].ASKED] == [234, 234, 234, 234, 234, 229]
        assert session.store.owed_slots(parts[1], member) == []


def test_measuring_again_changes_no_verdict_and_suites_with_equal_splits_stay_apart(
    site: Site, tmp_path: Path, data: Path
) -> None:
    other = tmp_path / "other"
    write_rows(other / "test.jsonl", *({"prompt": f"Really {i}?", "reference": "no"} for i in range(8)))
    exams = [{"split": "test"}, {"split": "test", "suite": "core/jsonl", "options": {"path": str(other)}}]
    # Drawn at temperature 0.8, the candidates of round 2 are others than those of round 1.
    policy = {"replies": ["yes", "yes", "no"]}
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        asked = plan(data, rounds=2, eval=exams, policy_options=policy)
        tune(session, asked)
        before = dump(session)
        tune(session, asked)
        assert dump(session) == before
        deltas = [d for d in History(session.store).deltas(1) if d["before_label"] == "base"]
    assert len(deltas) == 4
    notes = {(d["n"], d["after_label"]): d["note"] for d in deltas}
    assert notes == {(n, f"round {k}"): ("look 2" if k == 2 else "") for n in (8, 20) for k in (1, 2)}
    spent = {round(sum(d["alpha"] for d in deltas if d["n"] == n), 4) for n in (8, 20)}
    assert spent == {round(0.05 * 6 / math.pi**2 * (1 + 1 / 4), 4)}  # the first look leaves something for the next
    assert {d["n"]: d["verdict"] for d in deltas if d["after_label"] == "round 1"}[8] != "improved"


def test_a_split_that_is_looked_at_once_has_all_of_alpha_and_one_of_more_rounds_spends_it(
    site: Site, tmp_path: Path, data: Path
) -> None:
    first: dict[int, list[float]] = {}
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        for rounds in (1, 2):  # the second is the same run, which goes on
            tune(session, plan(data, rounds=rounds, eval=[{"split": "test"}]))
            deltas = [d for d in History(session.store).deltas(1) if d["before_label"] == "base"]
            first[rounds] = [round(d["alpha"], 4) for d in deltas if d["after_label"] == "round 1"]
    assert first == {1: [0.05], 2: [0.0304]}


def test_an_interrupted_update_starts_from_an_empty_folder(site: Site, tmp_path: Path, data: Path) -> None:
    once = SOURCE.replace("        CALLS.append(start)\n", """
        CALLS.append(list(out.iterdir()) if out.exists() else [])
        out.mkdir(parents=True, exist_ok=True)
        (out / "half").write_text("written")
        if len(CALLS) == 1:
            raise KeyboardInterrupt
""")
    point = site.add("learner", once)
    for expected in (True, False):
        with Session(tmp_path / "s.db", hub_of(point)) as session:
            if expected:
                with pytest.raises(KeyboardInterrupt):
                    tune(session, plan(data))
            else:
                tune(session, plan(data))
    assert sys.modules[point.module].CALLS == [[], []]


def test_another_seed_plan_or_policy_is_another_run(site: Site, tmp_path: Path, data: Path) -> None:
    point = site.add("learner", SOURCE)
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        names = {
            tune(session, plan(data)),
            tune(session, plan(data, seed=4)),
            tune(session, plan(data, prompts=10)),
            tune(session, plan(data, policy_options={"replies": ["yes", "no"]})),
        }
        assert len(names) == 4
        assert {r["name"] for r in History(session.store).runs()} == names


def test_the_report_equals_one_recomputed_and_counts_what_the_store_holds(
    site: Site, tmp_path: Path, data: Path
) -> None:
    point = site.add("learner", SOURCE)
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        name = tune(session, plan(data))
        first = run_report(session, name).data
    with Session(tao_hub.Store(tmp_path / "s.db", write=False), hub_of(point)) as session:
        assert json.loads(json.dumps(run_report(session, name).data)) == json.loads(json.dumps(first))
        (stats,) = first["rounds"]
        assert stats["candidates"] == 120
        assert (session.store.one("SELECT count(*) FROM candidates WHERE slot < 4 AND source IN "
                                  "(SELECT source FROM candidates WHERE slot = 3)") == (120,))  # fmt: skip
        assert session.store.one("SELECT count(*) FROM chosen") == (stats["chosen"],)
        assert 0 < stats["chosen"] <= stats["prompts"] == 30
        regex = next(r for r in stats["rewards"] if r["label"] == "rules/regex")
        mean = session.store.one(
            "SELECT avg(s.value) FROM candidates c JOIN scores s ON s.prompt = c.prompt AND s.response = "
            "c.response_digest JOIN components k ON k.id = s.reward WHERE k.name = 'rules/regex' AND c.source IN "
            "(SELECT source FROM candidates WHERE slot = 3)"
        )
        assert mean is not None
        assert regex["mean_all"] == pytest.approx(mean[0])
        assert regex["mean_chosen"] == 1.0
        shown = show_prompts(session, name, limit=100)
        assert len(shown) == stats["chosen"]
        for prompt in shown:
            (chosen,) = [c for c in prompt["candidates"] if c["chosen"]]
            assert chosen["response"] == "yes"
            assert chosen["total"] == 1.5
            assert chosen["total"] == max(c["total"] for c in prompt["candidates"] if not c["rejected"])
            refused = [c for c in prompt["candidates"] if c["rejected"]]
            assert all(c["rejected"] == "rules/regex below 0.5" for c in refused)


def test_a_round_that_can_learn_nothing_says_so_and_writes_no_policy(site: Site, tmp_path: Path, data: Path) -> None:
    rewards = [{"name": "rules/regex", "options": {"pattern": "never"}, "gate": 1.0}]
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        with pytest.raises(UsageError, match=r"round 1 has nothing to learn from: 120 candidates rules/regex below 1"):
            tune(session, plan(data, rewards=rewards))
        assert tao_hub.rounds_done(session, plan(data, rewards=rewards)) == 0


def test_baselines_are_other_ways_to_ask_the_same_policy(site: Site, tmp_path: Path, data: Path) -> None:
    few = {"label": "one-shot", "strategy": "few-shot", "options": {"examples": [{"input": "a", "output": "b"}]}}
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        report = run_report(session, tune(session, plan(data, baselines=[few]))).data
    assert [q["label"] for q in report["quality"]] == ["base", "one-shot", "round 1"]


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_commands_of_the_loop_work_one_by_one_and_speak_json(
    site: Site, tmp_path: Path, data: Path, run: Run
) -> None:
    site.add("learner", SOURCE)
    given = settings(data)
    config = write_plan(tmp_path / "plan.toml", copy.deepcopy(given))
    store = ["--store", "s.db"]
    tuned = run("tune", config, *store, "--rounds", "2", "--json", "--require-improvement")
    assert tuned.code == 0, tuned.err
    name = tuned.json["run"]
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")
    (listed,) = run("runs", *store, "--json").json
    assert (listed["name"], listed["rounds"]) == (name, 2)
    again = run("report", name, *store, "--format", "json")
    assert again.json == {**tuned.json, "command": again.json["command"]}
    assert "improved" in run("report", *store, "--format", "markdown").out
    shown = run("show", name, *store, "--round", "1", "--json", "--limit", "2").json
    assert [len(p["candidates"]) for p in shown] == [4, 4]
    one = run("show", name, *store, "--round", "1", "--prompt", shown[1]["id"], "--json").json
    assert one == shown[1:]
    assert "chosen" in run("show", *store, "--round", "1").out
    compared = run("compare", name, "base", "round 2", *store, "--json").json
    assert compared[0]["verdict"] == "improved"
    updated = run("update", config, "--round", "1", *store, "--json")
    assert updated.code == 0, updated.err
    assert updated.json["round"] == 1
    for words, reason in (
        (["show", "nothing"], f"no run 'nothing' in s.db; runs: {name}"),
        (["show", name, "--prompt", "absent"], "no prompt 'absent'"),
        (["show", name, "--round", "9"], "no round 9"),
        (["compare", name, "base", "round 8"], "labels: ['base'"),
    ):
        refused = run(*words, *store)
        assert (refused.code, reason in refused.err) == (2, True), refused.err


def test_looking_once_more_at_two_labels_changes_no_verdict_of_the_run(
    site: Site, tmp_path: Path, data: Path, run: Run
) -> None:
    """`compare RUN BEFORE AFTER` tests at the level that the look has, and keeps nothing."""
    site.add("learner", SOURCE)
    config = write_plan(tmp_path / "plan.toml", settings(data, rounds=2, eval=[{"split": "test"}]))
    tuned = run("tune", config, "--store", "s.db", "--json").json
    kept = {(d["before_label"], d["after_label"]): d for d in tuned["deltas"]}
    assert sorted(kept) == [("base", "round 1"), ("base", "round 2"), ("round 1", "round 2")]
    for pair, delta in kept.items():
        (again,) = run("compare", tuned["run"], *pair, "--store", "s.db", "--json").json
        assert {key: again[key] for key in ("low", "high", "alpha", "note", "verdict")} == {
            key: delta[key] for key in ("low", "high", "alpha", "note", "verdict")
        }
        assert delta["alpha"] < 0.05
    (back,) = run("compare", tuned["run"], "round 1", "base", "--store", "s.db", "--json").json
    assert back["delta"] == -kept["base", "round 1"]["delta"]
    assert run("report", "--store", "s.db", "--format", "json").json["deltas"] == tuned["deltas"]


def test_a_gate_that_says_no_ends_with_code_one(site: Site, tmp_path: Path, data: Path, run: Run) -> None:
    site.add("learner", SOURCE)
    config = write_plan(tmp_path / "plan.toml", settings(data, policy_options={"replies": ["yes"]}))
    done = run("tune", config, "--store", "s.db", "--require-improvement", "--json")
    assert done.code == 1
    assert "inconclusive" in done.err
    assert run("tune", config, "--store", "s.db", "--json").code == 0


def test_generate_score_and_eval_work_without_a_plan(example: Path, tmp_path: Path, run: Run,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.syspath_prepend(str(example))
    store = ["--store", "s.db", "--json"]
    made = run("generate", "sums:prompts", "--policy", "core/echo", "-n", "2", "--strategy", "please", *store)
    assert made.json["candidates"] == 20
    assert run("generate", "sums:prompts", "--policy", "core/echo", "-n", "3", "--strategy", "please", *store).code == 0
    scored = run("score", "polite", "sums:prompts", *store).json
    assert (scored["scored"], scored["errors"]) == (10, 0)  # equal answers to a prompt share a score
    assert run("score", "polite", "sums:prompts", *store).json == scored
    board = run("eval", "sums", "--policy", "core/echo", "--limit", "4", *store).json
    assert [(q["n"], q["value"]) for q in board["quality"]] == [(4, 0.0)]
    wrong = run("eval", "sums:nowhere", "--policy", "core/echo", *store)
    assert wrong.code == 2
    assert "no split 'nowhere'" in wrong.err
