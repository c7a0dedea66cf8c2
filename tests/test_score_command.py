"""`tao-hub score`: rows in, rows out, in the same order, and nothing half-written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Run, Site, read_rows, shell, write_rows

from tao_hub.errors import UsageError
from tao_hub.partial import SCORED, Partial

TRICKY = """
    import os, time, tao_hub
    class Tricky(tao_hub.Reward):
        def score_batch(self, pairs):
            for _, c in pairs:
                if c.response == "poison":
                    raise ValueError("cannot read that")
                if c.response == "die":
                    os._exit(7)
                if c.response == "sleep":
                    time.sleep(3600)
                if c.response == "slow":
                    time.sleep(0.2)
            return [float(len(c.response)) for _, c in pairs]
    class Rank(tao_hub.GroupReward):
        def score_group(self, group):
            return [tao_hub.Score(i, why=f"of {len(group.candidates)}") for i in range(len(group.candidates))]
    @tao_hub.hookimpl
    def register_rewards(register):
        register("tricky", Tricky)
        register("rank", Rank)
"""


def row(number: int, response: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "prompt": f"question {number}", "response": response, **more}


def test_rows_come_out_in_order_with_value_why_and_parts(tmp_path: Path, run: Run) -> None:
    rows = [row(i, "x" * (i % 7), meta={"kept": "out"}) for i in range(150)]
    source = write_rows(tmp_path / "in.jsonl", *rows)
    done = run("score", "rules/length", "--input", source, "--output", "out.jsonl", "-o", "max=3", "--json")
    assert done.code == 0, done.err
    assert done.json == {"rows": 150, "scored": 150, "errors": 0, "skipped": 0}
    found = read_rows(tmp_path / "out.jsonl")
    assert [r["id"] for r in found] == list(range(150))
    assert found[4] == {"id": 4, "value": 0.0, "error": None, "why": "4 characters", "parts": {}}
    assert [r["value"] for r in found[:5]] == [1.0, 1.0, 1.0, 1.0, 0.0]
    assert not list(tmp_path.glob("*.db"))  # no store


def test_prompts_may_be_messages_and_references_reach_rewards_that_use_them(tmp_path: Path, run: Run) -> None:
    messages = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "2 + 2?"}]
    gold = {"prompt": messages, "reference": "4"}
    right, wrong = {**gold, "id": "a", "response": "4"}, {**gold, "id": "b", "response": "5"}
    source = write_rows(tmp_path / "in.jsonl", right, wrong)
    assert run("score", "exact", "--input", source, "--output", "out.jsonl").code == 0
    assert [(r["id"], r["value"]) for r in read_rows(tmp_path / "out.jsonl")] == [("a", 1.0), ("b", 0.0)]
    unlabelled = write_rows(tmp_path / "none.jsonl", row(1, "4"))
    assert run("score", "exact", "--input", unlabelled, "--output", "out.jsonl").code == 0
    (only,) = read_rows(tmp_path / "out.jsonl")
    assert only["value"] is None
    assert "no reference" in only["error"]["message"]


MALFORMED = {
    "not json": ('{"id": 1, "prompt"', "not JSON"),
    "not an object": ("[1, 2]", "expected an object, found list"),
    "no response": ('{"id": 1, "prompt": "x"}', "'response' is missing; found keys ['id', 'prompt']"),
    "a number as response": ('{"id": 1, "prompt": "x", "response": 5}', "'response' must be a string, found int"),
    "an unknown key": ('{"id": 1, "prompt": "x", "response": "y", "answer": 1}', "unknown keys ['answer']"),
    "a bad role": ('{"id": 1, "prompt": [{"role": "boss", "content": ""}], "response": "y"}', "boss"),
    "no messages": ('{"id": 1, "prompt": [], "response": "y"}', "'prompt' must be"),
    "a bad group": ('{"id": 1, "prompt": "x", "response": "y", "group": 3}', "'group' must be a string, found int"),
    "deep nesting": ("[" * 100_000, "not JSON"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_line_is_named_and_nothing_is_written(tmp_path: Path, run: Run, fault: str) -> None:
    line, reason = MALFORMED[fault]
    source = write_rows(tmp_path / "in.jsonl", row(1, "a"), "", line, row(2, "b"))
    (tmp_path / "out.jsonl").write_text("kept")
    words = ["score", "rules/length", "--input", source, "--output", "out.jsonl", "-o", "max=3"]
    refused = run(*words)
    assert refused.code == 2
    assert f"{source}, line 3: " in refused.err
    assert reason in refused.err
    assert "--skip-invalid" in refused.err
    assert (tmp_path / "out.jsonl").read_text() == "kept"
    assert {p.name for p in tmp_path.iterdir()} <= {"in.jsonl", "out.jsonl", "site", "home"}
    skipped = run(*words, "--skip-invalid", "--json")
    assert skipped.json == {"rows": 3, "scored": 2, "errors": 1, "skipped": 1}
    first, bad, last = read_rows(tmp_path / "out.jsonl")
    assert (first["id"], bad["id"], last["id"]) == (1, None, 2)
    assert bad["error"]["type"] == "InvalidRow"
    assert bad["error"]["message"].startswith("line 3: ")


def test_workers_give_the_same_rows_as_one_process(tmp_path: Path, run: Run) -> None:
    source = write_rows(tmp_path / "in.jsonl", *(row(i, "x" * (i % 9)) for i in range(300)))
    for name, more in (("one", []), ("two", ["--workers", "2"])):
        done = run("score", "rules/length", "--input", source, "--output", f"{name}.jsonl", "-o", "target=4", *more)
        assert done.code == 0, done.err
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


def test_group_rewards_see_all_rows_of_a_group_wherever_they_lie(site: Site, tmp_path: Path, run: Run) -> None:
    site.add("tricky", TRICKY)
    rows = [row(i, f"r{i}", group="ab"[i % 2]) for i in range(6)] + [row(6, "alone"), row(6, "with it")]
    source = write_rows(tmp_path / "in.jsonl", *rows)
    assert run("score", "rank", "--input", source, "--output", "out.jsonl").code == 0
    found = [(r["value"], r["why"]) for r in read_rows(tmp_path / "out.jsonl")]
    thirds = [(float(i // 2), "of 3") for i in range(6)]
    assert found == [*thirds, (0.0, "of 2"), (1.0, "of 2")]  # without a group, rows of one prompt are a group
    votes = [row(1, text) for text in ("Paris", "Paris", "Rome")]
    write_rows(tmp_path / "in.jsonl", *votes)
    assert run("score", "rules/consistency", "--input", source, "--output", "out.jsonl", "-o", "mode=whole").code == 0
    said = [r["value"] for r in read_rows(tmp_path / "out.jsonl")]
    assert said[0] == said[1] > said[2]


def test_a_poison_row_costs_one_row(site: Site, tmp_path: Path, run: Run) -> None:
    site.add("tricky", TRICKY, version="4.5")
    rows = [row(i, "poison" if i == 70 else "ok") for i in range(100)]
    source = write_rows(tmp_path / "in.jsonl", *rows)
    done = run("score", "tricky", "--input", source, "--output", "out.jsonl", "--json")
    assert done.json == {"rows": 100, "scored": 99, "errors": 1, "skipped": 0}
    found = read_rows(tmp_path / "out.jsonl")[70]
    assert found["value"] is None
    assert found["error"] == {"type": "ValueError", "message": "tricky/tricky (tao-tricky 4.5): cannot read that"}


def test_a_row_that_hangs_times_out_alone(site: Site, tmp_path: Path, run: Run) -> None:
    site.add("tricky", TRICKY)
    source = write_rows(tmp_path / "in.jsonl", *(row(i, "sleep" if i == 2 else "ok") for i in range(4)))
    words = ["score", "tricky", "--input", source, "--output", "out.jsonl", "--timeout", "1"]
    assert run(*words).code == 0
    kinds = [r["error"] and r["error"]["type"] for r in read_rows(tmp_path / "out.jsonl")]
    assert kinds == [None, None, "TimeoutError", None]


def test_a_worker_that_dies_costs_the_rows_it_held(site: Site, tmp_path: Path) -> None:
    site.add("tricky", TRICKY)
    rows = [row(i, "die" if i in (3, 400) else "ok") for i in range(640)]  # ten batches of 64, two of them deadly
    source = write_rows(tmp_path / "in.jsonl", *rows)
    words = ["score", "tricky", "--input", source, "--output", "out.jsonl", "--workers", "2", "--json"]
    done = shell(*words, cwd=tmp_path, path=site.path)
    assert done.code == 0, done.err
    assert done.json == {"rows": 640, "scored": 512, "errors": 128, "skipped": 0}
    found = read_rows(tmp_path / "out.jsonl")
    assert [r["id"] for r in found] == list(range(640))
    lost = {r["id"] // 64 for r in found if r["value"] is None}
    assert lost == {0, 6}
    assert all("died" in r["error"]["message"] for r in found if r["value"] is None)


MORTAL = """
import os, pathlib, signal
import tao_hub

