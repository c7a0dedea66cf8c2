"""Each offline trainer after the other on the bandit, as one trainer: one launch of two processes tries them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bandit
import sharded_on_cpu
from accelerate import PartialState
from tao_train_trl import processes
from tao_train_trl.best_of_n import BestOfN
from tao_train_trl.dpo import Dpo
from tao_train_trl.examples import Learned
from tao_train_trl.kto import Kto
from tao_train_trl.reward_weighted import RewardWeighted
from tao_train_trl.tao import Tao
from tao_train_trl.trainer import PolicyTrainer

from tao_hub import Ref
from tao_hub.components import Progress

SMALL = {"lora_rank": 0, "dtype": "float32", "device": "cpu", "threads": 1, "learning_rate": 1e-3, "epochs": 2}
TRAINERS: list[tuple[type[PolicyTrainer], dict[str, Any]]] = [
    (Tao, {}), (Tao, {"per": "candidate", "lora_rank": 4}), (BestOfN, {"batch_size": 4}),
    (Dpo, {"pairs": 2}), (Kto, {}), (RewardWeighted, {"temperature": 5.0}),
]  # fmt: skip


class Each(PolicyTrainer):
    """Writes the policy of trainer i into the folder i of `work`: 64 candidates, 16 of them (8 answers) in a step.

    A step takes two batches: two processes take one each, one accumulates.
    """

    name = "test/each"

    def train(self, learned: Learned, start: Ref, work: Path, progress: Progress, key: str) -> None:
        policy = Path(start.options["model"])
        for i, (trainer, more) in enumerate(TRAINERS):
            options = trainer.Options(**{**SMALL, "accumulate": 2 // processes.world(), **more})
            asked, folder = trainer(options), work / str(i)
            folder.mkdir(parents=True, exist_ok=True)
            asked.train(asked.learn_from(bandit.draw(policy)), start, folder, progress, key)
        assert (PartialState().distributed_type.value == "FSDP") == processes.sharded()


if processes.sharded():
    sharded_on_cpu.allow()
