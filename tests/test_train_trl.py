"""The trainer `trl/best-of-n` learns what it should from tiny real models, and nothing else."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recorder import Recorder
from scored import group, groups, parted, prompt
from tiny import make_tiny_llama

import tao_hub
from tao_hub import Candidate, Prompt, Ref
from tao_hub.components import Progress

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tao_train_trl import checkpoint, fit, logprobs, optimizer, sft, shared_prefix  # noqa: E402
from tao_train_trl.best_of_n import BestOfN  # noqa: E402
from tao_train_trl.examples import Pair, choose, stop_token, tokenize  # noqa: E402

TINY = {"dtype": "float32", "lora_rank": 0, "learning_rate": 1e-2, "batch_size": 8}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "out"
    update(base, groups(), out, epochs=12, threads=1)
    return out


def update(base: Path, some: Any, out: Path, progress: Progress | None = None, **options: Any) -> Ref:
    trainer = BestOfN(BestOfN.Options(**{**TINY, **options}))
    return trainer.update(some, Ref("hf/causal-lm", {"model": str(base)}), out, progress)


def load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def greedy(folder: Path, asked: Prompt) -> tuple[str, int]:
    """(answer, its last token) of at most eight tokens."""
    model, tokenizer = load(folder)
    turns = [{"role": m.role, "content": m.content} for m in asked.messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    new = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    return tokenizer.decode(new, skip_special_tokens=True), int(new[-1])


def record(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "tao-hub.json").read_text(encoding="utf-8"))
    return loaded


def logits(model: Any) -> Any:
    with torch.no_grad():
        return model(torch.arange(3, 40)[None]).logits


def test_the_best_answer_is_learned_and_where_it_ends_although_pad_is_eos(base: Path, tuned: Path) -> None:
    tokenizer = load(base)[1]
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    unseen = prompt(77)
    assert greedy(base, unseen)[0] != "yes"
    assert greedy(tuned, unseen) == ("yes", tokenizer.eos_token_id)
    assert record(tuned)["final_loss"] < 0.5 < record(tuned)["first_loss"]


def test_a_tuned_folder_is_plain_and_says_what_it_learned(base: Path, tuned: Path) -> None:
    names = {file.name for file in tuned.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tao-hub.json"} <= names
    assert load(tuned)[1].chat_template == load(base)[1].chat_template
    assert record(tuned)["examples"] == record(tuned)["groups"] == 40
    assert record(tuned)["left_out"] == {}
    assert record(tuned)["options"]["epochs"] == 12


def test_the_reloaded_model_is_the_trained_one(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(model: Any, *rest: Any) -> None:
        seen.append(logits(model.eval()))
        save(model, *rest)

    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", spy)
    after = update(base, groups(8), tmp_path / "out", epochs=1)
    assert after == Ref("hf/causal-lm", {"model": str(tmp_path / "out")})
    reloaded = logits(load(tmp_path / "out")[0])
    assert torch.equal(seen[0], reloaded)
    assert not torch.equal(reloaded, logits(load(base)[0]))


def test_equal_inputs_give_equal_weights_and_another_seed_gives_others(base: Path, tmp_path: Path) -> None:
    def weights(name: str, **options: Any) -> bytes:
        update(base, groups(20), tmp_path / name, epochs=1, dtype="bfloat16", **options)
        return (tmp_path / name / "model.safetensors").read_bytes()

    for options in ({"lora_rank": 0}, {"lora_rank": 4}):
        kind = str(options["lora_rank"])
        first = weights(f"a-{kind}", **options)
        torch.manual_seed(99)  # what others drew before must not matter
        assert weights(f"b-{kind}", **options) == first
        assert weights(f"c-{kind}", seed=1, **options) != first


def test_a_merged_adapter_computes_what_the_adapter_does(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    merged = update(base, groups(16), tmp_path / "merged", lora_rank=4)
    apart = update(base, groups(16), tmp_path / "apart", lora_rank=4, merge=False)
    assert merged.options == {"model": str(tmp_path / "merged")}
    assert apart.options == {"model": str(base), "adapter": str(tmp_path / "apart")}
    assert not (tmp_path / "apart" / "model.safetensors").exists()
    model = load(base)[0]
    before = logits(model)
    adapted = logits(PeftModel.from_pretrained(model, str(tmp_path / "apart")).eval())
    torch.testing.assert_close(logits(load(tmp_path / "merged")[0]), adapted, atol=1e-5, rtol=1e-4)
    assert (adapted - before).abs().max() > 1e-3


def test_a_policy_with_an_adapter_is_trained_from_where_it_stands(base: Path, tmp_path: Path) -> None:
    apart = update(base, groups(16), tmp_path / "apart", lora_rank=4, merge=False, epochs=8)
    trainer = BestOfN(BestOfN.Options(**TINY, epochs=1))
    again = trainer.update(groups(16), apart, tmp_path / "again")
    assert again.options == {"model": str(tmp_path / "again")}
    earlier = record(tmp_path / "apart")
    assert earlier["final_loss"] < earlier["first_loss"] - 0.2
    assert record(tmp_path / "again")["first_loss"] == pytest.approx(earlier["final_loss"], abs=0.1)
    with pytest.raises(ValueError, match="merge=true"):
        BestOfN(BestOfN.Options(lora_rank=4, merge=False)).update(groups(4), apart, tmp_path / "no")


def test_nothing_to_learn_from_is_an_error_that_counts_the_reasons(base: Path, tmp_path: Path) -> None:
    none = [group(i, (Candidate("p", "x"), 1.0, "schema")) for i in range(3)]
    none += [group(i, (Candidate("p", "x"), None, "")) for i in range(2)]
    with pytest.raises(ValueError, match=r"5 groups: 3 with every candidate rejected, 2 with every candidate unscored"):
        update(base, none, tmp_path / "out")
    with pytest.raises(ValueError, match="no groups"):
        update(base, [], tmp_path / "out")
    with pytest.raises(ValueError, match=r"40 longer than 10 tokens"):
        update(base, groups(), tmp_path / "out", max_length=10)
    assert list(tmp_path.iterdir()) == []


def test_the_record_of_an_update_tells_how_many_fields_were_sure(base: Path, tmp_path: Path) -> None:
    half = parted(0, {"a": "late lamp", "b": 12}, vote={"a": 0.2, "b": 1.0})
    whole = [parted(i, {"a": "x", "b": i}, vote={"a": 1.0}) for i in range(8)]
    update(base, [*whole, half], tmp_path / "out", min_parts={"vote": 0.5})
    assert record(tmp_path / "out")["fields"] == {"all": 18, "sure": 17}


def test_overlong_examples_are_left_out_whole_and_counted(base: Path, tmp_path: Path) -> None:
    tokenizer = load(base)[1]
    stop = stop_token(tokenizer, None)
    lengths = [
        len(row["input_ids"]) for row in tokenize(tokenizer, choose(groups(), None, None, 0).examples, stop, 512)[0]
    ]
    limit = sorted(lengths)[20]
    update(base, groups(), tmp_path / "out", epochs=0.1, max_length=limit)
    kept = sum(length <= limit for length in lengths)
    assert record(tmp_path / "out")["examples"] == kept < 40
    assert record(tmp_path / "out")["left_out"] == {f"longer than {limit} tokens": 40 - kept}


def test_labels_are_the_answer_and_its_end_and_the_ids_are_the_templates(base: Path) -> None:
    tokenizer = load(base)[1]
    stop = stop_token(tokenizer, load(base)[0].generation_config)
    pair = Pair(prompt(3).messages, "yes")
    [row], _ = tokenize(tokenizer, [pair], stop, 512)
    turns = [{"role": m.role, "content": m.content} for m in pair.messages]
    whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": "yes"}], tokenize=False)
    assert tokenizer.decode(row["input_ids"]) + "\n" == whole
    learned = [label for label in row["labels"] if label != -100]
    assert learned == tokenizer("yes", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]


def test_progress_is_told_of_every_step_and_stdout_stays_clean(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    progress = Recorder()
    update(base, groups(20), tmp_path / "out", progress, epochs=2)
    started, (_, sample, _), *steps, finished = progress.calls
    assert started == ("update", 6)
    assert "20 answers" in sample
    assert [(count, list(numbers)) for count, _, numbers in steps] == [(1, ["loss"])] * 6
    assert finished == "finish"
    assert capfd.readouterr().out == ""


def test_an_interrupted_or_refused_update_leaves_nothing_behind(base: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        update(base, groups(20), tmp_path / "out", Recorder(fail_after=3))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    with pytest.raises(FileExistsError, match="fresh folder"):
        update(base, groups(20), tmp_path / "out")
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "mine"]


def test_a_registered_name_is_found_in_the_models_folder(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "pointer.json").write_text(json.dumps({"path": str(base)}))
    (models / "folder").mkdir()
    monkeypatch.setenv("TAO_HUB_HOME", str(tmp_path))
    assert tao_hub.model_path("pointer") == tao_hub.model_path(str(base)) == str(base)
    assert tao_hub.model_path("folder") == str(models / "folder")
    assert tao_hub.model_path("some/hub-id") == "some/hub-id"


def batch(rows: int = 5, prefix: int = 25) -> tuple[Any, Any, Any]:
    """Right-padded ids, mask, labels (rows, 60) with `prefix` common columns and answers of different lengths."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 300, (rows, 60), generator=draw)
    ids[:, :prefix] = ids[:1, :prefix]
    mask, labels = torch.ones_like(ids), ids.clone()
    for i in range(rows):
        end = 60 - 5 * i
        labels[i, : 30 + 2 * (i % 2)] = -100
        ids[i, end:], mask[i, end:], labels[i, end:] = 2, 0, -100
    return ids, mask, labels


