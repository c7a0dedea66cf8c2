"""rules/forms: a value that alone has the form of a field is proposed for it."""

from __future__ import annotations

import json

import pydantic
import pytest
from tao_reward_rules.forms import Forms

from tao_hub import Group, Message, Prompt

FORMS = {"order": r"\b[A-Z]{2}-?\d{3,}\b|\b\d{2}-\w{3}-\d{2}\b", "date": r"\b\d{2}-\w{3}-\d{2}\b"}


def proposed(text: str) -> dict[str, str]:
    made = Forms(Forms.Options(forms=FORMS)).combine(Group(Prompt((Message("user", text),)), ()))
    assert len(made) <= 1
    assert all(candidate.parents == () for candidate in made)  # so that it has a vote
    record: dict[str, str] = json.loads(made[0].response) if made else {}
    return record


def test_the_only_text_of_a_form_is_proposed_and_nothing_else() -> None:
    assert proposed("my order TX-123 is late, TX-123!") == {"order": "TX-123"}
    assert proposed("not TX-123 but TX-456") == {}
    assert proposed("nothing here") == {}


def test_what_can_only_be_another_field_is_not_in_the_way() -> None:
    assert proposed("TX-123 of 24-Mar-25") == {"order": "TX-123", "date": "24-Mar-25"}
    assert proposed("of 24-Mar-25") == {"order": "24-Mar-25", "date": "24-Mar-25"}  # for the votes to decide


def test_a_bad_pattern_is_told_with_its_field() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"forms\['order'\] is no pattern"):
        Forms.Options(forms={"order": "("})


def test_a_pattern_that_runs_away_proposes_nothing() -> None:
    slow = Forms(Forms.Options(forms={"order": r"(?:a+a+)+b"}))
    assert slow.read("a" * 5000) == {}
