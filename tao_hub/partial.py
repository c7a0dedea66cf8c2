"""A file of rows in the making: each is kept beside the target when it is there, in any order, for the next call."""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import UsageError

SCORED, FAILED, SKIPPED = b"s", b"e", b"i"


class Partial:
    """Rows 0 … `total`−1 of a JSONL file `target`. What an earlier call with the same `key` left unfinished is found
    again, but for rows that failed: they are owed again.

    A line is its row's number, how it ended, and the row. Raises UsageError where the folder is not there, or another
    process writes the same rows.
    """

    def __init__(self, target: Path, key: str, total: int) -> None:
        if not target.parent.is_dir():
            raise UsageError(f"{target}: the folder {target.parent} does not exist")
        self._target, self._file = target, target.parent / f".{target.name}.{key[:16]}.part"
        self._lines = open(self._file, "a+b")  # noqa: SIM115 - held open until the target is there
        self._hold()
        self._at = array("q", [-1]) * total
        self._counts = {SCORED: 0, FAILED: 0, SKIPPED: 0}
        self._find()

    def __len__(self) -> int:
        return self._counts[SCORED] + self._counts[SKIPPED]

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self._at[number] >= 0

    def add(self, rows: Iterable[tuple[int, bytes, Mapping[str, Any]]]) -> None:
        """Keep rows: (number, SCORED, FAILED or SKIPPED, the row)."""
        for number, ended, row in rows:
            self._at[number] = self._lines.tell()
            self._counts[ended] += 1
            self._lines.write(b"%d\t%s\t%s\n" % (number, ended, json.dumps(row, ensure_ascii=False).encode()))
        self._lines.flush()

    def finish(self) -> dict[str, int]:
        """Put all rows in order into the target, at once; returns {"rows", "scored", "errors", "skipped"}."""
        handle, name = tempfile.mkstemp(dir=self._target.parent, prefix=f".{self._target.name}.")
        try:
            with os.fdopen(handle, "wb") as out:
                for at in self._at:
                    self._lines.seek(at)
                    out.write(self._lines.readline().split(b"\t", 2)[2])
            os.chmod(name, 0o644)
            os.replace(name, self._target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._lines.close()
        for left in self._target.parent.glob(f".{self._target.name}.*.part"):
            left.unlink(missing_ok=True)
        failed, skipped = self._counts[FAILED], self._counts[SKIPPED]
        return {"rows": len(self._at), "scored": self._counts[SCORED], "errors": failed + skipped, "skipped": skipped}

    def close(self) -> None:
        """Leave what is there for the next call; nothing, if nothing is there."""
        if not self._lines.closed:
            empty = self._lines.seek(0, os.SEEK_END) == 0
            self._lines.close()
            if empty:
                self._file.unlink(missing_ok=True)

    def _hold(self) -> None:
        try:
            import fcntl

            fcntl.flock(self._lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # no flock on this system
            pass
        except OSError as error:
            self._lines.close()
            raise UsageError(f"another process is writing {self._target}: wait for it, or name another file") from error

    def _find(self) -> None:
        """Read what is there; a line that was cut off, and what follows it, is forgotten."""
        self._lines.seek(0)
        whole = 0
        for line in self._lines:
            number, ended, _ = (*line.split(b"\t", 2), b"", b"")[:3]
            if not line.endswith(b"\n") or ended not in self._counts or not int(number) < len(self._at):
                break
            if ended != FAILED:
                self._at[int(number)] = whole
                self._counts[ended] += 1
            whole += len(line)
        self._lines.truncate(whole)
        self._lines.seek(0, os.SEEK_END)
