"""Verifiable instructions: each kind by hand, beside lm-eval's checker, as a reward, and drawn for tasks."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pydantic
import pytest
from conftest import Run, read_rows, write_rows
from tao_reward_instructions import attach, suites
from tao_reward_instructions.checks import CHECKS, follows, loosened
from tao_reward_instructions.followed import Followed
from tao_reward_instructions.mend import EDITS, Mend, mend
from tao_reward_instructions.text import count_capital_words, count_sentences, language_of

import tao_hub

DATA = Path(os.environ.get("TAO_HUB_DATA", "/nowhere"))
ENGLISH = "the weather is lovely today and we are all going to the beach with our friends"
GERMAN = "Das Wetter ist heute sehr schön und wir gehen alle zusammen an den Strand."

# kind, options, an answer that follows, answers that do not
CASES: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("keywords:existence", {"keywords": ["Rain", "c++"]}, "rainy C++ days", ["rain only", "c days of rain"]),
    ("keywords:frequency", {"keyword": "sun", "relation": "at least", "frequency": 2}, "Sunny Sunday", ["sun"]),
    ("keywords:frequency", {"keyword": "sun", "relation": "less than", "frequency": 2}, "sun", ["sun, sun"]),
    ("keywords:forbidden_words", {"forbidden_words": ["rock", "ice"]}, "Rocket of rice", ["a Rock.", "Ice!"]),
    ("keywords:letter_frequency", {"letter": "E", "let_relation": "at least", "let_frequency": 3}, "eEe", ["ee"]),
    ("keywords:letter_frequency", {"letter": "#", "let_relation": "less than", "let_frequency": 2}, "#a", ["#a #b"]),
    ("language:response_language", {"language": "de"}, GERMAN, [ENGLISH]),
    ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 2}, "One. Two", ["One, Dr. Two"]),
    ("length_constraints:number_sentences", {"relation": "less than", "num_sentences": 2}, "It is 3.5 m.", ["A b! C?"]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***\na\n***\nb", ["a\n\nb", "a\n***\n***\nb"]),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 3}, "don't", ["one two three"]),
    ("length_constraints:number_words", {"relation": "at least", "num_words": 3}, "one two-three", ["one - two"]),
    (
        "length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "So"},
        "a\n\n'so, b", ["a\n\nb", "so\n\na", "a\n\nso\n\nb", "a\nso", "a\n\n\n\nso b"],
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [b c]", ["[a] [b", "[a\n] [b]", "[" * 9]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP. S. hi", ["Bye. PS hi"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "p.p.s more", ["P.S. more"]),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n - b", ["* a", "* a\n* b\n- c", "**a**\n- b"]),
    ("detectable_format:constrained_response", {}, " My answer is no. So.", ["No.", "my answer is no."]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* **c**", ["*a\nb* *c*", "** ** *d*"]),
    (
        "detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2},
        "Section 1\na\nSection 2\nb", ["SECTION 1\nSECTION 2", "Section 1\na", "Section a Section b"],
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', ["{'a': 1}", 'Here: {"a": 1}', "[" * 9_000]),
    ("detectable_format:title", {}, "<<My <b> title>>\ntext", ["<< >>", "<<a\nb>>", "<title>", "<<>>", ">>a<<"]),
    ("combination:two_responses", {}, "a\n******\nb", ["a\n******\na", "a", "a\n******\n******\nb"]),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say Hi. "}, " say hi.\nHi", ["Hi", "I say hi."]),
    ("startend:end_checker", {"end_phrase": "That is all."}, 'Well. THAT IS ALL."', ["That is all. Bye"]),
    ("startend:quotation", {}, ' "a "b" c" ', ['"a" b', '"', "'a'", "“a”"]),
    ("change_case:capital_word_frequency", {"capital_relation": "at least", "capital_frequency": 2}, "I SAY", ["A b"]),
    ("change_case:capital_word_frequency", {"capital_relation": "less than", "capital_frequency": 2}, "I", ["IT'S"]),
    ("change_case:english_capital", {}, ENGLISH.upper(), [ENGLISH, ENGLISH.title(), GERMAN.upper()]),
    ("change_case:english_lowercase", {}, ENGLISH, [ENGLISH.capitalize(), GERMAN.lower()]),
    ("punctuation:no_comma", {}, "a; b", ["a, b"]),
]  # fmt: skip


def asking(*asked: tuple[str, dict[str, Any]], text: str = "Do it.") -> tao_hub.Prompt:
    return suites.asked("1", text, [kind for kind, _ in asked], [options for _, options in asked])


def score(prompt: tao_hub.Prompt, response: str, **options: Any) -> tao_hub.Score:
    (found,) = Followed(Followed.Options(**options)).score_batch([(prompt, tao_hub.Candidate(prompt.digest, response))])
    assert isinstance(found, tao_hub.Score)
    return found


def test_every_kind_of_ifeval_is_decided_as_by_hand() -> None:
    assert {kind for kind, *_ in CASES} == set(CHECKS)
    assert len(CHECKS) == 25
    for kind, options, right, wrong in CASES:
        assert follows(kind, right, options), (kind, right)
        assert [text for text in ["", " \n", *wrong] if follows(kind, text, options)] == [], kind


@pytest.mark.parametrize(("text", "count"), [
    ("", 0), ("no mark", 1), ("One. Two! Three?", 3), ("It costs 3.50. Really?!", 2),
    ("Mr. Smith met J. K. Rowling, e.g. here, in the U.S. today.", 1), ("Tea, milk, etc. Then cake.", 2),
    ('"Stop!" he said. (It was late.) Then he left', 4), ("Wait... what? Well... The end.", 3),
    ("First line\nsecond line. Third", 2), ("See fig. 2 of www.example.com now.", 1),
])  # fmt: skip
def test_sentences_are_counted_past_abbreviations_initials_and_numbers(text: str, count: int) -> None:
    assert count_sentences(text) == count


def test_words_in_capitals_are_those_of_the_treebank() -> None:
    assert count_capital_words("I SAY: IT'S a TOP-SECRET B2B plan, OK? NASA's") == 8  # IT and 'S are two words
    assert count_capital_words("nothing Here, 12 3,5") == 0


def test_a_language_is_told_the_same_every_time_and_nothing_can_be_told_from_digits() -> None:
    assert {language_of("Bonjour tout le monde, comment ça va?") for _ in range(5)} == {"fr"}
    assert language_of("12 34 !!") is None
    assert follows("language:response_language", "12 34", {"language": "de"}), "what cannot be told is let pass"


def test_loose_checks_forgive_an_introduction_a_farewell_and_emphasis() -> None:
    assert set(loosened("a\n*b*\nc")) == {"a\n*b*\nc", "a\nb\nc", "*b*\nc", "b\nc", "a\n*b*", "a\nb", "*b*", "b"}
    prompt = asking(("startend:quotation", {}), ("punctuation:no_comma", {}))
    found = score(prompt, 'Sure, here it is:\n"One two."')
    assert found.value == 0.0
    assert found.parts == {
        "all": 0, "share": 0, "loose": 1, "loose share": 1, "startend:quotation": 0, "punctuation:no_comma": 0
    }  # fmt: skip
    assert score(prompt, 'Sure, here it is:\n"One two."', loose=True).value == 1.0


def test_the_value_is_all_or_the_share_and_each_instruction_has_a_part() -> None:
    prompt = asking(
        ("punctuation:no_comma", {}), ("keywords:existence", {"keywords": ["sun"], "num_words": None}),
        ("keywords:existence", {"keywords": ["moon"]}),
    )  # fmt: skip
    found = score(prompt, "sun")
    assert found.value == 0.0
    assert found.parts["share"] == pytest.approx(2 / 3)
    assert [found.parts[k] for k in ("punctuation:no_comma", "keywords:existence", "keywords:existence 2")] == [1, 1, 0]
    assert "keywords:existence" in found.why
    assert score(prompt, "sun", mode="share").value == pytest.approx(2 / 3)
    assert score(prompt, "sun and moon").value == 1.0
    assert score(prompt, "").parts["share"] == 0.0, "an empty answer follows nothing, not even to use no comma"


WORDS = "length_constraints:number_words"


@pytest.mark.parametrize(("kinds", "kwargs", "told"), [
    (None, None, "instruction_id_list"), ([], [], "instruction_id_list"),
    (["punctuation:no_comma"], None, "list of 1 objects"), (["punctuation:no_comma"], ["x"], "no object"),
    (["no:such"], [{}], "no verifiable instruction 'no:such'"), (["keywords:existence"], [{}], "kwargs do not fit"),
    ([WORDS], [{"relation": "at least", "num_words": "3"}], "kwargs do not fit"),
    ([WORDS], [{"relation": "at most", "num_words": 3}], "at most"),
])  # fmt: skip
def test_instructions_that_cannot_be_checked_are_an_error_and_no_score(kinds: Any, kwargs: Any, told: str) -> None:
    meta = {"instruction_id_list": kinds, "kwargs": kwargs}
    found = score(tao_hub.Prompt((tao_hub.Message("user", "Do it."),), meta=meta), "an answer")
    assert found.value is None
    assert found.error is not None
    assert told in found.error["message"]


def test_a_hostile_answer_takes_no_longer_than_a_kind_one() -> None:
    for text in ("[" * 40_000, "*" * 40_000, "<<" * 20_000, "a." * 20_000, "." * 40_000, '"' * 40_000, "\n" * 40_000):
        for kind, options, *_ in CASES:
            follows(kind, text, options)
    assert score(asking(("punctuation:no_comma", {})), "a" * 60_000).error is not None


def test_the_reward_scores_rows_by_their_meta(run: Run, tmp_path: Path) -> None:
    asked = {"instruction_id_list": ["change_case:english_lowercase", "punctuation:no_comma"], "kwargs": [{}, {}]}
    rows = [{"id": i, "prompt": "Say hello.", "response": r, "meta": asked} for i, r in enumerate((ENGLISH, "Hi, you"))]
    write_rows(tmp_path / "rows.jsonl", *rows)
    done = run("score", "instructions/followed", "--input", "rows.jsonl", "--output", "out.jsonl", "-o", "mode=share")
    assert done.code == 0, done.err
    assert [row["value"] for row in read_rows(tmp_path / "out.jsonl")] == [1.0, 0.0]


def test_drawn_instructions_can_be_checked_and_never_contradict_each_other() -> None:
    rng, seen = random.Random(0), Counter[str]()
    for _ in range(3000):
        kinds = attach.draw_kinds(rng, list(CHECKS))
        assert all(attach.go_together(pair) for pair in itertools.combinations(kinds, 2))
        for kind in kinds:
            seen[kind] += 1
            options, told = attach.draw(kind, rng, "Write a letter to your landlord about the broken heating.")
            follows(kind, "An answer.", options)  # ValueError if its options do not fit
            assert told
    assert set(seen) == set(CHECKS)
    assert not attach.go_together(["change_case:english_lowercase", "change_case:english_capital"])
    assert not attach.go_together(["punctuation:no_comma", "punctuation:no_comma"])
    assert not attach.go_together(["detectable_format:constrained_response", "punctuation:no_comma"])
    assert attach.go_together(["keywords:existence", "punctuation:no_comma", "detectable_format:title"])


def seeds(folder: Path, *instructions: str) -> Path:
    rows = [
        {"id": f"t{i}", "instruction": text, "instances": [{"input": "", "output": "secret"}]}
        for i, text in enumerate(instructions)
    ]  # fmt: skip
    return write_rows(folder / "seed_tasks.jsonl", *rows)


HELD_OUT = {
    "key": 7, "prompt": "Write a long poem about the sea and the ships that sail on it every day. Use no commas.",
    "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}],
}  # fmt: skip


ANSWER = """The sea is wide, blue and old. Ships cross it every day, and storms do not stop them for long.

