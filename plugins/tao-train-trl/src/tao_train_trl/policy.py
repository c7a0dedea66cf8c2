"""A policy opened for training, and what an update leaves of it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tao_hub import Ref, UsageError

from . import checkpoint, processes
from .examples import stop_token

POLICY = "hf/causal-lm"


@dataclass
class Opened:
    """The start policy in memory. `model` computes in `dtype`; its checkpoint holds `stored`."""

    model: Any
    tokenizer: Any
    stored: Any
    device: str
    dtype: str
    longest: int  # tokens of prompt and answer
    stop: int  # the token that ends an answer


def check_start(start: Ref, options: Any) -> None:
    """Raises ValueError if `start` cannot be trained with these options."""
    if "model" not in start.options:
        raise ValueError(f"{start.name} names no model to train: the policy needs the option 'model'")
    if options.lora_rank and not options.merge and start.options.get("adapter"):
        raise ValueError("merge=false would lose the adapter the policy already has; use merge=true")


    if options.quantize and (not options.lora_rank or start.options.get("adapter")):
        raise ValueError("quantize trains adapters (lora_rank above 0) of a policy that has none of its own")


def open_policy(start: Ref, options: Any) -> Opened:
    """Load the model and tokenizer of `start`, an adapter it has merged in."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device 'cuda': torch {torch.__version__} sees no GPU here; use auto or cpu")
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    # sharded weights are float32 and computed in bfloat16 by autocast, as their optimizer has no masters
    dtype = "float32" if processes.sharded() else checkpoint.choose_dtype(options.dtype, device)
    name, adapter = start.options["model"], start.options.get("adapter")
    if options.quantize:
        model, tokenizer, stored = checkpoint.load_quantized(name, dtype, device)
    else:
        model, tokenizer, stored = checkpoint.load(name, adapter, dtype)
        model.to(device)
    longest = min(options.max_length, model.config.get_text_config().max_position_embeddings or options.max_length)
    return Opened(model, tokenizer, stored, device, dtype, longest, stop_token(tokenizer, model.generation_config))


def save(model: Any, opened: Opened, start: Ref, options: Any, work: Path) -> None:
    """Write the trained `model` into `work`: merged in its checkpoint's dtype, or the adapter alone."""
    if options.quantize and options.merge:  # into the weights as they were, not as 4 bits hold them
        with tempfile.TemporaryDirectory(dir=work) as adapter:
            model.save_pretrained(adapter)
            model = checkpoint.load(start.options["model"], adapter, "float32")[0].to(opened.stored)
        checkpoint.save(model, opened.tokenizer, work)
        return
    if options.lora_rank and options.merge:
        model = model.float().merge_and_unload()  # added in float32, rounded once
    if not options.lora_rank or options.merge:
        model = model.to(opened.stored)
    checkpoint.save(model, opened.tokenizer, work)


def after(start: Ref, options: Any, out: Path) -> Ref:
    """How the policy saved in `out` is rebuilt."""
    kept = dict(start.options) if start.name == POLICY else {}
    if options.lora_rank and not options.merge:
        return Ref(POLICY, {**kept, "model": start.options["model"], "adapter": str(out)})
    kept.pop("adapter", None)
    return Ref(POLICY, {**kept, "model": str(out)})
