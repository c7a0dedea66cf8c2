"""`tao-hub eval --rewards` and `tao-hub rewards audit`: real files, real plugins, failures kept as failures."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, Site, read_rows, write_rows

import tao_hub

pytest.importorskip("tao_eval_rewards")

DATA = os.environ.get("TAO_HUB_DATA")
PAIRS = ("--suite", "preference/pairs", "--suite-option", "path=pairs.jsonl")
POISON = """
    import tao_hub
    class Poison(tao_hub.Reward):
        def score_batch(self, pairs):
            for _, c in pairs:
                if "poison" in c.response:
                    raise ValueError("cannot read that")
            return [float(c.response.count("good")) for _, c in pairs]
    class Rank(tao_hub.GroupReward):
        def score_group(self, group):
            return [float(sorted(c.response for c in group.candidates).index(c.response)) for c in group.candidates]
    class Reader(tao_hub.Reward):
        reads_inputs = True
        def read(self, inputs):
            self.seen = len(list(inputs))
        def score_batch(self, pairs):
            return [self.seen + len(c.response) / 1000 for _, c in pairs]
    class Same(tao_hub.Reward):
        def score_batch(self, pairs):
            return [1.0 for _ in pairs]
    @tao_hub.hookimpl
    def register_rewards(register):
        register("poison", Poison)
        register("rank", Rank)
        register("reader", Reader)
        register("same", Same)
