"""What later rounds ask with and learn from: their own surest answers, the ways that win, variations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Site, hub_of
from learner import SOURCE
from test_course import asked, numbers

from tao_hub import Candidate, Ref, Session, tune
from tao_hub.exploring import won
from tao_hub.history import History
from tao_hub.loop import run_name
from tao_hub.runs import run_report
from tao_hub.store import Member


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return numbers(tmp_path / "data")


# A trainer that keeps the policy as it was: what changes from round to round is how it is asked.
SAME = SOURCE.replace('tao_hub.Ref("core/echo", {"template": answer})', "start")
ONLY_SHOUTS = {"name": "rules/regex", "options": {"pattern": "^SAY:"}, "gate": 0.5}


def test_from_round_two_on_the_surest_answers_of_its_own_are_examples(site: Site, tmp_path: Path, data: Path) -> None:
    seen = SOURCE.replace(
        "CALLS.append(start)", "groups = list(groups); CALLS.append([c.raw for g in groups for c in g.candidates])"
    ).replace('tao_hub.Ref("core/echo", {"template": answer})', "start")
    ways = [
        {"strategy": "direct", "n": 1, "last_round": 1},
        {"strategy": "few-shot", "n": 1, "own_examples": 2, "options": {"style": "turns"}},
    ]
    point = site.add("learner", seen)
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        wanted = asked(data, candidates=ways, rounds=2, policy_options={"template": "{input}"},
                       rewards=[{"name": "rules/length", "options": {"max": 100}}])  # fmt: skip
        report = run_report(session, tune(session, wanted)).data
        sources = session.store.rows("SELECT c.options FROM sources s JOIN components c ON c.id = s.strategy")
        shown = [json.loads(options).get("examples") for (options,) in sources if "examples" in options]
    assert report["worked_examples"] == 0
    [asked_again] = report["rounds"][1]["sources"]
    assert (asked_again["strategy"], asked_again["n"]) == ("few-shot (2 examples of its own)", 1)
    assert (asked_again["candidates"], asked_again["best"], asked_again["errors"]) == (30, 30, 0)
    examples = [{"input": f"Is {i} a number?", "output": f"Is {i} a number?"} for i in (0, 1)]
    assert [{k: e[k] for k in ("input", "output")} for e in shown[-1]] == examples


def test_candidates_go_to_the_ways_that_win_and_none_is_given_up(site: Site, tmp_path: Path, data: Path) -> None:
    ways = [
        {"strategy": "direct", "n": 4},
        {"strategy": "persona", "n": 4, "options": {"framings": ["Shout."]}},
    ]
    loud = site.add("loud", LOUD)
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SAME), loud)) as session:
        wanted = asked(data, candidates=ways, rounds=3, adapt=True, rewards=[ONLY_SHOUTS], policy="loud/echo",
                       policy_options={})  # fmt: skip
        tune(session, wanted)
        before = [r["stats"]["members"] for r in History(session.store).rounds(1)]
        tune(session, wanted)
        assert [r["stats"]["members"] for r in History(session.store).rounds(1)] == before
    given = [[n for _, _, n in members] for members in before]
    assert given[0] == [4, 4]
    assert given[1] == given[2] == [1, 7]


# Shouts where the system message asks for it.
LOUD = """
import tao_hub
from tao_hub.builtin.generators import Echo

class Loud(Echo):
    def generate(self, requests, sampling):
        for i, request in enumerate(requests):
            shouts = any("Shout" in m.content for m in request.prompt.messages)
            text = "SAY: YES" if shouts else "yes"
            yield i, [tao_hub.Completion(text)] * request.n

@tao_hub.hookimpl
def register_generators(register):
    register("echo", Loud)
"""


# Says what it is asked last and how many turns came before; breaks where a draft names 7.
TALKER = """
import tao_hub
from tao_hub.builtin.generators import Echo

class Talker(Echo):
    def generate(self, requests, sampling):
        for i, request in enumerate(requests):
            if len(request.prompt.messages) == 3 and "Is 7 " in request.prompt.messages[0].content:
                raise RuntimeError("seven")
            said = f"turn {len(request.prompt.messages)} of {request.seed % 7}"
            yield i, [tao_hub.Completion(said, output_tokens=2)] * request.n

