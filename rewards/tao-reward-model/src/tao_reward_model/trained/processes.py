"""Which of the processes that train together (`accelerate launch`, `torchrun`) this one is; alone, where none is.

The first one reads, trains, measures and writes; the others read the same and train with it.
"""

from __future__ import annotations

import os

from tao_hub import UsageError


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes step together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def sharded() -> bool:
    """Whether each process has a part of the weights only (`accelerate launch --use_fsdp`)."""
    return world() > 1 and _asked_for("FSDP")


def _asked_for(kind: str) -> bool:
    return os.environ.get(f"ACCELERATE_USE_{kind}", "").lower() == "true"


def check(frozen: bool, batch_size: int, accumulate: int) -> None:
    """Raises UsageError for what several processes cannot train."""
    if world() == 1:
        return
    if frozen:
        raise UsageError("--frozen trains a head in seconds, in one process: start it without accelerate")
    if _asked_for("FSDP") and os.environ.get("FSDP_VERSION") != "2":
        raise UsageError("sharded weights are those of FSDP2: put fsdp_version: 2 into the configuration")
    if _asked_for("DEEPSPEED"):
        raise UsageError("a reward model's weights are sharded by FSDP, not by DeepSpeed: use a configuration of FSDP")
    if batch_size % (accumulate * world()):
        raise UsageError(
            f"--batch-size {batch_size} is for a step of all {world()} processes: make it a multiple of "
            f"{accumulate * world()}"
        )


def wait() -> None:
    """Until all processes are here."""
    if world() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def begin(on_gpu: bool) -> None:
    """Let the processes find each other."""
    if world() > 1:
        from accelerate import PartialState

        PartialState(cpu=not on_gpu)


def end() -> None:
    """Part, when all that is done together is done."""
    if world() > 1:
        import torch

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def agreed(said: bool, device: object) -> bool:
    """What the first process says."""
    if world() == 1:
        return said
    import torch

    word = torch.tensor([said], dtype=torch.long, device=str(device))
    torch.distributed.broadcast(word, 0)
    return bool(word.item())
