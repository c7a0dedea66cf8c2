"""Rewards that learn from the round itself, and `model/fields`, which learns by the fields that are sure."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import Site, hub_of, write_rows
from learner import SOURCE
from tao_reward_model.own.copied import places
from tao_reward_model.own.fields import UNKNOWN, Fields
from test_course import asked, numbers

import tao_hub
from tao_hub import Candidate, Group, Message, Prompt, Ref, Score, Session, UsageError, sure_fields, tune
from tao_hub.ablations import _missing
from tao_hub.runs import run_report

NAMES = ["Ada", "Bo", "Cy", "Di", "Ed", "Flo", "Gus", "Hal", "Ida", "Jo", "Kim", "Lee", "Max", "Nan", "Oz"]
SAID = {"late": "It is still on its way.", "broken": "It lies in pieces.", "bill": "I paid twice."}


def message(draw: random.Random) -> tuple[str, dict[str, object]]:
    """A text that names its writer and somebody else, and what is right to say of it."""
    own, other = draw.sample(NAMES, 2)
    kind = draw.choice(list(SAID))
    count = draw.randint(2, 9)
    text = draw.choice([
        f"{other} sold me {count} lamps. {SAID[kind]} Regards, {own}",
        f"This is {own}. {SAID[kind]} I asked {other} about the {count} lamps.",
    ])  # fmt: skip
    return text, {"name": own, "other": other, "count": count, "kind": kind}


def group(text: str, truth: dict[str, object], sure: bool, wrong: bool = False) -> Group:
    """Candidates with the right name and with the other one; `sure` says whether the votes tell, `wrong` which wins."""
    kinds = [str(truth["kind"]), *(k for k in SAID if k != truth["kind"])]
    records = [
        {"name": name, "count": truth["count"], "kind": kind}
        for name in (truth["name"], truth["other"]) for kind in kinds
    ]  # fmt: skip
    best = 3 if wrong else 0
    votes = [Score(1.0, parts=dict.fromkeys(("name", "count", "kind"), 0.9 if sure else 0.2)) for _ in records]
    return Group(
        Prompt((Message("user", text),)), tuple(Candidate("", json.dumps(r)) for r in records),
        tuple({"votes": vote} for vote in votes), tuple(Score(float(i == best)) for i in range(len(records))),
        ("",) * len(records),
    )  # fmt: skip


def learnt(groups: Sequence[Group], **options: object) -> Fields:
    given = {"copied": ["name", "count"], "chosen": ["kind"], "min_parts": {"votes": 0.5}, **options}
    reward = Fields(Fields.Options(**given))
    reward.learn(groups)
    return reward


def scored(reward: Fields, of: Group) -> list[Score]:
    found = reward.score_batch([(of.prompt, candidate) for candidate in of.candidates])
    return [score for score in found if isinstance(score, Score)]


@pytest.fixture(scope="module")
def round_() -> list[tuple[Group, bool]]:
    """150 messages; of a third the votes are unsure, and the best candidate has the wrong name and kind."""
    draw = random.Random(0)
    return [(group(*message(draw), sure=i % 3 > 0, wrong=i % 3 == 0), i % 3 > 0) for i in range(150)]


def test_what_the_votes_cannot_tell_is_told_by_the_words_around_sure_values(round_: list[tuple[Group, bool]]) -> None:
    reward = learnt([g for g, _ in round_])
    for unsure in (g for g, sure in round_ if not sure):
        scores = scored(reward, unsure)
        assert max(range(6), key=lambda i: scores[i].value or 0.0) == 0  # the right one, which no vote preferred
        assert scores[0].parts["name"] > 0.9
        assert scores[3].parts["name"] < 0.1
        assert scores[3].why == f"name: rather {json.loads(unsure.candidates[0].response)['name'].casefold()}"


def test_probabilities_of_a_field_add_up_to_one_with_null(round_: list[tuple[Group, bool]]) -> None:
    reward = learnt([g for g, _ in round_])
    first = round_[0][0]
    records = [*(c.response for c in first.candidates), '{"name": null, "count": null, "kind": "late"}']
    pairs = [(first.prompt, Candidate("", r)) for r in records]
    parts = [s.parts for s in reward.score_batch(pairs) if isinstance(s, Score)]
    assert parts[0]["name"] + parts[3]["name"] + parts[6]["name"] == pytest.approx(1)
    assert sum(parts[i]["kind"] for i in range(3)) == pytest.approx(1)


def test_a_message_is_judged_by_a_model_that_has_not_learnt_from_it(round_: list[tuple[Group, bool]]) -> None:
    """One sure message lies: the lie is found out, since the others do not say so."""
    draw = random.Random(9)
    text, truth = message(draw)
    liar = group(text, truth, sure=True, wrong=True)
    reward = learnt([*(g for g, _ in round_), liar])
    assert scored(reward, liar)[3].parts["name"] < 0.5


def test_scores_are_the_same_whatever_the_batch_and_on_every_run(round_: list[tuple[Group, bool]]) -> None:
    groups = [g for g, _ in round_]
    reward, again = learnt(groups), learnt(groups)
    assert scored(reward, groups[0]) == scored(again, groups[0])
    alone = [s for c in groups[0].candidates for s in reward.score_batch([(groups[0].prompt, c)])]
    assert alone == scored(reward, groups[0])


def test_a_value_that_no_candidate_held_or_a_new_input_can_be_judged(round_: list[tuple[Group, bool]]) -> None:
    reward = learnt([g for g, _ in round_])
    pairs = [(Prompt((Message("user", f"Zoe sold me 3 lamps. {SAID['late']} Regards, Yan"),)),
              Candidate("", json.dumps({"name": name, "kind": "late"}))) for name in ("Yan", "Zoe", "Xi")]  # fmt: skip
    yan, zoe, xi = (s.parts["name"] for s in reward.score_batch(pairs) if isinstance(s, Score))
    assert yan > zoe
    assert xi == 0.0  # stands nowhere in the input


def test_a_field_with_too_few_sure_values_is_not_judged(round_: list[tuple[Group, bool]]) -> None:
    assert set(scored(learnt([g for g, _ in round_], least=90), round_[0][0])[0].parts) == {"name", "count", "kind"}
    alike = scored(learnt([g for g, _ in round_], least=120), round_[0][0])
    assert {(s.value, s.why) for s in alike} == {(UNKNOWN, "no field that could be learnt from this round")}
    assert not alike[0].parts


def test_an_answer_that_is_no_record_is_a_verdict_of_zero(round_: list[tuple[Group, bool]]) -> None:
    reward = learnt([g for g, _ in round_])
    [score] = reward.score_batch([(round_[0][0].prompt, Candidate("", "Ada"))])
    assert isinstance(score, Score)
    assert score.value == 0.0
    assert "JSON" in score.why


def test_places_know_numbers_by_their_words_and_no_parts_of_words() -> None:
    assert len(places("two lamps, 2 bulbs, 12 wires", 2)) == 2
    assert places("Adam", "Ada") == []
    assert places("Ada\nX", "ada")[0]["whole line"] == 1.0
    assert places("true", True) == places("[1]", [1]) == places("x", " ") == []


def test_fields_are_named_and_are_either_copied_or_chosen() -> None:
    with pytest.raises(ValueError, match="name at least one field"):
        Fields.Options()
    with pytest.raises(ValueError, match="'kind' is either copied or chosen"):
        Fields.Options(copied=["kind"], chosen=["kind"])


def test_a_field_may_be_sure_whatever_the_others_doubt() -> None:
    scores = {"votes": Score(1.0, parts={"name": 0.2, "count": 0.9}), "learnt": Score(1.0, parts={"name": 0.95})}
    assert sure_fields(scores, ["name", "count"], {"votes": 0.5}) == {"count"}
    settled = sure_fields(scores, ["name", "count"], {"votes": 0.5}, enough_parts={"learnt.name": 0.9})
    assert settled == {"name", "count"}
    assert sure_fields(scores, ["name"], {"votes": 0.5}, enough_parts={"learnt.name": 0.99}) == set()
    with pytest.raises(ValueError, match=r"enough_parts: 'model\.name' names no reward"):
        sure_fields(scores, ["name"], {}, enough_parts={"model.name": 0.9})


# -- in the loop -------------------------------------------------------------------------------------------------------

# A reward that learns the round's most frequent best answer, and a strategy that proposes what it learnt.
HERD = """
from collections import Counter
import tao_hub

