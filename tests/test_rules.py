"""The rewards by rule: what they accept, what they refuse, and what hostile text cannot do to them."""

from __future__ import annotations

import json
import math
import random
import time
from typing import Any

import pydantic
import pytest
from tao_reward_rules.consistency import Consistency
from tao_reward_rules.exact import Exact
from tao_reward_rules.grounded import Grounded
from tao_reward_rules.length import Length
from tao_reward_rules.occurs import Source
from tao_reward_rules.pattern import Regex
from tao_reward_rules.schema import Schema

import tao_hub
from tao_hub import Candidate, Group, Message, Prompt, Score

DEEP = "[" * 50_000 + "]" * 50_000
BAD_JSON = [
    "",
    "x",
    DEEP,
    "[" * 90_000,
    '{"a": NaN}',
    '{"a": 1e999}',
    '{"a": 1, "a": 2}',
    '{"a": 1} thanks',
    "9" * 5000,
]


def build(cls: type[tao_hub.Reward], **options: Any) -> Any:
    return cls(cls.Options.model_validate(options))


def score(reward: tao_hub.Reward, response: str, text: str = "", reference: Any = None) -> Score:
    prompt = Prompt((Message("user", text),), reference=reference)
    (found,) = reward.score_batch([(prompt, Candidate(prompt.digest, response))])
    assert isinstance(found, Score)
    return found


def value(reward: tao_hub.Reward, response: str, text: str = "", reference: Any = None) -> float | None:
    return score(reward, response, text, reference).value


# -- regex, length --


def test_regex_searches_or_matches_fully_and_can_be_turned_round() -> None:
    assert value(build(Regex, pattern=r"\d+"), "abc 12") == 1
    assert value(build(Regex, pattern=r"\d+", mode="fullmatch"), "abc 12") == 0
    assert value(build(Regex, pattern=r"sorry", match=False, ignore_case=True), "Sorry, no") == 0


def test_a_catastrophic_regex_is_an_error_within_its_time() -> None:
    begin = time.monotonic()
    found = score(build(Regex, pattern=r"(a|aa)+$", timeout=0.2), "a" * 100 + "!")
    assert time.monotonic() - begin < 3
    assert found.value is None
    assert found.error is not None
    assert found.error["type"] == "TimeoutError"


def test_a_broken_pattern_is_refused_with_the_options() -> None:
    with pytest.raises(pydantic.ValidationError, match="no regular expression"):
        build(Regex, pattern="(")


def test_length_has_a_window_and_a_smooth_fall_beyond_its_target() -> None:
    window = build(Length, unit="words", min=1, max=3)
    assert [value(window, "a " * n) for n in (0, 1, 3, 4)] == [0, 1, 1, 0]
    falling = build(Length, target=100, half=50)
    assert [value(falling, "x" * n) for n in (0, 100, 150, 200)] == [1, 1, 0.5, 0.25]
    with pytest.raises(pydantic.ValidationError, match="nothing to judge by"):
        build(Length)


# -- exact, schema --


def test_exact_compares_text_lists_of_answers_and_json() -> None:
    exact = build(Exact)
    assert value(exact, " Paris\n", reference="Paris") == 1
    assert value(exact, "paris", reference="Paris") == 0
    assert value(build(Exact, ignore_case=True, normalise_space=True), "new  YORK", reference="New York") == 1
    assert value(exact, "NYC", reference=["New York", "NYC"]) == 1
    assert value(exact, "[1, 2.0]", reference=[1, 2]) == 1
    assert value(exact, "[2, 1]", reference=[1, 2]) == 0
    assert value(exact, "true", reference=1) == 0
    assert value(exact, '{"b": 2, "a": 1}', reference={"a": 1, "b": 2}) == 1


def test_exact_tells_the_fields_of_a_record_and_counts_extra_ones_as_wrong() -> None:
    gold = {"a": 1, "b": "x"}
    assert score(build(Exact), '{"a": 1, "b": "y"}', reference=gold).parts == {"a": 1, "b": 0}
    assert value(build(Exact), '{"a": 1, "b": "x", "c": 0}', reference=gold) == 0
    assert score(build(Exact), "not json", reference=gold).parts == {"a": 0, "b": 0}


