"""The trainer `trl/best-of-n`: the plain prompt learns the best of its candidates."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from tao_hub import Group
from tao_hub.components import Progress

from .examples import Learned, choose
from .options import TrainingOptions
from .policy import Opened
from .trainer import PolicyTrainer, Row

LEARNING_RATE, LORA_LEARNING_RATE = 1e-4, 2e-3


class BestOfN(PolicyTrainer):
    """Rejection-sampling fine-tuning: of each group the candidate with the highest total becomes the answer to learn.

    Method: RAFT (Dong et al. 2023), with one accepted answer per prompt; cross-entropy on the answer and its end
    token only, through TRL's SFTTrainer. Compute may be bfloat16; the optimizer always steps float32 weights.
    """

    class Options(TrainingOptions):
        min_score: float | None = Field(None, description="learn only from groups whose best total is at least this")
        max_examples: int | None = Field(None, gt=0, description="most answers: those with the best totals")
        min_parts: dict[str, float] = Field(
            {},
            description="reward's label, or label.field → least part: of an answer that is a JSON object only the "
            "fields are learnt that none of these rewards gives less; the others are read, not learnt",
        )
        null_parts: dict[str, float] = Field(
            {},
            description="label.field → least part: bounds that hold in place of min_parts where the field says null, "
            "for which few candidates vote",
        )
        enough_parts: dict[str, float] = Field(
            {}, description="label.field → part from which a field is learnt, whatever the rewards of min_parts say"
        )

    name = "trl/best-of-n"

    def learn_from(self, groups: Iterable[Group]) -> Learned:
        chosen = self.options
        return choose(
            groups, chosen.min_score, chosen.max_examples, chosen.seed, chosen.min_parts, chosen.null_parts,
            chosen.enough_parts,
        )  # fmt: skip

    def fit(
        self, opened: Opened, rows: list[Row], work: Path, progress: Progress, note: str
    ) -> tuple[Any, list[float]]:
        from datasets import Dataset
        from trl import SFTConfig

        from . import fit
        from .sft import CompletionTrainer

        model, own = fit.prepare(opened, self.options)
        rate = LORA_LEARNING_RATE if self.options.lora_rank else LEARNING_RATE
        settings = fit.arguments(opened, self.options, work, rate)
        trainer = CompletionTrainer(
            model=model,
            args=SFTConfig(max_length=None, **settings),  # over-long rows were left out already
            train_dataset=Dataset.from_list(rows),
            processing_class=opened.tokenizer,
        )
        trainer.own_loss = own
        return fit.run(trainer, self.options, progress, note)
