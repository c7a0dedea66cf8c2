"""What a run ran on, and how long it took and how much memory it had."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from .history import History
from .plugins import Hub
from .session import Session

LIBRARIES = ("torch", "transformers", "trl", "peft", "tokenizers", "sentence-transformers", "numpy", "sqlite-utils")


def describe(hub: Hub) -> dict[str, Any]:
    """The environment record: Python, machine, libraries and plugins with versions. Nothing that names a person."""
    libraries = {}
    for name in LIBRARIES:
        try:
            libraries[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": _cpus(),
        "libraries": libraries,
        "plugins": {p.name: p.label for p in hub.plugins if not p.error},
    }


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MB (0.0 where the system does not tell)."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1024


@contextmanager
def watch(session: Session, history: History, run: int, number: int = 0) -> Iterator[None]:
    """Add to the run's record what the work of round `number` (0: of none) inside took: seconds per stage, "hub" being
    all that is not compute."""
    start = time.perf_counter()
    before = dict(session.clock)
    try:
        yield
    finally:
        spent = {stage: s - before.get(stage, 0.0) for stage, s in session.clock.items()}
        spent["hub"] = time.perf_counter() - start - sum(spent.values())
        history.add_seconds(run, number, spent)
        history.note_peak(run, peak_memory_mb())
