"""Verdicts and ratings on a frozen decoder, whose stock head has no bias: base rates are learnt all the same."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_rows
from tao_reward_model.trained import folder
from tao_reward_model.trained.fit import Item
from tao_reward_model.trained.frozen import fit_heads
from tao_reward_model.trained.layout import Tokens
from tao_reward_model.trained.options import TrainOptions
from tao_reward_model.trained.preference import Preference
from tao_reward_model.trained.scorer import Scorer
from tao_reward_model.trained.train import train
from tiny import make_tiny_llama
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import tao_hub
from tao_hub import Candidate, Message, Prompt

ASK = (Message("user", "question 3 0.123456"),)
ANSWERS = [f"answer {i * 7919 % 99991 / 1e5:.5f}" for i in range(40)]
RATE = 0.9


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("llama") / "base")


def trained(place: Path, base: Path, key: str = "scores", **changes: Any) -> dict[str, Any]:
    """A model of verdicts that are right nine times in ten, whatever is said; ratings are 7 higher."""
    draw, rows = random.Random(0), []
    above = 7.0 if changes.get("loss") == "regression" else 0.0
    for i in range(150):
        verdicts = [float(draw.random() < RATE) + above for _ in range(2)]
        told: Any = verdicts if key == "scores" else {"right": verdicts, "brief": verdicts[::-1]}
        responses = [f"answer {draw.random():.5f}" for _ in verdicts]
        rows.append({"prompt": f"question {i} {draw.random():.6f}", "responses": responses, key: told})
    write_rows(place / "v.jsonl", *rows)
    given = {"base": str(base), "max_length": 48, "loss": "bce", "frozen": True, "device": "cpu", **changes}
    return train([str(place / "v.jsonl")], TrainOptions.model_validate(given), place / "rm", hub=tao_hub.Hub([]))


def probabilities(model: Path) -> list[float]:
    reward = Preference(Preference.Options(model=str(model), device="cpu", scale="probability"))
    prompt = Prompt(ASK)
    return [s.value for s in reward.score_batch([(prompt, Candidate(prompt.digest, a)) for a in ANSWERS])]


def plain(model: Path) -> list[float]:
    """Logits by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    turns = [[{"role": "user", "content": ASK[0].content}, {"role": "assistant", "content": a}] for a in ANSWERS]
    texts = tokenizer.apply_chat_template(turns, tokenize=False)
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    loaded, info = AutoModelForSequenceClassification.from_pretrained(model, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return loaded.eval()(**batch).logits[:, 0].tolist()


@pytest.mark.parametrize("members", [1, 3])
def test_a_frozen_decoder_learns_how_often_answers_are_right(members: int, llama: Path, tmp_path: Path) -> None:
    result = trained(tmp_path, llama, ensemble=members)
    assert np.mean(probabilities(tmp_path / "rm")) == pytest.approx(RATE, abs=0.06)
    assert result["metrics"]["calibration"]["nll_before"] < 0.45  # 0.33 is the entropy of nine in ten, 0.69 of a guess
    contract = json.loads((tmp_path / "rm" / "tao_reward.json").read_text())
    assert contract["centre"] == -contract["bias"]
    raw = Scorer(tmp_path / "rm", device="cpu").score([(ASK, a) for a in ANSWERS])
    logits = raw.logits.mean(1)
    assert logits.tolist() == pytest.approx(plain(tmp_path / "rm"), abs=1e-5)  # no bias here either
    assert raw.logits.shape[1] == members
    card = (tmp_path / "rm" / "README.md").read_text(encoding="utf-8")
    assert f"σ((logit {contract['bias']:+.4g}) / T) is the probability that the answer is right." in card
    assert "mean held-out logit is 0" not in card


def test_verdicts_on_attributes_have_a_bias_each(llama: Path, tmp_path: Path) -> None:
    result = trained(tmp_path, llama, "attributes", attributes="right=1,brief=0")
    heads = folder.read_contract(tmp_path / "rm").attributes
    assert [head.bias for head in heads] == pytest.approx([2.0, 2.0], abs=0.3)  # the logit of nine in ten is 2.2
    assert [head.centre for head in heads] == pytest.approx([-head.bias / head.temperature for head in heads])
    assert all(m["calibration"]["nll_before"] < 0.45 for m in result["metrics"]["attributes"].values())
    assert np.mean(probabilities(tmp_path / "rm")) == pytest.approx(RATE, abs=0.06)


def test_a_rating_is_the_logit_and_the_bias_that_the_card_names(llama: Path, tmp_path: Path) -> None:
    trained(tmp_path, llama, loss="regression")
    bias = json.loads((tmp_path / "rm" / "tao_reward.json").read_text())["bias"]
    assert np.mean(plain(tmp_path / "rm")) + bias == pytest.approx(7 + RATE, abs=0.1)
    card = (tmp_path / "rm" / "README.md").read_text(encoding="utf-8")
    assert f"The raw logit {bias:+.4g} estimates the rating." in card


def test_a_head_is_at_the_optimum_also_where_all_states_lie_far_from_the_origin() -> None:
    draw = torch.Generator().manual_seed(0)
    near = torch.randn(400, 8, generator=draw)
    right = (near[:, 0] + 1.5 + torch.randn(400, generator=draw) > 0).float()
    items = [Item((Tokens([1], None, 0),), (float(verdict),)) for verdict in right]
    options = TrainOptions(loss="bce", frozen=True, l2=1.0)
    found = []
    for states in (near, near + 50.0):
        weights, biases = fit_heads(states, items, options)
        found.append((states @ weights[0, 0] + biases[0, 0]).tolist())
    assert found[0] == pytest.approx(found[1], abs=5e-3)
    assert np.mean(1 / (1 + np.exp(-np.array(found[1])))) == pytest.approx(right.mean().item(), abs=1e-3)


def test_comparisons_leave_no_bias_in_the_contract(llama: Path, tmp_path: Path) -> None:
    trained(tmp_path, llama, loss="bradley-terry")
    assert "bias" not in json.loads((tmp_path / "rm" / "tao_reward.json").read_text())
