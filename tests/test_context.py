"""embed/context and embed/places with the real MiniLM: the words around a value tell which value a field asks for."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest
from tao_reward_model.context import Context, Places

from tao_hub import Candidate, Group, Message, Prompt, Score

FIELDS: dict[str, Any] = {
    "order_id": {
        "form": r"\b\d{4,}\b",
        "here": ["order X", "my order number is X", "this is about order X"],
        "elsewhere": ["your request about X is closed", "call me on X", "the earlier order X was fine"],
        "null_at": -0.2,
    },
    "product": {
        "here": ["I ordered one X", "bought X last week", "two X, ordered on Monday"],
        "elsewhere": ["instead I received X", "there was a X in the parcel", "X is missing"],
        "absent": r"\bitems?\b",
    },
}
TEXT = (
    "Hello, this is about order 23511, two wall shelves. Instead there was a teapot in the parcel.\n"
    "> Dear customer, your request about 90881 is solved and closed. Call us on 5550123."
)


@pytest.fixture(scope="module")
def context() -> Context:
    return Context(Context.Options(fields=FIELDS))


def scores(reward: Context, *answers: Any, text: str = TEXT) -> list[Score]:
    prompt = Prompt((Message("user", text),))
    texts = [a if isinstance(a, str) else json.dumps(a) for a in answers]
    return [s for s in reward.score_batch([(prompt, Candidate("", t)) for t in texts]) if isinstance(s, Score)]


def test_the_words_around_it_tell_the_order_that_is_meant_from_a_closed_one_and_a_phone(context: Context) -> None:
    meant, closed, phone, nowhere, none = (
        s.parts["order_id"]
        for s in scores(context, *({"order_id": v} for v in ("23511", 90881, "5550123", "77777", None)))
    )
    assert meant > 0.9
    assert max(closed, phone, none) < 0.1
    assert nowhere == 0.0
    assert meant + closed + phone + none == pytest.approx(1.0)


def test_a_field_without_a_form_is_judged_wherever_its_value_stands(context: Context) -> None:
    right, wrong, absent, none = (
        s.parts["product"] for s in scores(context, *({"product": v} for v in ("wall shelves", "teapot", "lamp", None)))
    )
    assert right > 0.7
    assert 0.3 > wrong > absent == 0.0
    assert none == 0.5
    [said] = scores(context, {"product": None}, text="Two items of order 23511 are broken.")
    assert said.parts["product"] == 1.0


def test_null_is_right_where_nothing_of_the_form_is_there(context: Context) -> None:
    [none, some] = scores(context, {"order_id": None}, {"order_id": "1234"}, text="It broke after a day.")
    assert (none.value, some.value) == (1.0, 0.0)
    assert some.why == "order_id: rather null"


def test_an_answer_that_is_no_record_is_a_verdict_of_zero_and_odd_values_are_nowhere(context: Context) -> None:
    for score in scores(context, "", "text", "{}", "[" * 90_000, {"product": [1], "order_id": {}}, {"product": ""}):
        assert score.value == 0.0
    assert scores(context, "")[0].why


def test_a_score_never_depends_on_what_is_scored_beside_it(context: Context) -> None:
    answers = [{"order_id": "23511", "product": p} for p in ("teapot", "wall shelves", "two")]
    alone = [scores(Context(Context.Options(fields=FIELDS)), a)[0].parts for a in answers]
    for some, one in zip(scores(context, *reversed(answers)), reversed(alone)):
        assert some.parts == pytest.approx(dict(one), abs=2e-2)  # the encoder may compute in bfloat16


def test_places_are_proposed_with_the_likeliest_first() -> None:
    group = Group(Prompt((Message("user", TEXT),)), (Candidate("", "{}", policy="p"),))
    found = Places(Places.Options(fields=FIELDS, most=2)).combine(group)
    assert json.loads(found[0].response) == {"order_id": "23511"}
    assert len(found) == 2
    assert {(c.policy, c.strategy) for c in found} == {("p", "embed/places")}
    assert Places(Places.Options(fields=FIELDS)).combine(Group(Prompt((Message("user", "no number"),)), ())) == []


@pytest.mark.parametrize("wrong", [{"here": []}, {"form": "("}, {"elsewhere": None}])
def test_meanings_that_say_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Context.Options(fields={"order_id": {**FIELDS["order_id"], **wrong}})
