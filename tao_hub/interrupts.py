"""How work ends when somebody wants it to: Ctrl-C, or SIGTERM from a scheduler, a container or `kill`."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM)
STEP = "stopping when the step in progress is done and kept; press Ctrl-C again to stop at once"


class Terminated(KeyboardInterrupt):
    """SIGTERM came; what is open is closed, as at Ctrl-C."""


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM raises `Terminated` inside. Does nothing outside the main thread, where no handler can be set."""

    def end(number: int, frame: Any) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def held_interrupts(here: bool = True, saying: str = STEP) -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C or SIGTERM back until the body ends; a second one comes through at once.

    For work in long steps that can be kept between them. Yields a function that says whether one is held: the body then
    keeps what it has and ends, and the signal takes effect. `saying` is told on stderr when it comes. A signal that
    nobody handles, or that is ignored, stays as it is; so do all where it is not `here` that they are held (one of
    several processes cannot stop alone).
    """
    held: list[int] = []
    before: dict[int, Any] = {}

    def give_back() -> None:
        while before:
            signal.signal(*before.popitem())

    def hold(number: int, frame: Any) -> None:
        held.append(number)
        give_back()
        print(f"\n{saying}", file=sys.stderr, flush=True)

    if here and threading.current_thread() is threading.main_thread():
        known = {number: signal.getsignal(number) for number in ENDING}
        before.update({number: handler for number, handler in known.items() if callable(handler)})
        for number in before:
            signal.signal(number, hold)
    try:
        yield lambda: bool(held)
    finally:
        give_back()
    if held:
        signal.raise_signal(held[0])