def judge(text):
    with open("asked.txt", "a") as asked:
        asked.write(text + "\\n")
    if pathlib.Path("trouble").exists():
        if text == "r130":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "r5":
            raise ConnectionError("no judge")
    return float(text[1:])

class Mortal(tao_hub.Reward):
    def score_batch(self, pairs):
        return [judge(c.response) for _, c in pairs]

class Group(tao_hub.GroupReward):
    def score_group(self, group):
        return [judge(c.response) for c in group.candidates]

@tao_hub.hookimpl
def register_rewards(register):
    register("mortal", Mortal)
    register("group", Group)
"""


@pytest.mark.parametrize("reward", ["mortal", "group"])
def test_rows_that_were_scored_before_a_kill_are_not_scored_again_but_failed_ones_are(
    site: Site, tmp_path: Path, reward: str
) -> None:
    site.add("mortal", MORTAL)
    rows = [row(i, f"r{i}", group=str(i // 2)) for i in range(200)]
    write_rows(tmp_path / "in.jsonl", *rows)
    words = ["score", f"mortal/{reward}", "--input", "in.jsonl", "--output", "out.jsonl", "--json"]
    (tmp_path / "trouble").touch()
    assert shell(*words, cwd=tmp_path, path=site.path).code == -9
    assert not (tmp_path / "out.jsonl").exists()
    (tmp_path / "trouble").unlink()
    asked = tmp_path / "asked.txt"
    asked.unlink()
    done = shell(*words, cwd=tmp_path, path=site.path)
    assert done.code == 0, done.err
    failed = ["r5"] if reward == "mortal" else ["r4", "r5"]  # a group is judged as a whole
    assert asked.read_text().split() == [*failed, *(f"r{i}" for i in range(128, 200))]
    assert done.json == {"rows": 200, "scored": 200, "errors": 0, "skipped": 0}
    assert [(r["id"], r["value"]) for r in read_rows(tmp_path / "out.jsonl")] == [(i, float(i)) for i in range(200)]
    assert sorted(f.name for f in tmp_path.iterdir() if f.is_file()) == ["asked.txt", "in.jsonl", "out.jsonl"]


def test_other_rows_begin_anew_and_a_torn_line_is_forgotten(tmp_path: Path) -> None:
    made = [(i, SCORED, {"id": i}) for i in range(3)]
    first = Partial(tmp_path / "out.jsonl", "a" * 32, 4)
    first.add(made)
    with pytest.raises(UsageError, match="another process is writing"):
        Partial(tmp_path / "out.jsonl", "a" * 32, 4)
    first.close()
    (left,) = tmp_path.glob(".out.jsonl.*.part")
    with left.open("ab") as torn:
        torn.write(b'3\ts\t{"id"')
    other = Partial(tmp_path / "out.jsonl", "b" * 32, 4)
    assert len(other) == 0
    other.close()
    again = Partial(tmp_path / "out.jsonl", "a" * 32, 4)
    assert (len(again), [i in again for i in range(4)]) == (3, [True, True, True, False])
    again.add([(3, SCORED, {"id": "é"})])
    assert again.finish() == {"rows": 4, "scored": 4, "errors": 0, "skipped": 0}
    assert [r["id"] for r in read_rows(tmp_path / "out.jsonl")] == [0, 1, 2, "é"]
    assert not list(tmp_path.glob(".*"))


def test_usage_errors_say_what_is_missing(tmp_path: Path, run: Run) -> None:
    source = write_rows(tmp_path / "in.jsonl", row(1, "a"))
    for words, reason in (
        (["length"], "SUITE[:SPLIT]"),
        (["length", "--input", source], "go together"),
        (["length", "--input", "absent.jsonl", "--output", "o", "-o", "max=1"], "absent.jsonl: No such file"),
        (["length", "--input", source, "--output", "no/where/o", "-o", "max=1"], "does not exist"),
        (["length", "--input", source, "--output", "o", "-o", "max"], "expected key=value"),
        (["length", "--input", source, "--output", "o", "-o", "maximum=3"], "maximum"),
        (["regex", "--input", source, "--output", "o", "-o", "pattern=("], "no regular expression"),
        (["nonsense", "--input", source, "--output", "o"], "unknown reward 'nonsense'"),
    ):
        refused = run("score", *words)
        assert refused.code == 2, words
        assert reason in refused.err
    assert not (tmp_path / "o").exists()


def test_a_line_that_is_not_utf8_is_malformed(tmp_path: Path, run: Run) -> None:
    source = write_rows(tmp_path / "in.jsonl", row(1, "ok"))
    with source.open("ab") as more:
        more.write(b'{"id": 2, "prompt": "x", "response": "\xff"}\n')
    refused = run("score", "length", "--input", source, "--output", "out.jsonl", "-o", "max=1")
    assert refused.code == 2
    assert f"{source}, line 2: not JSON" in refused.err
    assert not (tmp_path / "out.jsonl").exists()
