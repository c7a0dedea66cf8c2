"""Preference data: every shape is read into one schema, every bad row is named and counted, sides share no prompt."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run, write_rows
from tao_reward_model.trained import files, mixture
from tao_reward_model.trained.near import near_duplicates
from tao_reward_model.trained.rows import BadRow, Problems, Ranked, parse

from tao_hub import Message, UsageError

ASK = (Message("user", "Why is the sky blue?"),)


def pair(i: int, better: str = "because of scattering", worse: str = "no idea") -> dict[str, Any]:
    return {"prompt": f"question {i} about topic {i * 7}", "chosen": f"{better} {i}", "rejected": f"{worse} {i}"}


def kind_of(row: Any) -> str:
    with pytest.raises(BadRow) as raised:
        parse(row, "x:1")
    return raised.value.kind


def test_pairs_scores_rankings_and_dialogues_become_one_schema() -> None:
    made = parse({"prompt": "Why is the sky blue?", "chosen": "a", "rejected": "b", "margin": 2}, "f:1", "f")
    assert made == Ranked(ASK, ("a", "b"), (1.0, 0.0), False, 2.0, "f", "f", "f:1")
    turns = [{"role": "user", "content": "Why is the sky blue?"}]
    answers = [[{"role": "assistant", "content": text}] for text in "ab"]
    assert parse({"prompt": turns, "chosen": answers[0], "rejected": answers[1]}, "").pairs == [(0, 1)]
    whole = parse({"chosen": turns + answers[0], "rejected": turns + answers[1]}, "")
    assert (whole.prompt, whole.responses) == (ASK, ("a", "b"))
    beside = parse({"prompt": "Why is the sky blue?", "chosen": turns + answers[0], "rejected": turns + answers[1]}, "")
    assert (beside.prompt, beside.responses) == (ASK, ("a", "b"))
    text = "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: Why is the sky blue?\n\nAssistant:"
    dialogue = parse({"chosen": text + " a", "rejected": text + " b"}, "")
    assert [m.role for m in dialogue.prompt] == ["user", "assistant", "user"]
    assert dialogue.responses == ("a", "b")
    scored = parse({"prompt": "x", "responses": ["a", "b", "c"], "scores": [1, True, 0.5]}, "")
    assert (scored.scores, scored.graded, scored.pairs) == ((1.0, 1.0, 0.5), True, [(0, 2), (1, 2)])
    ranked = parse({"prompt": "x", "responses": ["a", "b", "c"], "ranking": [2, [0, 1]]}, "")
    assert (ranked.scores, ranked.graded, ranked.pairs) == ((-1.0, -1.0, 0.0), False, [(2, 0), (2, 1)])


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ([], "not an object"),
        ({"prompt": "x"}, "missing field"),
        ({"prompt": "x", "chosen": "a"}, "missing field"),
        ({"prompt": "x", "chosen": "a", "rejected": None}, "missing field"),
        ({"chosen": "a", "rejected": "b"}, "missing field"),
        ({"prompt": "x", "responses": ["a"]}, "missing field"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "wrong type"),
        ({"prompt": "x", "chosen": 1, "rejected": "b"}, "wrong type"),
        ({"prompt": "x", "chosen": "a", "rejected": "b", "margin": "big"}, "wrong type"),
        ({"prompt": "x", "chosen": "a", "rejected": "b", "margin": float("nan")}, "not finite"),
        ({"prompt": "x", "responses": ["a", "b"], "scores": [1]}, "wrong count"),
        ({"prompt": "x", "responses": ["a", "b"], "scores": [1, 10**400]}, "not finite"),
        ({"prompt": "x", "responses": ["a", "b"], "ranking": [0, 0]}, "bad ranking"),
        ({"prompt": "x", "responses": ["a", "b"], "ranking": [0]}, "wrong count"),
        ({"prompt": "x", "chosen": "a", "rejected": "a"}, "equal pair"),
        ({"prompt": "x", "responses": ["a", "a"], "scores": [1, 1]}, "equal pair"),
        ({"prompt": "x", "responses": ["a", "a"], "scores": [1, 0]}, "opposite labels"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "empty prompt"),
        ({"prompt": "x", "chosen": "a", "rejected": "\n"}, "empty response"),
        ({"prompt": "x", "chosen": "a\ud800", "rejected": "b"}, "wrong encoding"),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"}, "different prompts"),
    ],
)
def test_what_is_wrong_with_a_row_has_a_name(row: Any, kind: str) -> None:
    assert kind_of(row) == kind


def test_bad_lines_are_named_by_file_and_line_and_none_is_dropped_silently(tmp_path: Path) -> None:
    good = [pair(i) for i in range(6)]
    file = write_rows(
        tmp_path / "p.jsonl", *good, "{broken", [1], {"prompt": "x", "chosen": "a"},
        {**pair(7), "rejected": ""}, {**pair(8), "chosen": "y" * 1_000_000}, good[0],
        {**good[1], "chosen": good[1]["rejected"], "rejected": good[1]["chosen"]},
    )  # fmt: skip
    with file.open("ab") as stream:
        stream.write(b'{"prompt": "caf\xe9", "chosen": "a", "rejected": "b"}\n')
    problems = Problems()
    rows = files.read(files.parse_source(str(file)), problems)
    clean = mixture.consistent(mixture.usable(rows, False, problems), problems)
    assert problems.counts == {
        "opposite labels": 2, "not JSON": 1, "not an object": 1, "missing field": 1, "empty response": 1,
        "long response (kept)": 1, "wrong encoding": 1, "duplicate": 1,
    }  # fmt: skip
    assert len(clean) == 6 - 1 + 1  # one contradicted, the long one kept
    lines = 14
    unused = [p for p in problems.found if p["kind"] != "long response (kept)"]
    assert len(clean) + len(unused) == lines
    assert {p["where"] for p in unused} == {f"p.jsonl:{n}" for n in (2, 7, 8, 9, 10, 12, 13, 14)}
    with pytest.raises(UsageError, match=r"(?s)4 rows are no preference data.*p\.jsonl:7: not JSON.*--skip-invalid"):
        problems.refuse_malformed()


def test_all_file_formats_give_the_same_rows(tmp_path: Path) -> None:
    import datasets
    import pyarrow
    import pyarrow.parquet

    rows = [{**pair(i), "margin": None if i % 2 else 1.5} for i in range(4)]
    write_rows(tmp_path / "a.jsonl", *rows)
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(r) + "\n" for r in rows)
    (tmp_path / "c.json").write_text(json.dumps(rows), encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(str(tmp_path / "e"))
    found = []
    for name in ("a.jsonl", "b.jsonl.gz", "c.json", "d.parquet", "e"):
        made = files.read(files.parse_source(str(tmp_path / name)), Problems())
        found.append([(r.prompt, r.responses, r.scores, r.margin) for r in made])
    assert len(found[0]) == 4
    assert all(some == found[0] for some in found)


def test_a_source_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n", encoding="utf-8")
    bad = {
        "no.jsonl": "there is no", f"{tmp_path}/x.csv": "expected one of", str(tmp_path): "holds no",
        f"{tmp_path},weight=x": "weight", f"{tmp_path},cap=0": "above 0",
    }  # fmt: skip
    for text, told in bad.items():
        with pytest.raises(UsageError, match=told):
            files.read(files.parse_source(text), Problems())
    source = files.parse_source(f"{tmp_path}/x.csv,weight=0.5,cap=3,domain=chat")
    assert (source.weight, source.cap, source.domain, source.name) == (0.5, 3, "chat", "x")


def test_near_duplicates_are_found_and_short_texts_only_where_equal() -> None:
    base = "the quick brown fox jumps over the lazy dog while the cat sleeps in the warm sun all day long"
    texts = [base, base.replace("warm", "hot"), base.upper() + "!", "short one", "short two", "Short one.", "q " * 40]
    found = near_duplicates(texts, 0.5)
    assert (2, 0) in found
    assert (1, 0) in found
    assert (5, 3) in found
    assert len(found) == 3


def test_no_prompt_nor_its_near_copy_is_on_both_sides() -> None:
    long = "please explain to me in simple words how engines work and why it needs so much fuel every single day of {}"
    asked = [long.format(day) for day in ("May", "June", "the year")] * 3 + [f"what is {i} plus {i}" for i in range(30)]
    rows = [parse({"prompt": a, "chosen": f"yes {i}", "rejected": f"no {i}"}, f"x:{i}") for i, a in enumerate(asked)]
    groups = mixture.related(rows)
    assert len(set(groups[:9])) == 1
    for seed in range(5):
        split = mixture.split(rows, groups, 0.3, seed)
        assert not {r.asked for r in split.train} & {r.asked for r in split.held_out}
        assert not set(split.train_clusters) & set(split.held_out_clusters)
        assert len(split.held_out) == round(0.3 * len(rows))
    assert mixture.split(rows, groups, 0.3, 1) == mixture.split(rows, groups, 0.3, 1)


def test_a_template_joins_no_prompts_and_near_copies_under_it_stay_together() -> None:
    template = " ".join(f"instruction{i}" for i in range(40)) + " "
    long = "my parcel of the third of May came without the green lamp that I had paid for, {} is it?"
    asked = [f"how do I return item {i * 37}?" for i in range(40)]
    asked += [long.format(where) for where in ("where", "so where", "but where")]
    asked += [asked[0].upper() + "!", asked[1]]
    rows = [
        parse({"prompt": template + a, "chosen": f"yes {i}", "rejected": f"no {i}"}, "x") for i, a in enumerate(asked)
    ]
    groups = mixture.related(rows)
    assert len(set(groups[:40])) == 40
    assert set(groups[40:43]) == {40}
    assert groups[43:] == [0, 1]
    assert len(mixture.split(rows, groups, 0.2, 0).held_out) == 9
    bare = [parse({"prompt": template.strip() + end, "chosen": "a", "rejected": "b"}, "x") for end in ("", "!", " no")]
    assert mixture.related([*rows, *bare])[-3:] == [45, 45, 47]  # nothing beside the template: by equal words


def test_a_template_is_one_of_its_source_and_a_few_copies_are_none() -> None:
    long = "please explain to me in simple words how engines work and why they need so much fuel, case {}"
    asked = [(long.format(i), "small") for i in range(12)] + [(f"{i * 7} plus {i}?", "big") for i in range(400)]
    rows = [parse({"prompt": a, "chosen": "yes", "rejected": "no"}, "x", source) for a, source in asked]
    assert len(set(mixture.related(rows)[:12])) == 12
    assert len(set(mixture.related(rows[2:])[:10])) == 1  # ten may be copies of each other


def test_dialogues_with_the_same_opening_stay_together() -> None:
    def dialogue(i: int, opening: str) -> Ranked:
        turns = [("user", opening), ("assistant", f"well {i}"), ("user", f"and then {i}?")]
        prompt = [{"role": role, "content": text} for role, text in turns]
        return parse({"prompt": prompt, "chosen": f"a{i}", "rejected": f"b{i}"}, "")

    groups = mixture.related([dialogue(i, "tell me how to bake good bread") for i in range(3)] + [
        dialogue(i, f"hello {i}") for i in range(3, 5)])  # fmt: skip
    assert groups == [0, 0, 0, 3, 4]


def test_caps_and_weights_are_drawn_by_the_seed() -> None:
    rows = [parse(pair(i), f"x:{i}", "big") for i in range(100)]
    problems = Problems()
    assert mixture.capped(rows, 30, 1, problems) == mixture.capped(rows, 30, 1, Problems())
    assert problems.counts == {"over the cap": 70}
    assert len(mixture.weighted(rows, {"big": 2}, 0)) == 200
    assert 30 < len(mixture.weighted(rows, {"big": 0.5}, 0)) < 70


def test_each_source_says_what_became_of_its_rows(run: Run, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", *(pair(i) for i in range(30)), pair(3), "{broken", {**pair(40), "rejected": ""})
    write_rows(tmp_path / "b.jsonl", *(pair(i) for i in range(50, 90)))
    asked = ("--data", "a.jsonl,weight=0.5", "--data", "b.jsonl,cap=20,weight=2", "--skip-invalid")
    told = run("train-reward", *asked, "--check", "--json").json
    of = {s["name"]: s for s in told["sources"]}
    assert [of[name][what] for name in "ab" for what in ("read", "capped", "kept")] == [33, 31, 30, 40, 20, 20]
    assert 0 < of["a"]["per_epoch"] < of["a"]["train"]
    assert of["b"]["per_epoch"] == 2 * of["b"]["train"]
    assert told["rows"]["per_epoch"] == of["a"]["per_epoch"] + of["b"]["per_epoch"]
    assert told["rows"]["read"] == 73
    assert "b: read 40, after cap 20, kept 20" in run("train-reward", *asked, "--check").out


def test_check_counts_as_json_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    write_rows(tmp_path / "p.jsonl", *(pair(i) for i in range(20)), pair(3))
    told = run("train-reward", "--data", "p.jsonl", "--check", "--json").json
    assert told["rows"]["train"] + told["rows"]["held_out"] == 20
    assert told["problems"] == {"duplicate": 1}
    assert told["contamination"]["suites"]["demo/inbox:test"] == 400
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix) == ["p.jsonl"]


def test_a_prompt_of_an_evaluation_suite_is_refused_or_dropped(run: Run, tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    sentence = "list every town of the northern province that lies beside the old river and has a bridge"
    write_rows(suite / "test.jsonl", {"prompt": sentence}, {"prompt": "what is love"})
    write_rows(suite / "train.jsonl", {"prompt": "question 5 about topic 35"})
    rows = [pair(i) for i in range(20)]
    rows[3]["prompt"] = "First of all, " + sentence + ", please!"
    rows[4]["prompt"] = "What is LOVE?"
    write_rows(tmp_path / "p.jsonl", *rows)
    asked = ("train-reward", "--data", "p.jsonl", "--check", "--json", "--against", f"core/jsonl path={suite}")
    refused = run(*asked)
    assert refused.code == 2
    assert "2 training prompts also occur" in refused.err
    assert "p.jsonl:4 ~ core/jsonl:test" in refused.err
    told = run(*asked, "--drop-overlap").json
    assert told["problems"] == {"in an evaluation suite": 2}
    assert told["contamination"]["suites"]["core/jsonl:test"] == 2
    assert told["rows"]["train"] + told["rows"]["held_out"] == 18
    left = run("train-reward", "--data", "p.jsonl", "--check", "--json", "--except-suite", "demo/inbox").json
    assert left["contamination"]["not_checked"] == ["demo/inbox"]


def test_a_suites_template_refuses_nothing_but_what_is_asked_under_it_does(run: Run, tmp_path: Path) -> None:
    template = " ".join(f"instruction{i}" for i in range(30)) + " "
    starts = ["what does", "how do I return", "where is"]
    asked = [f"{starts[i % 3]} item {i * 11}?" for i in range(30)]
    long = "a parcel of the third of May that came without the green lamp that I had paid for {} times"
    asked.append(long.format("two"))
    write_rows(tmp_path / "suite" / "test.jsonl", *({"prompt": template + a} for a in asked))
    learn = [f"{starts[i % 3]} item {i * 11 + 5}?" for i in range(30)]
    learn += [asked[4].upper(), "now, " + asked[-1], long.format("three"), "where was item 22?"]
    rows = [{**pair(i), "prompt": template + a} for i, a in enumerate(learn)]
    write_rows(tmp_path / "p.jsonl", *rows, {**pair(99), "prompt": asked[-1]}, {**pair(98), "prompt": "instruction9"})
    against = f"core/jsonl path={tmp_path}/suite"
    command = ("train-reward", "--data", "p.jsonl", "--check", "--json", "--against", against)
    refused = run(*command)
    assert (refused.code, "4 training prompts also occur" in refused.err) == (2, True)
    assert [f"p.jsonl:{n} ~ core/jsonl:test" in refused.err for n in (31, 32, 33, 34, 35, 36)] == [True] * 3 + [
        False, True, False]  # fmt: skip


def test_malformed_rows_stop_the_command_unless_they_are_to_be_skipped(run: Run, tmp_path: Path) -> None:
    write_rows(tmp_path / "p.jsonl", *(pair(i) for i in range(10)), {"prompt": "x"})
    stopped = run("train-reward", "--data", "p.jsonl", "--out", "rm")
    assert (stopped.code, (tmp_path / "rm").exists()) == (2, False)
    assert "p.jsonl:11: missing field" in stopped.err
    assert run("train-reward", "--data", "p.jsonl", "--check", "--json", "--skip-invalid").json["problems"] == {
        "missing field": 1
    }
    assert "say what to train on" in run("train-reward", "--out", "rm").err
    assert "--out FOLDER is missing" in run("train-reward", "--data", "p.jsonl").err


def test_what_stops_a_training_says_which_row_and_what_to_do(run: Run, tmp_path: Path) -> None:
    write_rows(tmp_path / "p.jsonl", *(pair(i) for i in range(10)))
    check = ("train-reward", "--check", "--data")
    told = run(*check, "p.jsonl", "--loss", "bce").err
    assert "10 no scale (p.jsonl:1: an order only; this loss needs scores" in told
    assert "after the path come weight=, cap=, domain=, split=" in run(*check, "p.jsonl,wieght=2").err
    with pytest.raises(BadRow, match="must be a list of texts, found an empty one"):
        parse({"prompt": "x", "responses": []}, "")
    wrong = run("train-reward", "--data", "p.jsonl", "--out", "rm", "--device", "gpu")
    assert (wrong.code, "'gpu' is not one of" in wrong.err) == (2, True)
    if not torch.cuda.is_available():
        refused = run("train-reward", "--data", "p.jsonl", "--out", "rm", "--device", "cuda")
        assert (refused.code, "torch sees no GPU here" in refused.err) == (2, True)


def test_prompts_without_a_users_words_are_compared_by_all_that_is_said() -> None:
    prompts = [[{"role": "system", "content": f"answer as number {i} of them would"}] for i in range(4)]
    asked = [*prompts, prompts[1], "?!", "...", "?!"]
    rows = [parse({"prompt": p, "chosen": "yes", "rejected": "no"}, "x") for p in asked]
    assert mixture.related(rows) == [0, 1, 2, 3, 1, 5, 6, 5]


def test_a_preference_turned_round_is_no_repeat_and_short_repeats_are_found_in_each_cluster() -> None:
    problems = Problems()
    yes, no = "you may send it back within thirty days of purchase", "you may not send it back after you have bought it"
    rows = [
        parse({"prompt": "may I return it? It is new.", "chosen": yes, "rejected": no}, "x:1"),
        parse({"prompt": "may I return it? It is new.", "chosen": no, "rejected": yes}, "x:2"),
        parse({"prompt": "first", "chosen": "yes", "rejected": "no"}, "x:3"),
        parse({"prompt": "second", "chosen": "yes", "rejected": "no"}, "x:4"),
        parse({"prompt": "second!", "chosen": "yes", "rejected": "no"}, "x:5"),
    ]
    kept, _ = mixture.without_near_duplicates(rows, [0, 0, 2, 3, 3], problems)
    assert [row.where for row in kept] == ["x:1", "x:2", "x:3", "x:4"]


def test_prompts_of_one_template_say_why_they_cannot_be_split() -> None:
    rows = [parse(pair(i), f"x:{i}") for i in range(10)]
    with pytest.raises(UsageError, match=r"10 rows belong together"):
        mixture.split(rows, [0] * 10, 0.2, 0)
