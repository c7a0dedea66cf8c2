"""How far a run goes and what it ends with: budgets, patience, the best round; and what a report warns of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, Site, hub_of, write_rows
from learner import SOURCE
from test_loop import settings, write_plan

from tao_hub import Candidate, Group, Message, Plan, Prompt, Ref, Score, Session, UsageError, load_plan, tune, without
from tao_hub.budget import Budget, exhausted, generated_tokens, parse_budget, with_n
from tao_hub.compose import compose, scaled
from tao_hub.config import RewardUse
from tao_hub.exploring import won
from tao_hub.guards import tuning_slice
from tao_hub.health import warnings
from tao_hub.history import History
from tao_hub.loop import run_name
from tao_hub.runs import run_report
from tao_hub.store import Member

# A trainer whose first round is right and whose later ones are what a reward of length would make of it.
SHORT = {"name": "rules/length", "options": {"target": 1, "half": 10}}
TAKEN = "((answer, _),) = Counter(best).most_common(1)"
FADING = SOURCE.replace(TAKEN, "answer = ['yes', 'n', ''][len(CALLS) - 1]")

# A trainer that gives back what it started from, longer by a word, and a generator that counts words as tokens.
KEEPING = SOURCE.replace('"core/echo", {"template": answer}', '"counts/echo", {"template": "a b"}')
COUNTS = """
from dataclasses import replace
import tao_hub
from tao_hub.builtin.generators import Echo

class Counting(Echo):
    def generate(self, requests, sampling):
        for i, completions in super().generate(requests, sampling):
            yield i, [replace(c, output_tokens=len(c.text.split())) for c in completions]

@tao_hub.hookimpl
def register_generators(register):
    register("echo", Counting)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """30 prompts without gold, and two splits whose right answer is yes."""
    folder = tmp_path / "data"
    write_rows(folder / "prompts.jsonl", *({"id": f"p{i}", "prompt": f"Is {i} a number?"} for i in range(30)))
    for split in ("dev", "test"):
        rows = ({"id": f"{split}{i}", "prompt": f"Is {split} {i}.5 a number?", "reference": "yes"} for i in range(20))
        write_rows(folder / f"{split}.jsonl", *rows)
    return folder


def asked(data: Path, **changes: Any) -> Plan:
    exams = [{"split": "dev"}, {"split": "test", "sealed": True}]
    # at temperature 0.8 an echo policy draws among its replies, so each round has other candidates
    return load_plan(settings(data, eval=exams, **{"rounds": 3, "rewards": [SHORT], **changes}))


def labels(session: Session, split: str) -> list[str]:
    return [e["label"] for e in History(session.store).evals(1) if e["split"] == split]


# -- the best round ----------------------------------------------------------------------------------------------------


def test_a_run_that_keeps_the_best_round_measures_that_one_on_the_sealed_split(
    site: Site, tmp_path: Path, data: Path
) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("learner", FADING))) as session:
        report = run_report(session, tune(session, asked(data, keep="best"))).data
        assert labels(session, "dev") == ["base", "round 1", "round 2", "round 3"]
        assert labels(session, "test") == ["base", "round 1"]
    assert report["tuned"]["round"] == 1
    assert report["primary"]["after_label"] == "round 1"

def test_a_run_ends_with_its_last_round_unless_it_is_told_otherwise(site: Site, tmp_path: Path, data: Path) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("learner", FADING))) as session:
        report = run_report(session, tune(session, asked(data))).data
        assert labels(session, "test") == ["base", "round 3"]
    assert report["tuned"] == {"round": 3, "policy": "core/echo", "digest": report["tuned"]["digest"]}


def test_patience_stops_a_run_that_gets_no_better_and_the_same_command_adds_nothing(
    site: Site, tmp_path: Path, data: Path
) -> None:
    wanted = asked(data, keep="best", patience=1)
    with Session(tmp_path / "s.db", hub_of(site.add("learner", FADING))) as session:
        tune(session, wanted)
        assert labels(session, "dev") == ["base", "round 1", "round 2"]
        tune(session, wanted)
        assert labels(session, "dev") == ["base", "round 1", "round 2"]
        assert labels(session, "test") == ["base", "round 1"]


def test_a_proxy_that_rises_while_quality_falls_is_warned_of(site: Site, tmp_path: Path, data: Path) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("learner", FADING))) as session:
        wanted = asked(data, policy_options={"replies": ["perhaps so", "who knows"]}, rounds=2)
        report = run_report(session, tune(session, wanted)).data
    assert any("round 2: rewards rose while score fell on dev" in text for text in report["warnings"])


