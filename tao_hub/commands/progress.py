"""Progress of long work on stderr: a rich bar with throughput, time left and what the model says now."""

from __future__ import annotations

import sys
import time
from typing import Any

from ..components import Progress
from ..figures import duration

SIGN_OF_LIFE = 60.0  # seconds between plain lines where there is no terminal
FEWEST = 3  # units that say something of the pace: the first of a batch comes long before the rest


class Bar(Progress):
    """One live line per stage on a terminal; elsewhere a plain line a minute, and one at the end of each stage."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self._bar: Any = None
        self._stage, self._unit, self._done, self._since = "", "", 0.0, 0.0
        self._total: float | None = None
        self._told, self._told_at = 0.0, 0.0  # what the last plain line said, and when

    def start(self, stage: str, total: int | None, unit: str = "") -> None:
        self.finish()
        self._stage, self._unit, self._done, self._since = stage, unit, 0.0, time.perf_counter()
        self._total, self._told, self._told_at = total, 0.0, self._since
        if not self.console.is_terminal:
            return
        from rich import progress as p

        self._bar = p.Progress(
            p.SpinnerColumn(), p.TextColumn("{task.description}", markup=False), p.BarColumn(bar_width=24),
            p.MofNCompleteColumn(), p.TextColumn("{task.fields[rate]}"), p.TimeRemainingColumn(compact=True),
            p.TextColumn("{task.fields[sample]}", style="dim", markup=False), console=self.console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(stage, total=total, rate="", sample="")
        self._bar.start()

    def advance(self, count: float = 1, sample: str = "", **numbers: float) -> None:
        self._done += count
        shown = "".join(f" {k} {v:.3g}" for k, v in numbers.items())
        now = time.perf_counter()
        if self._bar is None:
            if now - self._since < 1:  # what a resumed stage brings along says nothing about its pace
                self._told = self._done
            elif now - self._told_at >= SIGN_OF_LIFE:
                self._tell(now, shown)
            return
        rate = pace(self._done / max(1e-9, now - self._since), self._unit) + shown
        fields: dict[str, Any] = {"rate": rate}
        if sample:
            clean = "".join(c if c.isprintable() else " " for c in sample)
            fields["sample"] = clean[: max(10, self.console.width - 95)]
        self._bar.update(self._task, advance=count, **fields)

    def _tell(self, now: float, shown: str) -> None:
        """A sign of life: what is done, the pace since the last one, and what that leaves."""
        came = self._done - self._told
        rate = came / (now - self._told_at)
        of = f" of {self._total:g}" if self._total is not None else ""
        told = f"{self._stage}: {self._done:g}{of} {self._unit}"
        if came >= FEWEST:
            left = f", {duration((self._total - self._done) / rate)} left" if self._total is not None else ""
            told += f", {pace(rate, self._unit)}{left}"
        print(told + shown, file=sys.stderr, flush=True)
        self._told, self._told_at = self._done, now

    def note(self, text: str) -> None:
        self.finish()
        print(text, file=sys.stderr, flush=True)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._stage:
            seconds = time.perf_counter() - self._since
            print(f"{self._stage}: {self._done:g} {self._unit} in {seconds:.1f} s", file=sys.stderr, flush=True)
            self._stage = ""


def pace(rate: float, unit: str) -> str:
    """So many units a second, or a minute where they are slow."""
    return f"{rate:.1f} {unit}/s" if rate >= 1 or not rate else f"{60 * rate:.1f} {unit}/min"