def test_exact_without_a_reference_is_an_error_not_a_zero() -> None:
    found = score(build(Exact), "x")
    assert found.value is None
    assert found.error is not None


@pytest.mark.parametrize("text", BAD_JSON)
def test_an_answer_that_is_not_json_is_a_verdict_of_zero(text: str) -> None:
    for reward in (build(Schema, schema={}), build(Grounded), build(Exact)):
        found = score(reward, text, reference={"a": 1})
        assert found.value == 0
        assert found.why.startswith("not JSON: ")


# -- grounded --


MESSAGE = (
    "Hi, Zoë O’Neill here. I want 1,200 screws and two  deck\nchairs (order DC-20417) on 12/05/24, 2x mug, 12.5 kg."
)


@pytest.mark.parametrize(
    "found",
    [
        "zoë o'neill",
        "Deck Chairs",
        "DC-20417",
        "12/05/24",
        1200,
        2,
        2.0,
        12.5,
        "12.5 kg",
        "ZOE\u0308",
        ["mug", "screws"],
    ],
)
def test_values_of_the_input_are_grounded(found: Any) -> None:
    assert value(build(Grounded), tao_hub.dump_record({"x": found}), MESSAGE) == 1


@pytest.mark.parametrize(
    "found",
    ["deck chair", "20417", "Zое", 12, 200, 5, 24, 20417, 3, "", " ", ",", "05", True, -2, 1e300, {"a": "none"}],
)
def test_pieces_look_alikes_and_inventions_are_not_grounded(found: Any) -> None:
    assert value(build(Grounded), json.dumps({"x": found}), MESSAGE) == 0


@pytest.mark.parametrize(
    ("text", "number", "occurs"),
    [
        ("1234", 12, False),
        ("4f3a", 4, False),
        ("tea,4,2024-11-02", 4, True),
        ("tea,4,2024-11-02", 11, False),
        ("qty:4", 4, True),
        ("17:45", 17, False),
        ("2x500ml", 2, True),
        ("x3", 3, True),
        ("3rd", 3, True),
        ("1.200", 1200, True),
        ("1.200", 1.2, True),
        ("1,200.50", 1200.5, True),
        ("that was 12.", 12, True),
        ("twelve", 12, True),
        ("seventeen", 7, False),
        ("", 1, False),
    ],
)
def test_numbers_occur_as_whole_numbers(text: str, number: float, occurs: bool) -> None:
    assert Source(text).has_number(number) is occurs


def test_grounded_weighs_null_and_chooses_fields() -> None:
    record = json.dumps({"name": "Zoë", "date": None, "kind": "late"})
    found = score(build(Grounded, ignore=["kind"], null_score=0.5), record, MESSAGE)
    assert found.parts == {"name": 1.0, "date": 0.5}
    assert found.value == 0.75
    assert value(build(Grounded, mode="min"), record, MESSAGE) == 0
    missing = score(build(Grounded, fields=["name", "order"]), record, MESSAGE)
    assert missing.parts == {"name": 1.0, "order": 0.0}
    assert "order" in missing.why
    assert value(build(Grounded), "{}", MESSAGE) == 0
    assert value(build(Grounded), "[1]", MESSAGE) == 0


def test_grounded_text_has_to_occur_as_a_whole() -> None:
    grounded = build(Grounded, form="text")
    assert value(grounded, "deck chairs", MESSAGE) == 1
    assert value(grounded, "deck chairs today", MESSAGE) == 0
    assert value(grounded, "", "") == 0


def test_long_hostile_texts_are_judged_in_linear_time() -> None:
    begin = time.process_time()
    for text, needle in [
        ("1," * 40_000, "1,1"),
        ("x" * 90_000, "x" * 45_000),
        ("1" * 90_000, "1"),
        ("1,111" * 15_000, "1"),
    ]:
        source = Source(text)
        source.has_text(needle)
        source.has_number(3)
    assert time.process_time() - begin < 3


# -- distinct --


