"""The trainer `trl/tao`: its loss by hand and against TRL's, what it learns from, and a bandit it has to solve."""

from __future__ import annotations

import importlib.util
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

from tao_train_trl import advantages, checkpoint, offline  # noqa: E402
from tao_train_trl.examples import stop_token  # noqa: E402
from tao_train_trl.logprobs import ProjectedLogProbs, token_logprobs  # noqa: E402
from tao_train_trl.tao import Tao  # noqa: E402

START = "hf/causal-lm"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bandit.make_policy(tmp_path_factory.getbasetemp() / "bandit")


def options(**more: Any) -> Tao.Options:
    return Tao.Options(**{"lora_rank": 0, "dtype": "float32", "threads": 1, **more})


def candidate(response: str, **more: Any) -> Candidate:
    return Candidate("p", response, response, **{"strategy": "core/direct", **more})


def group(*candidates: tuple[Candidate, float | None, str], text: str = "Which?") -> Group:
    totals = tuple(None if value is None else Score(value) for _, value, _ in candidates)
    messages = (Message("user", text),)
    return Group(Prompt(messages), tuple(c for c, _, _ in candidates), (), totals, tuple(w for _, _, w in candidates))


def rows(counts: tuple[int, ...] = (4, 2, 7), given: float = 0.3) -> list[dict[str, Any]]:
    """Rows with prompts and answers of different lengths, old and start log-probabilities near a random model's."""
    draw = torch.Generator().manual_seed(1)
    made = []
    for i, count in enumerate(counts):
        prompt = torch.randint(3, 300, (5 + 3 * i,), generator=draw).tolist()
        answer = torch.randint(3, 300, (count,), generator=draw).tolist()
        around = [(-6 + given * torch.randn(count, generator=draw)).tolist() for _ in range(2)]
        made.append({
            "input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer,
            "advantage": (1.3, -0.8, 0.4)[i % 3], "old": around[0], "start": around[1],
        })  # fmt: skip
    return made


def stepper(folder: Path, out: Path, own: bool = True, **more: Any) -> Any:
    from transformers import TrainingArguments

    model = checkpoint.load(str(folder), None, "float32")[0]
    args = TrainingArguments(str(out), use_cpu=True, report_to="none", remove_unused_columns=False)
    trainer = offline.GroupRelativeTrainer(model=model, args=args, data_collator=offline.collate)
    trainer.options, trainer.own_loss, trainer.longest_answer = options(**more), own, 7
    trainer.per = trainer.options.per
    return trainer


def step_gradients(trainer: Any, some: list[dict[str, Any]]) -> tuple[float, list[Any]]:
    batch = offline.collate(some)
    items = trainer._get_num_items_in_batch([batch], torch.device("cpu"))
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=items)
    loss.backward()
    return float(loss.detach()), [parameter.grad.clone() for parameter in trainer.model.parameters()]