# -- budgets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", Budget()), ("90s", Budget(seconds=90)), ("10m", Budget(seconds=600)), ("1.5h", Budget(seconds=5400)),
        ("2M-tokens", Budget(tokens=2_000_000)), ("500k tokens", Budget(tokens=500_000)), ("n=32", Budget(n=32)),
    ],
)  # fmt: skip
def test_budgets_are_time_tokens_or_candidates(text: str, meant: Budget) -> None:
    assert parse_budget(text) == meant


@pytest.mark.parametrize("text", ["10", "m", "ten minutes", "-5m", "n=x", "2M"])
def test_a_budget_that_says_none_of_them_names_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match="2M-tokens"):
        parse_budget(text)


def test_candidates_are_shared_among_the_ways_to_ask_of_a_round(data: Path) -> None:
    ways = [
        {"strategy": "direct", "n": 2}, {"strategy": "chain-of-thought", "n": 6},
        {"strategy": "direct", "n": 4, "temperature": 1.2, "first_round": 4},
    ]  # fmt: skip
    plan = with_n(asked(data, candidates=ways, rounds=5), 20)
    assert [source.n for source in plan.candidates] == [3, 10, 7]
    assert [s.n for s in with_n(asked(data, candidates=ways[:2]), 20).candidates] == [5, 15]
    with pytest.raises(UsageError, match="n=1 is too few"):
        with_n(asked(data, candidates=ways[:2]), 1)


def test_a_run_ends_before_the_round_that_its_budget_does_not_allow(
    site: Site, tmp_path: Path, data: Path, run: Run
) -> None:
    counts = site.add("counts", COUNTS)
    policy = {"policy": "counts/echo", "policy_options": {"replies": ["no", "yes", "perhaps"]}}
    with Session(tmp_path / "s.db", hub_of(site.add("learner", KEEPING), counts)) as session:
        name = tune(session, asked(data, budget="480 tokens", rounds=5, **policy))
        rounds = History(session.store).rounds(1)
        whole, ten = (tuning_slice(session, asked(data, prompts=n, **policy)) for n in (None, 10))
        spent = [generated_tokens(session.store, r["stats"], [whole]) for r in rounds]
        assert spent == [120, 240]  # four candidates of 30 prompts, of one and of two words
        assert generated_tokens(session.store, rounds[0]["stats"], [ten]) == 40  # of other prompts nothing counts
        more = len(rounds) + 1
        larger = asked(data, budget="100k-tokens", rounds=more, **policy)
        assert tune(session, larger) == name  # the same run, which goes on
        assert len(History(session.store).rounds(1)) == more


def test_time_is_spent_by_rounds_and_the_first_one_always_runs(data: Path) -> None:
    plan = asked(data, budget="10m")
    assert exhausted(plan, 0, 10_000, 0) == ""
    assert exhausted(plan, 2, 399, 0) == ""
    assert "402 s of 600" in exhausted(plan, 2, 402, 0)


def test_the_command_takes_a_budget(run: Run, tmp_path: Path, data: Path) -> None:
    config = write_plan(tmp_path / "tune.toml", settings(data))
    refused = run("tune", config, "--budget", "much")
    assert refused.code == 2
    assert "2M-tokens" in refused.err


# -- scales ------------------------------------------------------------------------------------------------------------


def test_rewards_of_other_sizes_weigh_alike_once_they_are_normalised() -> None:
    prompt = Prompt((Message("user", "q"),))
    values = [(0.1, 900.0), (0.9, 100.0), (0.8, 500.0)]
    scores = tuple({"small": Score(a), "large": Score(b)} for a, b in values)
    group = Group(prompt, tuple(Candidate("", str(i)) for i in range(3)), scores)

    def total(how: str) -> list[float]:
        uses = [RewardUse(name=name, normalise=how) for name in ("small", "large")]
        return [t.value for t in compose(group, uses).totals if t is not None and t.value is not None]

    assert total("none") == [900.1, 100.9, 500.8]
    assert total("rank") == [1.0, 1.0, 1.0]
    first, second, third = total("zscore")
    assert first + second + third == pytest.approx(0)
    assert third > first > second


