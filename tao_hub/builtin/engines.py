"""The engine `local`: this process, or worker processes on this machine."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from pydantic import Field

from .. import components
from ..components import Engine, Task

_task: Task | None = None


def _build(make: bytes) -> None:
    global _task
    _task = pickle.loads(make)()


def _call(item: Any) -> Any:
    assert _task is not None
    return _task(item)


def _submit(pool: ProcessPoolExecutor, item: Any) -> Future[Any]:
    """The item's future; a pool that is already broken (by another item) breaks the future, not the caller."""
    try:
        return pool.submit(_call, item)
    except BrokenProcessPool as error:
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed


class Local(Engine):
    """Runs tasks here (`workers` 1) or in fresh worker processes; a worker that dies costs the item it held."""

    class Options(components.Options):
        workers: int = Field(1, ge=1, description="worker processes; 1: this process")

    def map(self, make: Callable[[], Task], items: Iterable[Any], timeout: float) -> Iterator[Any | Exception]:
        """Results in order. `timeout` is the task's own affair here (see tao_hub.scoring)."""
        if self.options.workers > 1:
            yield from self._spread(make, items)
            return
        task = make()
        for item in items:
            yield _attempt(task, item)

    def _spread(self, make: Callable[[], Task], items: Iterable[Any]) -> Iterator[Any | Exception]:
        workers = self.options.workers
        packed = pickle.dumps(make)
        source = iter(items)
        pending: deque[tuple[Any, Future[Any]]] = deque()
        pool = self._pool(packed)
        try:
            while True:
                while len(pending) < 2 * workers and (item := next(source, pending)) is not pending:
                    pending.append((item, _submit(pool, item)))
                if not pending:
                    return
                item, future = pending.popleft()
                try:
                    result = future.result()
                except BrokenProcessPool:  # one worker died and took the pool along: find out whose item it was
                    pool.shutdown(wait=False, cancel_futures=True)
                    result = self._alone(packed, item)
                    pool = self._pool(packed)
                    pending = deque((later, _submit(pool, later)) for later, _ in pending)
                except Exception as error:
                    result = error
                yield result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _pool(self, packed: bytes, workers: int | None = None) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers or self.options.workers, get_context("spawn"), _build, (packed,))

    def _alone(self, packed: bytes, item: Any) -> Any | Exception:
        with self._pool(packed, 1) as pool:
            try:
                return pool.submit(_call, item).result()
            except BrokenProcessPool as error:
                return RuntimeError(f"the worker process died on this item ({error})")
            except Exception as error:
                return error


def _attempt(task: Task, item: Any) -> Any | Exception:
    try:
        return task(item)
    except Exception as error:
        return error
