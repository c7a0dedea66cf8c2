"""Leaderboards of `tao-hub eval`: ranks that say how far the order can be trusted, one board as policies come."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from conftest import Run, Site, hub_of, write_rows
from rich.console import Console

from tao_hub import Ref, Session
from tao_hub.history import History
from tao_hub.leaderboard import Standing, board, leaderboard, standings
from tao_hub.loop import evaluate
from tao_hub.report import print_report
from tao_hub.stats import Estimate, compare, holm

N = 60

# Right about the first `template` of a hundred numbers, by a shuffle of its own.
PARTLY = """
import random
import tao_hub
from tao_hub.builtin.generators import Echo

class Partly(Echo):
    def generate(self, requests, sampling):
        order = list(range(100))
        random.Random(self.options.template).shuffle(order)
        for i, request in enumerate(requests):
            number, answer = request.prompt.text.split()
            right = order.index(int(number)) < int(self.options.template)
            yield i, [tao_hub.Completion(answer if right else "no idea")] * request.n

@tao_hub.hookimpl
def register_generators(register):
    register("partly", Partly)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Items whose right answer is yes for most, in an order that tells nothing."""
    answers = ["yes"] * 40 + ["no"] * 20
    random.Random(0).shuffle(answers)
    rows = [{"id": str(i), "prompt": f"Is {i} one?", "reference": answer} for i, answer in enumerate(answers)]
    write_rows(tmp_path / "data" / "test.jsonl", *rows)
    return tmp_path / "data"


def asked(data: Path, template: str, *more: object) -> list[object]:
    return ["eval", "jsonl:test", "--suite-option", f"path={data}", "--policy", "core/echo", "--policy-option",
            f"template={template}", *more]  # fmt: skip


def test_policies_join_the_board_one_after_another_and_are_ranked_by_what_is_shown(run: Run, data: Path) -> None:
    alone = run(*asked(data, "no", "--json")).json["boards"][0]["rows"]
    assert [(row["label"], row["rank"], row["last"], row["behind"]) for row in alone] == [
        ("core/echo template=no", 1, 1, None)
    ]
    for template in ("yes", "perhaps"):
        assert run(*asked(data, template)).code == 0
    said = run("report", "eval jsonl:test", "--format", "json").json
    (board,) = said["boards"]
    assert (board["suite"], board["split"], board["n"]) == ("jsonl", "test", N)
    places = [(row["label"].split("=")[1], row["value"], row["rank"], row["last"]) for row in board["rows"]]
    # yes and no differ on all 60, 40 to 20: p 0.013, the largest of the three, so Holm leaves it as it is
    assert places == [("yes", pytest.approx(2 / 3), 1, 1), ("no", pytest.approx(1 / 3), 2, 2), ("perhaps", 0.0, 3, 3)]
    assert board["rows"][0]["behind"] is None
    assert board["rows"][1]["behind"]["delta"] == pytest.approx(-1 / 3)
    assert board["rows"][1]["behind"]["low"] < board["rows"][1]["behind"]["high"] < 0
    assert run("report").out == run("report", "eval jsonl:test").out  # no tuning run is there: the newest board
    few = run(*asked(data, "yes", "--limit", "8", "--json")).json["boards"]
    assert [(b["n"], len(b["rows"])) for b in few] == [(8, 1)]
    boards = run("report", "eval jsonl:test", "--format", "json").json["boards"]
    assert sorted((b["n"], len(b["rows"])) for b in boards) == [(8, 1), (N, 2)]  # never ranked on other items


def test_an_order_that_may_be_chance_is_told_as_a_range_of_ranks_and_pairs_are_adjusted(
    site: Site, tmp_path: Path
) -> None:
    write_rows(tmp_path / "d" / "test.jsonl", *({"prompt": f"{i} yes", "reference": "yes"} for i in range(100)))
    suite = Ref("core/jsonl", {"path": str(tmp_path / "d")})
    with Session(tmp_path / "s.db", hub_of(site.add("some", PARTLY))) as session:
        history = History(session.store)
        run = history.begin("eval jsonl:test", {}, "", {})
        for name, right in (("as good", "85"), ("bad", "30"), ("good", "90")):
            policy = session.policy(Ref("some/partly", {"template": right}))
            evaluate(session, suite, "test", policy, run=run, label=name)
        evals = {e["label"]: e for e in history.evals(run)}
        items = {
            label: {str(i["position"]): i["value"] for i in history.eval_items(e["id"])} for label, e in evals.items()
        }
        report = leaderboard(session, "eval jsonl:test").data
        some = leaderboard(session, "eval jsonl:test", labels=["bad", "good"]).data
    places = [(row["label"], row["value"], row["rank"], row["last"]) for row in report["boards"][0]["rows"]]
    assert places == [("good", 0.9, 1, 2), ("as good", 0.85, 1, 2), ("bad", 0.3, 3, 3)]
    rows = {row["label"]: row for row in report["boards"][0]["rows"]}
    pairs = [("good", "as good"), ("good", "bad"), ("as good", "bad")]
    raw = [compare(items[a], items[b], metric="score", suite="jsonl").p for a, b in pairs]
    adjusted = dict(zip(pairs, holm(raw)))
    assert rows["good"]["behind"] is None
    assert [rows[name]["behind"]["p"] for name in ("as good", "bad")] == [
        pytest.approx(adjusted["good", name]) for name in ("as good", "bad")
    ]
    assert len(some["boards"][0]["rows"]) == 2


def test_over_several_suites_the_mean_comes_first_and_each_suite_counts_alike(
    site: Site, tmp_path: Path, run: Run
) -> None:
    for split, n in (("test", 100), ("dev", 20)):
        write_rows(tmp_path / "d" / f"{split}.jsonl", *({"prompt": f"{i} yes", "reference": "yes"} for i in range(n)))
    suite = Ref("core/jsonl", {"path": str(tmp_path / "d")})
    with Session(tmp_path / "s.db", hub_of(site.add("some", PARTLY))) as session:
        history = History(session.store)
        for split in ("test", "dev"):
            row = history.begin(f"eval jsonl:{split}", {}, "", {})
            for right in ("30", "90"):
                policy = session.policy(Ref("some/partly", {"template": right}))
                evaluate(session, suite, split, policy, run=row, label=right)
        mean, *each = leaderboard(session, "eval jsonl:test", "eval jsonl:dev").data["boards"]
        evaluate(session, suite, "dev", policy, run=row, label="another")
        uneven = leaderboard(session, "eval jsonl:test", "eval jsonl:dev").data["boards"]
    assert [(b["suite"], b["split"], b["n"]) for b in (mean, *each)] == [
        ("mean of 2 suites", "", 120), ("jsonl", "test", 100), ("jsonl", "dev", 20),
    ]  # fmt: skip
    levels = [{r["label"]: r["value"] for r in b["rows"]} for b in each]
    assert levels[0] == {"30": 0.3, "90": 0.9}
    assert [(r["label"], r["rank"], r["last"]) for r in mean["rows"]] == [("90", 1, 1), ("30", 2, 2)]
    for r in mean["rows"]:
        assert r["value"] == pytest.approx((levels[0][r["label"]] + levels[1][r["label"]]) / 2)
        assert r["parts"] == {"jsonl test": levels[0][r["label"]], "jsonl dev": levels[1][r["label"]]}
        assert r["low"] < r["value"] < r["high"]
    assert mean["rows"][1]["behind"]["delta"] == pytest.approx(mean["rows"][1]["value"] - mean["rows"][0]["value"])
    assert [b["suite"] for b in uneven] == ["jsonl", "jsonl"]  # no mean where one was not asked everything
    words = ["eval", "jsonl:test", "jsonl:dev", "--suite-option", "path=d", "--policy", "core/echo"]
    assert [b["n"] for b in run(*words, "--json").json["boards"]] == [120, 100, 20]
    assert "mean of 2 suites" in run(*words).out


def test_the_page_of_a_leaderboard_is_written_and_a_board_is_no_run_that_tunes(run: Run, data: Path) -> None:
    hostile = "<script>alert(1)</script>"
    assert run(*asked(data, "yes")).code == 0
    done = run(*asked(data, hostile, "--report", "board.html"))
    assert (done.code, "wrote board.html" in done.err) == (0, True)
    assert "rank" in done.out
    assert hostile in done.out
    page = Path("board.html").read_text(encoding="utf-8")
    assert "shown to be better" in page
    assert "<script>" not in page
    told = run("report", "eval jsonl:test", "--format", "markdown").out
    assert "| 1 | core/echo template=yes | 66.7% |" in told
    assert "| 2 | core/echo template=\\<script" in told or "| 2 | core/echo template=&lt;script" in told
    wrong = run("show", "eval jsonl:test")
    assert (wrong.code, "no run 'eval jsonl:test'" in wrong.err) == (2, True)


def test_standings_rank_by_what_is_shown_after_adjusting_for_all_pairs() -> None:
    def told(delta: float, p: float) -> Estimate:
        return Estimate(delta, 0.1, delta - 0.2, delta + 0.2, p, 50, 50)

    values = {"b": 0.5, "a": 0.9, "none": None, "c": 0.4}
    deltas = {("b", "a"): told(0.4, 0.001), ("c", "a"): told(0.5, 0.02), ("c", "b"): told(0.1, 0.6)}
    places = standings(values, deltas)
    assert [(place.label, place.rank, place.last) for place in places] == [
        ("a", 1, 2), ("b", 2, 4), ("c", 2, 4), ("none", 1, 4),  # nothing is known of it
    ]  # fmt: skip
    behind = {place.label: place.behind for place in places}
    assert behind["a"] is behind["none"] is None
    assert behind["b"] == pytest.approx((-0.4, -0.6, -0.2, 0.003))  # 3 · 0.001
    assert behind["c"] == pytest.approx((-0.5, -0.7, -0.3, 0.04))  # 2 · 0.02
    deltas["c", "a"] = told(0.5, 0.03)  # 2 · 0.03: no longer shown
    assert [(place.rank, place.last) for place in standings(values, deltas)] == [(1, 3), (2, 4), (1, 4), (1, 4)]
    assert standings({"alone": 0.1}, {}) == [Standing("alone", 1, 1, None)]


def test_a_file_that_was_changed_is_another_board(run: Run, data: Path) -> None:
    assert run(*asked(data, "yes")).code == 0
    write_rows(data / "test.jsonl", *({"id": str(i), "prompt": f"Is {i} two?", "reference": "no"} for i in range(N)))
    assert run(*asked(data, "no")).code == 0
    boards = run("report", "eval jsonl:test", "--format", "json").json["boards"]
    assert [(b["n"], [row["label"] for row in b["rows"]]) for b in boards] == [
        (N, ["core/echo template=yes"]), (N, ["core/echo template=no"])
    ]  # fmt: skip


def test_folders_and_files_are_suites_of_their_own_that_boards_tell_apart(run: Run, tmp_path: Path) -> None:
    for folder, answer in (("mails", "yes"), ("calls", "no")):
        rows = ({"id": str(i), "prompt": f"Is {i} one?", "reference": answer} for i in range(4))
        write_rows(tmp_path / folder / "test.jsonl", *rows)
    asked = ("--policy", "core/echo", "--policy-option", "template=yes")
    told = run("eval", "mails:test", "calls/test.jsonl", *asked, "--report", "board.html", "--json").json
    names = ["jsonl path=mails", "jsonl path=calls/test.jsonl"]
    assert [(board["suite"], board["rows"][0]["value"]) for board in told["boards"]] == [
        ("mean of 2 suites", 0.5), (names[0], 1.0), (names[1], 0.0)
    ]  # fmt: skip
    assert [row["suite"] for row in told["quality"]] == names
    assert all(name in (tmp_path / "board.html").read_text(encoding="utf-8") for name in names)
    assert len(run("eval", "mails", *asked, "--json").json["boards"]) == 1  # no other folder's
    whole = run("report", "eval jsonl:test", "--format", "json").json
    assert [board["suite"] for board in whole["boards"][1:]] == names
    unknown = run("eval", "letters:test", *asked)
    assert (unknown.code, "unknown suite 'letters'" in unknown.err) == (2, True)
    nothing = run("prompts", "synthesize", "mails:test", "-n", "1", *asked[:2], "--output", "more.jsonl")
    assert "no new input from 4" in nothing.err


@pytest.mark.parametrize("width", [80, 100, 119, 120, 140])
def test_no_number_of_a_board_is_cut_on_a_narrow_terminal(width: int) -> None:
    rows = {
        label: {"value": value, "low": value - 0.05, "high": value + 0.05, "errors": 12, "truncated": 3456,
                "output_tokens": 123.4, "latency_s": 1.5}
        for label, value in (("a policy with a name", 0.75), ("mine", 0.5))
    }  # fmt: skip
    delta = Estimate(-0.25, 0.025, -0.3, -0.2, 0.001, 4000, 4000)
    data = {"title": "t", "boards": [board("inbox", "test", "exact", 4000, rows, {tuple(rows): delta})]}
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_report(data, console)
    shown = console.file.getvalue()
    for number in ("75.0%", "50.0%", "[70.0, 80.0]", "−25.0 pp", "[−30.0, −20.0]", "3,456", "123", "1.5 s"):
        assert number in shown, shown
    assert all(len(line.rstrip()) <= width for line in shown.splitlines())


def test_items_that_could_not_be_scored_are_told_with_the_reason(run: Run, data: Path) -> None:
    rows = ({"prompt": f"Is {i} one?", **({} if i else {"reference": "yes"})} for i in range(3))
    write_rows(data / "test.jsonl", *rows)
    told = ("jsonl test has items without a score, which count as wrong (core/echo template=yes: 2 of 3): "
            "this prompt has no reference: use a split with gold")  # fmt: skip
    assert run(*asked(data, "yes", "--report", "board.html", "--json")).json["warnings"] == [told]
    assert "warning: jsonl test has items without a score" in run(*asked(data, "yes")).out
    assert run("report", "--format", "json").json["warnings"] == [told]
    assert "this prompt has no reference" in (data.parent / "board.html").read_text(encoding="utf-8")
