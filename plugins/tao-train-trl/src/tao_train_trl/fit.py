"""Runs a TRL trainer as this project does: float32 masters, one schedule, progress, checkpoints that resume exactly.

Imports torch and transformers, so only functions import this module.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import PrinterCallback, TrainerCallback, set_seed

from tao_hub import Progress, held_interrupts

from . import checkpoint, processes, shared_prefix
from .logprobs import projects_only, unwrapped
from .optimizer import MasterAdamW, learning_rate_factor
from .policy import Opened

COMPLETE = "complete"  # the file that says a checkpoint was written to its end


class LengthSampler(torch.utils.data.Sampler[int]):
    """Indices such that each run of `batch` has like lengths, the runs in an order drawn anew each epoch."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that comes next: a resumed update goes on with the order it would have had."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draw = torch.Generator().manual_seed(self.seed + self.epoch)
        self.epoch += 1
        shuffled = torch.randperm(len(self.lengths), generator=draw).tolist()  # so that ties meet others each epoch
        order = sorted(shuffled, key=lambda i: self.lengths[i])
        runs = [order[i : i + self.batch] for i in range(0, len(order), self.batch)]
        last = [runs.pop()] if len(runs[-1]) < self.batch else []  # a short run would shift all that follow
        for i in [*torch.randperm(len(runs), generator=draw).tolist()]:
            yield from runs[i]
        for run in last:
            yield from run


