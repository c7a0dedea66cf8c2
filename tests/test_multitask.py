"""Several tasks in one run: each with its own rewards, one policy, deltas per suite, a macro delta, retention gates."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Run, Site, hub_of, installed, shell, spawn, write_rows
from test_loop import dump, write_plan
from test_resume import SLOW, content, finished, wait_for

import tao_hub
from tao_hub import LabelLeak, Session, UsageError, Ways, comparison, load_plan, run_groups, sweep, tune
from tao_hub.history import History
from tao_hub.loop import run_name
from tao_hub.macro import retention
from tao_hub.report import render_html, render_markdown
from tao_hub.runs import run_report, show_prompts
from tao_hub.types import digest

# A policy that answers by the first word of a prompt, and a trainer that learns the most frequent best answer to it.
WORDS = '''
import json
from collections import Counter, defaultdict
import tao_hub

SEEN, ASKED = [], []

class Book(tao_hub.Generator):
    class Options(tao_hub.Options):
        answers: dict[str, str] = {}
        replies: list[str] = ["yes", "no", "perhaps"]
    def policy_digest(self):
        return tao_hub.digest(["book", self.options.answers, self.options.replies])
    def generate(self, requests, sampling):
        for i, r in enumerate(requests):
            ASKED.append([m.content for m in r.prompt.messages])
            known = self.options.answers.get(r.prompt.text.split()[0])
            draws = [int(tao_hub.digest([r.seed, j])[:6], 16) for j in range(r.n)]
            yield i, [tao_hub.Completion(known or self.options.replies[d % len(self.options.replies)]) for d in draws]

def learn(groups, out):
    best, rows = defaultdict(Counter), []
    for g in groups:
        word, i = g.prompt.text.split()[0], g.best()
        rows.append((word, [None if t is None else t.value for t in g.totals], i))
        if i is not None:
            best[word][g.candidates[i].response] += 1
    SEEN.append(rows)
    out.mkdir(parents=True, exist_ok=True)
    return tao_hub.Ref("words/book", {"answers": {w: c.most_common(1)[0][0] for w, c in best.items()}})

class Learn(tao_hub.Trainer):
    def update(self, groups, start, out, progress=None):
        return learn(groups, out)

class Online(tao_hub.Trainer):
    """Draws its own candidates, and has them judged."""
    online = True
    def update(self, groups, start, out, progress=None):
        made = [tao_hub.Group(g.prompt, tuple(tao_hub.Candidate(g.prompt.digest, text, index=i)
                for i, text in enumerate(("yes", "no")))) for g in groups]
        return learn((self.judge(g) for g in made), out)

class Letters(tao_hub.Reward):
    uses_reference = True
    def score_batch(self, pairs):
        return [float(len(c.response)) for _, c in pairs]

@tao_hub.hookimpl
def register_rewards(register):
    register("letters", Letters)
@tao_hub.hookimpl
def register_generators(register):
    register("book", Book)
@tao_hub.hookimpl
def register_trainers(register):
    register("learn", Learn)
    register("online", Online)
'''


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three folders: `Is …?` wants yes, `Can …?` wants no, `Old …?` is not tuned on and wants perhaps."""
    for name, word, gold, count in (("one", "Is", "yes", 30), ("two", "Can", "no", 12), ("old", "Old", "perhaps", 0)):
        write_rows(tmp_path / name / "prompts.jsonl", *({"id": f"p{i}", "prompt": f"{word} {name} {i} it?"}
                                                        for i in range(count)))  # fmt: skip
        for split, n in (("test", 20), ("dev", 12), ("train", 5)):
            rows = ({"id": f"{split}{i}", "prompt": f"{word} {split} {i} {name} so?", "reference": gold}
                    for i in range(n))  # fmt: skip
            write_rows(tmp_path / name / f"{split}.jsonl", *rows)
    return tmp_path


def task(data: Path, name: str, want: str, weight: float = 1.0, **own: Any) -> dict[str, Any]:
    reward = {"name": "rules/regex", "options": {"pattern": f"^{want}$"}, "weight": weight}
    return {"suite": "core/jsonl", "suite_options": {"path": str(data / name)}, "label": name, "rewards": [reward],
            **own}  # fmt: skip


