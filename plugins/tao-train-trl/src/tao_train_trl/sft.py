"""TRL's SFTTrainer made fast on processors: float32 masters, batches of like length, a shared prefix computed once.

Imports torch and TRL, so only functions import this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.nn import functional as F
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from tao_hub.components import Progress

from . import shared_prefix

LEARNING_RATE, LORA_LEARNING_RATE = 1e-4, 2e-3

LOSS_CHUNK = 512  # positions whose logits are in memory together
# configuration entries that say a model does more with its logits than project: TRL's own loss knows them all
LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


class MasterAdamW(torch.optim.AdamW):
    """AdamW that steps float32 copies of the parameters and rounds them into the parameters themselves.

    bfloat16 has 8 bits of precision: an update smaller than 1/256 of a weight would be lost if added to it directly
    (mixed-precision training, Micikevicius et al. 2018).
    """

    def __init__(self, params: Any, **options: Any) -> None:
        groups = [group if isinstance(group, dict) else {"params": [group]} for group in params]
        self.working: list[torch.Tensor] = [p for group in groups for p in group["params"]]
        self.masters = [p.detach().float().clone() for p in self.working]
        masters = iter(self.masters)
        super().__init__([{**g, "params": [next(masters) for _ in g["params"]]} for g in groups], **options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for master, parameter in zip(self.masters, self.working):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None  # both at once would cost memory
        result = super().step(closure)
        for master, parameter in zip(self.masters, self.working):
            parameter.copy_(master)
            master.grad = None
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.working:
            parameter.grad = None


class LengthSampler(torch.utils.data.Sampler[int]):
    """Indices such that each run of `batch` has like lengths, the runs in an order drawn anew each epoch."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

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


class CompletionTrainer(SFTTrainer):
    """SFTTrainer whose loss projects only the positions it counts and computes a batch's common prefix once.

    TRL's own loss projects every position where there is no Triton; with `own_loss` False it is left as it is.
    """

    own_loss = True
    warmup = 0.0
    schedule = "constant"

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthSampler:
        lengths = [len(ids) for ids in self.train_dataset["input_ids"]]
        return LengthSampler(lengths, self.args.per_device_train_batch_size, self.args.seed)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        def factor(step: int) -> float:
            return learning_rate_factor(step, num_training_steps, self.warmup, self.schedule)

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
        return self.lr_scheduler

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if return_outputs or not self.own_loss:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inner = _unwrapped(model)
        total, count = completion_loss(inner, inputs["input_ids"], inputs["attention_mask"], inputs["labels"])
        return total / (count if num_items_in_batch is None else num_items_in_batch)