@tao_hub.hookimpl
def register_generators(register):
    register("echo", Talker)
"""


def test_a_candidate_may_take_several_completions_in_turn(site: Site, tmp_path: Path, data: Path) -> None:
    from tao_hub import Sampling
    from tao_hub.stages import generate

    suite = Ref("core/jsonl", {"path": str(data)})
    with Session(tmp_path / "s.db", hub_of(site.add("talker", TALKER))) as session:
        part = session.slice(suite, "prompts", 10)
        policy = session.policy("talker/echo")
        member = generate(session, part, policy, Ref("core/self-refine"), Sampling(0.8), 2)
        groups = [g for _, g in session.store.groups(part, [member], {})]
        before = session.clock["generate"]
        generate(session, part, policy, Ref("core/self-refine"), Sampling(0.8), 2)
        assert session.clock["generate"] == before  # nothing is owed
    assert all(len(group.candidates) == 2 for group in groups)
    whole = [c for g in groups for c in g.candidates if c.error is None]
    assert len(whole) == 18
    assert all(c.response.startswith("turn 5") and c.raw.count("turn") == 3 and c.output_tokens == 6 for c in whole)
    broken = [c for g in groups for c in g.candidates if c.error]
    assert [c.error for c in broken] == ["RuntimeError: seven"] * 2


def test_a_combined_candidates_win_is_shared_among_its_parents(site: Site, tmp_path: Path, data: Path) -> None:
    ways = [{"strategy": "direct", "n": 1}, {"strategy": "persona", "n": 1}]
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SAME))) as session:
        wanted = asked(data, candidates=ways, rounds=1)
        tune(session, wanted)
        history = History(session.store)
        (done,) = history.rounds(1)
        (policy, one, _), (_, other, _) = done["stats"]["members"]
        ids = dict(session.store.rows("SELECT source, id FROM candidates WHERE prompt = 1"))
        owner = session.policy(session.hub.policy(wanted.policy, wanted.policy_options))
        mixed = session.source(Ref("core/assemble"), owner, None, members=[[policy, one, 1]])
        made = Candidate("", "both", index=63, parents=(ids[one], ids[other], ids[other]))
        session.store.add_candidates(Member(policy, mixed, 64), [(1, made)])
        row = session.store.one("SELECT id FROM candidates WHERE source = ?", [mixed])
        history.choose(1, 1, [(1, row[0], 1.0), (2, ids[one], 1.0)])
        wins, drawn = won(session.store, wanted, 1, 2)
    assert wins == pytest.approx({0: 1 + 1 / 3, 1: 2 / 3})
    assert drawn == {0: 30, 1: 30}


# A strategy that combines and a reward, both of which learn from examples; they remember what they were given.
MEMORY = """
import tao_hub

SEEN = {"strategy": [], "reward": []}

class Options(tao_hub.Options):
    examples: list[dict[str, str]] = []

class Recall(tao_hub.Strategy):
    Options = Options

    def __init__(self, options=None):
        super().__init__(options)
        SEEN["strategy"].append(self.options.examples)

    def worked_examples(self):
        return len(self.options.examples)

    def combine(self, group):
        return [tao_hub.Candidate(group.prompt.digest, e["output"]) for e in self.options.examples[-1:]]

class Known(tao_hub.Reward):
    Options = Options

    def score_batch(self, pairs):
        SEEN["reward"].append(self.options.examples)
        return [1.0 for _ in pairs]

@tao_hub.hookimpl
def register_strategies(register):
    register("recall", Recall)

@tao_hub.hookimpl
def register_rewards(register):
    register("known", Known)
