"""Several batches decoded at once on a processor: one thread a lane, so that no core waits for another.

A decoding step of a small model is some hundreds of small operations. Split over the cores, each of them ends in a
wait; with one lane per core, batches run side by side and nothing waits. (Measured: docs/results/inbox.md.)
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from .batching import Row
from .decode import decode_all

MOST_LANES = 4
LARGE = 1 << 30  # parameters: above, a step is bound by reading the weights, which lanes would do twice

Groups = Sequence[tuple[Sequence[int], deque[list[Row]]]]


def lanes_for(model: Any, rows: int) -> int:
    """How many lanes suit a model and so many rows: one per thread on a processor, one elsewhere."""
    if model.device.type != "cpu" or sum(p.numel() for p in model.parameters()) > LARGE:
        return 1
    return max(1, min(torch.get_num_threads(), MOST_LANES, rows // 8))


def decode_in_lanes(
    model: Any, groups: Groups, stops: frozenset[int], temperature: float, top_p: float, lanes: int
) -> Iterator[Row]:
    """`decode_all` by so many threads. The rows are the same; the order in which they finish is not.

    An exception in a lane ends all of them and is raised here. Closing the iterator waits for the steps under way.
    """
    if lanes == 1:
        yield from decode_all(model, groups, stops, temperature, top_p)
        return
    threads = torch.get_num_threads()
    found: queue.SimpleQueue[Row | BaseException | None] = queue.SimpleQueue()
    stopping = threading.Event()

    def lane() -> None:
        torch.set_num_threads(max(1, threads // lanes))  # of this thread's operations
        try:
            for row in decode_all(model, groups, stops, temperature, top_p, stopping):
                found.put(row)
            found.put(None)
        except BaseException as error:
            found.put(error)

    running = [threading.Thread(target=lane, daemon=True, name="tao-hub lane") for _ in range(lanes)]
    for thread in running:
        thread.start()
    try:
        left = lanes
        while left:
            item = found.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        stopping.set()
        for thread in running:
            thread.join()
        torch.set_num_threads(threads)