def gradients(model: Any, ids: Any, mask: Any, labels: Any) -> Iterator[Any]:
    model.zero_grad()
    total, count = sft.completion_loss(model, ids, mask, labels)
    (total / count).backward()
    yield (total / count).detach()
    yield from (parameter.grad.clone() for parameter in model.parameters())


@pytest.mark.parametrize("kept", [0, shared_prefix.MOST_WEIGHTS])  # attention by torch's kernel; written out
@pytest.mark.parametrize("prefix", [0, 1, 25])
def test_a_prefix_computed_once_gives_the_gradients_of_transformers_own_loss(
    base: Path, prefix: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_prefix, "MOST_WEIGHTS", kept)
    model = load(base)[0].train()
    ids, mask, labels = batch(prefix=prefix)
    own = model(ids, attention_mask=mask, labels=labels).loss
    own.backward()
    expected = [own.detach(), *(parameter.grad.clone() for parameter in model.parameters())]
    padded = list(gradients(model, ids, mask, labels))
    assert shared_prefix.usable(model)
    model.set_attn_implementation(shared_prefix.ATTENTION)
    shared = list(gradients(model, ids, mask, labels))
    for reference, a, b in zip(expected, padded, shared, strict=True):
        torch.testing.assert_close(a, reference, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(b, reference, atol=1e-6, rtol=1e-4)


def test_a_long_loss_is_computed_in_pieces(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(base)[0].train()
    whole = list(gradients(model, *batch()))
    monkeypatch.setattr(logprobs, "LOSS_BYTES", 7 * 4 * model.config.vocab_size)
    for a, b in zip(gradients(model, *batch()), whole, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_training_agrees_with_trls_own_loss(base: Path, tmp_path: Path) -> None:
    ours = update(base, groups(20), tmp_path / "ours", epochs=2)
    # gradient checkpointing leaves the loss to TRL
    theirs = update(base, groups(20), tmp_path / "theirs", epochs=2, gradient_checkpointing=True)
    a, b = (logits(load(Path(ref.options["model"]))[0]) for ref in (ours, theirs))
    torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-3)


def test_windows_over_the_past_are_not_shared(tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    torch.manual_seed(0)
    assert shared_prefix.usable(MistralForCausalLM(MistralConfig(**sizes, **heads, sliding_window=None)))
    windowed = MistralForCausalLM(MistralConfig(**sizes, **heads, sliding_window=4))
    assert not shared_prefix.usable(windowed)
    assert windowed.config._attn_implementation == "sdpa"


def test_updates_too_small_for_bfloat16_are_kept_in_the_masters() -> None:
    def after(optimizer: type, **options: Any) -> float:
        weight = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
        stepper = optimizer([weight], lr=1e-4, weight_decay=0.0, **options)
        for _ in range(200):
            weight.grad = torch.ones_like(weight)
            stepper.step()
        return float(weight.detach().float().mean())

    assert after(torch.optim.AdamW) == 1.0
    assert after(optimizer.MasterAdamW) == pytest.approx(0.98, abs=0.003)


def test_masters_step_as_adamw_does_in_float32() -> None:
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Linear(3, 3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    pairs = [
        (ours, optimizer.MasterAdamW(ours.parameters(), lr=1e-2)),
        (theirs, torch.optim.AdamW(theirs.parameters(), lr=1e-2)),
    ]
    x = torch.randn(8, 3)
    for model, stepper in pairs:
        for _ in range(5):
            stepper.zero_grad()
            model(x).square().sum().backward()
            stepper.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_no_step_is_idle_and_the_rate_rises_once_and_never_again(schedule: str) -> None:
    for steps in (1, 2, 40):
        rates = [optimizer.learning_rate_factor(step, steps, 0.1, schedule) for step in range(steps)]
        peak = rates.index(max(rates))
        assert all(rate > 0 for rate in rates)
        assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)
        assert peak == min(steps - 1, 4 if steps == 40 else 1)
        assert max(rates) == (1.0 if steps > 1 else 0.5)
    assert (rates[-1] == 1.0) == (schedule == "constant")


def test_batches_have_like_lengths_and_cover_every_example_once_an_epoch() -> None:
    lengths = [7 * i % 50 for i in range(50)]
    sampler = fit.LengthSampler(lengths, 8, seed=0)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first == list(fit.LengthSampler(lengths, 8, seed=0))
    runs = [[lengths[i] for i in first[k : k + 8]] for k in range(0, 48, 8)]
    assert all(max(run) - min(run) < 10 for run in runs)


@pytest.mark.parametrize("options", [{"lora_rank": 0}, {"lora_rank": 4}], ids=["full", "lora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_update_killed_in_the_middle_goes_on_to_the_same_weights(
    base: Path, tmp_path: Path, dtype: str, options: dict[str, Any]
) -> None:
    options = {**options, "epochs": 3, "dtype": dtype, "checkpoint_minutes": 0, "accumulate": 2}
    whole = update(base, groups(20), tmp_path / "whole", **options)
    progress = Recorder(fail_after=5)  # the third step
    with pytest.raises(KeyboardInterrupt):
        update(base, groups(20), tmp_path / "killed", progress, **options)
    partial = tmp_path / ".killed.partial"
    assert sorted(path.name for path in partial.glob("checkpoint-*"))
    torch.manual_seed(99)
    progress = Recorder()
    resumed = update(base, groups(20), tmp_path / "killed", progress, **options)
    steps = [numbers for count, _, numbers in progress.calls[2:-1] if count == 1]
    assert 0 < len(steps) < record(tmp_path / "killed")["steps"] == 6
    a, b = ((Path(ref.options["model"]) / "model.safetensors").read_bytes() for ref in (whole, resumed))
    assert a == b
    assert record(tmp_path / "killed")["first_loss"] == record(tmp_path / "whole")["first_loss"]
    assert not partial.exists()
    assert not list((tmp_path / "killed").glob("checkpoint-*"))
    again = update(base, groups(20), tmp_path / "killed", **options)
    assert again == resumed


class Pressed(Recorder):
    """Ctrl-C while the optimizer steps after those are taken."""

    def __init__(self, *steps: int) -> None:
        super().__init__()
        self.steps = steps

    def advance(self, count: float = 1, sample: str = "", **numbers: float) -> None:
        super().advance(count, sample, **numbers)
        for _ in range(self.steps.count(len(self.calls) - 2) if numbers else 0):
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard: processes in the background, as those that test side by side, begin with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_keeps_the_step_in_progress_and_a_second_one_ends_at_once(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], heard: None
) -> None:
    whole = update(base, groups(20), tmp_path / "whole", epochs=3, accumulate=2)  # six steps
    for name, steps, kept in (("once", [2], ["checkpoint-3"]), ("late", [5], ["checkpoint-6"]), ("twice", [2, 2], [])):
        with pytest.raises(KeyboardInterrupt):
            update(base, groups(20), tmp_path / name, Pressed(*steps), epochs=3, accumulate=2)
        assert "Ctrl-C again to stop at once" in capsys.readouterr().err
        assert [f.parent.name for f in (tmp_path / f".{name}.partial").glob("checkpoint-*/complete")] == kept
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        resumed = update(base, groups(20), tmp_path / name, epochs=3, accumulate=2)
        a, b = ((Path(ref.options["model"]) / "model.safetensors").read_bytes() for ref in (whole, resumed))
        assert a == b


def test_what_another_update_left_is_not_gone_on_from(base: Path, tmp_path: Path) -> None:
    options = {"epochs": 2, "checkpoint_minutes": 0}
    with pytest.raises(KeyboardInterrupt):
        update(base, groups(20), tmp_path / "out", Recorder(fail_after=4), **options)
    progress = Recorder()
    update(base, groups(24), tmp_path / "out", progress, **options)
    assert progress.calls[1][0] == 0
    assert [c[0] for c in progress.calls[2:-1]] == [1] * 6
