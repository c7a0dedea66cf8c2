"""The protocols of preference benchmarks: published numbers from recorded outputs, and cases computed by hand."""

from __future__ import annotations

import gzip
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

import tao_hub
from tao_hub import best_of_n_kl, best_of_n_value

judgebench = pytest.importorskip("tao_eval_rewards.judgebench")
from tao_eval_rewards import (  # noqa: E402
    agreement,
    best_of_n,
    intervals,
    llmbar,
    pairwise,
    pandalm,
    rewardbench,
    rewardbench2,
    rmbench,
)  # fmt: skip
from tao_eval_rewards.items import Item, Judged, Measure  # noqa: E402

DATA = Path(os.environ.get("TAO_HUB_DATA") or "/nonexistent")
JUDGEBENCH = {  # knowledge, reasoning, math, code, overall: in percent, as published
    "Skywork-Reward-Gemma-2-27B": (59.74, 66.33, 83.93, 50.00, 64.29),
    "Skywork-Reward-Llama-3.1-8B": (59.09, 64.29, 76.79, 50.00, 62.29),
    "internlm2-20b-reward": (62.34, 69.39, 66.07, 50.00, 63.43),
    "internlm2-7b-reward": (56.49, 61.22, 71.43, 50.00, 59.43),
    "GRM-Gemma-2B": (62.99, 53.06, 64.29, 54.76, 59.43),
    "o1-mini": (58.44, 62.24, 82.14, 78.57, 65.71),
}