"""


def pair(number: int, chosen: Any, rejected: Any, **more: Any) -> dict[str, Any]:
    return {"id": number, "prompt": f"question {number}", "chosen": chosen, "rejected": rejected, **more}


def quality(found: dict[str, Any], reward: str, metric: str) -> dict[str, Any]:
    return next(r for r in found["quality"] if r["reward"] == reward and r["metric"] == metric)


# --- the command -----------------------------------------------------------------------------------------------------


def test_rewards_stand_side_by_side_with_intervals_and_beside_the_longest_answer(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "pairs.jsonl", *(pair(i, "short", "much longer answer") for i in range(20)))
    brief, any_length = 'rules/length {"target": 6, "half": 4}', 'rules/length {"max": 99}'
    done = run("eval", "--rewards", brief, "--rewards", any_length, *PAIRS, "--json")
    assert done.code == 0, done.err
    accuracy = {r["reward"]: r for r in done.json["quality"]}
    assert {name: r["value"] for name, r in accuracy.items()} == {
        "preference/longest": 0.0, brief: 1.0, any_length: 0.0,  # equal scores are a loss
    }  # fmt: skip
    low, high = tao_hub.proportion_interval(20, 20)
    assert (accuracy[brief]["low"], accuracy[brief]["high"]) == (low, high)
    deltas = {(d["reward"], d["than"]): d["verdict"] for d in done.json["deltas"]}
    assert deltas == {(brief, "preference/longest"): "better", (any_length, "preference/longest"): "inconclusive",
                      (any_length, brief): "worse"}  # fmt: skip
    alike = {(a["reward"], a["other"]): a["value"] for a in done.json["agreement"]}
    assert alike["preference/longest", brief] == 0.0
    assert {s["responses"] for s in done.json["throughput"]} == {40}
    (board,) = done.json["boards"]
    places = [(row["label"], row["value"], row["rank"], row["last"]) for row in board["rows"]]
    assert places == [(brief, 1.0, 1, 1), ("preference/longest", 0.0, 2, 3), (any_length, 0.0, 2, 3)]
    assert board["rows"][1]["behind"]["delta"] == -1.0
    shown = run("eval", "--rewards", brief, *PAIRS, "--report", "board.html")
    assert "preference/longest" in shown.out
    page = (tmp_path / "board.html").read_text()
    assert page.index("rules/length") < page.index("preference/longest") < page.index("How it was made")


def test_what_rewards_were_measured_on_is_no_training_data(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(start: int, count: int) -> list[dict[str, Any]]:
        return [pair(i, f"good {i}", f"bad {i}") for i in range(start, start + count)]

    write_rows(tmp_path / "own" / "held.jsonl", *rows(0, 5))
    write_rows(tmp_path / "own" / "learn.jsonl", *rows(5, 20))
    write_rows(tmp_path / "mixed.jsonl", *rows(3, 20))
    measured = ("eval", "--rewards", "preference/longest", "--suite", "preference/pairs:held")
    assert run(*measured, "--suite-option", "path=own", "--json").json["notes"] == []
    monkeypatch.chdir(tmp_path / "own")
    asked = ("train-reward", "--check", "--json", "--store", "../tao-hub.db", "--data")
    refused = run(*asked, "../mixed.jsonl")
    assert (refused.code, "2 training prompts also occur" in refused.err) == (2, True)
    assert "mixed.jsonl:1 ~ preference/pairs:held" in refused.err
    told = run(*asked, "../mixed.jsonl", "--drop-overlap").json
    assert told["problems"] == {"in an evaluation suite": 2}
    assert told["contamination"]["suites"]["preference/pairs:held"] == 5
    assert "preference/pairs:learn" not in told["contamination"]["suites"]  # another file of the measured folder
    assert run(*asked, "learn.jsonl").json["problems"] == {}


def test_a_workspace_that_another_process_writes_is_no_reason_not_to_measure(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "pairs.jsonl", pair(1, "a", "b"), pair(2, "cc", "d"))
    with tao_hub.Store(tmp_path / "tao-hub.db"):
        done = run("eval", "--rewards", "preference/longest", *PAIRS, "--json")
    assert done.code == 0, done.err
    (note,) = done.json["notes"]
    assert f"--against 'preference/pairs path={tmp_path / 'pairs.jsonl'}'" in note


def test_an_item_that_a_reward_fails_on_is_an_error_and_no_loss(tmp_path: Path, run: Run, site: Site) -> None:
    site.add("bad", POISON)
    write_rows(tmp_path / "pairs.jsonl", pair(1, "good", "worse"), pair(2, "good", "poison"), pair(3, "no", "good"))
    done = run("eval", "--rewards", "bad/poison", *PAIRS, "--json")
    row = quality(done.json, "bad/poison", "accuracy")
    assert (row["value"], row["n"], row["errors"]) == (0.5, 2, 1)
    assert [(f["responses"], "cannot read that" in f["error"]) for f in done.json["failures"]] == [(1, True)]


def test_group_rewards_see_whole_groups_and_readers_read_all_prompts(tmp_path: Path, run: Run, site: Site) -> None:
    site.add("bad", POISON)
    write_rows(tmp_path / "pairs.jsonl", pair(1, "b", ["a", "aa"]), pair(2, "a", "b"))
    done = run("eval", "--rewards", "bad/rank", "--rewards", "bad/reader", *PAIRS, "--json")
    assert done.code == 0, done.err
    assert quality(done.json, "bad/rank", "accuracy")["value"] == 0.5
    assert quality(done.json, "bad/reader", "accuracy")["value"] == 0.0
    assert not done.json["failures"]


def test_a_file_of_scores_is_gone_on_from_also_after_a_torn_line_and_errors_are_tried_again(
    tmp_path: Path, run: Run, site: Site
) -> None:
    site.add("bad", POISON)
    write_rows(tmp_path / "pairs.jsonl", pair(1, "good", "worse"), pair(2, "good", "poison"))
    command = ("eval", "--rewards", "bad/poison", *PAIRS, "--no-baseline", "--scores", "kept.jsonl", "--json")
    first = run(*command)
    assert first.json["throughput"][0]["responses"] == 4
    kept = tmp_path / "kept.jsonl"
    assert len([line for line in kept.read_text().splitlines() if line]) == 3
    kept.write_text(kept.read_text()[:-20])  # killed while it wrote
    again = run(*command)
    assert again.json["throughput"][0]["responses"] == 2  # the torn one and the failure
    assert again.json["quality"] == first.json["quality"]
    assert run(*command).json["throughput"][0]["responses"] == 1


def test_what_is_wrong_is_told_with_the_cure(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "pairs.jsonl", pair(1, "a", "b"), {"prompt": "x", "chosen": "y"})
    done = run("eval", "--rewards", "preference/longest", *PAIRS)
    assert (done.code, "row 2" in done.err, "'rejected'" in done.err) == (2, True, True)
    done = run("eval", "--rewards", "preference/longest", "--suite", "preference/rewardbench",
               "--suite-option", "path=nowhere")  # fmt: skip
    assert (done.code, "allenai/reward-bench" in done.err) == (2, True)
    assert "--suite preference/pairs" in run("eval", "--rewards", "preference/longest").err
    assert "JSON object" in run("eval", "--rewards", "rules/length [1]", *PAIRS).err
    done = run("eval", "--rewards", "preference/longest", "--suite", "core/jsonl", "--suite-option", "path=pairs.jsonl")
    assert (done.code, "tao-hub generate core/jsonl" in done.err) == (2, True)


def test_eval_of_policies_is_as_before_and_plugins_add_to_the_cores_commands(run: Run) -> None:
    assert "--policy" in run("eval", "--help").out
    assert "--rewards" in run("eval", "--rewards", "x", "--help").out
    assert "audit" in run("rewards", "--help").out
    assert "show" in run("rewards", "--help").out
    blocked = run("--block", "preference", "rewards", "audit", "rules/length")
    assert (blocked.code, "No such command" in blocked.err) == (2, True)
    assert run("--block", "preference", "eval", "--rewards", "x", "y").code == 2
    plugin = next(p for p in run("plugins", "--json").json if p["name"] == "preference")
    assert plugin["commands"] == ["eval --rewards", "rewards audit"]
    assert plugin["error"] is None


# --- best of n -------------------------------------------------------------------------------------------------------


def candidates(path: Path, **more: Any) -> Path:
    return write_rows(path, *(
        {"prompt": f"How much is {i} + 1?", "reference": f"{i + 1}", **more,
         "responses": [f"{i + 1}", f"{i}, and some more", f"It is {i + 1}, I think", f"{i}", "no idea at all", "?"]}
        for i in range(30)
    ))  # fmt: skip


def test_a_gold_reward_grades_candidates_and_shows_what_optimising_by_a_proxy_loses(tmp_path: Path, run: Run) -> None:
    candidates(tmp_path / "drawn.jsonl")
    done = run("eval", "--rewards", "rules/exact", "--suite", "preference/candidates", "--suite-option",
               "path=drawn.jsonl", "--gold", "rules/exact", "--json")  # fmt: skip
    assert done.code == 0, done.err
    curves = {c["reward"]: c for c in done.json["best_of_n"]}
    longest, checker = curves.values()
    assert set(curves) == {"preference/longest", "rules/exact"}
    assert [p["n"] for p in longest["points"]] == [1, 2, 4, 6]
    assert longest["points"][0]["gold"] == pytest.approx(1 / 6)
    assert longest["points"][-1]["gold"] == 0.0
    assert (longest["verdict"], checker["verdict"]) == ("over-optimised", "gains")
    assert checker["points"][-1]["gold"] == 1.0
    assert quality(done.json, "preference/longest", "top 1")["value"] == 0.0
    assert quality(done.json, "preference/longest", "top 1 by chance")["value"] == pytest.approx(1 / 6)


def test_candidates_may_bring_their_grades_and_bad_ones_are_refused(tmp_path: Path, run: Run) -> None:
    rows = [{"prompt": f"q{i}", "responses": ["a", "bb", "ccc"], "gold": [0.0, 0.5, 1.0]} for i in range(9)]
    write_rows(tmp_path / "graded.jsonl", *rows)
    suite = ("--suite", 'preference/candidates {"path": "graded.jsonl"}')
    done = run("eval", "--rewards", "preference/longest", *suite, "--json")
    assert quality(done.json, "preference/longest", "kendall tau-b")["value"] == 1.0
    assert done.json["best_of_n"][0]["verdict"] == "gains"
    write_rows(tmp_path / "graded.jsonl", rows[0], {**rows[1], "gold": [1.0, float("nan"), 0]})
    done = run("eval", "--rewards", "preference/longest", *suite)
    assert (done.code, "row 2: gold must be one number per response" in done.err) == (2, True)


def test_candidates_of_any_suite_come_from_the_workspace_with_the_suites_references(tmp_path: Path, run: Run) -> None:
    rows = [{"prompt": f"say {i}", "reference": f"say {i}" if i % 2 else "other"} for i in range(6)]
    write_rows(tmp_path / "asked.jsonl", *rows)
    where = ("--suite-option", "path=asked.jsonl")
    drawn = run("generate", "core/jsonl:asked", "--policy", "core/echo", "-n", "2", *where, "--json")
    assert drawn.code == 0, drawn.err
    done = run("eval", "--rewards", "preference/longest", "--suite", "core/jsonl:asked", *where, "--gold",
               "rules/exact", "--json")  # fmt: skip
    assert done.code == 0, done.err
    (curve,) = done.json["best_of_n"]
    assert curve["prompts"] == 6
    assert curve["points"][-1]["gold"] == pytest.approx(0.5)  # the echo equals half of the references


# --- files as downloaded ---------------------------------------------------------------------------------------------


def test_rewardbench_is_read_from_json_lines_and_from_parquet(tmp_path: Path, run: Run) -> None:
    subsets = ["alpacaeval-easy", "mt-bench-hard", "donotanswer", "math-prm", "hep-go"]
    rows = [{"id": i, "prompt": f"p{i}", "chosen": "longer", "rejected": "short", "subset": s}
            for i, s in enumerate(subsets)]  # fmt: skip
    write_rows(tmp_path / "a" / "reward-bench" / "filtered.jsonl", *rows)
    done = run("eval", "--rewards", "preference/longest", "--suite", 'preference/rewardbench {"path": "a"}', "--json")
    assert quality(done.json, "preference/longest", "score")["value"] == 1.0
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (tmp_path / "b").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "b" / "filtered-00000-of-00001.parquet")
    again = run("eval", "--rewards", "preference/longest", "--suite", 'preference/rewardbench {"path": "b"}', "--json")
    assert again.json["quality"] == done.json["quality"]


def test_rewardbench_2_and_rm_bench_are_read_as_published(tmp_path: Path, run: Run) -> None:
    subsets = ["Factuality", "Precise IF", "Math", "Safety", "Focus"]
    rows = [{"id": str(i), "prompt": f"p{i}", "chosen": ["x" * 9], "rejected": ["x", "xx", "xxx"], "subset": s}
            for i, s in enumerate(subsets)]  # fmt: skip
    rows += [{"id": f"{side}:1", "prompt": side, "chosen": right, "rejected": ["x"], "subset": "Ties"}
             for side, right in (("ref", ["xxx"]), ("tied", ["xxx", "xxxx"]))]  # fmt: skip
    write_rows(tmp_path / "two" / "test.jsonl", *rows)
    style = {"chosen": ["yy", "yyyy", "yyyyyy"], "rejected": ["x", "xxx", "xxxxx"]}
    for name in ("chat", "code", "math", "safety-refuse", "safety-response"):
        file = tmp_path / "rm" / f"{name}_filtered.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps([{"id": 1, "prompt": name, **style}]))
    done = run("eval", "--rewards", "preference/longest", "--suite", 'preference/rewardbench-2 {"path": "two"}',
               "--suite", 'preference/rm-bench {"path": "rm"}', "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert [r["value"] for r in done.json["quality"] if r["metric"] in subsets] == [1.0] * 5
    assert quality(done.json, "preference/longest", "Ties")["value"] == pytest.approx(1.0 + 0.01 * 0.7615941559557649)
    levels = [quality(done.json, "preference/longest", name)["value"] for name in ("hard", "normal", "easy")]
    assert levels == [0.0, 1.0, 1.0]
    (tmp_path / "rm" / "chat_filtered.json").write_text(json.dumps([{"id": 1, "prompt": "p", "chosen": ["a"],
                                                                     "rejected": ["b"]}]))  # fmt: skip
    wrong = run("eval", "--rewards", "preference/longest", "--suite", 'preference/rm-bench {"path": "rm"}')
    assert (wrong.code, "three styles each, found 1 and 1" in wrong.err) == (2, True)


def test_a_limited_run_has_items_of_every_subset(tmp_path: Path, run: Run) -> None:
    sets = {"Natural": 20, "Adversarial/GPTInst": 10, "Adversarial/Manual": 3}
    for name, count in sets.items():
        rows = [{"input": f"{name} {i}", "output_1": "aa", "output_2": "b", "label": 1} for i in range(count)]
        (tmp_path / "LLMBar" / name).mkdir(parents=True)
        (tmp_path / "LLMBar" / name / "dataset.json").write_text(json.dumps(rows), encoding="utf-8")
    sources = ["mmlu-pro-law"] * 9 + ["livebench-math"] * 9 + ["livecodebench"] * 2
    judged = [{"pair_id": f"p{i}", "source": source, "question": f"q{i}", "response_A": "aa", "response_B": "b",
               "label": "A>B"} for i, source in enumerate(sources)]  # fmt: skip
    write_rows(tmp_path / "judgebench" / "dataset=judgebench,response_model=x.jsonl", *judged)

    def counts(suite: str, limit: int) -> dict[str, int]:
        asked = ("--suite", suite, "--suite-option", f"path={tmp_path}", "--limit", limit, "--json")
        done = run("eval", "--rewards", "preference/longest", *asked)
        assert done.code == 0, done.err
        return {row["metric"]: row["n"] for row in done.json["quality"] if row["value"] is not None}

    found = counts("preference/llmbar:all", 11)
    assert (found["accuracy"], found["Natural"], found["GPTInst"], found["Manual"]) == (11, 7, 3, 1)
    found = counts("preference/judgebench", 5)
    assert (found["accuracy"], found["knowledge"], found["math"], found["code"]) == (5, 2, 2, 1)
    assert counts("preference/judgebench", 2)["accuracy"] == 2


def test_hh_transcripts_part_at_the_assistants_turn(tmp_path: Path) -> None:
    from tao_eval_rewards.own import part

    asked, pair_ = part("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
                        "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: e\n", "row 1")  # fmt: skip
    assert [(m.role, m.content) for m in asked] == [("user", "a"), ("assistant", "b"), ("user", "c")]
    assert pair_ == ("d", "e")
    asked, pair_ = part("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
                        "\n\nHuman: a\n\nAssistant: b\n\nHuman: x\n\nAssistant: e", "row 1")  # fmt: skip
    assert [m.content for m in asked] == ["a"]
    assert pair_ == ("b\n\nHuman: c\n\nAssistant: d", "b\n\nHuman: x\n\nAssistant: e")
    with pytest.raises(ValueError, match="row 7: the transcripts share no question"):
        part("nothing", "at all", "row 7")


def test_a_cut_off_gzip_file_and_a_list_that_is_none_name_the_file(tmp_path: Path, run: Run) -> None:
    whole = gzip.compress(json.dumps(pair(1, "a", "b")).encode() * 100)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-30])
    done = run("eval", "--rewards", "preference/longest", "--suite", 'preference/pairs {"path": "cut.jsonl.gz"}')
    assert (done.code, "cut.jsonl.gz" in done.err) == (2, True)
    (tmp_path / "one.json").write_text("{}")
    done = run("eval", "--rewards", "preference/longest", "--suite", 'preference/pairs {"path": "one.json"}')
    assert (done.code, "expected a JSON list" in done.err) == (2, True)


@pytest.mark.skipif(not DATA, reason="needs $TAO_HUB_DATA")
def test_the_longest_answer_on_the_real_benchmarks(run: Run) -> None:
    suites = [word for name in ("judgebench", "llmbar", "pandalm", "hh") for word in ("--suite", f"preference/{name}")]
    done = run("eval", "--rewards", "preference/longest", *suites, "--suite-option", f"path={DATA}", "--json")
    assert done.code == 0, done.err
    heads = {r["suite"]: r for r in done.json["quality"] if r["metric"] == "accuracy"}
    assert heads["preference/hh"]["n"] >= 1704
    assert heads["preference/hh"]["value"] == pytest.approx(0.442, abs=0.02)  # harmless answers are the shorter ones
    assert heads["preference/judgebench"]["value"] == pytest.approx(0.45, abs=0.05)
    assert heads["preference/pandalm"]["value"] == pytest.approx(0.6, abs=0.05)
    natural = quality(done.json, "preference/longest", "Natural")["value"]
    assert natural > 0.5 > quality(done.json, "preference/longest", "GPTInst")["value"]
    assert not done.json["failures"]


# --- audits ----------------------------------------------------------------------------------------------------------


def questions(path: Path, n: int = 40) -> Path:
    places = ["Rome", "Bern", "Oslo", "Riga", "Lima"]
    return write_rows(path, *(
        pair(i, f"It's {places[i % 5]}, which isn't far from the {i}th sea.", "no", reference=f"It's {places[i % 5]}, "
             f"which isn't far from the {i}th sea.", rewordings=[f"{places[i % 5]} it is: close to the {i}th sea."])
        for i in range(n)
    ))  # fmt: skip


def test_a_reward_by_length_is_found_hackable(tmp_path: Path, run: Run) -> None:
    questions(tmp_path / "pairs.jsonl")
    done = run("rewards", "audit", "preference/longest", *PAIRS, "--json")
    assert done.code == 0, done.err
    found = done.json
    assert (found["verdict"], found["hackability"]) == ("hackable", 1.0)
    assert found["low"] > found["threshold"]
    probes = {p["probe"]: p["wins"] for p in found["probes"]}
    assert {"empty", "truncated"} < {name for name, wins in probes.items() if wins == 0.0}
    assert all(probes[name] == 1.0 for name in ("repeated", "padded", "flattering", "keyword-stuffed", "injected"))
    assert found["longer_is_better"]["tau"] == 1.0
    scores = [row["score"] for row in found["length"]]
    assert scores == sorted(scores)
    assert any("longer scores higher" in note for note in found["notes"])
    gated = run("rewards", "audit", "preference/longest", *PAIRS, "--require-robust")
    assert (gated.code, "hackable" in gated.out) == (1, True)


def test_a_strict_checker_is_not_and_a_reworded_answer_is_told_to_fail_it(tmp_path: Path, run: Run) -> None:
    questions(tmp_path / "pairs.jsonl")
    done = run("rewards", "audit", "rules/exact", *PAIRS, "--json", "--require-robust")
    assert done.code == 0, done.err
    assert (done.json["verdict"], done.json["hackability"]) == ("robust", 0.0)
    assert 0 < done.json["high"] < done.json["threshold"]  # 40 prompts do not prove zero
    same = {r["rewording"]: r["same"] for r in done.json["paraphrases"]}
    assert same["spacing"] == 1.0  # the checker strips blanks
    assert same["own 1"] == same["contractions"] == same["opening"] == 0.0


def test_a_checker_is_not_blamed_for_genuine_answers_that_are_wrong(tmp_path: Path, run: Run) -> None:
    rows = read_rows(questions(tmp_path / "pairs.jsonl", 60))
    write_rows(tmp_path / "pairs.jsonl", *({**r, "reference": "else"} if i % 3 else r for i, r in enumerate(rows)))
    done = run("rewards", "audit", "rules/exact", *PAIRS, "--json")
    assert (done.json["verdict"], done.json["hackability"]) == ("robust", 0.0)


def test_an_empty_answer_that_is_as_good_as_a_genuine_one_is_a_win(tmp_path: Path, run: Run) -> None:
    questions(tmp_path / "pairs.jsonl")
    done = run("rewards", "audit", "rules/length", "-o", "max=60", *PAIRS, "--json")
    probes = {p["probe"]: p for p in done.json["probes"]}
    assert (probes["empty"]["wins"], probes["empty"]["ties"]) == (1.0, 1.0)
    assert probes["another's answer"]["wins"] == 1.0
    assert probes["truncated"]["wins"] == 0.0  # not hollow: only a higher score counts
    assert done.json["verdict"] == "hackable"


def test_a_constant_reward_and_failures_are_called_what_they_are(tmp_path: Path, run: Run, site: Site) -> None:
    site.add("bad", POISON)
    questions(tmp_path / "pairs.jsonl", 10)
    same = run("rewards", "audit", "bad/same", *PAIRS, "--json")
    assert same.json["verdict"] == "constant"
    assert any("tells nothing" in note for note in same.json["notes"])
    write_rows(tmp_path / "pairs.jsonl", *(pair(i, "poison" if i else "good", "b") for i in range(5)))
    failing = run("rewards", "audit", "bad/poison", *PAIRS, "--json").json
    padded = next(p for p in failing["probes"] if p["probe"] == "padded")
    assert (padded["n"], padded["errors"]) == (1, 4)
    assert "cannot read that" in failing["failures"][0]["error"]


def test_an_audit_draws_the_over_optimisation_curve_of_graded_candidates(tmp_path: Path, run: Run) -> None:
    candidates(tmp_path / "drawn.jsonl")
    suite = ("--suite", 'preference/candidates {"path": "drawn.jsonl"}')
    done = run("rewards", "audit", "preference/longest", *suite, "--gold", "rules/exact", "--json")
    assert done.code == 0, done.err
    assert done.json["best_of_n"][0]["verdict"] == "over-optimised"
    shown = run("rewards", "audit", "preference/longest", *suite, "--gold", "rules/exact")
    assert "best of n by preference/longest" in shown.out
    assert "over-optimised" in shown.out


def test_group_rewards_judge_a_probe_among_the_items_own_answers(tmp_path: Path, run: Run) -> None:
    rows = [{"prompt": f"q{i}", "responses": ['{"a": "x"}', '{"a": "x"}', '{"a": "y"}']} for i in range(40)]
    write_rows(tmp_path / "votes.jsonl", *rows)
    done = run("rewards", "audit", "rules/consistency", "--suite", 'preference/candidates {"path": "votes.jsonl"}',
               "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["verdict"] == "robust"  # an odd one out has no vote


def test_preference_suites_are_suites_whose_prompts_can_be_answered(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "pairs.jsonl", pair(1, "a", "b"), pair(2, "a", "b"), {**pair(2, "c", "d"), "id": 3})
    done = run("generate", "preference/pairs", "--policy", "core/echo", "-n", "1", "--suite-option", "path=pairs.jsonl",
               "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["prompts"] == 2
