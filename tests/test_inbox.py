"""The suite inbox: its data are what its script writes, its gold is in the message, its splits are apart."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter

import jsonschema
import pytest
from tao_demo import make_inbox
from tao_demo.making import banks
from tao_demo.making.overlap import LIMIT, Seen
from tao_demo.making.values import WORDS
from tao_demo.record import LIMIT as LONGEST
from tao_demo.record import Record
from tao_demo.suite import HERE, Inbox, task

import tao_hub

GOLD = {"customer": "Ana Li", "order_id": "A-1", "product": "lamp", "quantity": 2, "date": None, "problem": "late"}


@pytest.fixture(scope="module")
def splits():
    return {split: list(Inbox().prompts(split)) for split in Inbox().splits()}


@pytest.fixture(scope="module")
def made():
    return make_inbox.make()


def score(response, reference=GOLD):
    prompt = tao_hub.Prompt((tao_hub.Message("user", "x"),), reference=reference)
    [found] = Record().score_batch([(prompt, tao_hub.Candidate(prompt=prompt.digest, response=response))])
    return found


def grounded(record, text):
    """Fields whose value does not occur in the text."""
    low = text.lower()
    for field, value in record.items():
        if field == "problem" or value is None:
            continue
        forms = [str(value).lower()]
        if field == "quantity" and value <= len(WORDS):
            forms.append(WORDS[value - 1])
        if not any(re.search(rf"(?<!\w){re.escape(form)}(?!\w)", low) for form in forms):
            yield field, value


def test_the_splits_have_their_sizes_and_prompts_hold_no_reference(splits):
    assert [(split, len(rows)) for split, rows in splits.items()] == [
        ("prompts", 1000), ("dev", 200), ("test", 400), ("human", 67)
    ]  # fmt: skip
    assert all(p.reference is None for p in splits["prompts"])
    rows = map(json.loads, gzip.decompress((HERE / "prompts.jsonl.gz").read_bytes()).splitlines())
    assert all(row.keys() == {"id", "message", "meta"} for row in rows)


def test_the_committed_data_are_what_the_script_writes(tmp_path, made):
    for path in make_inbox.write(made, tmp_path):
        committed = gzip.decompress((HERE / path.name).read_bytes())
        assert gzip.decompress(path.read_bytes()) == committed, f"{path.name}: run python -m tao_demo.make_inbox"


def test_another_seed_gives_other_messages(made):
    other = make_inbox.make(seed=8)
    assert {r["message"] for r in other["test"]}.isdisjoint(r["message"] for r in made["test"])


def test_the_gold_of_prompts_goes_to_a_folder_of_its_own_when_asked_for(tmp_path, made):
    make_inbox.write(made, tmp_path / "data", tmp_path / "gold")
    rows = [json.loads(line) for line in (tmp_path / "gold" / "prompts-gold.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 1000
    assert all(set(row["reference"]) == set(GOLD) for row in rows)


def test_every_gold_value_occurs_in_its_message(splits, made):
    rows = [(p.text, p.reference) for s in ("dev", "test", "human") for p in splits[s]]
    rows += [(r["message"], r["reference"]) for r in made["prompts"]]
    assert [(text, list(grounded(gold, text))) for text, gold in rows if list(grounded(gold, text))] == []


def test_every_gold_record_fits_the_schema_and_is_scored_exact(splits):
    for split in ("dev", "test", "human"):
        for prompt in splits[split]:
            jsonschema.validate(prompt.reference, task()["schema"])
            assert score(json.dumps(prompt.reference), prompt.reference).value == 1.0


def test_no_eval_message_comes_near_a_prompt_or_another_split(splits):
    seen = {split: Seen(p.text for p in rows) for split, rows in splits.items()}
    for split in ("dev", "test", "human"):
        for other in splits.keys() - {split}:
            assert [p.id for p in splits[split] if seen[other].nearest(p.text) > LIMIT] == []


def test_near_duplicates_are_found_whatever_their_case_and_marks():
    seen = Seen(["My parcel, number 12345, has not arrived and I am waiting for it."])
    assert seen.nearest("my parcel number 12345 has NOT arrived and i am waiting for it") == 1.0
    assert seen.nearest("My parcel, number 12345, has not arrived and I am waiting for him.") > LIMIT
    assert seen.nearest("The invoice is wrong: you took the money from my card two times last week.") == 0.0


def test_held_out_shapes_products_and_names_are_in_the_test_split_only(made):
    held_out = {shape.name for shape in banks.shapes() if shape.test}
    used = {split: Counter(r["meta"]["shape"] for r in rows) for split, rows in made.items()}
    assert held_out.isdisjoint(used["prompts"] | used["dev"])
    assert held_out <= set(used["test"])
    assert 0.3 < sum(used["test"][s] for s in held_out) / 400 < 0.42
    products = {p.rstrip("!") for c in banks.CLASSES for p in banks.values()[c].test}
    surnames = set(banks.values()["surnames"].test)
    for row in made["prompts"] + made["dev"]:
        assert (row["reference"]["product"] or "") not in products
        assert (row["reference"]["customer"] or "x").split()[-1] not in surnames


def test_the_variety_is_what_the_card_says():
    assert len(banks.shapes()) >= 72
    assert len({shape.name for shape in banks.shapes()}) == len(banks.shapes())
    assert sum(shape.test for shape in banks.shapes()) >= 16
    for kind in banks.KINDS:
        said = banks.problems()[f"{kind} said"]
        assert len(said.shared) + len(said.test) >= 25
        assert len(said.test) >= 6
    products = [banks.values()[c] for c in banks.CLASSES]
    assert sum(len(b.shared) + len(b.test) for b in products) >= 150
    assert sum(len(b.test) for b in products) >= 40


def test_fields_are_missing_now_and_then_but_the_kind_never(made):
    for rows in made.values():
        for field in GOLD:
            share = sum(r["reference"][field] is None for r in rows) / len(rows)
            assert share == 0 if field == "problem" else 0.07 <= share <= 0.19, field
        assert max(Counter(r["reference"]["problem"] for r in rows).values()) == len(rows) // 8


def test_worked_examples_are_balanced_true_and_in_no_split(splits):
    examples = task()["examples"]
    records = [json.loads(e["output"]) for e in examples]
    assert sorted(r["problem"] for r in records) == sorted(banks.KINDS)
    for example, record in zip(examples, records):
        jsonschema.validate(record, task()["schema"])
        assert list(grounded(record, example["input"])) == []
    seen = Seen(p.text for rows in splits.values() for p in rows)
    assert all(seen.nearest(e["input"]) == 0 for e in examples)


def test_the_task_speaks_of_the_same_fields_and_kinds_everywhere():
    brought = Inbox()
    assert list(task()["schema"]["properties"]) == list(task()["questions"]) == list(GOLD)
    assert list(task()["choices"]) == task()["schema"]["properties"]["problem"]["enum"] == list(banks.KINDS)
    assert all(kind in task()["system"] for kind in banks.KINDS)
    schema = brought.options_for("rules/schema")["schema"]
    forms = task()["forms"] | task()["starts"] | task()["names"]
    assert {k: v.pop("pattern", None) for k, v in schema["properties"].items()} == {
        k: f"^(?:{forms[k]})" if k in forms else None for k in GOLD
    }
    assert schema == task()["schema"]
    assert brought.options_for("another/thing") == {}


def test_an_unknown_split_is_an_error_that_names_the_splits():
    with pytest.raises(ValueError, match=r"no split 'train': use one of prompts, dev, test, human"):
        Inbox().prompts("train")


def test_an_exact_record_scores_one_whatever_its_case_blanks_and_order():
    answer = {"problem": "Late", "quantity": "2", "date": None, "product": " LAMP", "order_id": "#a-1"}
    answer["customer"] = "ana  li"
    assert score(json.dumps(answer)).value == 1.0


@pytest.mark.parametrize(
    ("change", "wrong"),
    [({"quantity": 3}, "quantity"), ({"quantity": True}, "quantity"), ({"quantity": None}, "quantity"),
     ({"date": "null"}, "date"), ({"product": ["lamp"]}, "product"), ({"customer": None}, "customer")],
)  # fmt: skip
def test_one_wrong_field_makes_the_record_wrong_and_is_named(change, wrong):
    found = score(json.dumps(GOLD | change))
    assert (found.value, found.parts[wrong], found.parts["valid"]) == (0.0, 0.0, 1.0)
    assert found.parts["fields"] == pytest.approx(5 / 6)
    assert wrong in found.why


def test_a_missing_or_extra_key_makes_the_record_invalid():
    less = {k: v for k, v in GOLD.items() if k != "date"}
    for record in (less, GOLD | {"note": "x"}):
        found = score(json.dumps(record))
        assert (found.value, found.parts["valid"]) == (0.0, 0.0)
    assert score(json.dumps(less)).parts["date"] == 0.0


@pytest.mark.parametrize(
    "answer",
    ["", "late", "[1]", "null", json.dumps(GOLD) + " done", '{"date": null, "date": null}', "[" * 5000,
     '{"quantity": ' + "9" * 6000 + "}", json.dumps(GOLD) + " " * LONGEST],
    ids=["empty", "text", "list", "null", "talk after it", "key twice", "deep", "huge number", "too long"],
)  # fmt: skip
def test_what_is_no_single_json_object_is_a_wrong_answer_not_an_error(answer):
    found = score(answer)
    assert found.error is None
    assert found.value == 0.0
    assert not any(found.parts.values())


def test_a_prompt_without_gold_cannot_be_scored():
    with pytest.raises(ValueError, match="use a split with gold"):
        score(json.dumps(GOLD), reference=None)
