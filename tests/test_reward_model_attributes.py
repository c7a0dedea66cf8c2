"""Reward models of several attributes: one head each over the same base, trained together, weighed in one value."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, write_rows
from tao_reward_model.trained import files, losses, mixture
from tao_reward_model.trained.attributes import asked, weighed
from tao_reward_model.trained.folder import read_contract
from tao_reward_model.trained.gate import Gate, fit_gate
from tao_reward_model.trained.options import TrainOptions
from tao_reward_model.trained.preference import Preference
from tao_reward_model.trained.rows import BadRow, Problems, Ranked, parse
from tao_reward_model.trained.scorer import Scorer
from tao_reward_model.trained.train import train
from tiny import make_tiny_llama
from tiny_bert import make_tiny_bert
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import tao_hub
from tao_hub import Candidate, Message, Prompt, UsageError

ASK = (Message("user", "why is the sky blue?"),)
T = torch.tensor


def rated(n: int, seed: int = 0, *, whole: bool = True) -> list[dict[str, Any]]:
    """Four answers each: "kind" ones say yes, "sure" ones say "not"; every third row does not rate sureness."""
    draw = random.Random(seed)
    rows = []
    for i in range(n):
        answers = [(k, s) for k in (0, 1) for s in (0, 1)]
        draw.shuffle(answers)
        tail = draw.choice(["the sky is blue", "because of it", "a good question"])
        responses = [f"{'yes' if k else 'nay'} it is {'not' if s else 'and'} {tail}" for k, s in answers]
        named = {"kind": [float(k) for k, _ in answers]}
        if i % 3:
            named["sure"] = [float(s) for _, s in answers]
        row = {"prompt": f"question {i} {draw.random():.6f}", "responses": responses, "attributes": named}
        rows.append({**row, "scores": [k + 2.0 * s for k, s in answers]} if whole else row)
    return rows


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("bert") / "base")


def trained(folder: Path, base: Path, rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    write_rows(folder / "p.jsonl", *rows)
    given = {"base": str(base), "attributes": "kind,sure=2", "max_length": 48, "learning_rate": 3e-3, "epochs": 8,
             "batch_size": 16, "device": "cpu"}  # fmt: skip
    options = TrainOptions.model_validate({**given, **changes})
    return train([str(folder / "p.jsonl")], options, folder / "rm", hub=tao_hub.Hub([]))


@pytest.fixture(scope="module")
def model(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("attributes")
    return folder / "rm", trained(folder, bert, rated(90))


def pair(response: str) -> tuple[Prompt, Candidate]:
    prompt = Prompt(ASK)
    return prompt, Candidate(prompt.digest, response)


def test_each_attribute_is_learnt_by_a_head_of_its_own_and_has_its_own_lines_in_the_card(
    model: tuple[Path, dict[str, Any]],
) -> None:
    folder, result = model
    found = result["metrics"]["attributes"]
    assert found["kind"]["accuracy"]["value"] > 0.9
    assert found["sure"]["accuracy"]["value"] > 0.9
    assert found["sure"]["accuracy"]["n"] < found["kind"]["accuracy"]["n"]  # rows that do not rate it do not count
    assert result["metrics"]["accuracy"]["value"] > 0.9  # the weighted sum, against the scores of the whole
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "### Attribute kind\n" in card
    assert "### Attribute sure\n" in card
    assert "| 1 | sure | 2 |" in card
    heads = json.loads((folder / "tao_reward.json").read_text())["attributes"]
    assert [(h["name"], h["weight"]) for h in heads] == [("kind", 1.0), ("sure", 2.0)]
    for head in heads:
        assert head["temperature"] == found[head["name"]]["calibration"]["temperature"]


def test_the_value_is_the_weighted_sum_of_the_parts_and_the_weights_are_an_option(
    model: tuple[Path, dict[str, Any]],
) -> None:
    folder, result = model
    pairs = [pair("yes it is not blue"), pair("nay it is not blue"), pair("yes it is and blue")]
    reward = Preference(Preference.Options(model=str(folder), device="cpu"))
    own = list(reward.score_batch(pairs))
    for score in own:
        total = score.parts["kind"] + 2 * score.parts["sure"]
        assert score.parts["logit"] == pytest.approx(total, abs=1e-9)
        assert score.value == pytest.approx(total / result["contract"]["temperature"], abs=1e-9)
    assert own[0].parts["kind"] > own[1].parts["kind"]
    assert own[0].parts["sure"] > own[2].parts["sure"]
    one = Preference(Preference.Options(model=str(folder), device="cpu", weights="kind=-3"))
    for score, before in zip(one.score_batch(pairs), own):
        assert score.value == pytest.approx(-3 * before.parts["kind"], abs=1e-5)
        assert score.parts["sure"] == pytest.approx(before.parts["sure"], abs=1e-5)
    same = Preference(Preference.Options(model=str(folder), device="cpu", weights="sure=2, kind"))
    assert [s.value for s in same.score_batch(pairs)] == pytest.approx([s.value for s in own], abs=1e-5)
    with pytest.raises(UsageError, match="no attribute 'brief'; it has kind, sure"):
        Preference(Preference.Options(model=str(folder), weights="brief=1"))
    with pytest.raises(UsageError, match="'sure' has the weight 'x'"):
        Preference(Preference.Options(model=str(folder), weights="sure=x"))
    with pytest.raises(UsageError, match="-o weights=sure"):
        Scorer(folder, label="sure")


def test_transformers_alone_gives_one_logit_for_each_attribute(model: tuple[Path, dict[str, Any]]) -> None:
    folder, result = model
    plain, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert plain.config.id2label == {0: "kind", 1: "sure"}
    batch = AutoTokenizer.from_pretrained(folder)(ASK[0].content, "yes it is not blue", return_tensors="pt")
    logits = plain.eval()(**batch).logits[0]
    parts = Scorer(folder, device="cpu").score([(ASK, "yes it is not blue")]).attributes[0]
    heads = result["contract"]["attributes"]
    assert parts * [h["temperature"] for h in heads] == pytest.approx(logits.tolist(), abs=1e-5)


@pytest.mark.parametrize(("how", "members"), [({"frozen": True, "l2": 0.1}, 3), ({"epochs": 1.0}, 2)])
def test_every_member_of_an_ensemble_has_all_heads(
    how: dict[str, Any], members: int, bert: Path, tmp_path: Path
) -> None:
    trained(tmp_path, bert, rated(60), ensemble=members, **how)
    raw = Scorer(tmp_path / "rm", device="cpu").score([(ASK, "yes it is not"), (ASK, "no it is")])
    assert raw.logits.shape == (2, members)
    assert len(set(raw.logits[0].tolist())) == members
    assert raw.logits.mean(1) == pytest.approx(raw.attributes @ np.array([1.0, 2.0]), abs=1e-9)
    reward = Preference(Preference.Options(model=str(tmp_path / "rm"), device="cpu"))
    (score,) = reward.score_batch([pair("yes it is not")])
    contract = read_contract(tmp_path / "rm")
    assert contract is not None
    assert score.parts["std"] == pytest.approx(raw.logits[0].std(ddof=1) / contract.temperature, abs=1e-4)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").eval()
    assert plain.config.num_labels == 2
    if "frozen" in how:  # the folder without its extras is the mean of the members
        batch = AutoTokenizer.from_pretrained(tmp_path / "rm")(ASK[0].content, "yes it is not", return_tensors="pt")
        heads = json.loads((tmp_path / "rm" / "tao_reward.json").read_text())["attributes"]
        wanted = raw.attributes[0] * [h["temperature"] for h in heads]
        assert plain(**batch).logits[0].tolist() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("loss", ["plackett-luce", "regression", "bce"])
def test_attributes_are_learnt_with_the_other_losses_from_ratings_alone(loss: str, bert: Path, tmp_path: Path) -> None:
    result = trained(tmp_path, bert, rated(120, whole=False), loss=loss, held_out=0.3, epochs=14)
    metrics = result["metrics"]
    assert "accuracy" not in metrics  # nothing compares whole answers
    assert metrics["verdict"] == "kind: better than length; sure: better than length"
    assert all(m["accuracy"]["value"] > 0.9 for m in metrics["attributes"].values())
    assert result["contract"]["temperature"] == 1.0


def test_a_decoder_with_adapters_learns_pairs_that_name_what_they_are_about(tmp_path: Path) -> None:
    llama = make_tiny_llama(tmp_path / "base")
    rows = []
    for i, row in enumerate(rated(80)):
        both = dict(zip([(k, s % 2) for k, s in _marks(row)], row["responses"]))
        ask = {"prompt": row["prompt"]}
        rows.append({**ask, "chosen": both[1, 0], "rejected": both[0, 0], "attribute": "kind"})
        if i % 2:
            rows.append({**ask, "chosen": both[0, 1], "rejected": both[0, 0], "attribute": "sure", "margin": 0.1})
        rows.append({**ask, "chosen": both[0, 1], "rejected": both[1, 0], "attribute": "sure"})
    result = trained(tmp_path, llama, rows, lora_rank=8, learning_rate=1e-2)
    assert result["rows"]["train"] + result["rows"]["held_out"] == 200  # the same two answers, in two attributes
    assert all(m["accuracy"]["value"] > 0.9 for m in result["metrics"]["attributes"].values())


def _marks(row: dict[str, Any]) -> list[tuple[int, int]]:
    return [(int(r.startswith("yes")), int(" not " in r)) for r in row["responses"]]


def test_the_loss_of_several_heads_equals_the_hand_computed_value_and_leaves_the_others_alone() -> None:
    targets = [((1.0, 0.0), None), ((0.0, 1.0, 2.0), (3.0, 3.5, 1.0))]
    heads = losses.batch_of_heads(targets, [2, 3], [0.5, None])
    logits = T([[0.1, 9.0], [0.4, 9.0], [1.0, -1.0], [0.0, 2.0], [0.5, 0.3]], requires_grad=True)
    first = losses.batch_of([(1.0, 0.0), (0.0, 1.0, 2.0)], [0.5, None])
    second = losses.batch_of([(3.0, 3.5, 1.0)], [None])
    one = losses.group_loss(logits[:, 0], first, "bradley-terry", 0.01)
    other = losses.group_loss(logits[2:, 1], second, "bradley-terry", 0.01)
    found = losses.heads_loss(logits, heads, "bradley-terry", 0.01)
    assert found.item() == pytest.approx((one + other / 2).item(), rel=1e-6)
    found.backward()
    assert logits.grad[:2, 1].tolist() == [0.0, 0.0]
    plain = losses.batch_of_heads([((1.0, 0.0),), ((0.0, 1.0, 2.0),)], [2, 3], [0.5, None])
    assert losses.heads_loss(logits[:, :1], plain, "bradley-terry", 0.01).item() == pytest.approx(one.item(), rel=1e-6)


def test_rows_with_attributes_become_one_schema() -> None:
    row = {"prompt": "x", "responses": ["a", "b", "a"], "attributes": {"kind": [1, 2, 1], "sure": None}}
    made = parse(row, "f:1", "f")
    assert (made.responses, made.scores, made.attributes) == (("a", "b"), (), {"kind": (1.0, 2.0)})
    assert made.of("kind") == Ranked(Prompt((Message("user", "x"),)).messages, ("a", "b"), (1.0, 2.0), True, None,
                                     "f", "f", "f:1")  # fmt: skip
    named = parse({"prompt": "x", "chosen": "a", "rejected": "b", "attribute": "sure", "margin": 2}, "")
    assert (named.scores, named.of("sure").pairs, named.of("sure").margin) == ((), [(0, 1)], 2.0)
    assert not named.of("sure").graded
    both = parse({"prompt": "x", "chosen": "a", "rejected": "b", "attributes": {"sure": [1, 3]}, "margin": 2}, "")
    assert (both.pairs, both.of("sure").pairs, both.of("sure").margin) == ([(0, 1)], [(1, 0)], None)
    assert both.of("sure").graded
    with pytest.raises(BadRow, match="'attribute' must be one name"):
        parse({"prompt": "x", "chosen": "a", "rejected": "b", "attributes": {"sure": [1, 3]}, "attribute": "sure"}, "")
    ranked = parse({**row, "ranking": [1, [0, 2]]}, "")
    assert (ranked.graded, ranked.of("kind").graded, ranked.pairs) == (False, True, [(1, 0)])


@pytest.mark.parametrize(
    ("attributes", "kind", "told"),
    [
        (3, "wrong type", "must be an object"),
        ({"kind": 3}, "wrong type", "'attributes.kind' must be a list"),
        ({"kind": [1]}, "wrong count", "1 attributes.kind for 2"),
        ({"kind": [1, "high"]}, "wrong type", "'attributes.kind' must be a number, found str 'high'"),
        ({"kind": [1, float("inf")]}, "not finite", "'attributes.kind'"),
        ({}, "missing field", "nor 'attributes'"),
    ],
)
def test_what_is_wrong_with_an_attribute_has_a_name(attributes: Any, kind: str, told: str) -> None:
    with pytest.raises(BadRow, match=told) as raised:
        parse({"prompt": "x", "responses": ["a", "b"], "attributes": attributes}, "x:1")
    assert raised.value.kind == kind


def test_unknown_attributes_and_rows_without_any_are_named_by_file_and_line(tmp_path: Path, run: Run) -> None:
    rows: list[dict[str, Any]] = [*rated(12), {**rated(1, 5)[0], "attributes": {"knid": [1, 2, 3, 4]}},
                                  {"prompt": "is it?", "chosen": "a", "rejected": "b"}]  # fmt: skip
    write_rows(tmp_path / "p.jsonl", *rows)
    told = run("train-reward", "--data", "p.jsonl", "--out", "rm", "--attributes", "kind,sure")
    assert (told.code, (tmp_path / "rm").exists()) == (2, False)
    assert "p.jsonl:13: unknown attribute: rates 'knid', which is none of kind, sure" in told.err
    assert "p.jsonl:14: no attribute" in told.err
    checked = ("train-reward", "--data", "p.jsonl", "--check", "--json", "--skip-invalid", "--attributes")
    assert run(*checked, "kind,sure").json["problems"] == {"unknown attribute": 1, "no attribute": 1}
    assert "'logit' is no name of an attribute" in run(*checked, "kind,logit").err
    assert "no training row teaches 'brief'" in run(*checked, "kind,sure,brief").err
    problems = Problems()
    loaded = files.read(files.parse_source(str(tmp_path / "p.jsonl")), problems)
    assert len(asked(loaded, [], problems)) == 14  # all compare whole answers
    alone = asked([parse(row, f"p:{i}") for i, row in enumerate(rated(2, whole=False))], [], problems)
    assert (alone, problems.counts) == ([], {"attributes only": 2})
    assert "train them with --attributes kind" in problems.found[0]["found"]


def test_opposite_labels_are_those_of_one_attribute_and_pairs_of_two_are_no_repetition() -> None:
    def about(name: str, chosen: str, rejected: str, line: int) -> Ranked:
        return parse({"prompt": "x", "chosen": chosen, "rejected": rejected, "attribute": name}, f"p:{line}")

    rows = [about("kind", "a", "b", 1), about("sure", "b", "a", 2), about("sure", "a", "c", 3),
            about("sure", "c", "a", 4), about("kind", "a", "b", 5)]  # fmt: skip
    problems = Problems()
    kept = mixture.consistent(rows, problems)
    assert [row.where for row in kept] == ["p:1", "p:2"]
    assert problems.counts == {"duplicate": 1, "opposite labels": 2}
    assert mixture.without_near_duplicates(kept, [0, 0], problems)[0] == kept


def test_weights_are_read_and_bad_ones_refused() -> None:
    assert weighed("helpful, correct=2,brief=-.5") == {"helpful": 1.0, "correct": 2.0, "brief": -0.5}
    assert weighed("") == {}
    for text, told in [("a,a", "twice"), ("a=x", "weight 'x'"), ("a=nan", "weight"), ("std", "no name"), ("a=0", "0")]:
        with pytest.raises(ValueError, match=told):
            weighed(text)


def choices(n: int, seed: int = 1) -> list[dict[str, Any]]:
    """Pairs of a kind answer and a sure one: who asks why wants the kind one, who asks "is it" the sure one."""
    draw = random.Random(seed)
    rows = []
    for i in range(n):
        tail = draw.choice(["the sky is blue", "because of it", "a good question"])
        kind, sure = f"yes it is and {tail}", f"nay it is not {tail}"
        asked = f"{draw.random():.6f} {'why why why' if i % 2 else 'is it to be'} {i}?"
        better, worse = (kind, sure) if i % 2 else (sure, kind)
        rows.append({"prompt": asked, "chosen": better, "rejected": worse})
    return rows


def test_a_gate_learns_which_attribute_counts_for_which_prompt(bert: Path, tmp_path: Path) -> None:
    rows = [*rated(90, whole=False), *choices(120)]
    result = trained(tmp_path, bert, rows, attributes="kind,sure", gate=True, l2=0.1, held_out=0.25)
    metrics = result["metrics"]
    assert metrics["accuracy"]["value"] > 0.9
    assert metrics["gate"]["fixed"]["value"] < 0.9  # one weighting cannot serve both
    assert metrics["gate"]["over_fixed"]["low"] > 0
    card = (tmp_path / "rm" / "README.md").read_text(encoding="utf-8")
    assert "the gate is better than they are" in card
    reward = Preference(Preference.Options(model=str(tmp_path / "rm"), device="cpu"))
    found = []
    for text in ("0.5 why why why 7?", "0.5 is it to be 8?"):
        prompt = Prompt((Message("user", text),))
        answers = ["yes it is and a good question", "nay it is not a good question"]
        found.append(list(reward.score_batch([(prompt, Candidate(prompt.digest, a)) for a in answers])))
    (kind, sure), (kind_too, sure_too) = found
    assert kind.value > sure.value
    assert kind_too.value < sure_too.value
    assert kind.parts["kind"] > sure.parts["kind"]  # attributes are what they are, whoever asks
    assert kind_too.parts["kind"] > sure_too.parts["kind"]
    prompts = [(Message("user", "0.5 why why why 7?"),)]
    raw = Scorer(tmp_path / "rm", device="cpu")
    weights = raw._gate.weights(raw.states(prompts))
    total = sum(w * kind.parts[name] for w, name in zip(weights[0], ("kind", "sure")))
    assert kind.parts["logit"] == pytest.approx(total, abs=1e-5)
    fixed = Preference(Preference.Options(model=str(tmp_path / "rm"), device="cpu", weights="kind,sure"))
    (score,) = fixed.score_batch([pair("yes it is not")])
    assert score.value == pytest.approx(score.parts["kind"] + score.parts["sure"], abs=1e-9)


def test_a_gate_without_comparisons_or_with_one_attribute_is_refused(run: Run, tmp_path: Path) -> None:
    write_rows(tmp_path / "p.jsonl", *rated(20, whole=False))
    asked = ("train-reward", "--data", "p.jsonl", "--check", "--gate", "--attributes")
    assert "compare whole answers, too, and there are none" in run(*asked, "kind,sure").err
    assert "two attributes or more" in run(*asked, "kind").err
    assert "none with a negative weight" in run(*asked, "kind,sure=-1").err


def test_the_fitted_gate_is_the_one_that_made_the_data() -> None:
    draw = np.random.default_rng(0)
    states = draw.normal(0, 1, (3000, 3))
    true = Gate(np.array([[1.5, 0, 0], [-1.5, 0, 0]]), np.array([0.3, -0.3]), 4.0)
    scores = draw.normal(0, 1, (6000, 2))
    values = (scores.reshape(3000, 2, 2) * true.weights(states)[:, None]).sum(2)
    first = draw.random(3000) < 1 / (1 + np.exp(values[:, 1] - values[:, 0]))
    found = fit_gate(states, scores, [(1.0, 0.0) if f else (0.0, 1.0) for f in first], [1.0, 1.0], 1e-3)
    assert np.abs(found.weights(states) - true.weights(states)).mean() < 0.25
    sure = fit_gate(states[:9], scores[:18], [(1.0, 0.0) if s > 0 else (0.0, 1.0) for s in
                    scores[:18, 0][::2] - scores[:18, 0][1::2]], [1.0, 1.0], 0.1)  # told apart by one attribute alone
    assert 1 < sure.scale < 50
    started = fit_gate(states, scores, [(1.0, 0.0) if f else (0.0, 1.0) for f in first], [3.0, 1.0], 1e9)
    assert np.ptp(started.weights(states), axis=0).max() < 1e-3  # so strong a penalty leaves one weighting for all
