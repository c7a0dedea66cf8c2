"""A training that is not finished: it lies beside the model's folder, and the same command goes on with it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tao_hub import StoreError, TaoHubError, UsageError, take_lock

COMPLETE = "complete"  # the file that says a checkpoint was written to its end


@contextmanager
def unfinished(out: Path, key: str) -> Iterator[Path]:
    """The folder `.NAME.partial` beside `out`, with what an interrupted training of the same `key` left there.

    It goes when all went well, when the same command would fail again, and where it holds nothing to go on from. Raises
    UsageError where another process is training into `out`.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    work = partial(out)
    try:
        lock = take_lock(work)
    except StoreError as error:
        raise UsageError(f"another process is training into {out}; wait for it, or give another --out") from error
    try:
        if _key(work) != key:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            (work / "key").write_text(key, encoding="utf-8")
        yield work
        shutil.rmtree(work)
    except BaseException as error:
        if isinstance(error, (ValueError, TaoHubError)) or not _worth_keeping(work):
            shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        os.unlink(f"{work}.lock")
        lock.close()


def partial(out: Path) -> Path:
    """Where a training into `out` lies until it is finished."""
    return out.parent / f".{out.name}.partial"


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint in `folder` that was written to its end, if there is one."""
    whole = [file.parent for file in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


def finished_member(work: Path) -> list[float] | None:
    """The losses of a member that was trained and saved to its end, if it was."""
    file = work / "losses.json"
    return list(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def finish_member(work: Path, losses: list[float]) -> None:
    """Mark a member, saved elsewhere, as finished; its checkpoints go."""
    made = work / "losses.json.new"
    made.write_text(json.dumps(losses), encoding="utf-8")
    os.replace(made, work / "losses.json")
    for folder in work.glob("checkpoint-*"):
        shutil.rmtree(folder)


def _worth_keeping(work: Path) -> bool:
    return any(work.glob(f"member-*/checkpoint-*/{COMPLETE}")) or any(work.glob("member-*/losses.json"))


def _key(work: Path) -> str:
    marker = work / "key"
    return marker.read_text(encoding="utf-8") if marker.is_file() else ""
