"""rules/near: a quantity stands beside what it counts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tao_reward_rules.near import Near

from tao_hub import Candidate, Message, Prompt, Score

TEXT = "Please note: one went fine.\nThree wool jumpers placed on 5 May, see below. item;qty\nred lamp;34\nglass vase;2"


def part(text: str = TEXT, **record: Any) -> float:
    prompt = Prompt((Message("user", text),))
    reward = Near(Near.Options(fields={"n": "thing"}))
    (score,) = reward.score_batch([(prompt, Candidate("", json.dumps(record)))])
    assert isinstance(score, Score)
    assert score.why
    return score.parts["n"]


def test_a_number_beside_its_product_is_nearer_than_one_further_off() -> None:
    assert part(n=3, thing="wool jumpers") == 1.0
    assert part(n=34, thing="red lamp") == 1.0
    assert part(n=5, thing="wool jumpers") == 1.0  # two words between: near enough to leave it to others
    assert part(n=1, thing="wool jumpers") == pytest.approx(2 / 3)  # "went fine Three"
    assert part(n=1, thing="glass vase") == 0.25


def test_what_has_no_place_is_as_good_as_far_and_null_has_none_to_judge() -> None:
    assert part(n=7, thing="wool jumpers") == 0.25
    assert part(n=None, thing="wool jumpers") == 1.0
    assert part(n=3, thing=None) == 0.25
    assert part(n=[3], thing={"a": 1}) == 0.25
    assert part(n=3, thing="wool jumpers", text="") == 0.25


def test_an_answer_without_the_field_scores_zero_and_says_why() -> None:
    reward = Near(Near.Options(fields={"n": "thing"}))
    prompt = Prompt((Message("user", TEXT),))
    for response in ("", "three", "{}", "[" * 50_000):
        (score,) = reward.score_batch([(prompt, Candidate("", response))])
        assert score.value == 0.0
        assert score.why


def test_long_hostile_texts_take_no_time_that_matters() -> None:
    assert part(n=1, thing="one one", text="one " * 100_000) == 1.0
