"""The losses of reward models equal hand-computed values, brute force, and TRL's RewardTrainer, gradients included."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tao_reward_model.trained import losses
from tao_reward_model.trained.bases import load_base
from tao_reward_model.trained.layout import Tokens
from tao_reward_model.trained.padding import pad
from tiny import make_tiny_llama

T = torch.tensor
ITEM = st.tuples(st.floats(-5, 5), st.integers(0, 3))  # a score and a place


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_bradley_terry_with_margin_and_centring_equals_the_hand_computed_value() -> None:
    chosen, rejected = T([1.0, 0.5]), T([0.0, 2.0])
    plain = (softplus(-1.0) + softplus(1.5)) / 2
    assert losses.bradley_terry(chosen, rejected).item() == pytest.approx(plain, rel=1e-6)
    margin = (softplus(-(1.0 - 0.25)) + softplus(1.5 + 1.0)) / 2
    assert losses.bradley_terry(chosen, rejected, T([0.25, 1.0])).item() == pytest.approx(margin, rel=1e-6)
    centred = plain + 0.01 * (1.0**2 + 2.5**2) / 2
    assert losses.bradley_terry(chosen, rejected, centring=0.01).item() == pytest.approx(centred, rel=1e-6)
    weighted = (3 * softplus(-1.0) + softplus(1.5)) / 4
    assert losses.bradley_terry(chosen, rejected, weight=T([3.0, 1.0])).item() == pytest.approx(weighted, rel=1e-6)


def test_plackett_luce_equals_the_hand_computed_value_with_and_without_ties() -> None:
    s = [0.3, -1.0, 2.0]
    e = [math.exp(x) for x in s]
    ordered = -(math.log(e[2] / sum(e)) + math.log(e[0] / (e[0] + e[1]))) / 2
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert losses.plackett_luce(T([s]), T([[2.0, 1.0, 3.0]]), mask).item() == pytest.approx(ordered, rel=1e-6)
    tied = -(math.log(e[0] / sum(e)) + math.log(e[2] / sum(e))) / 2  # both are better than the second
    assert losses.plackett_luce(T([s]), T([[1.0, 0.0, 1.0]]), mask).item() == pytest.approx(tied, rel=1e-6)
    centred = ordered + 0.1 * (2 * sum(s) / 3) ** 2
    assert losses.plackett_luce(T([s]), T([[2.0, 1.0, 3.0]]), mask, 0.1).item() == pytest.approx(centred, rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(ITEM, min_size=1, max_size=5), min_size=1, max_size=4))
def test_plackett_luce_of_padded_groups_equals_brute_force(drawn: list[list[tuple[float, int]]]) -> None:
    groups = [tuple(float(t) for _, t in group) for group in drawn]
    made = losses.batch_of(groups, [None] * len(groups))
    scores = T([s for group in drawn for s, _ in group], dtype=torch.float64).requires_grad_()
    found = losses.group_loss(scores, made, "plackett-luce")
    each = []
    for group in drawn:
        terms = [
            math.log(sum(math.exp(o) for o, u in group if u <= t)) - s
            for s, t in group if any(u < t for _, u in group)
        ]  # fmt: skip
        if terms:
            each.append(sum(terms) / len(terms))
    assert found.item() == pytest.approx(sum(each) / max(1, len(each)), rel=1e-6, abs=1e-9)
    found.backward()
    assert torch.isfinite(scores.grad).all()


def test_two_responses_make_plackett_luce_bradley_terry() -> None:
    made = losses.batch_of([(1.0, 0.0), (0.0, 2.0)], [None, None])
    scores = T([0.2, 1.4, -0.3, 0.9])
    one, other = (losses.group_loss(scores, made, name, 0.01) for name in ("bradley-terry", "plackett-luce"))
    assert one.item() == pytest.approx(other.item(), rel=1e-6)


def test_a_long_list_weighs_as_much_as_a_pair_and_margins_are_what_was_asked_for() -> None:
    groups = [(3.0, 2.0, 0.5), (0.0, 1.0)]
    made = losses.batch_of(groups, [None, 0.7])
    assert made["weight"].tolist() == pytest.approx([1 / 3] * 3 + [1.0])
    assert (made["better"].tolist(), made["worse"].tolist()) == ([0, 0, 1, 4], [1, 2, 2, 3])
    assert made["margin"].tolist() == pytest.approx([0, 0, 0, 0.7])
    assert losses.batch_of(groups, [None, 0.7], "scores")["margin"].tolist() == pytest.approx([1, 2.5, 1.5, 1])
    assert losses.batch_of(groups, [None, 0.7], "none")["margin"].tolist() == [0, 0, 0, 0]


def test_ratings_and_verdicts_equal_the_hand_computed_values() -> None:
    made = losses.batch_of([(1.0,), (0.0, 1.0)], [None, None])
    scores = T([0.5, -1.0, 2.0])
    squares = (0.5**2 + 1.0**2 + 1.0**2) / 3
    assert losses.group_loss(scores, made, "regression").item() == pytest.approx(squares, rel=1e-6)
    entropy = (softplus(-0.5) + softplus(-1.0) + softplus(-2.0)) / 3
    assert losses.group_loss(scores, made, "bce").item() == pytest.approx(entropy, rel=1e-6)


@pytest.mark.parametrize("margins", [None, [0.5, 0.0, 2.0]])
@pytest.mark.parametrize("centring", [None, 0.01])
def test_loss_and_gradients_equal_those_of_trl(
    margins: list[float] | None, centring: float | None, tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    model, tokenizer = load_base(str(make_tiny_llama(tmp_path / "base")), 0)
    pairs = [([5, 6, 7, 8], [5, 6, 9]), ([10, 11], [10, 12, 13, 14, 15]), ([20, 21, 22], [23, 24])]
    rows: list[dict[str, Any]] = [{"chosen_ids": a, "rejected_ids": b} for a, b in pairs]
    if margins:
        rows = [{**row, "margin": m} for row, m in zip(rows, margins)]
    config = RewardConfig(
        output_dir=str(tmp_path / "trl"), center_rewards_coefficient=centring, use_cpu=True, bf16=False,
        report_to="none", gradient_checkpointing=False, max_length=None, disable_tqdm=True,
    )  # fmt: skip
    trainer = RewardTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    batch = trainer.data_collator([dict(row) for row in rows])
    model.eval()
    theirs = trainer.compute_loss(model, dict(batch))
    theirs.backward()
    wanted = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    texts = [Tokens(ids) for pair in pairs for ids in pair]
    logits = model(**pad(texts, tokenizer.pad_token_id)).logits[:, 0]
    made = losses.batch_of([(1.0, 0.0)] * 3, margins or [None] * 3)
    ours = losses.group_loss(logits, made, "bradley-terry", centring or 0.0)
    ours.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert set(wanted) == {n for n, p in model.named_parameters() if p.grad is not None}
    for name, parameter in model.named_parameters():
        if name in wanted:
            torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-4, atol=1e-7)


def test_every_loss_falls_as_the_better_response_rises() -> None:
    made = losses.batch_of([(1.0, 0.0)], [None])
    for name in ("bradley-terry", "plackett-luce", "bce"):
        values = [losses.group_loss(T([x, 0.0]), made, name).item() for x in (-2.0, 0.0, 2.0)]
        assert all(a > b for a, b in pairwise(values))
