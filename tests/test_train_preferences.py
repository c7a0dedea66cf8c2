"""The trainers `trl/dpo`, `trl/kto` and `trl/reward-weighted`: what they learn from, their losses, and the bandit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bandit
import pytest
from recorder import Recorder
from tiny import make_tiny_llama

from tao_hub import Candidate, Group, Message, Prompt, Ref, Score

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tao_train_trl import checkpoint, fit, preferences  # noqa: E402
from tao_train_trl.dpo import Dpo  # noqa: E402
from tao_train_trl.kto import Kto  # noqa: E402
from tao_train_trl.pairwise import mismatched, start_sums  # noqa: E402
from tao_train_trl.policy import open_policy  # noqa: E402
from tao_train_trl.reward_weighted import RewardWeighted  # noqa: E402
from tao_train_trl.trainer import PolicyTrainer  # noqa: E402

SMALL = {"dtype": "float32", "threads": 1, "batch_size": 16}
SOLVES: list[tuple[type[PolicyTrainer], dict[str, Any]]] = [
    (Dpo, {"learning_rate": 3e-3, "epochs": 20, "loss": ["sigmoid", "sft"]}),
    (Kto, {"learning_rate": 3e-3, "epochs": 20, "beta": 0.3, "unwanted_weight": 0.3}),
    (RewardWeighted, {"learning_rate": 5e-3, "epochs": 10}),
]
by_trainer = pytest.mark.parametrize(("trainer", "more"), SOLVES, ids=[t.__name__ for t, _ in SOLVES])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bandit.make_policy(tmp_path_factory.getbasetemp() / "bandit")


def ref(folder: Path) -> Ref:
    return Ref("hf/causal-lm", {"model": str(folder)})


def group(*candidates: tuple[str, float | None, str], text: str = "Which?", **more: Any) -> Group:
    made = tuple(Candidate("p", c, c, finish_reason="length" if w == "truncated" else "stop") for c, _, w in candidates)
    totals = tuple(None if value is None else Score(value) for _, value, _ in candidates)
    return Group(Prompt((Message("user", text),)), made, (), totals, tuple(w for _, _, w in candidates))


MIXED = group(
    ("good", 3.0, ""), ("fair", 2.0, ""), ("bad", 1.0, ""), ("good", 3.0, ""), ("unscored", None, "judge failed"),
    ("refused", 9.0, "schema below 1"), ("cut", 9.0, "truncated"),
)  # fmt: skip
FLAT = group(("a", 1.0, ""), ("b", 1.0, ""))


def test_pairs_are_those_that_lie_farthest_apart_and_each_text_is_paired_once() -> None:
    def pairs(*args: Any) -> list[tuple[str, str]]:
        return [(p.chosen, p.rejected) for p in preferences.prefer([MIXED], *args).examples]

    assert pairs(0.0, 1, None, 0) == [("good", "bad")]
    assert pairs(0.0, 9, None, 0)[0] == ("good", "bad")
    assert sorted(pairs(0.0, 9, None, 0)) == [("fair", "bad"), ("good", "bad"), ("good", "fair")]
    assert pairs(1.5, 9, None, 0) == [("good", "bad")]
    wide = preferences.prefer([MIXED], 0.0, 9, 0.5, 0).examples
    assert {p.rejected for p in wide} == {"fair", "bad", "refused", "cut"}
    assert {p.chosen for p in wide} == {"good", "fair", "bad"}
    assert [p.rejected for p in wide if not p.ends] == ["cut"] * 3
    with pytest.raises(ValueError, match="1 whose totals differ by less than 5"):
        preferences.prefer([MIXED], 5.0, 1, None, 0)
    assert preferences.prefer([MIXED, FLAT], 0.0, 1, None, 0).left_out == {"whose candidates all have one total": 1}


def test_wanted_is_above_the_groups_mean_or_a_threshold_and_never_refused() -> None:
    def wanted(*args: Any) -> list[tuple[str, bool]]:
        return sorted((e.response, e.wanted) for e in preferences.judge([MIXED, FLAT], *args).examples)

    assert wanted(None, None, 0) == [("bad", False), ("fair", False), ("good", True), ("good", True)]
    high = wanted(2.0, 0.5, 0)
    assert [text for text, yes in high if yes] == ["fair", "good", "good"]
    assert {text for text, yes in high if not yes} == {"a", "b", "bad", "cut", "refused"}


def test_weights_grow_with_the_advantage_and_are_one_on_average() -> None:
    some = preferences.value([group(("a", 0.0, ""), ("b", 1.0, "")), FLAT], 0.5, 0.0)
    gap = (1 / (0.5**0.5 + 1e-4)) / 0.5  # difference of the two advantages, by the temperature
    light = 2 / (1 + math.exp(gap))
    assert [e.weight for e in some.examples] == pytest.approx([light, 2 - light])
    assert some.left_out == {"whose candidates all have one total": 1}
    assert [e.response for e in preferences.value([group(("a", 0.0, ""), ("b", 1.0, ""))], 0.1, 0.01).examples] == ["b"]


@by_trainer
def test_groups_without_spread_are_refused_and_leave_nothing(
    base: Path, tmp_path: Path, trainer: type[PolicyTrainer], more: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="1 whose candidates all have one total"):
        trainer(trainer.Options(**SMALL, **more)).update([FLAT], ref(base), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@by_trainer
def test_the_bandit_is_solved(
    arms: Path, tmp_path: Path, trainer: type[PolicyTrainer], more: dict[str, Any]
) -> None:
    at = arms
    for number in range(2):
        asked = trainer(trainer.Options(**SMALL, **more, lora_rank=0))
        asked.update(bandit.draw(at, seed=number), ref(at), tmp_path / str(number))
        at = tmp_path / str(number)
    assert bandit.expected(arms) < 0.5
    assert bandit.expected(at) >= 0.95


@by_trainer
def test_an_adapter_learns_too_and_a_killed_update_goes_on_to_the_same_weights(
    arms: Path, tmp_path: Path, trainer: type[PolicyTrainer], more: dict[str, Any]
) -> None:
    def update(name: str, progress: Any = None) -> bytes:
        few = {**SMALL, **more, "epochs": 4, "checkpoint_minutes": 0, "lora_rank": 8}
        trainer(trainer.Options(**few)).update(bandit.draw(arms), ref(arms), tmp_path / name, progress)
        return (tmp_path / name / "model.safetensors").read_bytes()

    whole = update("whole")
    with pytest.raises(KeyboardInterrupt):
        update("killed", Recorder(fail_after=4))
    assert list((tmp_path / ".killed.partial").glob("checkpoint-*"))
    assert update("killed") == whole
    assert bandit.expected(tmp_path / "whole") > bandit.expected(arms)
    assert not [file for file in (tmp_path / "whole").iterdir() if file.is_dir() or file.name == "README.md"]


def built(trainer: type[PolicyTrainer], base: Path, work: Path, examples: list[Any], **more: Any) -> Any:
    """TRL's trainer as `fit` makes it, and its one batch; nothing is trained."""
    options = trainer.Options(**{**SMALL, "lora_rank": 0, **more})
    ours = trainer(options)
    opened = open_policy(ref(base), options)
    rows, _ = ours.rows(opened, examples)
    made: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "run", lambda built, *_: made.append(built) or (None, []))
        ours.fit(opened, rows, work, fit.Progress(), "")
    inner = made[0]
    with torch.no_grad():  # away from the start, so that the ratios are not one
        for i, parameter in enumerate(inner.model.parameters()):
            noise = torch.Generator().manual_seed(i)
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=noise))
    batch = inner.data_collator([inner.train_dataset[i] for i in range(len(rows))])
    return inner, batch, rows


