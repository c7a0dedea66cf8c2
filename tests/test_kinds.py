"""embed/kind and embed/spans with the real MiniLM: a value's kind is told, and what is of the kind is proposed."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest
from tao_reward_model.kinds import Kind, Spans, spans

from tao_hub import Candidate, Group, Message, Prompt

KINDS = {
    "person": ["the name of a person", "Jessica Brown", "Robert Wilson", "Mei Lin", "Thomas"],
    "product": ["a thing sold in a shop", "armchair", "snow boots", "saucepan set", "a household appliance"],
    "other": ["order number", "kind regards", "support desk", "it is broken", "yesterday", "delivery"],
}
FIELDS = {"customer": "person", "product": "product"}
TEXT = "Dear team,\nthe coffee grinder (order A-77) of J. Okafor is broken. Please help.\nRegards, Priya Santos"


@pytest.fixture(scope="module")
def kind() -> Kind:
    return Kind(Kind.Options(kinds=KINDS, fields=FIELDS, null_score=0.5))


def parts(reward: Kind, *records: Any) -> list[dict[str, float]]:
    prompt = Prompt((Message("user", TEXT),))
    return [dict(s.parts) for s in reward.score_batch([(prompt, Candidate("", json.dumps(r))) for r in records])]


def test_a_person_is_a_person_and_a_product_a_product(kind: Kind) -> None:
    right, wrong = parts(
        kind,
        {"customer": "Priya Santos", "product": "coffee grinder"},
        {"customer": "kind regards", "product": "Priya Santos"},
    )
    assert right["customer"] > 0.8
    assert right["product"] > 0.5
    assert wrong == {"customer": 0.0, "product": 0.0}


def test_null_counts_what_it_is_told_and_other_values_nothing(kind: Kind) -> None:
    assert parts(kind, {"customer": None, "product": 3}, {"customer": "", "product": "x" * 5000}) == [
        {"customer": 0.5, "product": 0.0},
        {"customer": 0.0, "product": 0.0},
    ]


def test_an_answer_that_is_no_record_is_a_verdict_of_zero(kind: Kind) -> None:
    prompt = Prompt((Message("user", TEXT),))
    found = list(kind.score_batch([(prompt, Candidate("", r)) for r in ("", "text", "{}", "[" * 90_000)]))
    assert [s.value for s in found] == [0.0] * 4
    assert all(s.why for s in found)


def test_spans_keep_to_a_line_and_start_and_end_with_words_that_mean_something() -> None:
    found = list(spans(TEXT, 3))
    assert {"coffee grinder", "J. Okafor", "Priya Santos", "broken"} <= set(found)
    assert not {"the coffee", "grinder order", "Regards", "broken Please", "of J"} & set(found)
    assert max(len(s.split()) for s in found) <= 3
    assert not any(c.isdigit() for s in found for c in s)


def test_the_spans_of_the_right_kind_are_proposed_for_each_field() -> None:
    strategy = Spans(Spans.Options(kinds=KINDS, fields=FIELDS, most=5))
    prompt = Prompt((Message("user", TEXT),))
    made = strategy.combine(Group(prompt, (Candidate(prompt.digest, "{}", policy="p"),)))
    records = [json.loads(c.response) for c in made]
    assert len(made) <= 5
    assert {"Priya Santos", "J. Okafor"} <= {r.get("customer") for r in records}
    assert "coffee grinder" in {r.get("product") for r in records}
    assert all(not c.parents and c.policy == "p" for c in made)
    assert strategy.variants(prompt, 3) == []


def test_a_text_without_anything_of_the_kind_gets_no_proposals() -> None:
    strategy = Spans(Spans.Options(kinds=KINDS, fields=FIELDS))
    prompt = Prompt((Message("user", "12.03.2024: 17:45"),))
    assert strategy.combine(Group(prompt, (Candidate(prompt.digest, "{}"),))) == []


@pytest.mark.parametrize(
    "options",
    [{"kinds": {"a": ["x"]}, "fields": {"f": "a"}}, {"kinds": {"a": ["x"], "b": []}, "fields": {"f": "a"}},
     {"kinds": {"a": ["x"], "b": ["y"]}, "fields": {"f": "c"}}, {"kinds": {"a": ["x"], "b": ["y"]}, "fields": {}}],
    ids=["one kind", "no example", "unknown kind", "no field"],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Kind.Options(**options)
