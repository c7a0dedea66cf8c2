"""Weights sharded over processes of a CPU: PyTorch's FSDP2 does that with gloo, accelerate asks for it on GPUs only.

`allow()` lets accelerate do it; `python -m torch.distributed.run sharded_on_cpu.py …` is `tao-hub …` with that.
"""

from __future__ import annotations

import runpy
from typing import Any

FSDP2 = {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT", "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}  # fmt: skip
"""What `accelerate launch` tells its processes of the shipped configuration."""


def allow() -> None:
    from accelerate import state
    from accelerate.utils import DistributedType

    begin = state.AcceleratorState.__init__

    def sharded(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    state.AcceleratorState.__init__ = sharded


if __name__ == "__main__":
    allow()
    runpy.run_module("tao_hub.cli", run_name="__main__")