It covers most of the earth. Fish, birds and people live from it. Nobody has seen all of it."""
OTHER = "Salt water, and a lot of it."
UNMENDED = {"keywords:letter_frequency", "language:response_language"}


def test_an_answer_is_mended_until_it_follows_what_is_asked() -> None:
    rng = random.Random(5)
    mended: Counter[str] = Counter()
    for kind in CHECKS:
        for _ in range(20):
            options, _ = attach.draw(kind, rng, "Describe the sea.")
            made = mend(ANSWER, [(kind, options)], OTHER)
            assert made is None or follows(kind, made, options)
            mended[kind] += made is not None
    more = {"length_constraints:number_sentences", "length_constraints:number_words"}  # is not made up
    assert {kind for kind in CHECKS if mended[kind] < 20} <= UNMENDED | more
    assert set(EDITS) == set(CHECKS) - UNMENDED


def test_several_instructions_are_mended_together_and_what_cannot_be_is_left() -> None:
    title, quiet = ("detectable_format:title", {}), ("change_case:english_lowercase", {})
    bullets = ("detectable_format:number_bullet_lists", {"num_bullets": 3})
    made = mend(ANSWER, [quiet, title, bullets])
    assert made is not None
    assert made.startswith("<<the sea is wide blue>>\n\n* the sea is wide, blue and old.")
    assert mend(ANSWER, [("combination:two_responses", {})]) is None
    assert mend(ANSWER, [title, ("length_constraints:number_words", {"relation": "at least", "num_words": 99})]) is None
    assert mend(ANSWER, [bullets, bullets]) is None  # two of one kind would have to agree


def test_only_groups_without_an_answer_that_follows_are_mended_the_best_answers_first() -> None:
    meta = {"instruction_id_list": ["startend:quotation"], "kwargs": [{}]}
    asked = tao_hub.Prompt((tao_hub.Message("user", "Describe the sea in quotes."),), meta=meta)

    def group(*answers: str, **first: Any) -> tao_hub.Group:
        some = [tao_hub.Candidate(asked.digest, text, id=i) for i, text in enumerate(answers)]
        some[0] = dataclasses.replace(some[0], **first)
        totals = tuple(tao_hub.Score(float(len(text))) for text in answers)
        return tao_hub.Group(asked, tuple(some), totals=totals)

    assert Mend().combine(group(ANSWER, '"Wet."')) == []
    found = Mend(Mend.Options(best=1)).combine(group("Wet.", OTHER, ANSWER))
    assert [(c.response[:9], c.parents) for c in found] == [('"The sea ', (2,))]
    (cut,) = Mend(Mend.Options(best=1)).combine(group(ANSWER[:60], finish_reason="length"))
    assert cut.response == '"The sea is wide, blue and old."'
    assert Mend().combine(group(ANSWER, error="failed")) == []
    for odd in ({}, {"instruction_id_list": ["no:kind"], "kwargs": [{}]}, {**meta, "kwargs": []}):
        prompt = dataclasses.replace(asked, meta=odd)
        assert Mend().combine(dataclasses.replace(group(ANSWER), prompt=prompt)) == []  # the reward tells what is wrong


def test_self_instruct_attaches_other_instructions_to_each_copy_and_repeats_nothing_of_ifeval(tmp_path: Path) -> None:
    write_rows(tmp_path / "input_data.jsonl", HELD_OUT)
    taken = "Write a long poem about the sea and the ships that sail on it every day."
    seeds(tmp_path, "Plan a garden for a school.", taken, "Sort: " + "long " * 300)
    options = {"path": str(tmp_path), "ifeval": str(tmp_path), "copies": 5, "skip": ["language:response_language"]}
    suite = suites.SelfInstruct(suites.SelfInstruct.Options(**options))
    prompts = list(suite.prompts("prompts"))
    assert prompts == list(suite.prompts("prompts")), "the same options give the same prompts"
    assert [p.id for p in prompts] == [f"t0/{copy}" for copy in range(5)]
    assert all(p.text.startswith("Plan a garden for a school.\n\n") and p.reference is None for p in prompts)
    assert len({p.text for p in prompts}) == 5
    assert "secret" not in json.dumps([dict(p.meta) for p in prompts])
    assert all("language:response_language" not in p.meta["instruction_id_list"] for p in prompts)
    other = suites.SelfInstruct(suites.SelfInstruct.Options(**options, seed=1))
    assert [p.text for p in other.prompts("prompts")] != [p.text for p in prompts]


def test_a_suite_says_what_is_missing_or_malformed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAO_HUB_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="--suite-option path"):
        list(suites.IFEval().prompts("test"))
    with pytest.raises(ValueError, match="tune on the suite self-instruct"):
        list(suites.IFEval().prompts("prompts"))
    file = write_rows(tmp_path / "input_data.jsonl", HELD_OUT, {"key": 8, "prompt": "x"})
    with pytest.raises(ValueError, match=r"input_data\.jsonl, line 2: 'instruction_id_list' is missing"):
        list(suites.IFEval(suites.IFEval.Options(path=str(file))).prompts("test"))
    with gzip.open(tmp_path / "cut.gz", "wb") as out:
        out.write(os.urandom(5000))
    (tmp_path / "cut.gz").write_bytes((tmp_path / "cut.gz").read_bytes()[:900])
    with pytest.raises(ValueError, match=r"cut\.gz, line 1"):
        list(suites.IFEval(suites.IFEval.Options(path=str(tmp_path / "cut.gz"))).prompts("test"))
    with pytest.raises(pydantic.ValidationError, match="no verifiable instruction 'no:comma'"):
        suites.SelfInstruct.Options(skip=["no:comma"])


def test_the_prompts_of_the_real_files_can_all_be_checked() -> None:
    if not (DATA / "ifeval").is_dir() or not (DATA / "self-instruct").is_dir():
        pytest.skip("needs $TAO_HUB_DATA/ifeval and self-instruct")
    hub = tao_hub.Hub()
    test = list(hub.suite(tao_hub.Ref("ifeval")).prompts("test"))
    drawn = list(hub.suite(tao_hub.Ref("self-instruct", {"copies": 2})).prompts("prompts"))
    assert len(test) > 100
    assert len(drawn) > 200
    pairs = [(p, tao_hub.Candidate(p.digest, ENGLISH)) for p in (*test, *drawn)]
    found = list(hub.reward(tao_hub.Ref("instructions/followed")).score_batch(pairs))
    assert [s.error for s in found if isinstance(s, tao_hub.Score) and s.error] == []
    assert tao_hub.find_overlap([(p.id, p.text) for p in drawn], [(p.id, p.text) for p in test]) == {}


def test_verdicts_are_those_of_lm_evals_checker_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        from lm_eval.tasks.ifeval import utils
        from lm_eval.tasks.ifeval.instructions_util import count_sentences as peer

        peer("One. Two.")
    except (ImportError, LookupError, OSError):
        pytest.skip("needs lm-eval with nltk's punkt_tab")
    monkeypatch.setattr("langdetect.DetectorFactory.seed", 0)  # it draws another language every time without one
    answers = [text for _, _, right, wrong in CASES for text in (right, *wrong) if len(text) < 1000]  # it recurses
    for kind, options, *_ in CASES:
        if kind == "length_constraints:number_sentences":
            continue  # counted in another way, see the docs
        if options.get("letter") == "#" or "c++" in options.get("keywords", ()):
            continue  # it draws a letter of its own instead of #, and takes keywords for regular expressions
        for text in answers:
            given = utils.InputExample(1, [kind], "Do it.", [options])
            prompt = asking((kind, options))
            found = score(prompt, text).parts
            strict = utils.test_instruction_following_strict(given, text).follow_all_instructions
            loose = utils.test_instruction_following_loose(given, text).follow_all_instructions
            assert (found["all"], found["loose"]) == (strict, loose), (kind, text)
