"""Train a body and its head on groups: transformers' Trainer with a loss over groups.

Not TRL's RewardTrainer: it takes pairs only (no lists, ties or ratings) and drops what is over-long. Where both fit,
the loss and its gradients are the same (tests/test_reward_model_losses.py). Imports torch, so only functions import it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from tao_hub import Progress, held_interrupts

from ..encoder import half
from . import processes
from .bases import head_of, load_base, quiet
from .layout import Tokens
from .losses import batch_of_heads, heads_loss
from .options import TrainOptions
from .padding import pad
from .unfinished import COMPLETE, last_checkpoint

RATES = {"encoder": 1e-4, "decoder": 2e-5, "lora": 2e-4}
WARMUP = 0.1  # share of the steps in which the learning rate rises; then it falls to zero


@dataclass(frozen=True)
class Item:
    """A tokenized group. With `attributes` each head has scores of its own, None where it learns nothing here."""

    tokens: tuple[Tokens, ...]
    scores: tuple[float, ...]
    margin: float | None = None
    attributes: tuple[tuple[float, ...] | None, ...] = ()

    @property
    def targets(self) -> tuple[tuple[float, ...] | None, ...]:
        """Scores per head."""
        return self.attributes or (self.scores,)


def taught(items: Sequence[Item], margin: str) -> list[dict[str, Any]]:
    """What `heads_loss` takes for these groups."""
    sizes, margins = [len(i.tokens) for i in items], [i.margin for i in items]
    return batch_of_heads([i.targets for i in items], sizes, margins, margin)


class Groups(torch.utils.data.Dataset[Item]):
    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Item:
        return self.items[i]


class LikeLengths(torch.utils.data.Sampler[int]):
    """Indices so that each run of `batch` is of like length; the runs come in an order drawn anew each epoch."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that comes next: a resumed training goes on with the order it would have had."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draw = torch.Generator().manual_seed(self.seed * 1000 + self.epoch)
        self.epoch += 1
        order = sorted(torch.randperm(len(self.lengths), generator=draw).tolist(), key=lambda i: self.lengths[i])
        runs = [order[i : i + self.batch] for i in range(0, len(order), self.batch)]
        last = [runs.pop()] if len(runs[-1]) < self.batch else []  # a short run would shift all that follow
        for i in torch.randperm(len(runs), generator=draw).tolist():
            yield from runs[i]
        for run in last:
            yield from run


