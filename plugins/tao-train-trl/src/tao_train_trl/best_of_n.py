"""The trainer `trl/best-of-n`: the plain prompt learns the best of its candidates."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

import tao_hub
from tao_hub import Group, Ref
from tao_hub.components import Progress

from . import checkpoint
from .examples import Chosen, choose, nothing, stop_token, tokenize

POLICY = "hf/causal-lm"


class BestOfN(tao_hub.Trainer):
    """Rejection-sampling fine-tuning: of each group the candidate with the highest total becomes the answer to learn.

    Method: RAFT (Dong et al. 2023), with one accepted answer per prompt; cross-entropy on the answer and its end
    token only, through TRL's SFTTrainer. Compute may be bfloat16; the optimizer always steps float32 weights.
    """

    class Options(tao_hub.Options):
        epochs: float = Field(2.0, gt=0, description="times each example is seen")
        learning_rate: float | None = Field(
            None, gt=0, description="peak learning rate of AdamW (default: 1e-4 for full weights, 2e-3 for LoRA)"
        )
        batch_size: int = Field(8, gt=0, description="examples computed together")
        accumulate: int = Field(1, gt=0, description="batches per optimizer step (gradient accumulation)")
        lora_rank: int = Field(16, ge=0, description="rank of LoRA adapters; 0: all weights are trained")
        lora_alpha: float | None = Field(None, gt=0, description="LoRA scale numerator (default: 2 x lora_rank)")
        lora_targets: str = Field(
            "all-linear", description="layers that get adapters: all-linear, or names separated by commas"
        )
        merge: bool = Field(
            True, description="add the adapter into the weights at the end, so that inference costs what it did before"
        )
        dtype: str = Field(
            "auto",
            pattern="^(auto|float32|bfloat16)$",
            description="auto: bfloat16 where the processor multiplies it natively, else float32 (env TAO_HUB_DTYPE)",
        )
        device: str = Field("auto", pattern="^(auto|cpu|cuda)$", description="auto: cuda if there is one, else cpu")
        max_length: int = Field(
            2048, gt=1, description="longest prompt with answer in tokens; longer examples are left out, never cut"
        )
        min_score: float | None = Field(None, description="learn only from groups whose best total is at least this")
        max_examples: int | None = Field(None, gt=0, description="most examples: those with the best totals")
        warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises")
        schedule: str = Field(
            "cosine",
            pattern="^(constant|linear|cosine)$",
            description="learning rate after the warm-up: constant, linear or cosine (both to zero)",
        )
        weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay, on all weights but norms and biases")
        max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
        gradient_checkpointing: bool = Field(
            False, description="compute activations twice to save memory (about a third slower)"
        )
        threads: int | None = Field(None, gt=0, description="CPU threads (default: torch's own choice)")
        seed: int = Field(0, ge=0, description="fixes the order of examples and the start of the adapters")

    def update(self, groups: Iterable[Group], start: Ref, out: Path, progress: Progress | None = None) -> Ref:
        """See `tao_hub.Trainer.update`. `out` appears at the end, complete. Same inputs, same weights on one machine.

        Raises ValueError if there is nothing to learn from, FileExistsError if `out` already holds something.
        """
        options = self.options
        if "model" not in start.options:
            raise ValueError(f"{start.name} names no model to train: the policy needs the option 'model'")
        if options.lora_rank and not options.merge and start.options.get("adapter"):
            raise ValueError("merge=false would lose the adapter the policy already has; use merge=true")
        chosen = choose(groups, options.min_score, options.max_examples, options.seed)
        began = time.monotonic()
        with checkpoint.fresh_folder(Path(out)) as work, warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # names transformers changed and TRL and peft still use
            record = self._train(chosen, start, work, progress or Progress())
            record["seconds"] = round(time.monotonic() - began, 1)
            checkpoint.write_record(work, record)
        kept = dict(start.options) if start.name == POLICY else {}
        if options.lora_rank and not options.merge:
            return Ref(POLICY, {**kept, "model": start.options["model"], "adapter": str(out)})
        kept.pop("adapter", None)
        return Ref(POLICY, {**kept, "model": str(out)})

    def _train(self, chosen: Chosen, start: Ref, work: Path, progress: Progress) -> dict[str, Any]:
        """Train and save into `work`; returns the record of it."""
        import torch

        options = self.options
        if options.threads:
            torch.set_num_threads(options.threads)
        device = options.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = checkpoint.choose_dtype(options.dtype, device)
        model, tokenizer, stored = checkpoint.load(start.options["model"], start.options.get("adapter"), dtype)
        longest = min(options.max_length, model.config.get_text_config().max_position_embeddings or options.max_length)
        stop = stop_token(tokenizer, model.generation_config)
        rows, too_long = tokenize(tokenizer, chosen.pairs, stop, longest)
        if too_long:
            chosen.left_out[f"longer than {longest} tokens"] = too_long
        if not rows:
            raise ValueError(nothing(chosen))

        from .sft import fit

        model, losses = fit(model, tokenizer, rows, options, device, work, progress, _note(len(rows), chosen))
        if options.lora_rank and options.merge:
            model = model.float().merge_and_unload()  # added in float32, rounded once
        if not options.lora_rank or options.merge:
            model = model.to(stored)
        checkpoint.save(model, tokenizer, work)
        return {
            "trainer": "trl/best-of-n",
            "start": {"name": start.name, "options": dict(start.options)},
            "options": options.model_dump(),
            "dtype": dtype,
            "device": device,
            "groups": chosen.groups,
            "examples": len(rows),
            "left_out": dict(chosen.left_out),
            "tokens": {
                "all": sum(len(row["input_ids"]) for row in rows),
                "learned": sum(label != -100 for row in rows for label in row["labels"]),
            },
            "steps": len(losses),
            "first_loss": losses[0],
            "final_loss": losses[-1],
        }


def _note(examples: int, chosen: Chosen) -> str:
    """One line for people: how much is learned from, and what was left out."""
    left = "".join(f"; {count} {reason}" for reason, count in chosen.left_out.most_common())
    return f"{examples} answers to learn from {chosen.groups} groups{left}"
