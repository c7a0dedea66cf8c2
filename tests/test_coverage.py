"""rules/coverage: what makes a request special is in the record made of it."""

from __future__ import annotations

import json

import pytest
from tao_reward_rules.coverage import Coverage

from tao_hub import Candidate, Message, Prompt, Score

NAMES = ["clem burke", "nina ferrano", "the otters", "jo", "ida", "bo", "eva", "max", "ann", "lee"]
TEXTS = [f"add {name} to my list" for name in NAMES]


def prompt(text: str) -> Prompt:
    return Prompt((Message("user", text),))


def score(text: str, response: str, common: float = 0.2) -> Score:
    reward = Coverage(Coverage.Options(common=common))
    reward.read(prompt(t) for t in TEXTS)
    (found,) = reward.score_batch([(prompt(text), Candidate("", response))])
    assert isinstance(found, Score)
    return found


def test_a_record_with_all_rare_words_is_worth_one_and_carriers_are_not_missed() -> None:
    assert score(TEXTS[0], json.dumps({"artist": "Clem Burke", "list": None})).value == 1.0


def test_a_rare_word_left_out_costs_its_weight_and_is_named() -> None:
    # each word stands in 1 of 10 inputs and weighs 1 - 0.1 / 0.2
    half = score(TEXTS[0], json.dumps({"artist": "burke"}))
    assert half.value == pytest.approx(0.5)
    assert half.why == "left out: clem"
    assert score(TEXTS[0], json.dumps({"artist": None})).value == 0.0


def test_a_word_weighs_less_the_more_inputs_hold_it() -> None:
    left = score("add clem zorn to my list", json.dumps({"artist": "clem"}))
    assert left.value == pytest.approx(0.5 / (0.5 + 1.0))  # "zorn" stands in no input


def test_words_out_of_order_cover_nothing() -> None:
    assert score(TEXTS[0], json.dumps({"artist": "burke clem"})).value == 0.0


def test_an_input_of_carriers_alone_asks_for_nothing() -> None:
    assert score("add to my list", json.dumps({"artist": None})).value == 1.0


def test_no_record_is_worth_nothing_and_says_why() -> None:
    failed = score(TEXTS[0], "add it yourself")
    assert failed.value == 0.0
    assert failed.why


def test_it_must_have_read_the_inputs() -> None:
    with pytest.raises(RuntimeError, match="read no inputs"):
        list(Coverage().score_batch([(prompt("a"), Candidate("", "{}"))]))
