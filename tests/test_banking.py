"""banking77 and embed/about with the real MiniLM: what the prompts show, and answers that are about something else."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path

import pytest
from tao_reward_model.about import About, own_words
from tao_reward_model.banking import Banking77
from tao_reward_model.banking_intents import DESCRIPTIONS
from tao_reward_model.choice import Choice
from tao_reward_model.options import NearestOptions
from tao_reward_model.trained.contamination import check
from tao_reward_model.trained.rows import parse

import tao_hub

DATA = Path(os.environ.get("TAO_HUB_DATA", "/nowhere")) / "banking77"
MESSAGES = {
    "My card still has not come in the mail": "card_arrival",
    "The machine ate my card!": "card_swallowed",
    "what's the youngest age for an account": "age_limit",
    "I'd like to close my account please": "terminate_account",
}


def table(file: Path, rows: dict[str, str], header: tuple[str, str] = ("text", "category")) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wt", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows(rows.items())
    return file.parent


def suite(path: Path, **options: object) -> Banking77:
    return Banking77(Banking77.Options(path=str(path), **options))


def test_a_prompt_lists_the_nearest_intents_by_name_and_keeps_the_gold_out_of_the_tuning_split(tmp_path: Path) -> None:
    folder = table(tmp_path / "train.csv.gz", MESSAGES)
    table(tmp_path / "test.csv.gz", MESSAGES)
    found = list(suite(folder, shortlist=5).prompts("prompts"))
    assert {p.text for p in found} == set(MESSAGES)
    assert len(list(suite(folder, shortlist=0, most=3).prompts("prompts"))) == 3
    assert all(p.reference is None for p in found)
    for prompt in suite(folder, shortlist=5).prompts("test"):
        assert prompt.reference == MESSAGES[prompt.text]
        names = prompt.messages[0].content.split("\n")[1:]
        assert len(names) == 5
        assert names == sorted(names, key=str.casefold), "the order does not tell which is the nearest"
        assert prompt.reference in names
    (first, *_) = suite(folder, shortlist=0).prompts("test")
    assert len(first.messages[0].content.split("\n")) == 78


def test_without_a_test_file_parts_of_the_train_file_stand_in_and_never_overlap(tmp_path: Path) -> None:
    rows = {f"Where is card number {i}?": "card_arrival" for i in range(300)}
    found = suite(table(tmp_path / "train.csv.gz", rows), shortlist=0)
    assert found.splits() == ("prompts", "dev", "test")
    texts = {split: {p.text for p in found.prompts(split)} for split in found.splits()}
    assert sum(map(len, texts.values())) == 300
    assert set.union(*texts.values()) == set(rows)
    assert 170 < len(texts["prompts"]) < 250
    assert all(p.reference == "card_arrival" for p in found.prompts("test"))


def test_a_comparison_with_other_data_asks_no_encoder(tmp_path: Path) -> None:
    folder = table(tmp_path / "train.csv.gz", MESSAGES)
    table(tmp_path / "test.csv.gz", MESSAGES)
    options = {"path": str(folder), "encoder": str(tmp_path)}  # no encoder is there
    with pytest.raises((OSError, ValueError)):
        list(Banking77(Banking77.Options(**options)).prompts("test"))
    shown = [p.text for p in suite(folder).prompts("test")]
    assert list(Banking77(Banking77.Options(**options)).texts("test")) == shown
    refs = [tao_hub.Ref("embed/banking77", options)]
    row = parse({"prompt": "The machine ate my card!", "chosen": "Sorry.", "rejected": "No."}, "x:1", "x")
    done, found = check([row], tao_hub.Hub(), refs, ())
    assert done.suites == {"embed/banking77:test": 4}
    assert found == {0: "embed/banking77:test"}


def test_the_sentences_are_the_options_of_the_reward_and_the_worked_examples(tmp_path: Path) -> None:
    found = suite(tmp_path)
    choice = Choice(Choice.Options(**found.options_for("embed/choice")))
    for text, intent in MESSAGES.items():
        prompt = tao_hub.Prompt((tao_hub.Message("user", text),))
        asked = [(prompt, tao_hub.Candidate("", name)) for name in (intent, "exchange_rate", "no_such")]
        right, other, unknown = (s.value or 0.0 for s in choice.score_batch(asked) if isinstance(s, tao_hub.Score))
        assert right > 0.2 > other
        assert unknown == 0.0
    hub = tao_hub.Hub()
    strategy = hub.strategy(hub.resolve("strategy", tao_hub.Ref("few-shot"), found))
    (one, other) = strategy.variants(tao_hub.Prompt((tao_hub.Message("user", "hi"),)), 2)
    shown = [m.content for m in one.messages if m.role == "assistant"]
    assert len(shown) == 6
    assert set(shown) <= set(DESCRIPTIONS)
    assert one != other
    assert len(DESCRIPTIONS) == 77


def test_the_nearest_options_are_proposed_unless_they_have_been_written() -> None:
    strategy = NearestOptions(NearestOptions.Options(choices=DESCRIPTIONS, most=3))
    prompt = tao_hub.Prompt((tao_hub.Message("user", "The machine ate my card!"),))
    assert strategy.variants(prompt, 4) == []
    written = [tao_hub.Candidate(prompt.digest, text, policy="p") for text in ("the card", "card_swallowed")]
    made = strategy.combine(tao_hub.Group(prompt, (written[0],)))
    assert made[0].response == "card_swallowed"
    assert len({c.response for c in made}) == 3
    assert all(c.policy == "p" and not c.parents and c.response in DESCRIPTIONS for c in made)
    assert [c.response for c in strategy.combine(tao_hub.Group(prompt, tuple(written)))] == [
        c.response for c in made[1:]
    ]


def test_a_table_that_is_no_banking77_is_refused_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TAO_HUB_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="--suite-option path=DIR"):
        Banking77().splits()
    with pytest.raises(FileNotFoundError, match=r"no train\.csv"):
        list(suite(tmp_path).prompts("prompts"))
    folder = table(tmp_path / "a" / "train.csv.gz", {"Hello": "card_arrival", "Bye": "farewell"})
    with pytest.raises(ValueError, match=r"train\.csv\.gz, line 3: expected a text and one of 77 intents"):
        list(suite(folder).prompts("prompts"))
    folder = table(tmp_path / "b" / "train.csv.gz", {"Hello": "card_arrival"}, ("message", "label"))
    with pytest.raises(ValueError, match=r"line 2"):
        list(suite(folder).prompts("prompts"))
    with pytest.raises(ValueError, match="no split 'train': there are prompts, dev, test"):
        list(suite(folder).prompts("train"))


def test_the_descriptions_name_the_intents_of_the_real_file() -> None:
    if not (DATA / "categories.json.gz").is_file():
        pytest.skip("needs $TAO_HUB_DATA/banking77")
    assert set(json.loads(gzip.decompress((DATA / "categories.json.gz").read_bytes()))) == set(DESCRIPTIONS)
    texts = [p.text for s in ("prompts", "dev", "test") for p in suite(DATA, shortlist=0, most=10_000).prompts(s)]
    assert len(texts) == len(set(texts)) > 9_000


def test_an_answer_about_something_else_is_worth_little_and_a_repeated_input_nothing() -> None:
    asked = "Write two sentences about growing tomatoes on a balcony. Use no commas."
    answers = {
        "right": "Tomatoes need a big pot and a sunny balcony. Water the plants every day in summer.",
        "loud": "TOMATOES NEED A BIG POT AND A SUNNY BALCONY. WATER THE PLANTS EVERY DAY IN SUMMER.",
        "other": "The bank raised its interest rates again. Investors were surprised by that.",
        "nothing": "ok ok ok",
        "echo": "Write two sentences about growing tomatoes on a balcony.\nUse no commas!",
        "empty": "",
    }
    prompt = tao_hub.Prompt((tao_hub.Message("user", asked),))
    found = About().score_batch([(prompt, tao_hub.Candidate("", a)) for a in answers.values()])
    values = dict(zip(answers, (s.value for s in found if isinstance(s, tao_hub.Score))))
    assert values["right"] == values["loud"] == 1.0
    assert values["other"] is not None
    assert values["other"] < 0.4
    assert values["nothing"] is not None
    assert values["nothing"] < 0.4
    assert values["echo"] == values["empty"] == 0.0
    (silent,) = About().score_batch([(tao_hub.Prompt((tao_hub.Message("system", "x"),)), tao_hub.Candidate("", "a"))])
    assert isinstance(silent, tao_hub.Score)
    assert silent.error is not None


def test_only_sentences_that_stand_in_the_input_are_left_out() -> None:
    source = "Name a fruit. Say why."
    assert own_words(source, "Name a fruit. I like pears. Say why: they are sweet.") == "I like pears. they are sweet."
    assert own_words(source, "name a FRUIT!\nsay why") == ""
    assert own_words(source, "a fruitful day") == "a fruitful day"
