"""Of scored groups the trainers learn the best answers, their sure fields, and of too many the highest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from scored import group, groups, parted, prompt
from tiny import make_tiny_llama

from tao_hub import Candidate, Message, Prompt, Score

pytest.importorskip("torch")

from tao_train_trl.examples import choose, field_spans, sure_fields, tokenize
from transformers import AutoTokenizer


def test_rejected_truncated_failed_and_unscored_candidates_are_never_chosen() -> None:
    good = Candidate("p", "good")
    bad = [
        (Candidate("p", "rejected"), 9.0, "schema"),
        (Candidate("p", "cut", finish_reason="length"), 9.0, ""),
        (Candidate("p", "failed", error="out of memory"), 9.0, ""),
        (Candidate("p", "unscored"), None, ""),
    ]
    chosen = choose([group(0, *bad, (good, -1.0, "")), *(group(i, one) for i, one in enumerate(bad))], None, None, 0)
    assert [pair.response for pair in chosen.examples] == ["good"]
    assert chosen.left_out == Counter(
        f"with every candidate {why}" for why in ("rejected", "truncated", "failed in generation", "unscored")
    )


def test_low_scores_are_left_out_and_of_too_many_the_highest_stay_in_order() -> None:
    assert len(choose(groups(), 0.5, None, 0).examples) == 20
    some = choose(groups(), None, 24, 3)  # twenty with 0.9, and four of the twenty with 0.4
    order = [pair.messages for pair in choose(groups(), None, None, 0).examples]
    places = [order.index(pair.messages) for pair in some.examples]
    assert len(places) == 24
    assert places == sorted(places)
    assert {i for i in range(40) if i % 2} <= set(places)
    assert some.examples != choose(groups(), None, 24, 4).examples
    assert some.left_out == {"over max_examples": 16}


def test_variations_are_learnt_where_their_answer_is_and_not_counted() -> None:
    some = []
    for own in groups()[:6]:
        some.append(own)
        for n in range(2):
            meta = {"varied_from": own.prompt.digest}
            asked = Prompt((Message("user", f"{own.prompt.text}, the other way {n}"),), meta=meta)
            some.append(replace(own, prompt=asked))
    every = choose(some, None, None, 0)
    few = choose(some, None, 2, 0)
    assert len(every.examples) == 18
    assert len(few.examples) == 6
    assert few.left_out == {"over max_examples": 4}
    sources = [pair.messages[-1].content.split(",")[0] for pair in few.examples]
    assert sources == sorted(sources, key=sources.index)
    assert [sources.count(one) for one in dict.fromkeys(sources)] == [3, 3]


def test_of_a_record_only_the_sure_fields_are_learnt(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make_tiny_llama(tmp_path / "tiny"))
    half = parted(0, {"a": "late lamp", "b": 12}, vote={"a": 0.2, "b": 1.0})
    chosen = choose([half], None, None, 0, {"vote": 0.5})
    [row], _ = tokenize(tokenizer, chosen.examples, 2, 512)
    asked = tokenizer.decode(row["input_ids"])
    learnt = tokenizer.decode([label for label in row["labels"] if label != -100])
    assert '{"a": "late lamp", "b": 12}' in asked  # it is read all the same
    assert "lamp" not in learnt
    assert "12" in learnt
    assert chosen.seen == {"fields": {"all": 2, "sure": 1}}


def test_answers_with_more_sure_fields_come_first_and_those_with_none_are_left_out() -> None:
    some = [
        parted(3, {"a": 1, "b": 2}, vote={"a": 0.0, "b": 1.0}),
        parted(1, {"a": 1, "b": 2}, vote={"a": 1.0, "b": 1.0}),
        parted(9, {"a": 1, "b": 2}, vote={"a": 0.0, "b": 0.0}),
        parted(2, {"a": 1, "b": 2}, vote={"a": 1.0}),
        parted(4, "no record", vote={"a": 1.0}),
    ]
    chosen = choose(some, None, 2, 0, {"vote": 0.5})
    assert [pair.messages for pair in chosen.examples] == [prompt(1).messages, prompt(2).messages]
    assert chosen.left_out == {"without a sure field": 1, "over max_examples": 2}
    assert choose(some, None, None, 0, {"vote": 0.5}).examples[-1].response == "no record"


def test_of_tasks_learnt_together_those_that_no_bound_speaks_of_give_whole_answers() -> None:
    record = {"a": 1, "b": 2}
    some = [parted(0, record, vote={"a": 1.0, "b": 0.0}), parted(1, record, followed={"a": 0.0})]
    chosen = choose(some, None, None, 0, {"vote": 0.5})
    assert [len(pair.unsure) for pair in chosen.examples] == [1, 0]
    assert chosen.seen == {"fields": {"all": 2, "sure": 1}}
    with pytest.raises(ValueError, match=r"min_parts: votes\.a, w: no candidate has a score of a reward with such a"):
        choose(some, None, None, 0, {"votes.a": 0.5, "w": 0.1})


def test_null_has_bounds_of_its_own_where_few_vote_for_it() -> None:
    answer = {"a": None, "b": None, "c": None, "d": 1}
    half = parted(0, answer, vote=dict.fromkeys("abcd", 0.0), place={"a": 1.0, "b": 0.4, "d": 1.0})
    bounds = {"place.a": 0.9, "place.b": 0.9, "place.d": 0.9}
    [pair] = choose([half], None, None, 0, {"vote": 0.5}, bounds).examples
    learnt = [name for name, span in field_spans(pair.response).items() if span not in pair.unsure]
    assert learnt == ["a"]


def test_a_bound_may_be_given_for_one_field_and_a_reward_that_says_nothing_doubts_nothing() -> None:
    scores = {"vote": Score(1.0, parts={"a": 0.4, "b": 0.4}), "v.2": Score(1.0, parts={"c": 0.1})}
    assert sure_fields(scores, "abc", {"vote": 0.5}) == {"c"}
    assert sure_fields(scores, "abc", {"vote": 0.5, "vote.b": 0.3}) == {"b", "c"}
    assert sure_fields(scores, "abc", {"vote.a": 0.5, "v.2": 0.2}) == {"b"}
    with pytest.raises(ValueError, match=r"'vot\.a' names no reward; there are v\.2, vote"):
        sure_fields(scores, "abc", {"vot.a": 0.5})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"a": 1, "b": {"c": [2, "}"]}, "d" :"x\\"y" }', {"a": "1", "b": '{"c": [2, "}"]}', "d": '"x\\"y"'}),
        (' {\n"a"\t: null}', {"a": "null"}),
        *((text, {}) for text in ("", "{}", "[1]", '{"a": 1', '{"a" 1}', '{"a": 1,}', "{1: 2}")),
        ('{"a": ' + "[" * 90_000, {}),
    ],
)
def test_the_values_of_a_record_are_found_in_its_text(text: str, values: dict[str, str]) -> None:
    assert {name: text[start:end] for name, (start, end) in field_spans(text).items()} == values