def settings(data: Path, **changes: Any) -> dict[str, Any]:
    return {
        "policy": "words/book", "seed": 3, "candidates": [{"strategy": "direct", "n": 4}],
        "tasks": [task(data, "one", "yes"), task(data, "two", "no")],
        "train": {"name": "words/learn"}, "eval": [{"split": "test", "sealed": True}, {"split": "dev"}], **changes,
    }  # fmt: skip


def old(data: Path, **own: Any) -> dict[str, Any]:
    """The eval entry of the suite that is not tuned on."""
    return {"suite": "core/jsonl", "options": {"path": str(data / "old")}, "label": "old", "split": "test",
            "sealed": True, **own}  # fmt: skip


@pytest.fixture
def session(site: Site, tmp_path: Path) -> Any:
    with Session(tmp_path / "s.db", hub_of(site.add("words", WORDS))) as opened:
        opened.seen = sys.modules[site.modules[-1]]
        yield opened


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_a_plan_of_one_task_keeps_its_written_form_its_digest_and_its_runs_name() -> None:
    given = {
        "suite": "core/jsonl", "suite_options": {"path": "data"}, "policy": "core/echo", "rounds": 2, "seed": 3,
        "candidates": [{"strategy": "direct", "n": 4}], "rewards": [{"name": "rules/length", "options": {"target": 5}}],
        "train": {"name": "learner/majority", "min_total": 0.5},
        "eval": [{"split": "test", "sealed": True}, {"split": "dev", "limit": 3}],
    }  # fmt: skip
    plan = load_plan(given)
    assert "tasks" not in plan.as_dict()
    # As they were before a plan could have several tasks.
    assert (run_name(plan), digest(plan.as_dict())) == ("jsonl-echo-s3-6a439a", "b1ca2ff1408bf35bfce6497218987d68")
    assert plan.by_task() == {"jsonl": plan}


