"""What fails in a round: it is kept as what it is, costs itself only, and is tried again where that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run, Site, hub_of, write_rows
from learner import SOURCE, yes_or_no
from test_loop import settings, write_plan

import tao_hub
from tao_hub import Ref, Sampling, Session
from tao_hub.history import History
from tao_hub.loop import evaluate, generate, score


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return yes_or_no(tmp_path / "data")


FAULTY = """
import tao_hub
class Faulty(tao_hub.Generator):
    class Options(tao_hub.Options):
        fault: str = "one"
    def policy_digest(self):
        return tao_hub.digest(["faulty", self.options.fault])
    def generate(self, requests, sampling):
        for i, r in enumerate(requests):
            if self.options.fault == "all" or (self.options.fault == "one" and "3" in r.prompt.text):
                raise MemoryError("too long")
            short = self.options.fault == "short" and "3" in r.prompt.text
            cut = "length" if "5" in r.prompt.text else "stop"
            yield i, [tao_hub.Completion("yes", cut)] * (r.n - short)
@tao_hub.hookimpl
def register_generators(register):
    register("faulty", Faulty)
"""


@pytest.mark.parametrize("fault", ["one", "short"])
def test_a_request_that_fails_keeps_its_error_and_costs_its_own_slots(
    site: Site, tmp_path: Path, data: Path, fault: str
) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("faulty", FAULTY))) as session:
        suite = Ref("jsonl", {"path": str(data)})
        part = session.slice(suite, "prompts")
        policy = session.policy(Ref("faulty", {"fault": fault}))
        member = generate(session, part, policy, Ref("direct"), Sampling(0.5), 2)
        assert session.store.owed_slots(part, member) == []
        opened = score(session, part, [member], session.reward(Ref("length", {"max": 9})))
        for _, found in session.store.groups(part, [member], {"length": (opened.row, False)}):
            bad = "3" in found.prompt.text
            assert [bool(c.error) for c in found.candidates] == [bad, bad]
            assert [bool(s) for s in found.scores] == [not bad, not bad]  # never scored
            if not bad:
                assert all(c.truncated == ("5" in found.prompt.text) for c in found.candidates)


def test_a_generator_that_fails_for_all_is_an_error_of_its_own_not_of_each_prompt(
    site: Site, tmp_path: Path, data: Path, run: Run
) -> None:
    site.add("faulty", FAULTY)
    done = run("generate", "jsonl", "--policy", "faulty/faulty", "--store", "s.db")
    assert done.code == 2  # jsonl needs a path: told before anything runs
    point = site.add("worse", FAULTY.replace('"one"', '"all"', 1).replace('"faulty"', '"worse"'))
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        part = session.slice(Ref("jsonl", {"path": str(data)}), "prompts")
        with pytest.raises(tao_hub.TaoHubError, match=r"worse/worse \(tao-worse 1\.2\).*MemoryError: too long"):
            generate(session, part, session.policy("worse/worse"), Ref("direct"), Sampling())
        assert session.store.one("SELECT count(*) FROM candidates") == (0,)


def test_failed_items_of_an_evaluation_count_as_wrong_and_are_counted(site: Site, tmp_path: Path, data: Path) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("faulty", FAULTY))) as session:
        history = History(session.store)
        run = history.begin("by hand", {}, "", {})
        suite = Ref("core/jsonl", {"path": str(data)})
        done = evaluate(session, suite, "test", session.policy("faulty/faulty"), run=run, label="base")
        items = history.eval_items(done.row)
        assert [i["value"] for i in items] == [None if "3" in str(n) else 1.0 for n in range(20)]
        assert all("MemoryError" in i["error"] for i in items if i["value"] is None)
        assert len({i["position"] for i in items}) == 20


AWAY = """
import pathlib
import tao_hub
class Served(tao_hub.Generator):
    def policy_digest(self):
        return tao_hub.digest("served")
    def generate(self, requests, sampling):
        for i, r in enumerate(requests):
            with open("asked.txt", "a") as asked:
                asked.write(r.prompt.text + "\\n")
            away = pathlib.Path("away").exists() and "3" in r.prompt.text
            yield i, ConnectionError("no route") if away else [tao_hub.Completion("yes")] * r.n
