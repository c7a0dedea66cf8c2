"""Copy decoding: what the fields of an answer may hold is in the input."""

import pytest
from tao_generate_hf.copying import Copying, Ends, Track
from tiny import make_tiny_llama

TEXT = "Ann Lee here. I ordered twelve red lamps on 2024-05-03 (not on 2024-05-01), order A-1024."
DATE = r"\d{4}-\d{2}-\d{2}"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(make_tiny_llama(tmp_path_factory.mktemp("copying")))


@pytest.fixture(scope="module")
def ends(tokenizer):
    return Ends(tokenizer)


def follow(tokenizer, ends, written, **wish):
    """Texts of the tokens that may follow `written`, None if all may."""
    track = Track(Copying(tokenizer, {"copy_from": TEXT, **wish}, ends))
    for token in tokenizer(written, add_special_tokens=False)["input_ids"]:
        track.push(token)
    allowed = track.allowed()
    return None if allowed is None else {ends.text[i] for i in allowed}


def test_nothing_is_limited_outside_a_value_or_in_a_skipped_field(tokenizer, ends):
    assert follow(tokenizer, ends, "Sure: ") is None
    assert follow(tokenizer, ends, '{"kind": "', copy_skip=["kind"]) is None
    assert follow(tokenizer, ends, '{"kind": ') is None


def test_a_string_begins_with_a_word_of_the_input_only(tokenizer, ends):
    allowed = follow(tokenizer, ends, '{"name": "')
    assert allowed
    assert all(any(TEXT[i:].startswith(piece) for i in range(len(TEXT))) for piece in allowed)
    assert not allowed & {'"', '",'}, "an empty string is no span"


def test_a_string_may_end_after_it_has_begun_but_a_whole_value_only_at_its_end(tokenizer, ends):
    assert '"' in follow(tokenizer, ends, '{"name": "A')
    assert '"' not in follow(tokenizer, ends, '{"date": "2024', copy_match={"date": DATE})
    assert '"' in follow(tokenizer, ends, '{"date": "2024-05-03', copy_match={"date": DATE})


def test_a_field_with_a_form_is_null_exactly_where_nothing_looks_like_it(tokenizer, ends):
    assert follow(tokenizer, ends, '{"date":', copy_match={"date": DATE}) <= {'"', ' "'}
    nulls = follow(tokenizer, ends, '{"mail":', copy_match={"mail": r"\S+@\S+"})
    assert nulls is None or nulls <= {"null", " null"}, "a vocabulary without a null token is left free"


def test_a_start_pattern_leaves_out_spans_that_do_not_look_like_the_value(tokenizer, ends):
    allowed = follow(tokenizer, ends, '{"order": "', copy_start={"order": r"[A-Z]-\d"})
    assert allowed == {ends.text[tokenizer("A-1024.", add_special_tokens=False)["input_ids"][0]]}


def test_a_number_is_one_of_the_input_in_digits_or_as_a_word(tokenizer, ends):
    allowed = follow(tokenizer, ends, '{"quantity": ', copy_numbers=["quantity"])
    assert {piece.strip() for piece in allowed} - {"", "null"} <= {"1", "12"}, "twelve lamps, no date"
    assert follow(tokenizer, ends, '{"quantity": 12', copy_numbers=["quantity"]) <= {",", "}", "}\n", ",\n"}


KEYS = {"copy_keys": ["name", "n", "kind"], "copy_skip": ["kind"], "copy_numbers": ["n"]}


@pytest.mark.parametrize(
    ("written", "rest"),
    [
        ("", '{"name":'),
        ("{", '"name":'),
        ('{"name": "Ann Lee"', ', "n":'),
        ('{"name": null', ', "n":'),
        ('{"name": "Ann Lee", "n": 12,', ' "kind":'),
        ('{"name": "Ann Lee", "n": 12, "kind": "late"', "}"),
    ],
)
def test_between_its_values_an_object_of_known_keys_can_only_go_on(tokenizer, ends, written, rest):
    allowed = follow(tokenizer, ends, written, **KEYS)
    assert allowed
    assert all(rest.startswith(piece) for piece in allowed)


def test_a_value_of_a_known_key_is_a_string_or_null_and_ends_as_the_object_goes_on(tokenizer, ends):
    assert follow(tokenizer, ends, '{"name":', **KEYS) <= {'"', ' "', "null", " null"}
    assert '"}' not in follow(tokenizer, ends, '{"name": "Ann', **KEYS)
    assert "}" not in follow(tokenizer, ends, '{"name": null, "n": 12', **KEYS)
    assert "," in follow(tokenizer, ends, '{"name": null, "n": 12', **KEYS)
    assert follow(tokenizer, ends, '{"name": null, "n": 12, "kind": "la', **KEYS) is None
    assert follow(tokenizer, ends, '{"name": null, "n": 12, "kind": "late"}', **KEYS) is None
    assert follow(tokenizer, ends, "Sure: ", **KEYS) is None, "a text that left the frame is free"


def test_a_field_with_options_is_one_of_them_and_space_before_a_number_is_written_once(tokenizer, ends):
    wish = {**KEYS, "copy_skip": [], "copy_choices": {"kind": ["late", "lost"]}}
    start = '{"name": null, "n": 12, "kind": '
    assert all("late".startswith(t) or "lost".startswith(t) for t in follow(tokenizer, ends, start + '"', **wish))
    closing = follow(tokenizer, ends, start + '"late', **wish)
    assert '"' in closing
    assert not closing & {'",', "null"}
    assert " " not in follow(tokenizer, ends, '{"name": null, "n": ', **wish)
