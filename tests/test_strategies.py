"""The core's strategies and the echo generator: what is asked, what is taken from the answer, who wins a vote."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest

from tao_hub import Candidate, Completion, Group, Message, Prompt, Request, Sampling, Score, UsageError
from tao_hub.builtin.assemble import Assemble
from tao_hub.builtin.decompose import Decompose, clean, integer
from tao_hub.builtin.framing import AGAIN, CRITIQUE, FRAMINGS, Persona, SelfRefine, Structured
from tao_hub.builtin.generators import Echo
from tao_hub.builtin.strategies import ChainOfThought, Direct, FewShot
from tao_hub.components import Component

PROMPT = Prompt((Message("system", "be brief"), Message("user", "two mugs from Ann")), id="p1")
EXAMPLES = [{"input": f"in {i}", "output": f"out {i}"} for i in range(4)]


def build(cls: type[Component], **options: Any) -> Any:
    return cls(cls.Options.model_validate(options))


# -- one request --


def test_direct_asks_the_prompt_and_takes_the_text_as_it_is() -> None:
    assert build(Direct).variants(PROMPT, 2) == [PROMPT, PROMPT]
    assert build(Direct).answer(PROMPT, ' Sure! {"a": 1} \n') == 'Sure! {"a": 1}'


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ('Sure! ```json\n{"b": "é", "a":[1,2]}\n``` {"c": 3}', '{"b": "é", "a": [1, 2]}'),
        ('{not json} {"a": 1}', '{"a": 1}'),
        ('{"a": "}{", "b": "\\""} x', '{"a": "}{", "b": "\\""}'),
        ('{"a": {"b": 1}, "c":', '{"a": {"b": 1}, "c":'),  # an object inside a lost one is not the answer
        ('{"a": NaN}', '{"a": NaN}'),
        ('{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        ("[1, 2]", "[1, 2]"),
        ("plain ", "plain"),
        ("", ""),
    ],
)
def test_json_is_extracted_strictly_and_else_the_text_stays(raw: str, answer: str) -> None:
    assert build(Direct, extract="json").answer(PROMPT, raw) == answer
    assert build(Direct, extract="auto").answer(PROMPT, raw) == answer


@pytest.mark.parametrize(
    "raw", ["{" * 200_000, '{"a":' * 50_000, '"{' * 90_000, "[" * 90_000, '{"a": "' + "\\" * 99_999]
)
def test_hostile_nesting_is_no_record(raw: str) -> None:
    assert build(Direct, extract="json").answer(PROMPT, raw) == raw.strip()


def test_chain_of_thought_asks_for_steps_and_takes_what_follows_the_last_marker() -> None:
    strategy = build(ChainOfThought)
    (asked,) = strategy.variants(PROMPT, 1)
    assert asked.messages[0] == PROMPT.messages[0]
    assert asked.messages[-1].content.startswith("two mugs from Ann\n\nThink step by step")
    assert strategy.answer(PROMPT, "Answer: maybe 3.\nNo: Answer: 4 \n") == "4"
    assert strategy.answer(PROMPT, " no marker ") == "no marker"


def test_few_shot_puts_turns_between_system_and_message() -> None:
    strategy = build(FewShot, examples=EXAMPLES, k=1)
    (asked,) = strategy.variants(PROMPT, 1)
    assert [(m.role, m.content) for m in asked.messages] == [
        ("system", "be brief"),
        ("user", "in 0"),
        ("assistant", "out 0"),
        ("user", "two mugs from Ann"),
    ]
    assert strategy.worked_examples() == 1


def test_few_shot_variants_differ_by_index_and_never_by_prompt() -> None:
    strategy = build(FewShot, examples=EXAMPLES, k=3, shuffle=True, seed=5)
    other = Prompt((Message("system", "be brief"), Message("user", "something else")))
    here, there = strategy.variants(PROMPT, 6), strategy.variants(other, 6)
    assert [p.messages[:-1] for p in here] == [p.messages[:-1] for p in there]
    assert len({p.messages for p in here}) > 1
    assert here[:2] == strategy.variants(PROMPT, 2)
    assert strategy.worked_examples() == 4


def test_few_shot_inline_writes_the_examples_into_the_system_message() -> None:
    strategy = build(FewShot, examples=EXAMPLES, style="inline")
    (asked,) = strategy.variants(PROMPT, 1)
    assert len(asked.messages) == 2
    assert asked.messages[0].content.endswith("Input: in 3\nOutput: out 3")
    (made,) = strategy.variants(Prompt((Message("user", "hi"),)), 1)
    assert [m.role for m in made.messages] == ["system", "user"]


def test_few_shot_without_examples_says_where_they_come_from() -> None:
    with pytest.raises(UsageError, match=r"suite that brings them.*-o examples="):
        build(FewShot)
    with pytest.raises(UsageError, match="k=9"):
        build(FewShot, examples=EXAMPLES, k=9)


# -- decompose --


def test_decompose_asks_one_question_per_field_and_puts_the_record_together() -> None:
    questions = {"name": "Who?", "count": "How many?", "date": "When?"}
    examples = [{"input": "1 cup", "answers": {"count": "1"}}]
    strategy = build(Decompose, questions=questions, integers=["count"], examples=examples)
    asked = strategy.variants(PROMPT, 2)
    assert strategy.steps == 3
    assert len(asked) == 6
    assert asked[0].messages[-1].content == "two mugs from Ann\n\nWho?"
    assert [m.content for m in asked[1].messages[1:]] == ["1 cup\n\nHow many?", "1", "two mugs from Ann\n\nHow many?"]
    assert strategy.assemble(PROMPT, ['\n"Ann".\nShe is', "two mugs", "Not mentioned."]) == (
        '{"name": "Ann", "count": 2, "date": null}'
    )
    assert strategy.worked_examples() == 1
    with pytest.raises(ValueError, match="3 questions, found 1"):
        strategy.assemble(PROMPT, ["x"])


def test_a_message_that_holds_a_placeholder_is_not_filled_twice() -> None:
    strategy = build(Decompose, questions={"a": "A?"})
    (asked,) = strategy.variants(Prompt((Message("user", "{question} {input}"),)), 1)
    assert asked.messages[-1].content == "{question} {input}\n\nA?"


def test_decompose_options_are_checked() -> None:
    with pytest.raises(pydantic.ValidationError, match="no question for field 'b'"):
        build(Decompose, questions={"a": "?"}, integers=["b"])
    with pytest.raises(pydantic.ValidationError, match="once each"):
        build(Decompose, questions={"a": "?"}, context="{input}")


def test_answers_are_cleaned_and_bounded() -> None:
    assert clean("\n  “Ann O'Neil”. \nmore", 50) == "Ann O'Neil"
    assert len(clean("x" * 10_000, 50)) == 50
    assert [integer(t) for t in ("4", "4 pieces", "1,200", "Four.", "about 3.", "none of it", "9" * 40, "")] == [
        *(4, 4, 1200, 4, 3),
        *(None, None, None),
    ]


# -- assemble --


def group(*rows: tuple[dict[str, Any] | str, dict[str, dict[str, float]]], **more: Any) -> Group:
    """Candidates (record or text) with their parts by reward label; ids count from 10."""
    made = tuple(
        Candidate(PROMPT.digest, r if isinstance(r, str) else json.dumps(r), policy="q", index=i, id=10 + i, **more)
        for i, (r, _) in enumerate(rows)
    )
    scores = tuple({label: Score(0.5, parts=parts) for label, parts in by_label.items()} for _, by_label in rows)
    return Group(PROMPT, made, scores)


def grounded(**parts: float) -> dict[str, dict[str, float]]:
    return {"rules/grounded": parts, "rules/consistency": dict.fromkeys(parts, 0.9)}


def test_the_winning_value_of_each_field_is_put_together_with_its_parents() -> None:
    found = build(Assemble).combine(
        group(
            ({"name": "Ann", "n": 3}, grounded(name=1, n=0)),
            ({"name": "ANN ", "n": 2}, grounded(name=0.9, n=1)),
            ({"name": "Bob", "n": 3}, grounded(name=1, n=0)),
        )
    )
    assert [c.response for c in found] == ['{"name": "Ann", "n": 2}']
    assert found[0].parents == (10, 11)
    assert (found[0].strategy, found[0].prompt, found[0].raw) == ("core/assemble", PROMPT.digest, "")


def test_an_ungrounded_value_has_no_vote_even_when_all_hold_it() -> None:
    found = build(Assemble).combine(group(*[({"name": "Eve"}, grounded(name=0))] * 3))
    assert [(c.response, c.parents) for c in found] == [('{"name": null}', ())]


def test_null_can_weigh_less_than_a_value() -> None:
    rows = [({"d": None}, grounded(d=1)), ({"d": None}, grounded(d=1)), ({"d": "9 May"}, grounded(d=1))]
    assert build(Assemble).combine(group(*rows))[0].response == '{"d": null}'
    light = build(Assemble, null_weight=0.4)
    assert light.combine(group(*rows))[0].response == '{"d": "9 May"}'


def test_no_value_wins_whose_votes_weigh_less_than_nulls_standing_vote() -> None:
    rows = [({"d": "9 May"}, grounded(d=0.04)), ({"d": "9 May"}, grounded(d=0.05))]
    assert build(Assemble, null_floor=0.08).combine(group(*rows))[0].response == '{"d": "9 May"}'
    assert build(Assemble, null_floor=0.1).combine(group(*rows))[0].response == '{"d": null}'


def test_every_option_of_a_choice_is_proposed() -> None:
    rows = [({"kind": "late", "n": 1}, grounded(n=1)), ({"kind": "late", "n": 1}, grounded(n=1))]
    found = build(Assemble, choices={"kind": ["late", "lost", None]}).combine(group(*rows))
    assert [json.loads(c.response) for c in found] == [{"kind": k, "n": 1} for k in ("late", "lost", None)]
    assert [c.index for c in found] == [0, 1, 2]
    with pytest.raises(pydantic.ValidationError, match="at most 64"):
        build(Assemble, choices={"a": list("0123456789"), "b": list("0123456789")})


def test_failed_cut_combined_and_unparsable_candidates_have_no_vote() -> None:
    good = group(({"a": "x"}, {}))
    bad = [
        Candidate(PROMPT.digest, '{"a": "y"}', finish_reason="length"),
        Candidate(PROMPT.digest, "", error="boom"),
        Candidate(PROMPT.digest, '{"a": "y"}', parents=(1,)),
        Candidate(PROMPT.digest, '{"a": "y", "a": "y"}'),
        Candidate(PROMPT.digest, "y"),
    ]
    (found,) = build(Assemble).combine(Group(PROMPT, (*bad, *good.candidates)))
    assert found.response == '{"a": "x"}'
    assert build(Assemble).combine(Group(PROMPT, tuple(bad))) == []


def test_a_candidate_that_a_reward_could_not_score_has_no_vote_for_its_fields() -> None:
    scored = group(({"a": "x"}, grounded(a=1)), ({"a": "y"}, {}), ({"a": "y"}, {}))
    failed = {"rules/grounded": Score.failed("boom")}
    (found,) = build(Assemble).combine(Group(PROMPT, scored.candidates, (scored.scores[0], failed, failed)))
    assert found.response == '{"a": "x"}'


def test_sources_weigh_and_keys_are_ordered() -> None:
    a = group(({"b": 1, "a": 1}, {}), strategy="core/direct").candidates
    b = group(({"b": 2, "a": 2}, {}), strategy="core/few-shot").candidates
    strategy = build(Assemble, source_weights={"core/few-shot": 2.0}, keys=["a", "b"])
    assert strategy.combine(Group(PROMPT, (*a, *b)))[0].response == '{"a": 2, "b": 2}'
    assert strategy.variants(PROMPT, 3) == []


# -- echo --


def test_echo_answers_with_the_input_or_with_replies_in_turn() -> None:
    requests = [Request(PROMPT, n=2, seed=0), Request(PROMPT, n=3, seed=2)]
    first, _ = build(Echo, template="you said {input}").generate(requests, Sampling())
    assert first == (0, [Completion("you said two mugs from Ann")] * 2)
    replies = build(Echo, replies=["a", "b"])
    assert [[c.text for c in some] for _, some in replies.generate(requests, Sampling())] == [
        ["a", "b"],
        ["a", "b", "a"],
    ]
    assert replies.policy_digest() != build(Echo).policy_digest()
    assert build(Echo).policy_digest() == build(Echo).policy_digest()


# -- framings --


def test_structured_asks_for_a_plan_and_keeps_the_answer_alone() -> None:
    strategy = build(Structured)
    (asked,) = strategy.variants(PROMPT, 1)
    assert asked.text.startswith("two mugs from Ann\n\nReply with one JSON object")
    assert strategy.answer(PROMPT, 'Well: {"plan": ["count"], "answer": " two mugs "}') == "two mugs"
    assert strategy.answer(PROMPT, '{"plan": "", "answer": {"n": 2}}') == '{"n": 2}'
    assert strategy.answer(PROMPT, '{"plan": "", "answer": [1, "é"]}') == '[1, "é"]'
    assert strategy.answer(PROMPT, '{"plan": "", "answer": 0}') == "0"


@pytest.mark.parametrize("raw", ["two mugs", '{"plan": "count"}', '{"plan": "x", "answer": ""}', '{"plan": ["co'])
def test_a_plan_without_an_answer_is_a_failure_and_no_answer(raw: str) -> None:
    with pytest.raises(ValueError, match="no JSON object with 'answer'"):
        build(Structured).answer(PROMPT, raw)


def test_personas_take_turns_and_the_first_is_the_plain_prompt() -> None:
    asked = build(Persona).variants(PROMPT, len(FRAMINGS) + 1)
    assert asked[0] == asked[-1] == PROMPT
    assert len({p.digest for p in asked}) == len(FRAMINGS)
    assert asked[2].messages[0].content == f"be brief\n\n{FRAMINGS[2]}"
    assert all(p.text == PROMPT.text for p in asked)
    own = build(Persona, framings=["A", "B"], extract="json")
    assert [p.messages[0].content[-1] for p in own.variants(PROMPT, 3)] == ["A", "B", "A"]
    assert own.answer(PROMPT, 'so {"a":1}') == '{"a": 1}'


def test_an_example_is_never_shown_for_its_own_input() -> None:
    few = build(FewShot, examples=[*EXAMPLES, {"input": PROMPT.text, "output": "2 mugs"}])
    (asked,) = few.variants(PROMPT, 1)
    assert [m.content for m in asked.messages if m.role == "assistant"] == ["out 0", "out 1", "out 2", "out 3"]
    inline = build(FewShot, examples=[{"input": PROMPT.text, "output": "2 mugs"}], style="inline")
    assert inline.variants(PROMPT, 1) == [PROMPT]


def test_self_refine_asks_for_a_critique_and_then_again() -> None:
    strategy = build(SelfRefine)
    critique = strategy.follow(PROMPT, ["2 mugs"])
    assert [(m.role, m.content) for m in critique.messages[2:]] == [("assistant", "2 mugs"), ("user", CRITIQUE)]
    again = strategy.follow(PROMPT, ["2 mugs", "who?"])
    assert [m.content for m in again.messages[3:]] == [CRITIQUE, "who?", AGAIN]
    assert strategy.follow(PROMPT, ["2 mugs", "who?", "2 mugs, Ann"]) is None
    assert strategy.assemble(PROMPT, ["2 mugs", "who?", " 2 mugs, Ann "]) == "2 mugs, Ann"
    twice = build(SelfRefine, rounds=2).follow(PROMPT, ["a", "b", "c"])
    assert [m.content for m in twice.messages[3:]] == [CRITIQUE, "b", AGAIN, "c", CRITIQUE]