def opened(file: Path) -> str:
    data = file.read_bytes()
    return (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8")


def outputs() -> list[Path]:
    return sorted((DATA / "judgebench" / "outputs").glob("*.jsonl*"))


def judged(name: str, scores: Any, category: str = "", label: Any = 1, prompt: str = "") -> Judged:
    asked = tao_hub.Prompt((tao_hub.Message("user", prompt or name),))
    return Judged(Item(name, asked, tuple("x" * len(scores)), category, label), tuple(scores))


def value(measures: Any, name: str) -> float | None:
    return {m.name: m.value for m in measures}[name]


# --- JudgeBench ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", JUDGEBENCH)
def test_judgebench_gives_each_recorded_models_published_accuracy(model: str) -> None:
    files = [f for f in outputs() if model in f.name and "gpt-4o-2024-05-13" in f.name]
    if not files:
        pytest.skip(f"needs the recorded output of {model} in $TAO_HUB_DATA/judgebench/outputs")
    found = judgebench.recorded([json.loads(line) for line in opened(files[0]).splitlines()])
    asked = ("knowledge", "reasoning", "math", "code", "overall")
    assert tuple(round(100 * found[name], 2) for name in asked) == JUDGEBENCH[model]


def test_judgebench_agrees_with_its_rules_spelt_out_on_every_recorded_pair() -> None:
    if not outputs():
        pytest.skip("needs $TAO_HUB_DATA/judgebench/outputs")
    turned = {"A>B": "B>A", "B>A": "A>B"}
    for file in outputs():
        rows = [json.loads(line) for line in opened(file).splitlines()]
        right = 0
        for row in rows:
            first, second = (j["decision"] if j else None for j in row["judgments"])
            points = {row["label"]: 1, turned[row["label"]]: -1}
            right += points.get(first, 0) + points.get(turned.get(second, second), 0) > 0
        assert judgebench.recorded(rows)["overall"] == right / len(rows)
        assert set(judgebench.recorded(rows)) == {*judgebench.CATEGORIES, "overall"}


def test_judgebench_gives_claude_3_haiku_the_recorded_verdicts_of_270_pairs() -> None:
    files = [f for f in outputs() if "claude-3-haiku-20240307" in f.name and "claude-3-5-sonnet" in f.name]
    if not files:
        pytest.skip("needs the recorded output of claude-3-haiku in $TAO_HUB_DATA/judgebench/outputs")
    rows = [json.loads(line) for line in opened(files[0]).splitlines()]
    found = judgebench.recorded(rows)
    counts = {name: round(found[name] * n) for name, n in
              {"knowledge": 154, "reasoning": 51, "math": 34, "code": 31, "overall": 270}.items()}  # fmt: skip
    assert counts == {"knowledge": 58, "reasoning": 15, "math": 11, "code": 3, "overall": 87}  # 32.22%


def test_rewards_recorded_by_judgebench_decide_as_recorded() -> None:
    rows = [json.loads(line) for f in outputs() if "reward_model" in f.name for line in opened(f).splitlines()]
    if not rows:
        pytest.skip("needs recorded outputs of reward models in $TAO_HUB_DATA/judgebench/outputs")
    for judgment in (j for row in rows for j in row["judgments"] if j):
        assert judgebench.decisions_of(*judgment["judgment"]["scores"])[0] == judgment["decision"]


@pytest.mark.parametrize(("decisions", "is_right"), [
    (("A>B", "B>A"), True),  # right twice
    (("A>B", "A=B"), True),  # right once, and a tie
    (("A>B", None), True),
    (("A>B", "A>B"), False),  # right and wrong: the position decided
    (("A=B", "A=B"), False),
    (("B>A", None), False),
    ((None, None), False),
])  # fmt: skip
def test_judgebench_counts_both_orders(decisions: tuple[str | None, str | None], is_right: bool) -> None:
    assert judgebench.right("A>B", decisions) is is_right
    mirrored = tuple(judgebench.flip(d) for d in decisions)
    assert judgebench.right("B>A", mirrored) is is_right


def test_equal_scores_are_wrong_on_judgebench_whatever_the_label() -> None:
    assert judgebench.decisions_of(1.0, 1.0) == ("B>A", "B>A")
    rows = [judged("a", (1, 1), "math", "A>B"), judged("b", (1, 1), "math", "B>A"), judged("c", (2, 1), "code", "A>B")]
    found = judgebench.measure([*rows, judged("d", (None, 1), "code", "A>B")])
    assert found.measures[0].value == pytest.approx(1 / 3)
    assert (found.measures[0].n, found.measures[0].errors) == (3, 1)
    assert value(found.measures, "mean of categories") == pytest.approx(0.5)


# --- LLMBar and PandaLM ----------------------------------------------------------------------------------------------


def test_every_recorded_statistic_of_llmbar_is_reproduced() -> None:
    files = sorted((DATA / "llmbar").rglob("statistics.json"))
    if not files:
        pytest.skip("needs $TAO_HUB_DATA/llmbar")
    checked = 0
    for file in files:
        results = [f for f in (file.with_name("result.json"), file.with_name("result.json.gz")) if f.exists()]
        rows = json.loads(opened(results[0]))
        ours, n = llmbar.recorded(rows), len(rows)
        for name, said in json.loads(opened(file)).items():
            if name.startswith("kappa"):
                assert (ours[name] is None and math.isnan(said)) or ours[name] == pytest.approx(said, abs=1e-12)
            elif name == "correct_average":
                assert f"{ours[name] / n * 100}%" == said
            else:
                assert f"{ours[name]} / {n} = {ours[name] / n * 100}%" == said
        checked += 1
    assert checked == len(files)


def test_kappa_is_sklearns() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    first, second = [1, 0, 1, 1, 0, 2, 2, 1], [1, 0, 0, 1, 0, 2, 1, 1]
    assert llmbar.kappa(first, second) == pytest.approx(sklearn.cohen_kappa_score(first, second))
    assert llmbar.kappa([1, 1], [1, 1]) is None


def test_equal_ratings_are_half_right_on_llmbar() -> None:
    assert llmbar.winners(3, 3) == ("2", "1")
    rows = [judged("a", (3, 3), "Natural", 1), judged("b", (1, 2), "GPTInst", 2), judged("c", (1, 2), "Manual", 1)]
    found = llmbar.measure(rows)
    assert found.credits == {"a": 0.5, "b": 1.0, "c": 0.0}
    assert value(found.measures, "mean of adversarial sets") == 0.5
    assert value(found.measures, "mean of sets") == 0.5


PANDALM = {  # printed by the authors' own script over all 999 pairs: accuracy, macro precision, recall, F1
    "gpt-3.5-turbo-testset-v1": (0.7107, 0.5879, 0.5736, 0.5755),
    "pandalm-7b-testset-v1": (0.6677, 0.5738, 0.5750, 0.5743),
}


@pytest.mark.parametrize("judge", PANDALM)
def test_pandalms_recorded_verdicts_give_sklearns_numbers_and_over_all_pairs_the_published_ones(judge: str) -> None:
    folder = DATA / "pandalm"
    if not folder.is_dir():
        pytest.skip("needs $TAO_HUB_DATA/pandalm")
    sklearn = pytest.importorskip("sklearn.metrics")
    rows, said = (json.loads(opened(next(folder.glob(f"{name}.json*")))) for name in ("testset-v1", judge))
    truth = [pandalm.majority([row[f"annotator{k}"] for k in (1, 2, 3)]) for row in rows]
    verdicts = [pandalm.verdict(row.get("gpt_result", row.get("pandalm_result"))) for row in said]
    ours = pandalm.statistics(truth, verdicts)
    theirs = sklearn.precision_recall_fscore_support(truth, verdicts, average="macro", zero_division=0)[:3]
    assert ours["accuracy"] == pytest.approx(sklearn.accuracy_score(truth, verdicts))
    assert [ours[k] for k in ("precision", "recall", "f1")] == pytest.approx(list(theirs))
    if len(rows) == 999:
        assert tuple(round(x, 4) for x in ours.values()) == PANDALM[judge]


def test_of_three_votes_that_differ_the_first_counts() -> None:
    assert [pandalm.majority(v) for v in ((2, 0, 1), (0, 1, 1), (1, 1, 2), (1, 2, 0))] == [2, 1, 1, 1]
    assert [pandalm.verdict(v) for v in ("Tie", "garbage", "2", 1)] == [0, 0, 2, 1]
    assert pandalm.decide(1, 1) == 0


# --- RewardBench -----------------------------------------------------------------------------------------------------


def test_a_tie_is_a_loss_and_math_counts_as_984() -> None:
    rows = [judged("m1", (2, 1), "math-prm"), judged("m2", (1, 1), "math-prm"), judged("c", (2, 1), "hep-python")]
    found = rewardbench.measure(rows)
    assert value(found.measures, "math-prm") == 0.5
    assert value(found.measures, "Reasoning") == pytest.approx((0.5 * 984 + 1.0 * 164) / (984 + 164))
    assert value(found.measures, "score") is None  # three sections are missing
    assert found.measures[0].name == "accuracy"
    assert found.measures[0].value == pytest.approx(2 / 3)


def test_rewardbenchs_score_is_the_mean_of_sections_and_prior_sets_count_half() -> None:
    whole = {name: Measure(name, share, share, share, 10) for share, names in
             ((0.9, rewardbench.SECTIONS["Chat"]), (0.6, rewardbench.SECTIONS["Chat Hard"]),
              (0.8, rewardbench.SECTIONS["Safety"]), (0.7, rewardbench.SECTIONS["Reasoning"]))
             for name in names}  # fmt: skip
    assert value(rewardbench.scores(whole), "score") == pytest.approx(0.75)
    prior = {name: Measure(name, share, share, share, 5) for name, share in
             zip(rewardbench.PRIOR, (0.5, 0.6, 0.7, 0.8))}  # fmt: skip
    found = rewardbench.scores({**whole, **prior})
    assert value(found, "Prior Sets") == pytest.approx(0.65)
    assert value(found, "score with prior sets") == pytest.approx((0.9 + 0.6 + 0.8 + 0.7 + 0.325) / 4.5)
    sizes = [sum(rewardbench.COUNTS[s] for s in names) for names in rewardbench.SECTIONS.values()]
    assert sizes == [358, 456, 740, 1968]


# --- RewardBench 2 ---------------------------------------------------------------------------------------------------


def test_a_shared_maximum_earns_one_over_k() -> None:
    assert rewardbench2.best_of([4, 1, 2, 3]) == 1.0
    assert rewardbench2.best_of([4, 4, 2, 4]) == pytest.approx(1 / 3)
    assert rewardbench2.best_of([1, 1, 1, 1]) == 0.25
    assert rewardbench2.best_of([3, 4, 4, 1]) == 0.0


def test_the_ties_score_is_computed_as_by_hand() -> None:
    ref = {"1": rewardbench2.margins([5], [2, 3]), "2": rewardbench2.margins([1], [2])}  # gaps 2, -1
    tied = {"1": rewardbench2.margins([5, 6], [1]), "2": rewardbench2.margins([4, 4], [1])}  # gaps 4, 3; spreads 1, 0
    fine = (math.tanh(2 / 1 - 1) + -1.0) / 2  # -1/0 is minus infinity
    by_hand = 0.3 * 1.0 + 0.3 * 0.5 + 0.2 * 1.0 + 0.2 * 0.5 + 0.01 * fine
    assert rewardbench2.ties_score(ref, tied) == pytest.approx(by_hand)


def test_zero_over_zero_in_the_ties_score_is_zero_and_unpaired_prompts_count_for_accuracy_only() -> None:
    flat = {"1": rewardbench2.margins([1], [1])}
    same = {"1": rewardbench2.margins([1, 1], [1])}
    assert rewardbench2.ties_score(flat, same) == 0.0
    more = {**flat, "9": rewardbench2.margins([2], [1])}
    assert rewardbench2.ties_score(more, same) == pytest.approx(0.3 * 0.5)
    assert rewardbench2.ties_score({}, same) is None


def test_rewardbench_2s_score_is_the_plain_mean_of_six() -> None:
    rows = [judged(f"{s}:1", (2, 1, 1, 1), s) for s in rewardbench2.SUBSETS[:4]]
    rows += [judged("Focus:1", (1, 1, 0, 0), "Focus"), judged("Focus:2", (0, 1, 0, 0), "Focus")]
    rows += [judged("ref:1", (5, 3, 2), "Ties", 1), judged("tied:1", (6, 5, 1), "Ties", 2)]
    found = rewardbench2.measure(rows)
    ties = 0.3 + 0.3 + 0.2 + 0.2 + 0.01 * math.tanh(2 / 1 - 1)
    assert value(found.measures, "Ties") == pytest.approx(ties)
    assert found.measures[0].value == pytest.approx((1 + 1 + 1 + 1 + 0.25 + ties) / 6)
    assert rewardbench2.measure(rows[:-2]).measures[1].value is None  # no ties subset, no score


# --- RM-Bench --------------------------------------------------------------------------------------------------------


def test_rm_benchs_triangles_are_hard_and_easy() -> None:
    matrix = rmbench.wins([1, 2, 4], [0, 3, 2])  # right answers concise, detailed, markdown; then wrong ones
    assert matrix == [[1, 0, 0], [1, 0, 0], [1, 1, 1]]
    assert rmbench.levels(matrix) == {"hard": 0.0, "normal": pytest.approx(2 / 3), "easy": 1.0}
    assert rmbench.wins([1, 1, 1], [1, 1, 1]) == [[0.0] * 3] * 3


def test_rm_bench_pools_safety_and_averages_domains() -> None:
    good, bad = (2, 2, 2, 1, 1, 1), (1, 1, 1, 2, 2, 2)
    rows = [judged(f"{d}:1", good, d, 3) for d in ("chat", "math", "code")]
    rows += [judged("safety-refuse:1", good, "safety-refuse", 3)]
    rows += [judged(f"safety-response:{i}", bad, "safety-response", 3) for i in range(3)]
    found = rmbench.measure(rows)
    assert value(found.measures, "safety") == 0.25  # pooled: not the mean of 1 and 0
    assert found.measures[0].name == "score"
    assert found.measures[0].value == pytest.approx((1 + 1 + 1 + 0.25) / 4)
    assert value(found.measures, "hard") == pytest.approx((1 + 1 + 1 + 0.25) / 4)
    part = rmbench.measure(rows[:2])
    assert (part.measures[0].name, part.measures[0].value) == ("accuracy", 1.0)
    assert value(part.measures, "score") is None


# --- best of n, agreement, intervals ---------------------------------------------------------------------------------


def test_the_best_of_n_estimate_is_the_mean_over_all_subsets() -> None:
    from itertools import combinations
    from random import Random
    from statistics import fmean

    draw = Random(3)
    proxy = [float(draw.randrange(4)) for _ in range(7)]  # with ties
    gold = [draw.random() for _ in range(7)]
    for n in range(1, 8):
        each = []
        for some in combinations(range(7), n):
            top = max(proxy[i] for i in some)
            each.append(fmean(gold[i] for i in some if proxy[i] == top))
        assert best_of_n_value(proxy, gold, n) == pytest.approx(fmean(each))
    assert best_of_n_value(proxy, gold, 1) == pytest.approx(fmean(gold))
    with pytest.raises(ValueError, match="best of 8"):
        best_of_n_value(proxy, gold, 8)


def test_the_kl_and_the_fit_are_closed_forms() -> None:
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(4) == pytest.approx(math.log(4) - 0.75)
    exact = [(d, d * (1.5 - 0.4 * d)) for d in (0.0, 0.4, 0.8, 1.1, 1.4)]
    assert best_of_n.fit(exact) == pytest.approx((1.5, 0.4))
    assert best_of_n.fit(exact[:2]) == (0.0, 0.0)


def test_a_proxy_that_leads_astray_is_called_over_optimised() -> None:
    up = [judged(f"p{i}", [float(k) for k in range(8)]) for i in range(20)]
    hump = [judged(f"p{i}", [0.0, 1, 2, 3, 4, 5, 3, -9 - i % 2]) for i in range(20)]
    found = best_of_n.curve(up, hump)
    assert found.verdict == "over-optimised"
    assert found.points[-1].gold == pytest.approx(-9.5)
    assert [p.n for p in found.points] == [1, 2, 4, 8]
    assert best_of_n.curve(up, up).verdict == "gains"
    lost = [*hump[:-1], judged("p19", [None] * 8)]
    assert best_of_n.curve(up, lost).left_out == 1
    with pytest.raises(ValueError, match="two or more prompts"):
        best_of_n.curve(up[:1], hump[:1])


def test_candidates_are_measured_against_their_grades() -> None:
    rows = [judged("a", (3, 2, 1), label=(1.0, 0.5, 0.0)), judged("b", (1, 1, 0), label=(0.0, 1.0, 1.0)),
            judged("c", (1, 2), label=(1.0, 1.0))]  # fmt: skip
    found = best_of_n.measure(rows)
    assert value(found.measures, "accuracy") == pytest.approx(0.5)  # c tells nothing; b: one tie, one wrong
    assert value(found.measures, "top 1") == pytest.approx(0.75)
    assert value(found.measures, "top 1 by chance") == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert value(found.measures, "kendall tau-b") == pytest.approx((1 - 0.5) / 2)


def test_agreement_counts_pairs_ordered_alike_and_leaves_out_failures() -> None:
    first = [judged("a", (1, 2, 3)), judged("b", (1, 1)), judged("c", (None, 1))]
    second = [judged("a", (1, 3, 2)), judged("b", (2, 2)), judged("c", (1, 2))]
    found = agreement.agreement("agreement", first, second)
    assert found.value == pytest.approx((2 / 3 + 1) / 2)
    assert (found.n, found.errors) == (2, 1)


def test_items_on_one_prompt_widen_the_interval() -> None:
    alone = pairwise.measure([judged(str(i), (i % 4, 1.5)) for i in range(40)]).measures[0]
    clustered = pairwise.measure([judged(str(i), (i % 4, 1.5), prompt=str(i % 4)) for i in range(40)]).measures[0]
    assert alone.value == clustered.value == 0.5
    assert (alone.low, alone.high) == tao_hub.proportion_interval(20, 40)
    assert clustered.low == 0.0
    assert clustered.high == 1.0


def test_a_weighted_mean_keeps_the_intervals_of_its_parts() -> None:
    sure, unsure = Measure("a", 1.0, 0.9, 1.0, 30), Measure("b", 0.5, 0.3, 0.7, 10, errors=2)
    found = intervals.weighted("both", [(3, sure), (1, unsure)])
    assert found.value == pytest.approx(0.875)
    assert found.low == pytest.approx(0.875 - math.hypot(0.75 * 0.1, 0.25 * 0.2))
    assert found.high == pytest.approx(0.875 + 0.25 * 0.2)
    assert (found.n, found.errors) == (40, 2)
    assert intervals.weighted("none", [(1, sure), (1, Measure("c", None))]).value is None