def summed(model: Any, prompt: list[int], answer: list[int]) -> Any:
    """Log-probability of an answer after its prompt, the plain way."""
    ids = torch.tensor([prompt + answer])
    logs = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
    return logs[len(prompt) - 1 :].sum()


def assert_same(inner: Any, loss: Any, expected: Any) -> None:
    gradients = torch.autograd.grad(loss, list(inner.model.parameters()))
    wanted = torch.autograd.grad(expected, list(inner.model.parameters()))
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    for a, b in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", [["sigmoid"], ["hinge"], ["ipo"], ["sigmoid", "sft"]], ids="-".join)
def test_dpo_has_the_loss_and_gradients_of_the_formula(base: Path, tmp_path: Path, loss: list[str]) -> None:
    messages = [(Message("user", text),) for text in ("Which lamp?", "And which kettle is it then?")]
    examples = [preferences.Preference(messages[0], "red", "a blue one"),
                preferences.Preference(messages[1], "white kettle", "none", ends=False)]  # fmt: skip
    inner, batch, rows = built(Dpo, base, tmp_path, examples, loss=loss, beta=0.3)
    start = checkpoint.load(str(base), None, "float32")[0]
    total = torch.zeros(())
    for row in rows:
        answers = (row["chosen_ids"], row["rejected_ids"])
        now = [summed(inner.model, row["prompt_ids"], answer) for answer in answers]
        before = [summed(start, row["prompt_ids"], answer).detach() for answer in answers]
        better, worse = (a - b for a, b in zip(now, before))
        by_name = {
            "sigmoid": -torch.nn.functional.logsigmoid(0.3 * (better - worse)),
            "hinge": torch.relu(1 - 0.3 * (better - worse)),
            "ipo": (better / len(answers[0]) - worse / len(answers[1]) - 1 / 0.6) ** 2,
            "sft": torch.zeros(()),  # below: a mean over the tokens of the batch
        }
        total = total + sum(by_name[name] for name in loss) / len(rows)
    if "sft" in loss:
        chosen = sum(summed(inner.model, row["prompt_ids"], row["chosen_ids"]) for row in rows)
        total = total - chosen / sum(len(row["chosen_ids"]) for row in rows)
    assert_same(inner, inner.compute_loss(inner.model, batch), total)


