"""New inputs: reworded, more of the kind, or with other values; none that repeats what is measured or what there is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Run, Site, hub_of, read_rows, write_rows

from tao_hub import Message, Prompt, Ref, Session, Synthesis, UsageError, synthesize
from tao_hub.builtin.rewording import More, Paraphrase, bare
from tao_hub.overlap import Known

# Rewords by rule: says some inputs again, one that is measured, and the others with another word.
WRITER = """
import tao_hub
from tao_hub.builtin.generators import Echo

class Writer(Echo):
    def generate(self, requests, sampling):
        for i, request in enumerate(requests):
            asked = request.prompt.text.split("\\n\\n")[-1]
            texts = [self.said(asked, (request.seed + j) % 5) for j in range(request.n)]
            yield i, [tao_hub.Completion(t, "length" if t.endswith("...") else "stop") for t in texts]

    def said(self, text, k):
        past = '"' + text.replace("Is", "Was") + '"'
        return [text, past, "Is 1.5 a number?", "", "Do tell: " + text][k]

@tao_hub.hookimpl
def register_generators(register):
    register("writer", Writer)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    system = {"role": "system", "content": "Yes or no."}
    said = ([system, {"role": "user", "content": f"Is {i} it?"}] for i in range(30))
    write_rows(folder / "prompts.jsonl", *({"prompt": messages, "meta": {"db": "x"}} for messages in said))
    write_rows(folder / "test.jsonl", {"prompt": "Is 1.5 a number?", "reference": "yes"})
    return folder


def suite(data: Path) -> Ref:
    return Ref("core/jsonl", {"path": str(data)})


def test_new_inputs_repeat_neither_each_other_nor_the_source_nor_what_is_measured(
    site: Site, tmp_path: Path, data: Path
) -> None:
    wanted = Synthesis(suite(data), "prompts", Ref("core/paraphrase"), 40, "writer/writer")
    hub = hub_of(site.add("writer", WRITER))
    with Session(tmp_path / "s.db", hub) as session:
        told = synthesize(session, wanted, tmp_path / "new.jsonl")
    rows = read_rows(tmp_path / "new.jsonl")
    assert told["written"] == len(rows)
    assert 12 <= len(rows) < 40
    assert {"repeats test", "repeats prompts", "nothing was written, or it was cut off"} <= told["left_out"].keys()
    texts = [row["prompt"][-1]["content"] for row in rows]
    assert len(set(texts)) == len(texts)
    assert all(t.startswith(("Was ", "Do tell: ")) for t in texts)
    assert all(r["prompt"][0] == {"role": "system", "content": "Yes or no."} and r["meta"] == {"db": "x"} for r in rows)
    assert all("reference" not in row for row in rows)
    with Session(tmp_path / "s.db", hub) as session:  # what was drawn is in the store: nothing is asked again
        again = synthesize(session, wanted, tmp_path / "again.jsonl")
        assert "generate" not in session.clock
    assert again == {**told, "file": again["file"]}
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "new.jsonl").read_bytes()


def test_new_inputs_are_a_suite_to_tune_on(site: Site, tmp_path: Path, data: Path) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("writer", WRITER))) as session:
        wanted = Synthesis(suite(data), "prompts", Ref("core/more"), 20, "writer/writer")
        synthesize(session, wanted, tmp_path / "prompts.jsonl")
        found = list(session.prompts(Ref("core/jsonl", {"path": str(tmp_path / "prompts.jsonl")}), "prompts"))
    assert len(found) >= 6
    assert [p.id for p in found] == [f"new-{i:05d}" for i in range(len(found))]


def test_a_file_that_exists_is_not_written_over(tmp_path: Path, data: Path) -> None:
    write_rows(tmp_path / "new.jsonl", {"prompt": "mine"})
    wanted = Synthesis(suite(data), "prompts", Ref("core/paraphrase"), 5, "core/echo")
    with Session(tmp_path / "s.db", hub_of()) as session, pytest.raises(UsageError, match="exists"):
        synthesize(session, wanted, tmp_path / "new.jsonl")
    assert read_rows(tmp_path / "new.jsonl") == [{"prompt": "mine"}]