class Scheduled:
    """Mixed into a TRL trainer: our learning rate's course; no model card is written."""

    warmup = 0.0
    schedule = "constant"

    def create_scheduler(self: Any, num_training_steps: int, optimizer: Any = None) -> Any:
        def factor(step: int) -> float:
            return learning_rate_factor(step, num_training_steps, self.warmup, self.schedule)

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
        return self.lr_scheduler

    def _load_from_checkpoint(self: Any, *args: Any, **kwargs: Any) -> None:
        """As transformers does, and back to the dtypes there were: peft loads adapters as float32."""
        dtypes = {name: parameter.dtype for name, parameter in self.model.named_parameters()}
        super()._load_from_checkpoint(*args, **kwargs)  # type: ignore[misc]
        for name, parameter in self.model.named_parameters():
            parameter.data = parameter.data.to(dtypes[name])

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The record `tao-hub.json` says what was trained."""


class ByLength(Scheduled):
    """The same, with batches of like lengths."""

    def lengths(self: Any) -> list[int]:
        """Tokens of each row."""
        return [len(ids) for ids in self.train_dataset["input_ids"]]

    def _get_train_sampler(self: Any, train_dataset: Any = None) -> LengthSampler:
        return LengthSampler(self.lengths(), self.args.per_device_train_batch_size, self.args.seed)


def prepare(opened: Opened, options: Any, own: bool = True) -> tuple[Any, bool]:
    """The model, with adapters if wanted, and whether its loss may be computed by our own forward pass.

    `own` False keeps transformers' attention: TRL's trainers call the model themselves.
    """
    set_seed(options.seed)
    model = opened.model
    alone = opened.device == "cpu" and processes.world() == 1
    own = own and alone and not options.gradient_checkpointing and projects_only(model)
    if own and not options.quantize and shared_prefix.usable(model):
        model.set_attn_implementation(shared_prefix.ATTENTION)
    return (with_adapters(model, options) if options.lora_rank else model), own


def with_adapters(model: Any, options: Any) -> Any:
    targets = options.lora_targets
    if targets != "all-linear":
        targets = [name.strip() for name in targets.split(",")]
    config = LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha or 2 * options.lora_rank,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    # adapters compute in the model's dtype (peft would cast every input to float32); their masters are float32
    return get_peft_model(model, config, autocast_adapter_dtype=False)


def arguments(opened: Opened, options: Any, work: Path, rate: float) -> dict[str, Any]:
    """What every TRL configuration is given, whatever the algorithm."""
    return {
        "output_dir": str(work),
        "num_train_epochs": options.epochs,
        "learning_rate": options.learning_rate or rate,
        "per_device_train_batch_size": options.batch_size,
        "gradient_accumulation_steps": options.accumulate,
        "weight_decay": options.weight_decay,
        "max_grad_norm": options.max_grad_norm,
        "gradient_checkpointing": options.gradient_checkpointing,
        "seed": options.seed,
        "use_cpu": opened.device == "cpu",
        # the weights themselves have the dtype, their float32 masters are the optimizer's; sharded ones have neither
        "bf16": processes.sharded() and opened.device != "cpu",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # `Checkpoints` says when
        "save_total_limit": 2,  # the older one is whole while the newer one is being written
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": opened.device != "cpu",
    }


def run(trainer: Any, options: Any, progress: Progress, note: str) -> tuple[Any, list[float]]:
    """Train; returns the trained model (adapters not merged) and the loss of each optimizer step.

    Goes on from the last whole checkpoint in the trainer's folder. Raises ValueError if the loss is not finite.
    """
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, where results belong
    trainer.add_callback(Reporting(progress, note))
    trainer.warmup, trainer.schedule = options.warmup, options.schedule
    if not processes.sharded():
        trainer.optimizer_cls_and_kwargs = (MasterAdamW, {"lr": trainer.args.learning_rate, "fused": True})
    if "ref" in getattr(trainer.model, "peft_config", {}):  # TRL's copy of the fresh adapter: zero, as none is
        trainer.model.delete_adapter("ref")
    Path(trainer.args.output_dir).mkdir(parents=True, exist_ok=True)
    with held_interrupts(processes.world() == 1) as stopping:
        trainer.add_callback(Checkpoints(options.checkpoint_minutes, stopping))
        trainer.train(resume_from_checkpoint=last_checkpoint(Path(trainer.args.output_dir)))
    progress.finish()
    unwrapped(trainer.model).set_attn_implementation("sdpa")  # as it was loaded
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    if not math.isfinite(losses[-1]):
        raise ValueError(f"the loss became {losses[-1]}: lower learning_rate ({trainer.args.learning_rate})")
    return _whole(trainer), losses


def _whole(trainer: Any) -> Any:
    """The trained model; where its weights are split over processes, put together again in the first one."""
    if not processes.sharded():
        return trainer.model
    folder = Path(trainer.args.output_dir) / "checkpoint-whole"
    trainer.save_model(str(folder))  # all processes take part
    trainer.accelerator.wait_for_everyone()
    return None if processes.rank() else checkpoint.load_trained(trainer.model, folder)


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint in `folder` that was written to its end, if there is one."""
    whole = [file.parent for file in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


class Checkpoints(TrainerCallback):
    """Asks for a checkpoint when `minutes` have passed since the last one or the update is `stopping`, and marks those
    that are whole."""

    def __init__(self, minutes: float, stopping: Callable[[], bool]) -> None:
        self.minutes, self.last, self.stopping = minutes, time.monotonic(), stopping

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stopping():
            control.should_save = control.should_training_stop = True
            return
        if state.global_step >= state.max_steps:
            return
        due = time.monotonic() - self.last >= 60 * self.minutes
        if args.world_size > 1:  # all processes save together, so one clock decides
            said = torch.tensor([due], dtype=torch.long, device=args.device)
            torch.distributed.broadcast(said, 0)
            due = bool(said.item())
        control.should_save = control.should_save or due

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.last = time.monotonic()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


class Reporting(TrainerCallback):
    """Tells a `tao_hub.Progress` of each optimizer step."""

    def __init__(self, progress: Progress, note: str) -> None:
        self.progress, self.note = progress, note

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress.start("update", state.max_steps, "steps")
        self.progress.advance(state.global_step, sample=self.note)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.progress.advance(1, loss=float(logs["loss"]))