class Judge(tao_hub.Reward):
    def score_batch(self, pairs):
        return [ConnectionError("no judge") if pathlib.Path("away").exists() and "7" in p.text else 1.0
                for p, _ in pairs]
@tao_hub.hookimpl
def register_generators(register):
    register("served", Served)
@tao_hub.hookimpl
def register_rewards(register):
    register("judge", Judge)
"""


def test_what_failed_is_tried_again_on_request_and_nothing_else_is(
    site: Site, tmp_path: Path, data: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    site.add("away", AWAY)
    asked, away = tmp_path / "asked.txt", tmp_path / "away"
    folder = ["--suite-option", f"path={data}", "--store", "s.db", "--json"]
    drawing = ["generate", "jsonl:prompts", "--policy", "away/served", "-n", "2", *folder]
    judging = ["score", "away/judge", "jsonl:prompts", *folder]
    measuring = ["eval", "jsonl:test", "--policy", "away/served", *folder]
    away.touch()
    drawn, judged, measured = (run(*words) for words in (drawing, judging, measuring))
    assert (drawn.json["errors"], drawn.json["reasons"]) == (6, {"ConnectionError: no route": 6})
    assert judged.json["errors"] == 3  # equal answers to a prompt have one score
    assert measured.json["quality"][0]["errors"] == 2
    away.unlink()
    for words in (drawing, judging, measuring):
        asked.unlink(missing_ok=True)
        run(*words)
        assert not asked.exists()  # a failure is kept, and only asked for again where told to
        again = run(*words, "--retry-errors")
        assert again.code == 0, again.err
        if words is drawing:
            assert (again.json["candidates"], again.json["errors"]) == (60, 0)
            assert sorted(set(asked.read_text().split("\n"))) == ["", *sorted(f"Is {n} a number?" for n in (3, 13, 23))]
        elif words is judging:
            assert (again.json["scored"], again.json["errors"]) == (30, 0)
        else:
            assert (again.json["quality"][0]["value"], again.json["quality"][0]["errors"]) == (1.0, 0)


def test_a_round_with_nothing_to_learn_shows_why(site: Site, tmp_path: Path, data: Path, run: Run) -> None:
    site.add("learner", SOURCE)
    gate = {"name": "rules/regex", "options": {"pattern": "^never$"}, "gate": 0.5}
    config = write_plan(tmp_path / "plan.toml", settings(data, rewards=[gate]))
    stopped = run("tune", config, "--store", "s.db")
    assert stopped.code == 2
    assert "nothing to learn from: 120 candidates rules/regex below 0.5" in stopped.err
    assert "tao-hub show --round 1" in stopped.err
    shown = run("show", "--store", "s.db", "--round", "1", "--limit", "3", "--json").json
    assert [(one["id"], len(one["candidates"])) for one in shown] == [("p0", 4), ("p1", 4), ("p2", 4)]
    assert all("regex" in candidate["rejected"] for one in shown for candidate in one["candidates"])


ODD = """
import tao_hub
from tao_hub.builtin.generators import Echo

class Three:
    def __int__(self):
        return 3

class Odd(Echo):
    def generate(self, requests, sampling):
        for i, request in enumerate(requests):
            text = "fine" if "0" in request.prompt.text else None
            yield i, [tao_hub.Completion(text, output_tokens=Three(), seconds=1)] * request.n

@tao_hub.hookimpl
def register_generators(register):
    register("odd", Odd)
"""


def test_a_completion_without_text_is_a_failed_candidate_and_none_vanishes(site: Site, tmp_path: Path) -> None:
    write_rows(tmp_path / "d" / "test.jsonl", *({"prompt": f"question {i}"} for i in range(3)))
    with Session(tmp_path / "s.db", hub_of(site.add("odd", ODD))) as session:
        suite = Ref("core/jsonl", {"path": str(tmp_path / "d")})
        policy = session.policy(Ref("odd/odd"))
        generate(session, session.slice(suite, "test"), policy, Ref("core/direct"), Sampling(), 2)
        rows = session.store.db.execute("SELECT response, error, typeof(output_tokens) FROM candidates").fetchall()
    assert len(rows) == 6
    assert [row for row in rows if row[1] is None] == [("fine", None, "integer")] * 2
    assert all("text is NoneType" in error for _, error, _ in rows if error)