SEEN = []

class Herd(tao_hub.Reward):
    learns = True

    def learn(self, groups):
        groups = list(groups)
        SEEN.append([[sorted(s) for s in g.scores] for g in groups])
        best = Counter(g.candidates[i].response for g in groups if (i := g.best()) is not None)
        if not best:
            raise ValueError("nobody has a best answer")
        self.liked = best.most_common(1)[0][0]

    def score_batch(self, pairs):
        return [float(c.response == self.liked) for _, c in pairs]

class Follow(tao_hub.Strategy):
    def combine(self, group):
        liked = [c for c, s in zip(group.candidates, group.scores) if "herd" in s and s["herd"].value]
        return [tao_hub.Candidate(group.prompt.digest, c.response + "!", parents=(c.id,)) for c in liked[:1]]

@tao_hub.hookimpl
def register_rewards(register):
    register("herd", Herd)

@tao_hub.hookimpl
def register_strategies(register):
    register("follow", Follow)
"""
LENGTH = {"name": "rules/length", "label": "length", "options": {"max": 100}}
LEARNS = {"name": "herd/herd", "label": "herd", "weight": 2.0}


def test_a_reward_that_learns_sees_what_the_others_scored_and_is_seen_by_what_comes_after(
    site: Site, tmp_path: Path
) -> None:
    herd = site.add("herd", HERD)
    hub = hub_of(site.add("learner", SOURCE), herd)
    wanted = asked(
        numbers(tmp_path / "data"), candidates=[{"strategy": "direct", "n": 2}], rewards=[LEARNS, LENGTH],
        policy_options={"template": "yes"}, combine=[
            {"strategy": "herd/follow"}, {"strategy": "herd/follow", "learnt": True},
        ],
    )  # fmt: skip
    with Session(tmp_path / "s.db", hub) as session:
        name = tune(session, wanted)
        report = run_report(session, name).data
        groups = list(tao_hub.run_groups(session, name))
        again = tune(session, wanted)
    assert herd.load().SEEN == [[[["length"]] * 2] * 30]  # once, without its own scores; nothing more on the way back
    assert again == name
    [asked_, _, made] = [(c.response, s["herd"].value) for c, s in zip(groups[0].candidates, groups[0].scores)]
    assert (asked_, made) == (("yes", 1.0), ("yes!", 0.0))  # only the later one saw the scores and made something
    assert [t.value for t in groups[0].totals if t] == [3.0, 3.0, 1.0]
    found = {reward["label"]: (reward["at_most"], reward["errors"]) for reward in report["rounds"][0]["rewards"]}
    sources = {s["strategy"]: (s["n"], s["candidates"], s["best"]) for s in report["rounds"][0]["sources"]}
    assert sources == {"direct": (2, 60, 30), "herd/follow": (None, 30, 0)}
    assert found == {"herd": (pytest.approx(2 / 3), 0), "length": (1.0, 0)}


def test_a_reward_that_cannot_learn_says_why(site: Site, tmp_path: Path) -> None:
    hub = hub_of(site.add("learner", SOURCE), site.add("herd", HERD))
    gate = {**LENGTH, "options": {"max": 1}, "gate": 1.0}
    with Session(tmp_path / "s.db", hub) as session, pytest.raises(UsageError, match="nobody has a best answer"):
        tune(session, asked(numbers(tmp_path / "data"), rewards=[gate, LEARNS], policy_options={"template": "yes"}))


def test_a_reward_that_learns_is_used_in_plans_only(site: Site, tmp_path: Path) -> None:
    hub = hub_of(site.add("herd", HERD))
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 1, "prompt": "a", "response": "b"}\n')
    with pytest.raises(UsageError, match="use it in \\[\\[rewards\\]\\] of a plan"):
        tao_hub.score_rows(Ref("herd/herd"), rows, tmp_path / "out.jsonl", hub=hub)
    assert not (tmp_path / "out.jsonl").exists()
    with Session(tmp_path / "s.db", hub) as session:
        part = session.slice(Ref("core/jsonl", {"path": str(numbers(tmp_path / "data"))}), "prompts", 2)
        start = session.policy(session.hub.policy(Ref("core/echo", {"template": "yes"})))
        member = tao_hub.generate(session, part, start, Ref("core/direct"), tao_hub.Sampling())
        with pytest.raises(UsageError, match="use it in \\[\\[rewards\\]\\] of a plan"):
            tao_hub.score(session, part, [member], session.reward(Ref("herd/herd")))


def test_leaving_a_reward_out_takes_it_out_of_what_others_learn_by(tmp_path: Path) -> None:
    fields = {"name": "model/fields", "label": "own",
              "options": {"copied": ["a"], "min_parts": {"length": 0.5, "other.a": 0.2}},
              "later": {"null_parts": {"length.a": 0.5, "other.a": 0.7}}}  # fmt: skip
    plan = asked(numbers(tmp_path / "data"), rewards=[LENGTH, fields])
    left = tao_hub.without(plan, "length")
    assert [use.options.get("min_parts") for use in left.rewards] == [{"other.a": 0.2}]
    assert [use.options.get("null_parts") for use in left.rewards_in(2)] == [{"other.a": 0.7}]
    assert [use.key for use in tao_hub.without(plan, "own").rewards] == ["length"]


def test_a_reward_that_has_a_table_for_each_round_is_one_reward_when_it_is_left_out(tmp_path: Path) -> None:
    options = {"copied": ["a"], "min_parts": {"length": 0.5}}
    rounds = [{"name": "model/fields", "label": "own", "options": options, **when}
              for when in ({"last_round": 1}, {"first_round": 2})]  # fmt: skip
    plan = asked(numbers(tmp_path / "data"), rewards=[LENGTH, *rounds])
    assert _missing(plan, tao_hub.without(plan, "own")) == "own"
    assert _missing(plan, tao_hub.without(plan, "length")) == "length"  # the other's bounds go with it
    assert _missing(plan, plan) == ""


class Stops(tao_hub.Progress):
    """Ctrl-C while the reward that learns scores."""

    stage = ""

    def start(self, stage: str, total: int | None, unit: str = "") -> None:
        self.stage = stage

    def advance(self, count: float = 1, sample: str = "", **numbers: float) -> None:
        if self.stage == "score · herd/herd":
            raise KeyboardInterrupt


def test_a_run_stopped_while_such_a_reward_scores_learns_again_and_ends_the_same(site: Site, tmp_path: Path) -> None:
    herd = site.add("herd", HERD)
    hub = hub_of(site.add("learner", SOURCE), herd)
    data = numbers(tmp_path / "data")
    two_batches = ({"id": f"p{i}", "prompt": f"Is {i} a number?"} for i in range(100))
    write_rows(data / "prompts.jsonl", *two_batches)
    wanted = asked(
        data, rounds=1, candidates=[{"strategy": "direct", "n": 1}], rewards=[LEARNS, LENGTH],
        policy_options={"template": "{input}"},
    )  # fmt: skip
    with Session(tmp_path / "s.db", hub, progress=Stops()) as session, pytest.raises(KeyboardInterrupt):
        tune(session, wanted)
    with Session(tmp_path / "s.db", hub) as session:
        resumed = [g.totals for g in tao_hub.run_groups(session, tune(session, wanted))]
    with Session(tmp_path / "other.db", hub) as session:
        whole = [g.totals for g in tao_hub.run_groups(session, tune(session, wanted))]
    assert len(herd.load().SEEN) == 3
    assert resumed == whole
    assert sum(total.value == 3.0 for (total,) in whole if total) == 1  # the one that is liked


def test_options_of_a_reward_may_be_others_from_round_two_on(site: Site, tmp_path: Path) -> None:
    length = {**LENGTH, "later": {"min": 50}}
    wanted = asked(numbers(tmp_path / "data"), rewards=[length], policy_options={"template": "yes"}, rounds=2)
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        report = run_report(session, tune(session, wanted)).data
    assert [[r["mean_all"] for r in done["rewards"]] for done in report["rounds"]] == [[1.0], [0.0]]
    plain = asked(numbers(tmp_path / "data"), rewards=[LENGTH])
    assert plain.rewards_in(2) == plain.rewards_in(1) == plain.rewards  # and nothing is written of what is not used
    assert "later" not in plain.as_dict()["rewards"][0]