def test_a_task_has_its_own_keys_and_else_those_of_the_plan(data: Path) -> None:
    own = {"prompts": 5, "candidates": [{"n": 2}], "max_tokens": 9, "min_total": 0.5, "eval": [{"split": "dev"}]}
    given = settings(data, prompts=7, tasks=[task(data, "one", "yes", **own), task(data, "two", "no")],
                     eval=[{"split": "test"}, old(data, retain=0.1)])  # fmt: skip
    plan = load_plan(given)
    one, two = plan.by_task().values()
    assert (one.prompts, one.candidates[0].n, one.train.min_total) == (5, 2, 0.5)
    assert (two.prompts, two.candidates[0].n, two.train.min_total) == (7, 4, None)
    measured = [(use.label, use.split, use.max_tokens) for use in plan.measured]
    assert measured == [("one", "dev", 9), ("two", "test", None), ("old", "test", None)]
    assert load_plan(plan.as_dict()) == plan
    fewer = load_plan(given, {"prompts": 3}).by_task()
    assert [t.prompts for t in fewer.values()] == [3, 3]
    bounded = tao_hub.budget.fitted(load_plan(given, {"budget": "n=8"})).by_task()
    assert [t.candidates[0].n for t in bounded.values()] == [8, 8]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": []}, "suite: Field required"),
        ({"suite": "inbox"}, "the plan itself has none"),
        ({"train": {"name": "words/learn", "options": {"max_examples": 5}}}, "max_examples and min_total of the tasks"),
        ({"tasks": [{"suite": "inbox"}, {"suite": "demo/inbox"}]}, "give each a label"),
        ({"tasks": [{"suite": "a", "eval": [{"options": {"k": 1}, "split": "test"}]}]}, "suite that it does not name"),
        ({"eval": [{"split": "test"}, {"split": "test"}]}, "'test' occurs twice"),
        ({"eval": [{"split": "test", "suite": "inbox", "label": "one"}]}, "two suites are called 'one'"),
        ({"eval": [{"split": "test", "retain": 0}]}, "greater than 0"),
    ],
)
def test_what_is_wrong_with_the_tasks_of_a_plan_is_told(data: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_plan(settings(data, **change))


# -- learning together -------------------------------------------------------------------------------------------------


def test_each_task_is_scored_by_its_own_rewards_and_one_policy_learns_all(session: Session, data: Path) -> None:
    name = tune(session, load_plan(settings(data, eval=[{"split": "test", "sealed": True}, old(data)])))
    report = run_report(session, name).data
    assert name.startswith("one+two-book-s3-")
    level = {(q["suite"], q["label"]): q["value"] for q in report["quality"]}
    assert level["one", "round 1"] == level["two", "round 1"] == level["macro", "round 1"] == 1.0
    assert level["macro", "base"] == (level["one", "base"] + level["two", "base"]) / 2 < 0.7
    delta = {d["suite"]: d for d in report["deltas"]}
    assert list(delta) == ["macro", "one", "two", "old"]
    assert delta["macro"]["delta"] == pytest.approx((delta["one"]["delta"] + delta["two"]["delta"]) / 2)
    assert (delta["macro"]["n"], delta["macro"]["verdict"], delta["old"]["n"]) == (40, "improved", 20)
    assert (report["primary"]["suite"], report["primary"]["after_label"]) == ("macro", "round 1")
    (done,) = report["rounds"]
    assert (done["prompts"], done["candidates"]) == (42, 168)
    assert [(t["label"], t["prompts"]) for t in done["tasks"]] == [("one", 30), ("two", 12)]
    assert [r["label"] for r in done["rewards"]] == ["one · rules/regex", "two · rules/regex"]
    for page in (render_html(report), render_markdown(report)):
        assert "macro" in page
        assert "one + two" in page
    again = dump(session)
    tune(session, load_plan(settings(data, eval=[{"split": "test", "sealed": True}, old(data)])))
    assert dump(session) == again


def test_totals_come_in_each_tasks_own_units_and_a_large_task_gives_no_more_than_it_may(
    session: Any, data: Path
) -> None:
    big = [task(data, "one", "yes", weight=100.0, max_examples=10), task(data, "two", "no")]
    name = tune(session, load_plan(settings(data, tasks=big)))
    (rows,) = session.seen.SEEN
    by_word = {word: [r for r in rows if r[0] == word] for word in ("Is", "Can")}
    assert [len(by_word[word]) for word in ("Is", "Can")] == [10, 12]
    assert all(max(totals) == totals[best] for _, totals, best in rows)
    # The whole of task two was given, so its totals have mean 0 and spread 1.
    totals = [t for _, found, _ in by_word["Can"] for t in found]
    assert sum(totals) / len(totals) == pytest.approx(0)
    assert sum(t * t for t in totals) / len(totals) == pytest.approx(1)
    assert all(abs(t) < 5 for _, found, _ in by_word["Is"] for t in found)  # of weight 100 nothing is left
    (done,) = run_report(session, name).data["rounds"]
    assert [t["chosen"] for t in done["tasks"]] == [10, 12]
    best = [round(max(t), 6) for _, t, _ in by_word["Is"]]
    assert len(set(best)) == 1  # prompts with a "yes" among their candidates, before those without
    tune(session, load_plan(settings(data)))
    assert [len(seen) for seen in session.seen.SEEN] == [22, 42]  # another bound is another update


def test_a_trainer_that_draws_itself_has_each_prompt_judged_by_its_own_task(session: Any, data: Path) -> None:
    tune(session, load_plan(settings(data, train={"name": "words/online"})))
    (rows,) = session.seen.SEEN
    assert {(word, best) for word, _, best in rows} == {("Is", 0), ("Can", 1)}


def test_examples_and_shares_of_a_task_follow_its_own_wins_only(session: Any, data: Path) -> None:
    asked = [{"strategy": "few-shot", "n": 2, "own_examples": 2, "first_round": 2}, {"strategy": "direct", "n": 4}]
    name = tune(session, load_plan(settings(data, rounds=2, adapt=True, candidates=asked)))
    shown = [contents for contents in session.seen.ASKED if len(contents) > 1]
    assert shown
    for contents in shown:
        firsts = {text.split()[0] for text in contents if "it?" in text}
        assert len(firsts) == 1, "another task's inputs are among the examples"
    last = run_report(session, name).data["rounds"][-1]
    assert all(sum(s["n"] for s in t["sources"]) == 6 for t in last["tasks"])


def test_the_round_that_is_kept_is_the_best_one_on_the_mean_of_the_open_splits(session: Any, data: Path) -> None:
    # In round 2 both tasks learn a wrong answer.
    wrong = {"name": "rules/regex", "options": {"pattern": "^perhaps$"}, "label": "wrong", "weight": 5,
             "first_round": 2}  # fmt: skip
    tasks = [task(data, name, want) for name, want in (("one", "yes"), ("two", "no"))]
    for one in tasks:
        one["rewards"].append(wrong)
    ways = [{"strategy": "direct", "n": 8, "policy": "start"}]
    name = tune(session, load_plan(settings(data, tasks=tasks, candidates=ways, rounds=2, keep="best")))
    report = run_report(session, name).data
    assert report["tuned"]["round"] == 1
    opened = [q for q in report["quality"] if (q["suite"], q["split"]) == ("macro", "dev")]
    assert [(q["label"], q["value"]) for q in opened][1:] == [("round 1", 1.0), ("round 2", 0.0)]
    assert report["primary"]["after_label"] == "round 1"
    warned = [w for w in report["warnings"] if "rewards rose while" in w]
    assert len(warned) == 3  # the mean, and each task


def test_a_real_policy_learns_two_tasks_that_want_different_answers(site: Site, tmp_path: Path) -> None:
    pytest.importorskip("tao_train_trl")
    import bandit

    policy = bandit.make_policy(tmp_path / "arms")
    asked = {"white": [p.text for p in bandit.PROMPTS], "red": [f"Paint of wall {i}" for i in range(8)]}
    tasks = []
    for want, texts in asked.items():
        write_rows(tmp_path / want / "prompts.jsonl", *({"prompt": text} for text in texts))
        rewards = [{"name": "rules/regex", "options": {"pattern": f"^{want}$"}, "weight": 50 if want == "red" else 1}]
        tasks.append({"suite": "jsonl", "label": want, "suite_options": {"path": str(tmp_path / want)},
                      "rewards": rewards})  # fmt: skip
    options = {"lora_rank": 0, "dtype": "float32", "learning_rate": 1e-2, "epochs": 30, "batch_size": 16}
    plan = load_plan({
        "policy": str(policy), "policy_options": {"dtype": "float32"}, "tasks": tasks,
        "candidates": [{"n": 24, "temperature": 1.0, "max_tokens": 4}],
        "train": {"name": "trl/best-of-n", "options": options},
    })  # fmt: skip
    with Session(tmp_path / "s.db", hub_of(*installed("hf", "trl"))) as session:
        run = History(session.store).find(tune(session, plan))["id"]
        after = session.store.policy_of(History(session.store).rounds(run)[0]["after"])[1]
    for want, texts in asked.items():
        prompt = tao_hub.Prompt((tao_hub.Message("user", texts[0]),))
        assert bandit.probabilities(policy, prompt)[want] < 0.3
        assert bandit.probabilities(Path(after.options["model"]), prompt)[want] > 0.6


# -- guards ------------------------------------------------------------------------------------------------------------


def test_no_task_tunes_on_what_another_one_is_measured_on(session: Session, data: Path) -> None:
    leaked = json.loads((data / "two" / "test.jsonl").read_text().splitlines()[0])
    with (data / "one" / "prompts.jsonl").open("a") as file:
        file.write(json.dumps({"id": "leak", "prompt": leaked["prompt"]}) + "\n")
    with pytest.raises(LabelLeak, match="leak ~ two test:test0"):
        tune(session, load_plan(settings(data)))
    name = tune(session, load_plan(settings(data, drop_overlap=True)))
    assert run_report(session, name).data["rounds"][0]["prompts"] == 42


def test_rewards_that_see_labels_are_refused_in_every_task_and_counted_if_allowed(
    session: Session, data: Path
) -> None:
    seeing = task(data, "two", "no", split="train", rewards=[{"name": "rules/exact"}])
    given = settings(data, tasks=[task(data, "one", "yes"), seeing])
    with pytest.raises(LabelLeak, match="rules/exact"):
        tune(session, load_plan(given))
    name = tune(session, load_plan({**given, "allow_labels": True}))
    assert run_report(session, name).data["labels_used"] == 5


def test_one_prompt_in_two_tasks_is_refused(session: Session, data: Path) -> None:
    with (data / "two" / "prompts.jsonl").open("a") as file:
        file.write(json.dumps({"id": "both", "prompt": "Is one 0 it?"}) + "\n")
    with pytest.raises(UsageError, match=r"tasks one and two have a prompt in common \(both\)"):
        tune(session, load_plan(settings(data)))


# -- retention ---------------------------------------------------------------------------------------------------------


def test_a_gate_that_says_no_ends_the_run_with_1_and_stands_in_every_report(
    site: Site, run: Run, data: Path, tmp_path: Path
) -> None:
    site.add("words", WORDS)
    options = {"answers": {"Old": "perhaps"}}  # the base knows it, the tuned policy forgets it
    gated = settings(data, policy_options=options, eval=[{"split": "test", "sealed": True}, old(data, retain=0.05)])
    done = run("tune", write_plan(tmp_path / "plan.toml", gated), "--json")
    assert done.code == 1
    assert "score on old test within 5 pp: lost" in done.err
    (gate,) = done.json["gates"]
    assert (gate["verdict"], gate["before"], gate["n"]) == ("lost", 1.0, 20)
    assert gate["upper"] < -0.05
    assert next(d for d in done.json["deltas"] if d["suite"] == "macro")["verdict"] == "improved"
    assert "lost" in (tmp_path / "report.html").read_text()
    assert "gate: score on old test within 5 pp: lost" in run("show").out
    assert "Retention" in run("report").out
    assert "| lost |" in run("report", "--format", "markdown").out
    again = run("tune", tmp_path / "plan.toml")
    assert again.code == 1


def test_gates_that_hold_let_the_run_end_well_and_one_task_may_have_them_too(
    site: Site, run: Run, data: Path, tmp_path: Path
) -> None:
    site.add("words", WORDS)
    alone = task(data, "one", "yes")
    given = {k: v for k, v in settings(data).items() if k != "tasks"} | {
        "suite": "core/jsonl", "suite_options": alone["suite_options"], "rewards": alone["rewards"],
        "eval": [{"split": "test", "sealed": True, "retain": 0.02}],
    }  # fmt: skip
    done = run("tune", write_plan(tmp_path / "plan.toml", given), "--json")
    assert done.code == 0, done.err
    (gate,) = done.json["gates"]
    assert gate["verdict"] == "kept"
    assert gate["lower"] > 0


def test_a_gate_that_cannot_tell_says_no_and_how_many_items_would_tell(
    session: Session, data: Path
) -> None:
    plan = load_plan(settings(data, eval=[{"split": "test"}, old(data, retain=0.05)]))
    (gate,) = run_report(session, tune(session, plan)).data["gates"]
    assert (gate["verdict"], gate["n"]) == ("not shown", 20)
    assert gate["note"] == "about 59 items would show it, were nothing lost"  # 0.05^(1/59) > 0.95
    assert retention(dict.fromkeys(range(59), 1), dict.fromkeys(range(59), 1), 0.05).verdict == "kept"
    assert retention(dict.fromkeys(range(58), 1), dict.fromkeys(range(58), 1), 0.05).verdict == "not shown"


def test_a_task_may_be_measured_by_another_suite_than_it_tunes_on(session: Session, data: Path) -> None:
    tasks = [task(data, "one", "yes"), task(data, "two", "no", eval=[old(data)])]
    plan = load_plan(settings(data, tasks=tasks, eval=[{"split": "test", "sealed": True}]))
    assert [(use.label, use.split) for use in plan.measured] == [("one", "test"), ("old", "test")]
    report = run_report(session, tune(session, plan)).data
    delta = {d["suite"]: d["delta"] for d in report["deltas"]}
    assert list(delta) == ["macro", "one", "old"]
    assert delta["macro"] == pytest.approx((delta["one"] + delta["old"]) / 2)
    assert [t["label"] for t in report["tasks"]] == ["one", "old"]


def test_metrics_without_a_common_scale_have_no_mean(session: Session, data: Path) -> None:
    counted = task(data, "two", "no")
    counted["suite_options"]["metric"] = {"name": "words/letters"}
    tasks = [task(data, "one", "yes"), counted]
    report = run_report(session, tune(session, load_plan(settings(data, tasks=tasks)))).data
    assert "no macro delta: score is no share" in " ".join(report["warnings"])
    assert {d["suite"] for d in report["deltas"]} == {"one", "two"}
    assert "primary" not in report
    assert "one + two" in render_html(report)


def test_one_task_in_a_table_is_headed_by_its_own_split(session: Session, data: Path) -> None:
    plan = load_plan(settings(data, tasks=[task(data, "one", "yes")], keep="best", rounds=2))
    report = run_report(session, tune(session, plan)).data
    assert (report["primary"]["suite"], report["primary"]["split"]) == ("one", "test")
    assert {d["suite"] for d in report["deltas"]} == {"one"}
    assert [t["label"] for t in report["rounds"][0]["tasks"]] == ["one"]
    assert "100.0%" in render_html(report)


# -- other commands ----------------------------------------------------------------------------------------------------


def test_show_recycle_and_compare_know_the_tasks(session: Session, data: Path) -> None:
    plan = load_plan(settings(data, eval=[{"split": "test", "sealed": True}, old(data)]))
    report = comparison(session, plan, Ways(labels="train", best_of=4)).data
    labels = {(q["suite"], q["label"]) for q in report["quality"]}
    for name in ("one", "two", "macro"):
        assert {(name, "base, best of 4"), (name, "supervised on 10 labels")} <= labels
    assert ("old", "base, best of 4") not in labels  # no task, no rewards to pick by
    assert [g["split"] for g in report["gap"]] == ["one test", "two test", "old test"]
    (hidden,) = show_prompts(session, "", prompt="test0", limit=1)[:1]
    assert hidden["task"] == "one"
    shown = show_prompts(session, "", limit=2)
    assert [s["task"] for s in shown] == ["one", "one", "two", "two"]
    assert all(set(c["scores"]) == {"rules/regex"} for s in shown for c in s["candidates"])
    groups = list(run_groups(session))
    assert len(groups) == 42
    assert all(total is not None for g in groups for total in g.totals)
    with pytest.raises(UsageError, match="one task"):
        sweep(session, plan, [1, 2], [0])
    with pytest.raises(UsageError, match="--labels"):
        comparison(session, plan, Ways(gold=data / "gold.jsonl"))


def test_killed_and_resumed_a_run_of_two_tasks_ends_as_one_that_was_never_stopped(site: Site, tmp_path: Path) -> None:
    site.add("words", WORDS)
    site.add("slow", SLOW)
    for name in ("one", "two"):
        write_rows(tmp_path / name / "prompts.jsonl", *({"prompt": f"{name} question {i}"} for i in range(60)))
        rows = ({"prompt": f"{name} exam {i}", "reference": "x"} for i in range(5))
        write_rows(tmp_path / name / "test.jsonl", *rows)
    tasks = [{"suite": "jsonl", "label": name, "suite_options": {"path": str(tmp_path / name)}, "max_examples": 40}
             for name in ("one", "two")]  # fmt: skip
    plan = {
        "policy": "slow/slow", "deterministic": True, "candidates": [{"n": 3}], "rewards": [{"name": "slow/shout"}],
        "train": {"name": "words/learn"}, "eval": [{"split": "test"}], "tasks": tasks,
    }  # fmt: skip
    write_plan(tmp_path / "plan.toml", plan)

    def words(store: str) -> list[str]:
        return ["tune", "plan.toml", "--store", store, "--report", f"{store}.html", "--json"]

    store, kept, killed = tmp_path / "killed.db", {}, 0
    for moment in (90, 260, 520):  # the first task, the second one, its scores
        process = spawn(*words("killed.db"), cwd=tmp_path, path=site.path)
        if wait_for(process, store, moment):
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate(timeout=PATIENCE)
        assert all(rows <= finished(store)[table] for table, rows in kept.items())
        kept = finished(store)
    assert killed == 3
    done, whole = (shell(*words(name), cwd=tmp_path, path=site.path) for name in ("killed.db", "whole.db"))
    assert (done.code, whole.code) == (0, 0), done.err
    assert content(store) == content(tmp_path / "whole.db")
    assert all(rows <= finished(store)[table] for table, rows in kept.items())
    assert [t["chosen"] for t in done.json["rounds"][0]["tasks"]] == [40, 40]
    with Session(store) as opened:
        assert [r["rounds"] for r in History(opened.store).runs()] == [1]


def test_compare_names_the_suites_of_a_run_as_its_plan_does(
    site: Site, run: Run, data: Path, tmp_path: Path
) -> None:
    site.add("words", WORDS)
    name = run("tune", write_plan(tmp_path / "plan.toml", settings(data)), "--json").json["run"]
    before = run("report", "--format", "json").json["deltas"]
    told = run("compare", name, "base", "round 1", "--json").json
    assert {d["suite"] for d in told} == {"one", "two"}
    assert [(d["suite"], d["split"]) for d in run("report", "--format", "json").json["deltas"]] == [
        (d["suite"], d["split"]) for d in before
    ]