def test_a_field_with_the_words_of_another_is_no_value_of_its_own() -> None:
    from tao_reward_rules.distinct import Distinct

    record = {"a": "Blue  Moon", "b": "blue moon", "c": "moon", "d": "Moonlight", "n": 3, "x": None}
    found = score(build(Distinct), json.dumps(record))
    assert found.parts == {"a": 0.25, "b": 0.25, "c": 0.25, "d": 1.0, "n": 1.0, "x": 1.0}
    assert found.value == 0.25
    trusting = score(build(Distinct, trust=["a"]), '{"a": "Blue Moon", "b": "blue moon", "c": "sun"}')
    assert trusting.parts == {"b": 0.25, "c": 1.0}
    assert [value(build(Distinct), text) for text in ("", "x", "{}", DEEP)] == [0.0] * 4


# -- consistency --


def group(*responses: str, **more: Any) -> Group:
    prompt = Prompt((Message("user", "m"),))
    return Group(prompt, tuple(Candidate(prompt.digest, r, index=i, **more) for i, r in enumerate(responses)))


def test_consistency_is_the_share_of_voters_per_field() -> None:
    found = build(Consistency).score_group(
        group('{"a": "X ", "n": 2}', '{"a": "x", "n": 2.0}', '{"a": "y", "n": "2"}', '{"n": 3}')
    )
    assert found[0].parts == {"a": 0.5, "n": 0.5}
    assert found[2].parts == {"a": 0.25, "n": 0.25}
    assert found[3].parts == {"n": 0.25, "a": 0.25}  # it lacks what three of four hold


def test_strategies_that_only_propose_can_be_left_unheard() -> None:
    drawn = group('{"a": 1}', '{"a": 1}', strategy="core/few-shot").candidates
    proposed = group('{"a": 2}', '{"a": 3}', '{"a": 4}', strategy="embed/spans").candidates
    whole = Group(Prompt((Message("user", "m"),)), (*drawn, *proposed))
    found = build(Consistency, unheard=["embed/spans"]).score_group(whole)
    assert [s.value for s in found] == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_only_finished_own_parsing_candidates_vote() -> None:
    voters = group('{"a": 1}', '{"a": 1}', '{"a": 2}')
    others = [
        Candidate("p", '{"a": 2}', parents=(1, 2)),
        Candidate("p", '{"a": 2}', finish_reason="length"),
        Candidate("p", "", error="boom"),
        Candidate("p", "not json"),
    ]
    found = build(Consistency).score_group(Group(voters.prompt, (*voters.candidates, *others)))
    assert [s.value for s in found] == pytest.approx([2 / 3, 2 / 3, 1 / 3, 1 / 3, 1 / 3, None, 0.0])
    assert found[5].error["type"] == "FailedCandidate"
    assert found[6].why.startswith("not JSON")


def test_too_few_voters_give_no_score() -> None:
    found = build(Consistency, min_voters=3).score_group(group('{"a": 1}', '{"a": 1}'))
    assert [s.error["type"] for s in found] == ["TooFewVoters"] * 2


def test_whole_answers_vote_as_text_or_as_json() -> None:
    found = build(Consistency, mode="whole").score_group(
        group("Yes", "yes ", "no", '{"a": 1, "b": 2}', '{"b": 2, "a": 1}')
    )
    assert [s.value for s in found] == [0.4, 0.4, 0.2, 0.4, 0.4]
    ignoring = build(Consistency, mode="whole", ignore=["b"])
    assert [s.value for s in ignoring.score_group(group('{"a": 1, "b": 2}', '{"a": 1, "b": 3}'))] == [1, 1]


def answered(*given: tuple[str, tuple[float, ...] | None]) -> Group:
    drawn = (Candidate("p", text, index=i, logprobs=told) for i, (text, told) in enumerate(given))
    return Group(Prompt((Message("user", "m"),)), tuple(drawn))