def test_the_losses_are_the_ones_computed_by_hand() -> None:
    now, old = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True), torch.tensor([-1.5, -1.0, -3.0])
    start, better = torch.tensor([-1.2, -2.0, -0.7]), torch.tensor([2.0, -1.0, 1.0])
    ratios = [math.exp(0.5), math.exp(-1.0), math.exp(2.5)]
    kls = [math.exp(-0.2) + 0.2 - 1, 0.0, math.exp(-0.2) + 0.2 - 1]
    losses, kl = offline.token_losses(now, old, start, better, options(kl=0.5, ratio_cap=4.0))
    assert kl.tolist() == pytest.approx(kls, abs=1e-6)
    by_hand = [ratios[0] * 2.0 * 1.0, ratios[1] * -1.0 * 2.0, 4.0 * 1.0 * 0.5]  # -weight · A · logprob
    assert losses.tolist() == pytest.approx([a + 0.5 * b for a, b in zip(by_hand, kls)], rel=1e-5)
    losses.sum().backward()
    slopes = [-ratios[0] * 2.0, ratios[1] * 1.0, -4.0]  # the weights are constants
    pulls = [0.5 * (1 - math.exp(-0.2)), 0.0, 0.5 * (1 - math.exp(-0.2))]
    assert now.grad.tolist() == pytest.approx([a + b for a, b in zip(slopes, pulls)], rel=1e-5)
    clipped, _ = offline.token_losses(now, old, start, better, options(kl=0.0, objective="clipped", epsilon_high=0.3))
    assert clipped.tolist() == pytest.approx([-1.3 * 2.0, 0.8, -1.3], rel=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"objective": "clipped", "per": "token"}, {"loss_type": "dapo"}),
        ({"objective": "clipped", "per": "candidate"}, {"loss_type": "grpo"}),
        ({"objective": "clipped", "per": "constant"}, {"loss_type": "dr_grpo"}),
        ({"objective": "weighted", "per": "token"}, {"loss_type": "cispo", "epsilon_high": 1.5}),
    ],
)
@pytest.mark.parametrize("own", [True, False], ids=["own", "model"])
def test_loss_and_gradients_are_those_of_trls_grpo_on_the_same_batch(
    base: Path, tmp_path: Path, own: bool, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    some = rows()
    loss, gradients = step_gradients(stepper(base, tmp_path, own, kl=0.1, ratio_cap=1.5, **ours), some)
    config = GRPOConfig(
        str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to="none", beta=0.1, epsilon=0.2, delta=1.5,
        use_bias_correction_kl=False,
        per_device_train_batch_size=3, num_generations=3, max_completion_length=7, gradient_checkpointing=False,
        **theirs,
    )  # fmt: skip
    model, tokenizer, _ = checkpoint.load(str(base), None, "float32")
    trainer = GRPOTrainer(
        model, lambda completions, **_: [0.0] * len(completions), config, Dataset.from_list([{"prompt": "a"}] * 3),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    answers = [[label for label in row["labels"] if label != -100] for row in some]
    prompts = [row["input_ids"][: -len(answer)] for row, answer in zip(some, answers)]

    def padded(lists: list[list[Any]], left: bool) -> Any:
        longest = max(map(len, lists))
        fill = [[0] * (longest - len(each)) for each in lists]
        return torch.tensor([a + b for a, b in (zip(fill, lists) if left else zip(lists, fill))])

    model = trainer.model.train()
    expected = trainer._compute_loss(model, {
        "prompt_ids": padded(prompts, True), "prompt_mask": padded([[1] * len(p) for p in prompts], True),
        "completion_ids": padded(answers, False), "completion_mask": padded([[1] * len(a) for a in answers], False),
        "advantages": torch.tensor([row["advantage"] for row in some]),
        "old_per_token_logps": padded([row["old"] for row in some], False).float(),
        "ref_per_token_logps": padded([row["start"] for row in some], False).float(),
        "num_items_in_batch": torch.tensor(sum(map(len, answers))),
    })  # fmt: skip
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
    for mine, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-6)


def test_projected_log_probabilities_have_the_gradients_of_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tao_train_trl.logprobs.LOSS_BYTES", 3 * 4 * 11)
    torch.manual_seed(0)
    states, weight = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((7, 5), (11, 5)))
    answers, slopes = torch.randint(0, 11, (7,)), torch.randn(7)
    plain = (states @ weight.T).log_softmax(1).gather(1, answers[:, None])[:, 0]
    expected = torch.autograd.grad((plain * slopes).sum(), (states, weight))
    found = ProjectedLogProbs.apply(states, weight, answers)
    torch.testing.assert_close(found.double(), plain, rtol=1e-5, atol=1e-6)
    for a, b in zip(torch.autograd.grad((found * slopes).sum(), (states, weight)), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("objective", ["weighted", "clipped"])
def test_a_step_without_advantages_changes_no_weight(base: Path, tmp_path: Path, objective: str) -> None:
    trainer = stepper(base, tmp_path, objective=objective, kl=0.5)
    some = [{**row, "advantage": 0.0} for row in rows()]
    batch = offline.collate(some)
    with torch.no_grad():
        now = token_logprobs(trainer.model, batch["input_ids"], batch["attention_mask"], batch["labels"])
    parts = now.split([len(row["old"]) for row in some])
    some = [{**row, "old": part.tolist(), "start": part.tolist()} for row, part in zip(some, parts)]
    loss, gradients = step_gradients(trainer, some)
    assert loss == 0.0
    assert all(bool((gradient == 0).all()) for gradient in gradients)


def test_groups_without_spread_teach_nothing_and_are_counted(base: Path, tmp_path: Path) -> None:
    same = group((candidate("a"), 1.0, ""), (candidate("b"), 1.0, ""))
    failed = group((candidate("a"), None, ""), (candidate("b"), None, ""))
    one = group((candidate("a"), 1.0, ""), (candidate("b"), None, ""))
    with pytest.raises(ValueError, match=r"2 whose candidates all have one total.*1 with one usable candidate"):
        Tao(options()).update([same, same, failed, one], Ref(START, {"model": str(base)}), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    learned = advantages.weigh([same, failed, group((candidate("a"), 1.0, ""), (candidate("b"), 0.0, ""))], True, None)
    assert sum(learned.left_out.values()) == 2
    assert [example.response for example in learned.examples] == ["a", "b"]


def test_advantages_are_within_the_valid_candidates_of_a_group() -> None:
    mixed = group(
        (candidate("good"), 3.0, ""),
        (candidate("bad"), 1.0, ""),
        (candidate("failed", error="out of memory"), 9.0, "generation failed"),
        (candidate("unscored"), None, "judge failed"),
        (candidate("refused"), 9.0, "schema below 1"),
        (candidate("cut", finish_reason="length"), 9.0, "truncated"),
    )
    plain = advantages.weigh([mixed], False, None)
    assert [(e.response, e.advantage) for e in plain.examples] == [("good", 1.0), ("bad", -1.0)]
    scaled = advantages.weigh([mixed], True, None)
    assert [e.advantage for e in scaled.examples] == pytest.approx([1 / (2**0.5 + 1e-4), -1 / (2**0.5 + 1e-4)])
    whole = advantages.weigh([mixed], False, 1.0)
    assert [(e.response, e.advantage, e.ends) for e in whole.examples] == [
        ("good", 2.0, True), ("bad", 0.0, True), ("refused", -1.0, True), ("cut", -1.0, False),
    ]  # fmt: skip
    assert whole.seen["negatives"] == 2


def test_of_too_many_groups_those_with_the_highest_best_total_stay_in_their_order() -> None:
    bad = (candidate("bad"), 0.0, "")
    some = [group((candidate(f"good {i}"), best, ""), bad) for i, best in enumerate((2, 9, 1, 4))]
    learned = advantages.weigh(some, True, None, 2)
    assert [e.response for e in learned.examples if e.advantage > 0] == ["good 1", "good 3"]
    assert learned.left_out == {"groups over max_groups": 2}


def test_kept_log_probabilities_are_used_only_where_they_belong_to_the_plain_prompt(base: Path) -> None:
    tokenizer = checkpoint.load(str(base), None, "float32")[1]
    stop = stop_token(tokenizer, None)
    length = len(tokenizer("yes", add_special_tokens=False)["input_ids"]) + 1
    kept = tuple(-0.5 - i for i in range(length))
    several = group(
        (candidate("yes", logprobs=kept), 1.0, ""),
        (candidate("yes", logprobs=kept[:-1]), 0.0, ""),  # other tokens than these
        (candidate("yes", logprobs=kept, strategy="core/few-shot"), 0.0, ""),
        (candidate("yes", strategy="core/assemble", parents=(1, 2)), 0.0, ""),
        (Candidate("p", "yes", " yes", strategy="core/direct", logprobs=kept), 0.0, ""),
    )
    learned = advantages.weigh([several], True, None)
    made, _ = advantages.tokenize(tokenizer, learned.examples, stop, 512)
    assert [row["old"] for row in made] == [list(kept), None, None, None, None]
    assert learned.seen["with_logprobs"] == 2


def test_the_old_log_probabilities_that_are_missing_are_those_of_the_start(base: Path, tmp_path: Path) -> None:
    learned = [group((candidate("yes"), 1.0, ""), (candidate("no"), 0.0, ""), text=f"Is it {i}?") for i in range(4)]
    Tao(options(epochs=1, kl=0.0)).update(learned, Ref(START, {"model": str(base)}), tmp_path / "out")
    text = (tmp_path / "out" / "tao-hub.json").read_text()
    assert '"old_from_start": 8' in text
    model, tokenizer, _ = checkpoint.load(str(base), None, "float32")
    weighed = advantages.weigh(learned, True, None)
    made, _ = advantages.tokenize(tokenizer, weighed.examples, stop_token(tokenizer, None), 512)
    found = offline.start_logprobs(model, made, 3, True)
    for row, numbers in zip(made, found):
        ids = torch.tensor([row["input_ids"]])
        logs = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        assert numbers == pytest.approx(logs[-len(numbers) :].tolist(), abs=1e-5)


@pytest.mark.parametrize("more", [{}, {"objective": "clipped", "epsilon": 0.8, "epsilon_high": 4.0}])
def test_the_bandit_is_solved(arms: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    at = arms
    for number in range(2):
        trainer = Tao(options(learning_rate=5e-3, epochs=10, batch_size=16, **more))
        trainer.update(bandit.draw(at, seed=number), Ref(START, {"model": str(at)}), tmp_path / str(number))
        at = tmp_path / str(number)
    assert bandit.expected(arms) < 0.5
    assert bandit.expected(at) >= 0.95


def test_an_adapter_learns_too_and_a_killed_update_goes_on_to_the_same_weights(arms: Path, tmp_path: Path) -> None:
    def update(name: str, progress: Any = None) -> bytes:
        trainer = Tao(options(lora_rank=8, epochs=3, batch_size=16, accumulate=2, checkpoint_minutes=0))
        trainer.update(bandit.draw(arms), Ref(START, {"model": str(arms)}), tmp_path / name, progress)
        return (tmp_path / name / "model.safetensors").read_bytes()

    whole = update("whole")
    with pytest.raises(KeyboardInterrupt):
        update("killed", Recorder(fail_after=5))
    assert list((tmp_path / ".killed.partial").glob("checkpoint-*"))
    assert update("killed") == whole
    assert bandit.expected(tmp_path / "whole") > bandit.expected(arms)


def test_the_loss_of_a_batch_is_that_of_its_parts_accumulated(base: Path, tmp_path: Path) -> None:
    some = rows((4, 2, 7, 3))
    for per in ("token", "candidate", "constant"):
        whole = step_gradients(stepper(base, tmp_path, per=per), some)[1]
        trainer = stepper(base, tmp_path, per=per)
        halves = [offline.collate(some[:2]), offline.collate(some[2:])]
        items = trainer._get_num_items_in_batch(halves, torch.device("cpu"))
        for half in halves:
            trainer.compute_loss(trainer.model, half, num_items_in_batch=items).backward()
        for gradient, parameter in zip(whole, trainer.model.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)




def test_adapters_of_a_model_held_in_four_bits_are_merged_into_the_weights_as_they_were(
    arms: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")

    def update(name: str, **more: Any) -> Ref:
        trainer = Tao(options(lora_rank=8, quantize=True, epochs=8, learning_rate=5e-3, device="cpu", **more))
        return trainer.update(bandit.draw(arms), Ref(START, {"model": str(arms)}), tmp_path / name)

    merged = update("merged")
    assert bandit.expected(tmp_path / "merged") > bandit.expected(arms)
    apart = update("apart", merge=False)
    assert apart.options == {"model": str(arms), "adapter": str(tmp_path / "apart")}
    whole = checkpoint.load(str(arms), str(tmp_path / "apart"), "float32")[0].state_dict()
    for name, weight in checkpoint.load(merged.options["model"], None, "float32")[0].state_dict().items():
        torch.testing.assert_close(weight, whole[name], rtol=1e-4, atol=1e-5)


def test_what_cannot_be_held_in_four_bits_is_refused(base: Path, tmp_path: Path) -> None:
    groups = [group((candidate("yes"), 1.0, ""), (candidate("no"), 0.0, ""))]
    with pytest.raises(ValueError, match="lora_rank above 0"):
        Tao(options(quantize=True)).update(groups, Ref(START, {"model": str(base)}), tmp_path / "out")
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(ValueError, match="needs bitsandbytes"):
            Tao(options(quantize=True, lora_rank=4)).update(groups, Ref(START, {"model": str(base)}), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
