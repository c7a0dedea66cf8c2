"""Killable worker processes that run SQL: what takes too long is killed with its process, and its neighbours go on."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("worker.py")
GRACE = 1.0  # seconds after the deadline until the process is killed: SQLite looks at the clock only between steps
START = 20.0  # seconds a new process may take, on a busy machine
MOST_ANSWER = 1 << 28


@dataclass(frozen=True)
class Limits:
    """What one query may take. Sizes in bytes."""

    seconds: float = 5.0
    rows: int = 10_000
    bytes: int = 20_000_000
    heap: int = 128_000_000  # of SQLite
    memory: int = 1_000_000_000  # of the process's address space
    length: int = 100_000  # of a value
    sql: int = 20_000


@dataclass(frozen=True)
class Result:
    """What a query gave: rows, or `kind` (error, timeout, forbidden, memory, crash, database) with the message."""

    rows: tuple[tuple[Any, ...], ...] = ()
    columns: int = 0
    truncated: bool = False
    kind: str = ""
    error: str = ""
    seconds: float = 0.0
    reads: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """(table or alias, column) pairs that the query reads, in lower case."""
    tables: tuple[str, ...] = ()
    """Real tables and views among them."""

    @property
    def ok(self) -> bool:
        return not self.kind


class Worker:
    """One process, started when first asked."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, path: str, sql: str, seconds: float) -> Result:
        if len(sql) > self.limits.sql:
            return Result(
                kind="forbidden", error=f"forbidden: {len(sql)} characters, at most {self.limits.sql} are run"
            )
        if "\0" in sql:
            return Result(kind="error", error="a NUL character in the query")
        try:
            sql.encode()
        except UnicodeEncodeError:
            return Result(kind="error", error="not valid Unicode")
        fresh = self._process is None
        process = self._process = self._process or self._start()
        data = pickle.dumps({"path": path, "sql": sql, "seconds": seconds}, protocol=5)
        started = time.monotonic()
        try:
            assert process.stdin is not None
            process.stdin.write(struct.pack("<I", len(data)) + data)
            process.stdin.flush()
            answer = self._read(started + seconds + GRACE + (START if fresh else 0.0))
        except TimeoutError:
            self.close()
            return Result(
                kind="timeout", error=f"killed after {seconds + GRACE:g} s", seconds=time.monotonic() - started
            )
        except (OSError, EOFError, ValueError) as error:
            code = process.poll()
            self.close()
            return Result(kind="crash", error=f"the sandbox process ended ({code}): {error}"[:300])
        rows = tuple(tuple(row) for row in answer.pop("rows", ()))
        reads = tuple(tuple(pair) for pair in answer.pop("reads", ()))
        return Result(rows=rows, reads=reads, tables=tuple(answer.pop("tables", ())), **answer)

    def _start(self) -> subprocess.Popen[bytes]:
        given = {n: getattr(self.limits, n) for n in ("rows", "bytes", "heap", "memory", "length", "sql")}
        return subprocess.Popen(
            [sys.executable, "-I", str(PROGRAM), json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, close_fds=True, cwd="/", env={"LANG": "C.UTF-8"}, start_new_session=True,
        )  # fmt: skip

    def _read(self, deadline: float) -> dict[str, Any]:
        (size,) = struct.unpack("<I", self._bytes(4, deadline))
        if size > MOST_ANSWER:
            raise ValueError("an answer of impossible size")
        answer: dict[str, Any] = pickle.loads(self._bytes(size, deadline))
        return answer

    def _bytes(self, count: int, deadline: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        found = b""
        while len(found) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                raise TimeoutError
            piece = os.read(handle, min(count - len(found), 1 << 20))
            if not piece:
                raise EOFError("no answer")
            found += piece
        return found

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            process.wait()


class Sandbox:
    """A pool of workers. Equal queries on equal files are run once and remembered (`kept` of them)."""

    def __init__(self, workers: int = 1, limits: Limits | None = None, kept: int = 50_000) -> None:
        self.limits = limits or Limits()
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._workers = [Worker(self.limits) for _ in range(workers)]
        for worker in self._workers:
            self._free.put(worker)
        self._kept = kept
        self._known: dict[tuple[str, str, float], Result] = {}
        self._lock = threading.Lock()

    def run(self, path: str | Path, sql: str, remembered: bool = True) -> Result:
        """Run one query on one database file. Never raises for what the query does.

        With `remembered` False it is run even if its result is known: its time is wanted.
        """
        key = (str(path), sql, _stamp(path))
        with self._lock:
            if remembered and key in self._known:
                return self._known[key]
        worker = self._free.get()
        try:
            result = worker.run(str(path), sql, self.limits.seconds)
        finally:
            self._free.put(worker)
        if result.kind not in ("crash", "database"):  # these may be the machine's fault, and end
            with self._lock:
                if len(self._known) >= self._kept:
                    self._known.clear()
                self._known[key] = result
        return result

    def run_all(self, tasks: Sequence[tuple[str | Path, str]]) -> list[Result]:
        """Results in the order of (path, sql) tasks, over all workers."""
        if len(self._workers) == 1 or len(tasks) < 2:
            return [self.run(path, sql) for path, sql in tasks]
        with ThreadPoolExecutor(len(self._workers)) as threads:
            return list(threads.map(lambda task: self.run(*task), tasks))

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _stamp(path: str | Path) -> float:
    """Changes when a file does, so that a remembered result belongs to the file as it is."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