def test_kto_has_the_loss_and_gradients_of_the_formula(base: Path, tmp_path: Path) -> None:
    messages = [(Message("user", text),) for text in ("Which lamp?", "And which kettle is it then?")]
    examples = [preferences.Judged(messages[0], "red", True), preferences.Judged(messages[1], "none", False)]
    inner, batch, rows = built(Kto, base, tmp_path, examples, beta=0.3, wanted_weight=2.0)
    start = checkpoint.load(str(base), None, "float32")[0]

    def gap(prompt: list[int], answer: list[int]) -> Any:
        return summed(inner.model, prompt, answer) - summed(start, prompt, answer).detach()

    own = [(row["prompt_ids"], row["completion_ids"]) for row in rows]
    kl = torch.stack([gap(*pair) for pair in mismatched(own, 16)]).mean().detach().clamp(min=0)
    yes, no = (gap(*pair) for pair in own)
    by_hand = (2.0 * (1 - torch.sigmoid(0.3 * (yes - kl))) + 1 - torch.sigmoid(0.3 * (kl - no))) / 2
    assert_same(inner, inner.compute_loss(inner.model, batch), by_hand)


def test_reward_weighted_has_the_loss_and_gradients_of_the_formula(base: Path, tmp_path: Path) -> None:
    messages = (Message("user", "Which lamp?"),)
    examples = [preferences.Valued(messages, "red", weight=1.7), preferences.Valued(messages, "a blue one", weight=0.3)]
    inner, batch, rows = built(RewardWeighted, base, tmp_path, examples)
    answers = [[label for label in row["labels"] if label != -100] for row in rows]
    prompts = [row["input_ids"][: -len(answer)] for row, answer in zip(rows, answers)]
    items = inner._get_num_items_in_batch([batch], torch.device("cpu"))
    loss = inner.compute_loss(inner.model, batch, num_items_in_batch=items)
    inner.model.set_attn_implementation("sdpa")
    by_hand = -sum(
        row["weight"] * summed(inner.model, prompt, answer) for row, prompt, answer in zip(rows, prompts, answers)
    ) / sum(map(len, answers))
    assert_same(inner, loss, by_hand)


def test_the_starts_log_probabilities_are_sums_over_the_answers_tokens(base: Path) -> None:
    model = checkpoint.load(str(base), None, "float32")[0]
    pairs = [([3, 4, 5], [6, 7]), ([8], [9, 10, 11, 2]), ([12, 13], [2])]
    plain = [float(summed(model, *pair).detach()) for pair in pairs]
    assert start_sums(model, pairs, 2) == pytest.approx(plain, abs=1e-4)
