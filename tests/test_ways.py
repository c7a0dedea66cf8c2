"""Results side by side: the comparison of ways to use one model, and quality against tuning compute."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from conftest import Run, Site, hub_of, write_rows
from learner import SOURCE, WITH_OPTIONS
from test_loop import settings, write_plan

import tao_hub
from tao_hub import (
    LabelLeak,
    Session,
    UsageError,
    Ways,
    comparison,
    load_plan,
    render_html,
    render_markdown,
    repeated,
    run_report,
    sweep,
)
from tao_hub.stats import bootstrap_ratio

# What it learns depends on how much it saw: a majority of few candidates is often wrong.
REPLIES = ["no", "yes", "no", "perhaps", "yes", "yes", "no"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """30 prompts without gold, 12 labelled ones, 20 test items whose right answer is yes or, for four, no."""
    folder = tmp_path / "data"
    write_rows(folder / "prompts.jsonl", *({"id": f"p{i}", "prompt": f"Is {i} a number?"} for i in range(30)))
    write_rows(folder / "train.jsonl", *({"prompt": f"Is {i}/2 a number?", "reference": "yes"} for i in range(12)))
    rows = ({"id": f"t{i}", "prompt": f"Is {i}.5 a number?", "reference": "yes" if i % 5 else "no"} for i in range(20))
    write_rows(folder / "test.jsonl", *rows)
    return folder


def asked(data: Path, **changes: Any) -> tao_hub.Plan:
    return load_plan(settings(data, **{"policy_options": {"replies": REPLIES}, **changes}))


def test_one_table_holds_base_best_of_n_the_supervised_line_and_other_systems(
    site: Site, tmp_path: Path, data: Path
) -> None:
    given = write_rows(tmp_path / "others.jsonl", {"label": "A large model", "value": 0.9, "source": "its paper"})
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        ways = Ways(labels="train", best_of=8, external=given)
        report = comparison(session, asked(data), ways).data
        again = comparison(session, asked(data), ways).data
    level = {q["label"]: q["value"] for q in report["quality"]}
    assert list(level) == ["base", "base, best of 8", "supervised on 12 labels", "round 1"]
    assert level["base"] < 0.8
    assert level["base, best of 8"] == level["round 1"] == level["supervised on 12 labels"] == 0.8
    assert report["labels_used"] == 0
    (gap,) = report["gap"]
    assert (gap["split"], gap["n"], gap["value"]) == ("test", 20, 1.0)
    assert report["external"][0]["label"] == "A large model"
    timeless = {key: again[key] for key in ("seconds", "stage_seconds", "peak_memory_mb")}
    timeless["rounds"] = [{**r, "seconds": a["seconds"]} for r, a in zip(report["rounds"], again["rounds"])]
    assert again == {**report, **timeless}
    for page in (render_html(report), render_markdown(report)):
        for text in ("best of 8", "supervised on 12 labels", "A large model", "100.0%"):
            assert text in page


def test_labels_can_lie_in_a_file_by_prompt_id(site: Site, tmp_path: Path, data: Path) -> None:
    gold = write_rows(tmp_path / "gold.jsonl", *({"id": f"p{i}", "reference": ["no", "nope"]} for i in range(0, 30, 2)))
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        report = comparison(session, asked(data), Ways(gold=gold, examples=10)).data
    level = {q["label"]: q["value"] for q in report["quality"]}
    assert level["supervised on 10 labels"] == 0.2  # it learnt to say no
    assert report["gap"][0]["value"] is None  # there is no gap to close


def test_the_supervised_line_learns_all_labels_with_options_of_its_own(
    site: Site, tmp_path: Path, data: Path, run: Run
) -> None:
    point = site.add("learner", WITH_OPTIONS)
    train = {"name": "learner/majority", "options": {"min_parts": {"regex": 0.5}, "epochs": 2}}
    with Session(tmp_path / "s.db", hub_of(point)) as session:
        report = comparison(session, asked(data, train=train), Ways(labels="train", options={"epochs": 4})).data
        assert report["gap"][0]["of"] == "supervised on 12 labels, epochs = 4"
        assert sys.modules[point.module].SEEN[-1] == (4, {})  # labels have no scores that could doubt them
        with pytest.raises(UsageError, match="need labels: --labels SPLIT or --gold FILE"):
            comparison(session, asked(data, train=train), Ways(options={"epochs": 4}))
    with Session(tmp_path / "other.db", hub_of(point)) as session:
        with pytest.raises(UsageError, match="epoch"):
            comparison(session, asked(data, train=train), Ways(labels="train", options={"epoch": 4}))
        assert session.store.one("SELECT count(*) FROM candidates") == (0,)  # told before anything is drawn
    config = write_plan(tmp_path / "tune.toml", settings(data, rounds=0, train={"name": "trl/best-of-n"}))
    done = run("compare", config, "--labels", "train", "-o", "epoch=4")
    assert (done.code, "epoch" in done.err) == (2, True)


def test_labelled_prompts_that_are_measured_on_are_refused(site: Site, tmp_path: Path, data: Path) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        with pytest.raises(LabelLeak, match="'test' occur in an eval split"):
            comparison(session, asked(data), Ways(labels="test"))
        with pytest.raises(UsageError, match="has no references"):
            comparison(session, asked(data), Ways(labels="prompts"))


def test_a_file_of_labels_or_of_systems_that_is_wrong_names_the_line(site: Site, tmp_path: Path, data: Path) -> None:
    wrong = write_rows(tmp_path / "wrong.jsonl", {"id": "p0", "reference": "no", "label": "x", "value": 1}, "{}")
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        for ways in (Ways(gold=wrong), Ways(external=wrong)):
            with pytest.raises(UsageError, match=r"wrong\.jsonl:2: expected"):
                comparison(session, asked(data), ways)


def test_a_sweep_draws_quality_against_candidates(site: Site, tmp_path: Path, data: Path) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        report = sweep(session, asked(data), [1, 8, 2], [0, 1]).data
    assert [q["label"] for q in report["quality"]] == ["base", "n = 1", "n = 2", "n = 8"]
    assert [p["candidates"] for p in report["sweep"]] == [30, 60, 240]
    assert all(len(p["levels"]) == 2 for p in report["sweep"])
    assert report["quality"][-1]["value"] == 0.8
    assert report["deltas"][-1]["before_label"] == "n = 1"
    page = render_html(report)
    assert "Quality over candidates per prompt" in page
    assert "Tuning compute" in page


def test_a_sweep_draws_quality_against_prompts(site: Site, tmp_path: Path, data: Path) -> None:
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        report = sweep(session, asked(data), [10, 31, 30], [0], over="prompts").data
        with pytest.raises(UsageError, match=r"two sizes or more \(--prompts"):
            sweep(session, asked(data), [4], [0], over="prompts")
    assert [q["label"] for q in report["quality"]] == ["base", "prompts = 10", "prompts = 30"]
    assert report["warnings"] == ["prompts = 31 is left out: there are 30"]
    per_prompt = {(p["candidates"] / p["size"], p["tokens"] / p["size"]) for p in report["sweep"]}
    assert len(per_prompt) == 1
    for page in (render_html(report), render_markdown(report)):
        assert "prompts = 30" in page
    assert "Quality over prompts" in render_html(report)


def test_a_size_that_gives_nothing_to_learn_from_is_left_out_and_said(site: Site, tmp_path: Path, data: Path) -> None:
    votes = [{"name": "rules/consistency", "options": {"mode": "whole"}}]
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        report = sweep(session, asked(data, rewards=votes), [1, 4, 8], [0]).data
    assert [q["label"] for q in report["quality"]] == ["base", "n = 4", "n = 8"]
    assert "n = 1 is left out: round 1 has nothing to learn from" in report["warnings"][0]


def test_a_sweep_of_one_size_is_refused(tmp_path: Path, data: Path) -> None:
    with Session(tmp_path / "s.db", hub_of()) as session, pytest.raises(UsageError, match="two sizes or more"):
        sweep(session, asked(data), [4], [0])


def test_a_plan_with_several_seeds_has_a_mean_over_items_and_a_spread_over_seeds(
    site: Site, tmp_path: Path, data: Path
) -> None:
    any_answer = [{"name": "rules/length", "options": {"target": 5}}]  # so what one draw teaches is a matter of luck
    few = asked(data, candidates=[{"strategy": "direct", "n": 1}], prompts=1, rewards=any_answer)
    with Session(tmp_path / "s.db", hub_of(site.add("learner", SOURCE))) as session:
        report = repeated(session, few, [0, 3, 5, 3]).data
        again = repeated(session, few, [0, 3, 5]).data
        alone = {run: run_report(session, run).data for run in report["runs"]}
    assert report == again
    assert report["seeds"] == [0, 3, 5]
    labels = ["base", "seed 0", "seed 3", "seed 5", "mean of 3 seeds"]
    assert [q["label"] for q in report["quality"]] == labels
    level = {q["label"]: q["value"] for q in report["quality"]}
    own = [next(q["value"] for q in one["quality"] if q["label"] == "round 1") for one in alone.values()]
    assert [level[f"seed {seed}"] for seed in (0, 3, 5)] == own == [0.8, 0.0, 0.2]
    assert level["mean of 3 seeds"] == pytest.approx(sum(own) / 3)
    (spread,) = report["spread"]
    assert spread["levels"] == own
    half = 4.302653 * stdev(own) / 3**0.5  # t of two degrees of freedom
    assert (spread["low"], spread["high"]) == pytest.approx((sum(own) / 3 - half, sum(own) / 3 + half))
    assert [d["after_label"] for d in report["deltas"]] == ["mean of 3 seeds", "seed 0", "seed 3", "seed 5"]
    assert report["deltas"][0]["delta"] == pytest.approx(level["mean of 3 seeds"] - level["base"])
    for page in (render_html(report), render_markdown(report)):
        assert "interval over seeds" in page
        assert "mean of 3 seeds" in page


def test_gates_hold_for_each_of_several_seeds(site: Site, tmp_path: Path, data: Path, run: Run) -> None:
    site.add("learner", SOURCE)
    kept = [{"split": "test", "sealed": True, "retain": 0.001}]
    wrong = [{"name": "rules/regex", "options": {"pattern": "^no$"}, "gate": 0.5}]
    given = settings(data, policy_options={"replies": REPLIES}, eval=kept, rewards=wrong)
    config = write_plan(tmp_path / "tune.toml", given)
    done = run("tune", config, "--seeds", "0,1", "--json")
    assert [gate["suite"][:6] for gate in json.loads(done.out)["gates"]] == ["seed 0", "seed 1"]
    assert done.code == 1
    assert "--seed or --seeds" in run("tune", config, "--seeds", "0,1", "--seed", 0).err
    assert "two seeds or more" in run("tune", config, "--seeds", "3").err
    shown = run("tune", config, "--seeds", "0,1")
    assert "Other seeds" in shown.out


def test_the_commands_compare_and_sweep_a_config(run: Run, tmp_path: Path, data: Path) -> None:
    echo = {"train": {"name": "trl/best-of-n"}, "rounds": 0}
    config = write_plan(tmp_path / "tune.toml", settings(data, **echo))
    done = run("compare", config, "--best-of", 4, "--json")
    assert done.code == 0, done.err
    assert [q["label"] for q in json.loads(done.out)["quality"]] == ["base", "base, best of 4"]
    assert (tmp_path / "report.html").is_file()
    assert "expected numbers" in run("sweep", config, "--n", "1,many").err
    assert "--n or --prompts" in run("sweep", config, "--n", "1,2", "--prompts", "1,2").err
    assert "BEFORE AFTER" in run("compare", "a", "b").err


def test_a_ratio_of_sums_has_an_interval_only_where_there_is_something_to_divide_by() -> None:
    whole = bootstrap_ratio([1.0] * 30 + [0.0] * 30, [1.0] * 60)
    assert whole["value"] == 0.5
    assert 0.35 < (whole["low"] or 0) < 0.5 < (whole["high"] or 0) < 0.65
    assert bootstrap_ratio([1.0, 0.0], [0.0, -1.0]) == {"value": None, "low": None, "high": None}
    with pytest.raises(ValueError, match="as many"):
        bootstrap_ratio([1.0], [])