"""


def test_what_combines_and_what_judges_learn_from_a_rounds_surest_answers(
    site: Site, tmp_path: Path, data: Path
) -> None:
    given = [{"input": "a", "output": "b"}]
    point = site.add("memory", MEMORY)
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SAME), point)) as session:
        wanted = asked(
            data, candidates=[{"strategy": "direct", "n": 1}], rounds=2, policy_options={"template": "{input}"},
            combine=[{"strategy": "memory/recall", "own_examples": 2, "options": {"examples": given}}],
            rewards=[{"name": "rules/length", "options": {"max": 100}}, {"name": "memory/known", "own_examples": 3}],
        )  # fmt: skip
        report = run_report(session, tune(session, wanted)).data
        counted = "SELECT response, count(DISTINCT prompt) FROM candidates GROUP BY 1"
        prompts_of = dict(session.store.rows(counted))
    own = [{"input": f"Is {i} a number?", "output": f"Is {i} a number?"} for i in range(3)]
    seen = point.load().SEEN
    assert [e for i, e in enumerate(seen["strategy"]) if e not in seen["strategy"][:i]] == [given, given + own[:2]]
    assert [e for i, e in enumerate(seen["reward"]) if e not in seen["reward"][:i]] == [[], own]
    assert prompts_of["b"] == 30  # in round 1 the given example, in round 2 the second of its own
    assert prompts_of["Is 1 a number?"] == 30
    assert report["worked_examples"] == 1  # its own answers are nobody's work


def test_plans_without_own_examples_are_called_what_they_were(data: Path) -> None:
    reward = {"name": "rules/length", "options": {"max": 100}}
    plain = asked(data, combine=[{"strategy": "assemble"}], rewards=[reward])
    assert "own_examples" not in json.dumps(plain.as_dict()["rewards"]) + json.dumps(plain.as_dict()["combine"])
    grown = asked(data, combine=[{"strategy": "assemble"}], rewards=[{**reward, "own_examples": 2}])
    assert run_name(plain) != run_name(grown)


# A strategy that varies: the same question of another number, with its answer; and one that repeats what is measured.
VARYING = """
import tao_hub
from tao_hub import Message, Prompt

class Other(tao_hub.Strategy):
    def vary(self, prompt, answer, n):
        number = int(prompt.text.split()[1])
        texts = [f"Is {100 + number} a number?", prompt.text, "Is dev 3.5 a number?"]
        return [(Prompt((Message("user", text),)), f"{answer} {text}") for text in texts][:n]

@tao_hub.hookimpl
def register_strategies(register):
    register("other", Other)
"""


def test_what_is_learnt_can_be_varied_and_never_repeats_what_is_measured(
    site: Site, tmp_path: Path, data: Path
) -> None:
    seen = SAME.replace(
        "CALLS.append(start)",
        "groups = list(groups); CALLS.append([(g.prompt.text, g.candidates[g.best()].response) for g in groups]); "
        "CALLS.append({g.prompt.text: (g.prompt.digest, g.prompt.meta.get('varied_from')) for g in groups})",
    )
    learner, point = site.add("learner", seen), site.add("varying", VARYING)
    common = {"candidates": [{"strategy": "direct", "n": 1}], "rounds": 1, "policy_options": {"template": "yes"},
              "rewards": [{"name": "rules/length", "options": {"max": 100}}]}  # fmt: skip
    with Session(tmp_path / "s.db", hub_of(learner, point)) as session:
        plain, varied = asked(data, **common), asked(data, **common, vary=[{"strategy": "varying/other", "n": 3}])
        assert "vary" not in plain.as_dict()
        tune(session, plain)
        tune(session, varied)  # the same groups, but another update
        with pytest.raises(Exception, match="nothing/there"):
            tune(session, asked(data, **common, vary=[{"strategy": "nothing/there"}]))
    without, _, more, known = learner.load().CALLS
    assert without == [(f"Is {i} a number?", "yes") for i in range(30)]
    assert [pair for pair in more if pair in without] == without
    assert [pair for pair in more if pair not in without] == [
        (f"Is {100 + i} a number?", f"yes Is {100 + i} a number?") for i in range(30)
    ]
    for i in range(30):  # each tells whose variation it is
        own, varies = known[f"Is {i} a number?"]
        assert varies is None
        assert known[f"Is {100 + i} a number?"][1] == own
