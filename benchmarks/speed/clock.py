"""The clock of the training benchmarks: it counts steps, not what comes before and after them."""

from __future__ import annotations

from collections.abc import Callable

from transformers import TrainerCallback

from tao_hub.components import Progress


class Clock(TrainerCallback, Progress):
    """Seconds from the first step's beginning to the last one's end, for both sides."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now, self.began, self.seconds = now, 0.0, 0.0

    def on_train_begin(self, *args: object, **kwargs: object) -> None:
        self.began = self.now()

    def on_train_end(self, *args: object, **kwargs: object) -> None:
        self.seconds = self.now() - self.began

    def start(self, *args: object) -> None:
        self.on_train_begin()

    def finish(self) -> None:
        self.on_train_end()
