"""How far a run goes and what it ends with: budgets, patience, the best round; what a report says of its rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Run, Site, hub_of, write_rows
from learner import SOURCE
from test_loop import settings, write_plan

from tao_hub import Candidate, Group, Message, Plan, Prompt, Score, Session, UsageError, load_plan, tune, without
from tao_hub.budget import Budget, exhausted, generated_tokens, parse_budget, with_n
from tao_hub.compose import compose, scaled
from tao_hub.config import RewardUse
from tao_hub.guards import tuning_slice
from tao_hub.health import warnings
from tao_hub.history import History
from tao_hub.runs import run_report

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
    return numbers(tmp_path / "data")


def numbers(folder: Path) -> Path:
    """30 prompts without gold, and two splits whose right answer is yes."""
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
    three = [{"strategy": "direct", "n": 1, "temperature": 0.5 + i} for i in range(3)]
    for n, shares in ((3, [1, 1, 1]), (4, [2, 1, 1]), (5, [2, 2, 1])):  # neither fewer nor more than were asked for
        assert [s.n for s in with_n(asked(data, candidates=three), n).candidates] == shares
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
    calm = {**seen, "unscored_groups": 0, "chosen": 90, "repeated": 0.2, "letters_chosen": 100.0}
    assert warnings({"rounds": [{**calm, "rewards": [{"label": "judge"}]}]}) == []
    (told,) = warnings({"rounds": [{**calm, "rewards": []}]})
    assert told.startswith("round 1: no [[rewards]] judge the answers")


def test_a_warning_of_a_reward_says_what_the_reward_says_most(site: Site, tmp_path: Path, data: Path) -> None:
    """Votes on records tell nothing of answers that are none, and the reader could not guess it."""
    votes = {"name": "rules/consistency"}
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        name = tune(session, asked(data, rounds=1, rewards=[votes, SHORT]))
        told = run_report(session, name).data["warnings"]
        assert [w for w in told if "rules/consistency gives all" in w and "not JSON" in w and 'mode = "whole"' in w]
    seen = {"number": 1, "candidates": 200, "chosen": 9, "groups": 10}
    reward = {"label": "judge", "errors": 30, "why_errors": "no verdict"}
    (told,) = warnings({"rounds": [{**seen, "rewards": [reward]}]})
    assert told == "round 1: judge failed on 30 of 200 candidates (no verdict); --retry-errors asks again"


def test_a_round_that_can_only_learn_the_same_again_is_warned_of(site: Site, tmp_path: Path, data: Path) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        start = [{"strategy": "direct", "n": 4, "policy": "start"}]
        told = run_report(session, tune(session, asked(data, rounds=2, candidates=start))).data["warnings"]
        assert [w for w in told if w.startswith("round 2: it learnt the same from the same start as round 1")]
        told = run_report(session, tune(session, asked(data, rounds=2))).data["warnings"]
        assert not [w for w in told if "learnt the same" in w]


def test_answers_that_grow_are_warned_of() -> None:
    rows = [{"label": x, "split": "test", "output_tokens": n} for x, n in (("base", 20.0), ("round 1", 44.0))]
    primary = {"split": "test", "before_label": "base", "after_label": "round 1"}
    assert "from 20 to 44 tokens" in warnings({"rounds": [], "quality": rows, "primary": primary})[0]


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