def test_a_scale_of_a_group_by_hand() -> None:
    assert scaled([1.0, 2.0, 2.0, 5.0], "rank") == {1.0: 0.0, 2.0: 0.5, 5.0: 1.0}
    assert scaled([0.0, 2.0, 4.0], "zscore") == pytest.approx({0.0: -(1.5**0.5), 2.0: 0.0, 4.0: 1.5**0.5})
    assert scaled([3.0, 3.0], "zscore") == {3.0: 0.0}
    assert scaled([3.0], "rank") == {3.0: 0.5}


def test_gates_see_what_the_reward_said_and_a_failed_score_is_on_no_scale() -> None:
    prompt = Prompt((Message("user", "q"),))
    uses = [RewardUse(name="a", gate=0.5, normalise="zscore")]
    scores = ({"a": Score(0.4)}, {"a": Score(0.8)}, {"a": Score.failed("broken")})
    composed = compose(Group(prompt, tuple(Candidate("", t) for t in "xyz"), scores), uses)
    assert composed.rejected == ("a below 0.5", "", "a failed")
    assert [t and t.value for t in composed.totals] == [pytest.approx(-1), pytest.approx(1), None]


# -- warnings ----------------------------------------------------------------------------------------------------------


def test_what_a_round_saw_is_warned_of() -> None:
    reward = {"label": "judge", "weight": 1.0, "gate": None, "errors": 30, "no_spread": 0.95, "at_most": 0.99}
    seen = {
        "number": 1, "groups": 100, "unscored_groups": 3, "chosen": 5, "candidates": 200, "repeated": 0.9,
        "letters": 100.0, "letters_chosen": 210.0, "rewards": [reward],
    }  # fmt: skip
    told = "\n".join(warnings({"rounds": [seen]}))
    for part in ("3 of 100 prompts have no candidate", "only 5 of 100", "90% of the candidates repeat",
                 "2.1 times as long", "judge failed on 30 of 200",
                 "judge gives all candidates of a prompt the same in 95%"):  # fmt: skip
        assert part in told
    calm = {**seen, "unscored_groups": 0, "chosen": 90, "repeated": 0.2, "letters_chosen": 100.0, "rewards": []}
    assert warnings({"rounds": [calm]}) == []


def test_answers_that_grow_are_warned_of() -> None:
    rows = [{"label": x, "split": "test", "output_tokens": n} for x, n in (("base", 20.0), ("round 1", 44.0))]
    primary = {"split": "test", "before_label": "base", "after_label": "round 1"}
    assert "from 20 to 44 tokens" in warnings({"rounds": [], "quality": rows, "primary": primary})[0]


# -- ways to ask -------------------------------------------------------------------------------------------------------

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
    assert report["rounds"][1]["sources"] == [{"strategy": "few-shot (2 examples of its own)", "n": 1}]
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


# -- what a reward adds ------------------------------------------------------------------------------------------------


def test_a_report_says_what_each_reward_adds_once_the_same_plan_ran_without_it(
    site: Site, tmp_path: Path, data: Path
) -> None:
    wanted = [{"name": "rules/regex", "label": "form", "options": {"pattern": "^yes$"}}, {**SHORT, "weight": 0.5}]
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        plan = asked(data, rounds=1, rewards=wanted)
        name = tune(session, plan)
        assert run_report(session, name).data["adds"] == []
        tune(session, without(plan, "form"))
        [adds] = run_report(session, name).data["adds"]
    assert (adds["reward"], adds["with"]["value"], adds["n"]) == ("form", 1.0, 20)
    assert adds["delta"] == pytest.approx(adds["with"]["value"] - adds["without"]["value"])
    assert adds["without"]["value"] == 0.0  # of answers judged by their length the shortest is "no"


def test_a_reward_that_is_left_out_takes_the_trainers_bounds_with_it() -> None:
    bounds = {"form": 0.5, "form.a": 0.1, "format": 0.2, "rules/length": 0.3}
    plan = load_plan({
        "suite": "core/jsonl", "policy": "core/echo",
        "rewards": [{"name": "rules/regex", "label": "form"}, {"name": "rules/length"}],
        "train": {"options": {"min_parts": bounds, "epochs": 2}},
    })  # fmt: skip
    assert without(plan, "form").train.options == {"min_parts": {"format": 0.2, "rules/length": 0.3}, "epochs": 2}
    with pytest.raises(ValueError, match="no reward 'forms' in the plan; its rewards: form, rules/length"):
        without(plan, "forms")


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
