"""What a store says of runs when the files they were made from were changed, moved or emptied in between."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from conftest import Run, Site, write_rows
from learner import SOURCE

PLAN = """
suite = "jsonl"
policy = "core/echo"
rounds = ROUNDS
policy_options = { replies = ["yes", "no"] }
suite_options = { path = "data" }
train = { name = "learner/majority" }

[[candidates]]
strategy = "direct"
n = 4

[[rewards]]
name = "rules/regex"
options = { pattern = "yes" }

[[eval]]
split = "test"
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_rows(tmp_path / "data" / "prompts.jsonl", *({"id": f"p{i}", "prompt": f"Ask {i}?"} for i in range(4)))
    rows = ({"id": f"t{i}", "prompt": f"Is {i} red?", "reference": "yes"} for i in range(4))
    write_rows(tmp_path / "data" / "test.jsonl", *rows)
    return tmp_path / "data"


def plan(path: Path, rounds: int) -> Path:
    path.write_text(PLAN.replace("ROUNDS", str(rounds)), encoding="utf-8")
    return path


def test_a_report_shows_what_was_asked_and_expected_when_it_was_measured(run: Run, tmp_path: Path, data: Path) -> None:
    measured = run("tune", plan(tmp_path / "p.toml", 0), "--json").json["examples"]
    assert [(one["prompt"], one["reference"]) for one in measured] == [("Is 0 red?", '"yes"'), ("Is 1 red?", '"yes"')]
    others = ({"id": f"o{i}", "prompt": f"Is {i} round?", "reference": "no"} for i in range(4))
    write_rows(data / "test.jsonl", {"id": "t1", "prompt": "Is 1 red?", "reference": "yes"}, *others)
    assert run("generate", "jsonl:test", "--suite-option", "path=data", "--policy", "core/echo").code == 0
    first, second = run("report", "--format", "json").json["examples"]
    assert (first["id"], first["prompt"], first["reference"]) == ("#1", "Is 0 red?", None)  # stands there no more
    assert (second["id"], second["prompt"], second["reference"]) == ("t1", "Is 1 red?", '"yes"')  # elsewhere, as it was
    assert [one["answers"] for one in (first, second)] == [one["answers"] for one in measured]


def test_policies_that_were_judged_by_other_references_are_not_ranked_together(run: Run, data: Path) -> None:
    asked = ("eval", "jsonl:test", "--suite-option", "path=data", "--policy", "core/echo")
    for template in ("yes", "no"):
        assert run(*asked, "--policy-option", f"template={template}").code == 0
    corrected = ({"id": f"t{i}", "prompt": f"Is {i} red?", "reference": "no"} for i in range(4))
    write_rows(data / "test.jsonl", *corrected)
    assert run(*asked, "--policy-option", "template=perhaps").code == 0
    boards = run("report", "eval jsonl:test", "--format", "json").json["boards"]
    told = [{row["label"].partition("=")[2]: row["value"] for row in board["rows"]} for board in boards]
    assert [board["split"] for board in boards] == ["test (before its file was changed)", "test"]
    assert told == [{"yes": 1.0, "no": 0.0}, {"perhaps": 0.0}]
    for template in ("yes", "no"):
        assert run(*asked, "--policy-option", f"template={template}").code == 0
    (board,) = run("report", "eval jsonl:test", "--format", "json").json["boards"]
    told = [{row["label"].partition("=")[2]: row["value"] for row in board["rows"]}]
    assert told == [{"yes": 0.0, "no": 1.0, "perhaps": 0.0}]


def test_who_shows_a_run_reads_the_store_alone_and_changes_nothing(
    site: Site, run: Run, tmp_path: Path, data: Path
) -> None:
    site.add("learner", SOURCE)
    assert run("tune", plan(tmp_path / "p.toml", 1), "--store", "s.db").code == 0
    shown = run("show", "--store", "s.db", "--prompt", "p1", "--json").json
    assert shown[0]["candidates"]

    def items() -> list[object]:
        with sqlite3.connect(tmp_path / "s.db") as db:
            return db.execute("SELECT * FROM items ORDER BY suite, split, position").fetchall()

    before = items()
    write_rows(data / "prompts.jsonl", {"id": "p1", "prompt": "Something else?"})
    assert run("show", "--store", "s.db", "--prompt", "p1", "--json").json == shown
    shutil.move(data, tmp_path / "elsewhere")
    assert run("show", "--store", "s.db", "--prompt", "p1", "--json").json == shown
    assert run("report", "--store", "s.db").code == 0
    assert items() == before