def test_where_nothing_new_came_no_file_is_left_in_the_way_of_the_next_try(run: Run, data: Path) -> None:
    asked = ("prompts", "synthesize", data, "-n", "5", "--policy", "core/echo", "--output", "new.jsonl")
    for _ in range(2):
        refused = run(*asked)
        assert refused.code == 2
        assert "Error: no new input from 30 (" in refused.err
        assert "left out: " in refused.err
        assert "exists" not in refused.err


def test_questions_get_other_values_of_the_data_without_any_model(run: Run, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as db:
        db.execute("CREATE TABLE product (name TEXT, category TEXT, price REAL)")
        goods = [("Oslo", "chairs", 5), ("Sol", "lamps", 6), ("Rik", "desks", 7), ("Ola", "rugs", 8)]
        db.executemany("INSERT INTO product VALUES (?, ?, ?)", goods)
        db.commit()
    questions = ("How many chairs are there?", "Which lamps cost over 40?", "What is there?")
    write_rows(tmp_path / "own" / "prompts.jsonl", *({"prompt": q, "meta": {"db": "shop"}} for q in questions))
    write_rows(tmp_path / "own" / "test.jsonl", {"prompt": "How many rugs are there?", "reference": "SELECT 1"})
    made = run("prompts", "synthesize", "jsonl", "--suite-option", "path=own", "--way", "sql/values", "-n", 20,
               "-o", f"databases={tmp_path}", "--output", "new.jsonl", "--json")  # fmt: skip
    assert made.code == 0, made.err
    texts = [row["prompt"] for row in read_rows(tmp_path / "new.jsonl")]
    assert {"How many lamps are there?", "How many desks are there?"} <= set(texts)
    assert "How many rugs are there?" not in texts  # it is measured
    assert not set(questions) & set(texts)
    assert any(t.startswith(("Which chairs", "Which rugs", "Which desks")) for t in texts)
    assert made.json["written"] == len(texts) < 20
    short = run("prompts", "synthesize", "jsonl", "--suite-option", "path=own", "--way", "sql/values",
                "-o", f"databases={tmp_path}", "--output", "more.jsonl")  # fmt: skip
    assert "fewer than the 500 wanted" in short.err
    assert "left out: repeats test" in short.out


def test_a_paraphrase_is_asked_for_the_input_alone() -> None:
    prompt = Prompt((Message("system", "Answer in SQL."), Message("user", "How many?")))
    (asked,) = Paraphrase().variants(prompt, 1)
    assert [m.role for m in asked.messages] == ["user"]
    assert asked.text.endswith("\n\nHow many?")


def test_more_shows_others_of_the_kind_in_turn_and_its_own_once() -> None:
    inputs = [f"Question {i}?" for i in range(9)]
    strategy = More(More.Options(inputs=inputs, k=2))
    prompt = Prompt((Message("user", inputs[0]),))
    asked = strategy.variants(prompt, 4)
    assert asked == strategy.variants(prompt, 4)
    assert all(p.text.count(inputs[0]) == 1 and p.text.count("Question") == 3 for p in asked)
    assert len({p.text for p in asked}) > 1
    with pytest.raises(UsageError, match="prompts synthesize"):
        More()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (' "How many?" ', "How many?"), ("Here is one:\nHow many?", "How many?"), ("“Wie viele?”", "Wie viele?"),
        ("Order:\n12 mugs", "12 mugs"), ('He said "no"', 'He said "no"'), ("plain", "plain"), ("", ""),
    ],
)  # fmt: skip
def test_what_a_model_puts_round_a_text_is_taken_off(raw: str, text: str) -> None:
    assert bare(raw) == text


def test_known_texts_are_found_again_in_other_layout_or_nearly() -> None:
    long = "please tell me how many of the customers in the north have never ordered a lamp from us"
    known = Known([("a", "Is it?"), ("b", long)])
    assert known.find("is IT") == "a"
    assert known.find(long + " today") == "b"
    assert known.find("Is it so?") == ""
    known.add("c", "Is it so?")
    assert known.find("is it so") == "c"