class GroupTrainer(Trainer):
    """Trainer whose loss is over groups of responses."""

    loss_name = "bradley-terry"
    centring = 0.0

    def _get_train_sampler(self, train_dataset: Any = None) -> LikeLengths:
        lengths = [max(len(t.ids) for t in item.tokens) for item in self.train_dataset.items]
        return LikeLengths(lengths, self.args.per_device_train_batch_size, self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        heads = inputs.pop("heads")
        out = model(**inputs)
        loss = heads_loss(out.logits.float(), heads, self.loss_name, self.centring)
        return (loss, out) if return_outputs else loss


def collator(pad_id: int, margin: str) -> Any:
    """A function that makes one batch of groups: all responses padded together, and who belongs to whom."""

    def collate(items: list[Item]) -> dict[str, Any]:
        made: dict[str, Any] = pad([t for item in items for t in item.tokens], pad_id)
        made["heads"] = taught(items, margin)
        return made

    return collate


def fit(
    model: Any, items: Sequence[Item], options: TrainOptions, seed: int, work: Path, progress: Progress, note: str
) -> tuple[Any, list[float]]:
    """Train; returns the model (adapters merged) and the loss of each step. Raises ValueError if the loss diverges.

    Goes on from the last whole checkpoint in `work`.
    """
    kind = "lora" if options.lora_rank else "decoder" if head_of(model)[1] == "score" else "encoder"
    dropout_off(model)
    if options.lora_rank:
        model = _adapted(model, options)
    if processes.sharded():
        _shard_layers_only(model)
    config = _arguments(options, len(items), options.learning_rate or RATES[kind], seed, work)
    pad_id = model.config.get_text_config().pad_token_id
    trainer = GroupTrainer(
        model=model, args=config, train_dataset=Groups(items), data_collator=collator(pad_id, options.margin),
        callbacks=[Reporting(progress, note)],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, where results belong
    trainer.loss_name, trainer.centring = options.loss, options.centring
    with held_interrupts(processes.world() == 1) as stopping:
        trainer.add_callback(Checkpoints(options.checkpoint_minutes, stopping))
        with quiet():
            trainer.train(resume_from_checkpoint=last_checkpoint(work))
    progress.finish()
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    if not losses or not math.isfinite(losses[-1]):
        raise ValueError(f"the loss became {losses[-1:]}: lower --learning-rate ({config.learning_rate})")
    trained = _whole(trainer, options, seed) if processes.sharded() else trainer.model
    return (trained.merge_and_unload() if options.lora_rank else trained).to("cpu").eval(), losses


def _shard_layers_only(model: Any) -> None:
    """Name what is sharded as a unit: the layers. BERTs also name what holds the input embeddings, which accelerate
    shards by themselves, and weights are sharded once."""
    embeddings = model.get_input_embeddings()
    holders = {type(module).__name__ for module in model.modules() if embeddings in module.modules()}
    model._no_split_modules = [name for name in model._no_split_modules or () if name not in holders]


def _whole(trainer: Any, options: TrainOptions, seed: int) -> Any:
    """The trained model put together again in the first process; the others get what they started from."""
    weights = trainer.accelerator.get_state_dict(trainer.model)  # all processes take part
    model = load_base(options.base, seed, list(options.heads))[0]
    model = _adapted(model, options) if options.lora_rank else model
    if not processes.rank():
        model.load_state_dict(weights)
    return model


def _arguments(options: TrainOptions, count: int, rate: float, seed: int, work: Path) -> TrainingArguments:
    on_gpu = options.on_gpu
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=options.epochs,
        learning_rate=rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(WARMUP * options.epochs * count / options.batch_size),
        per_device_train_batch_size=options.batch_size // options.accumulate // processes.world(),
        gradient_accumulation_steps=options.accumulate,
        weight_decay=0.01,
        max_grad_norm=1.0,
        seed=seed,
        use_cpu=not on_gpu,
        bf16=torch.cuda.is_bf16_supported() if on_gpu else half(),  # products only: weights and loss stay float32
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # `Checkpoints` says when
        save_total_limit=2,  # the older one is whole while the newer one is being written
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


def dropout_off(model: Any) -> None:
    """A reward model is trained without dropout, as TRL does: both responses see the same network."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _adapted(model: Any, options: TrainOptions) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    head = head_of(model)[1].split(".")[0]
    config = LoraConfig(
        r=options.lora_rank, lora_alpha=2 * options.lora_rank, target_modules="all-linear", task_type=TaskType.SEQ_CLS,
        modules_to_save=[head],  # named: otherwise the head is left as it was drawn (peft #1070)
        exclude_modules=[head],
    )  # fmt: skip
    return get_peft_model(model, config)


class Reporting(TrainerCallback):
    """Tells a `tao_hub.Progress` of each step."""

    def __init__(self, progress: Progress, note: str) -> None:
        self.progress, self.note = progress, note

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress.start(f"train · {self.note}", state.max_steps, "steps")
        self.progress.advance(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.progress.advance(1, loss=float(logs["loss"]))


class Checkpoints(TrainerCallback):
    """Asks for a checkpoint when `minutes` have passed since the last one or it is time for `stopping`, and marks those
    that are whole."""

    def __init__(self, minutes: float, stopping: Callable[[], bool]) -> None:
        self.minutes, self.last, self.stopping = minutes, time.monotonic(), stopping

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stopping():
            control.should_save = control.should_training_stop = True
            return
        if state.global_step < state.max_steps:  # all processes save together, so one clock decides
            due = processes.agreed(time.monotonic() - self.last >= 60 * self.minutes, args.device)
            control.should_save = control.should_save or due

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.last = time.monotonic()
        processes.wait()  # each writes its own part
        if not processes.rank():
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()