@pytest.mark.parametrize("words", [("generate",), ("eval",), ("eval", "--json"), ("score", "rules/length")])
def test_a_split_without_prompts_is_told(run: Run, data: Path, words: tuple[str, ...]) -> None:
    (data / "test.jsonl").write_text("\n\n", encoding="utf-8")
    policy = () if words[0] == "score" else ("--policy", "core/echo")
    refused = run(*words, "jsonl:test", "--suite-option", "path=data", *policy)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "Error: suite jsonl, split 'test': it holds no prompt (an empty file, say)\n"


def test_generate_and_score_count_what_the_part_that_was_asked_for_has(run: Run, data: Path) -> None:
    """Not what the policy or the reward has in the whole store."""
    suite = ("--suite-option", "path=data", "--json")
    asked = ("--policy", "core/echo", "-n", "2", *suite)
    assert run("generate", "jsonl:prompts", *asked).json["candidates"] == 8
    assert run("generate", "jsonl:test", *asked).json["candidates"] == 8
    first = run("generate", "jsonl:test", *asked, "--limit", "3").json
    assert (first["prompts"], first["candidates"]) == (3, 6)
    scored = run("score", "rules/length", "-o", "max=9", "jsonl:prompts", *suite).json["scored"]
    assert scored == 4  # equal answers share a score
    assert run("score", "rules/length", "-o", "max=9", "jsonl:test", *suite, "--limit", "3").json["scored"] == 3
    assert run("score", "rules/exact", "jsonl:test", *suite).json["scored"] == 4
    write_rows(data / "test.jsonl", *({"id": f"t{i}", "prompt": f"Is {i} red?", "reference": "no"} for i in range(4)))
    assert run("score", "rules/exact", "jsonl:test", *suite).json["scored"] == 4


KEPT = SOURCE.replace('return tao_hub.Ref("core/echo", {"template": answer})', """(out / "says").write_text(answer)
        return tao_hub.Ref("learner/kept", {"model": str(out)})""") + '''
from pathlib import Path

class Kept(tao_hub.Generator):
    """Answers what stands in its folder."""
    class Options(tao_hub.Options):
        model: str
    def policy_digest(self):
        return self.said().encode().hex().ljust(32, "0")
    def said(self):
        return (Path(self.options.model) / "says").read_text()
    def generate(self, requests, sampling):
        for i, request in enumerate(requests):
            yield i, [tao_hub.Completion(self.said())] * request.n

@tao_hub.hookimpl
def register_generators(register):
    register("kept", Kept)
'''


def test_a_workspace_may_be_moved_and_a_tuned_policy_that_is_gone_is_trained_again(
    site: Site, run: Run, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("learner", KEPT)
    first = run("tune", plan(tmp_path / "p.toml", 2), "--store", "here/s.db", "--json").json
    assert first["tuned"]["policy"].startswith(str(tmp_path / "here" / "s-models"))
    shutil.move(tmp_path / "here", tmp_path / "there")
    again = run("tune", "p.toml", "--store", "there/s.db", "--json")
    assert again.code == 0, again.err
    folder = tmp_path / "there" / "s-models"
    assert again.json["tuned"] == {**first["tuned"], "policy": str(folder / Path(first["tuned"]["policy"]).name)}
    assert "trained again" not in again.err
    shutil.rmtree(folder)
    afresh = run("tune", "p.toml", "--store", "there/s.db")
    assert afresh.code == 0, afresh.err
    assert "is there no more: it is trained again" in afresh.err
    assert run("report", "--store", "there/s.db", "--format", "json").json["tuned"] == again.json["tuned"]