def test_votes_can_weigh_the_mean_probability_of_their_tokens() -> None:
    half, tenth = math.log(0.5), math.log(0.1)
    drawn = answered(
        ("so 4", (half, half)), ("is 5", (tenth,)), ("or 5", (tenth, tenth, tenth)), ("5", None), ("no idea", (half,))
    )
    # 0.5 for 4; 0.1 + 0.1 + the mean (0.5 + 0.1 + 0.1) / 3 for 5, however long they are; no answer is no vote
    mean = 0.7 / 3
    weighed = build(Consistency, mode="whole", answer=r"\d+", weigh=True).score_group(drawn)
    four, five = 0.5 / (0.7 + mean), (0.2 + mean) / (0.7 + mean)
    assert [s.value for s in weighed] == pytest.approx([four, five, five, five, 0.0])
    counted = build(Consistency, mode="whole", answer=r"\d+").score_group(drawn)
    assert [s.value for s in counted] == [0.25, 0.75, 0.75, 0.75, 0.0]
    records = answered(('{"a": 1, "b": 1}', (half,)), ('{"a": 1}', (tenth,)))
    by_field = build(Consistency, weigh=True).score_group(records)
    assert by_field[0].parts == pytest.approx({"a": 1.0, "b": 5 / 6})
    assert by_field[1].parts == pytest.approx({"a": 1.0, "b": 1 / 6})  # it lacks what five sixths hold


def test_weighed_votes_neither_vanish_nor_need_log_probabilities() -> None:
    weigh = build(Consistency, mode="whole", weigh=True)
    unlikely = weigh.score_group(answered(("a", (-2000.0,)), ("b", (-2000.0 - math.log(3),)), ("c", (-9000.0,))))
    assert [s.value for s in unlikely] == pytest.approx([0.75, 0.25, 0.0])
    without = weigh.score_group(answered(("a", None), ("a", None), ("b", ())))
    assert [s.value for s in without] == pytest.approx([2 / 3, 2 / 3, 1 / 3])


# -- all --


def test_a_score_never_depends_on_the_order_in_the_batch() -> None:
    rng = random.Random(1)
    responses = ['{"x": "mug"}', '{"x": 12}', "x", "", '{"x": null, "y": "DC-20417"}', '{"x": "a"', '{"y": 3}']
    prompts = [Prompt((Message("user", t),), reference={"x": "mug"}) for t in (MESSAGE, "12 mugs", "")]
    pairs = [(p, Candidate(p.digest, r)) for p in prompts for r in responses]
    rewards = [
        build(Regex, pattern="m"),
        build(Exact),
        build(Schema, schema={"type": "object", "properties": {"x": {"type": "integer"}}}),
        build(Length, max=9),
        build(Grounded),
    ]
    for reward in (*rewards, build(Grounded)):
        straight = dict(zip(pairs_keys(pairs), reward.score_batch(pairs)))
        shuffled = rng.sample(pairs, len(pairs))
        assert dict(zip(pairs_keys(shuffled), reward.score_batch(shuffled))) == straight
    candidates = tuple(Candidate("p", r, index=i) for i, r in enumerate(responses))
    mixed = tuple(rng.sample(candidates, len(candidates)))
    straight, shuffled = (build(Consistency).score_group(Group(prompts[0], some)) for some in (candidates, mixed))
    values = {c.index: (s.value, dict(s.parts)) for c, s in zip(mixed, shuffled)}
    assert values == {c.index: (s.value, dict(s.parts)) for c, s in zip(candidates, straight)}


def pairs_keys(pairs: list[tuple[Prompt, Candidate]]) -> list[tuple[str, str]]:
    return [(p.text, c.response) for p, c in pairs]


def test_final_answers_in_texts_are_voted_on() -> None:
    reward = build(Consistency, mode="whole", answer=r"answer is (\d+)")
    texts = ("2 + 2: the answer is 5. No: the answer is 4.", "So the answer is 4", "the answer is 5", "I do not know")
    found = reward.score_group(group(*texts))
    assert [s.value for s in found] == [2 / 3, 2 / 3, 1 / 3, 0.0]
    assert found[3].why == "no final answer in the text"
    last = build(Consistency, mode="whole", answer=r"\d+").score_group(group("1, 2", "3 or 2", "x"))
    assert [s.value for s in last] == [1.0, 1.0, 0.0]


def test_a_pattern_of_answers_that_is_none_or_never_ends_is_an_error() -> None:
    with pytest.raises(pydantic.ValidationError, match="no regular expression"):
        build(Consistency, answer="(")
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        build(Consistency, mode="whole", answer=r"(a|aa)+$").score_group(group("a" * 5000 + "b", "a"))
    assert time.monotonic() - started < 30