def learning_rate_factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """Share of the peak learning rate in step 0 … `steps` - 1. No step is idle: the first warm-up step is not zero,
    as it is in transformers' schedules, nor is the last one."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    done = (step - rising) / max(1, steps - rising)
    return {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[schedule]


def _unwrapped(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _projects_only(model: Any) -> bool:
    """Whether the model's logits are its head's output, with nothing done to them and no loss beside them."""
    config = model.config.get_text_config()
    changed = any(getattr(config, name, None) is not None for name in LOGIT_CHANGES)
    return not changed and not hasattr(config, "output_router_logits")


def completion_loss(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """Sum of the negative log-likelihoods of `labels` (-100: not counted) in nats, and how many there are.

    All three are (B, T), padded on the right. A model that attends by `shared_prefix.ATTENTION` computes the rows'
    common prefix once: the same function of the weights, to rounding.
    """
    if model.config._attn_implementation == shared_prefix.ATTENTION:
        prefix = common_prefix(ids, mask, labels)
        hidden = shared_prefix.hidden_states(model, ids, prefix)  # (B, T - prefix, H)
        labels = labels[:, prefix:]
    else:
        hidden = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state  # (B, T, H)
    counted = labels[:, 1:] != -100
    answers = labels[:, 1:][counted]  # (N,)
    states = hidden[:, :-1][counted]  # (N, H): the state before each counted token
    return _nll(model.get_output_embeddings(), states, answers), len(answers)


def _nll(head: torch.nn.Module, states: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    if getattr(head, "bias", None) is not None:
        return F.cross_entropy(head(states).float(), answers, reduction="sum")
    loss: torch.Tensor = ProjectedLoss.apply(states, head.weight, answers)
    return loss


class ProjectedLoss(torch.autograd.Function):
    """Sum of the cross-entropies of `states` (N, H) projected by `weight` (V, H) against `answers` (N,).

    The gradients are computed along with the loss, piece by piece, so at most `LOSS_CHUNK` x V logits exist at a
    time and none is computed twice. (The idea of Liger's fused linear cross-entropy, Hsu et al. 2024.)
    """

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        by_state = torch.empty_like(states)
        by_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for start in range(0, len(answers), LOSS_CHUNK):
            piece = slice(start, start + LOSS_CHUNK)
            logits = F.linear(states[piece], weight).float()  # (C, V)
            target = answers[piece, None]
            logits -= logits.logsumexp(1, keepdim=True)
            total -= logits.gather(1, target).sum()
            logits.exp_()  # probabilities; less 1 at the target they are the gradient
            logits.scatter_add_(1, target, -torch.ones_like(target, dtype=logits.dtype))
            slope = logits.to(states.dtype)
            by_state[piece] = slope @ weight
            if by_weight is not None:
                by_weight += slope.T @ states[piece]
        ctx.save_for_backward(by_state, None if by_weight is None else by_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        by_state, by_weight = ctx.saved_tensors
        return by_state * scale, None if by_weight is None else by_weight * scale, None


def common_prefix(ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> int:
    """How many tokens all rows begin with, stopping before the state that predicts the first counted token."""
    same = (ids == ids[:1]).all(0) & mask.bool().all(0) & (labels == -100).all(0)  # (T,)
    return max(0, int(same.long().cumprod(0).sum()) - 1)


def fit(
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, list[int]]],
    options: Any,
    device: str,
    work: Path,
    progress: Progress,
    note: str,
) -> tuple[Any, list[float]]:
    """Train `model` on tokenized `rows` by `BestOfN.Options`; returns it and the loss of each optimizer step.

    With `lora_rank` the model comes back wrapped by peft, adapters not merged.
    """
    set_seed(options.seed)
    before = model.config._attn_implementation
    own_loss = device == "cpu" and not options.gradient_checkpointing and _projects_only(model)
    if own_loss and shared_prefix.usable(model):
        model.set_attn_implementation(shared_prefix.ATTENTION)
    if options.lora_rank:
        model = _with_adapters(model, options)
    default_rate = LORA_LEARNING_RATE if options.lora_rank else LEARNING_RATE
    config = SFTConfig(
        output_dir=str(work),
        num_train_epochs=options.epochs,
        learning_rate=options.learning_rate or default_rate,
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulate,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        gradient_checkpointing=options.gradient_checkpointing,
        seed=options.seed,
        use_cpu=device == "cpu",
        bf16=False,  # the weights themselves have the dtype; their float32 masters are the optimizer's
        max_length=None,  # over-long rows were left out already
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device != "cpu",
    )
    report = Reporting(progress, note)
    trainer = CompletionTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[report],
        optimizer_cls_and_kwargs=(MasterAdamW, {"lr": config.learning_rate, "fused": True}),
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, where results belong
    trainer.own_loss, trainer.warmup, trainer.schedule = own_loss, options.warmup, options.schedule
    trainer.train()
    progress.finish()
    _unwrapped(trainer.model).set_attn_implementation(before)
    if not math.isfinite(report.losses[-1]):
        raise ValueError(f"the loss became {report.losses[-1]}: lower learning_rate ({config.learning_rate})")
    return trainer.model, report.losses


def _with_adapters(model: Any, options: Any) -> Any:
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


class Reporting(TrainerCallback):
    """Tells a `tao_hub.Progress` of each optimizer step and keeps the losses."""

    def __init__(self, progress: Progress, note: str) -> None:
        self.progress, self.note = progress, note
        self.losses: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress.start("update", state.max_steps, "steps")
        self.progress.advance(0, sample=self.note)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))
            self.progress.advance(1, loss=self.losses[-1])
