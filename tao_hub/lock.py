"""The one writer's lock: a file beside the store, held by a process and freed with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from .errors import StoreError


def take_lock(path: Path) -> BinaryIO:
    """Hold `<store>.lock` while this process writes; the operating system frees it when the process dies.

    Raises StoreError naming the process that holds it.
    """
    handle = open(f"{path}.lock", "a+b")  # noqa: SIM115 - held open on purpose
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # no flock on this system: SQLite's own locks still keep the file whole
        return handle
    except OSError as error:
        handle.seek(0)
        owner = handle.read(32).decode("ascii", "replace").strip() or "unknown"
        handle.close()
        raise StoreError(f"{path} is being written by process {owner}; wait for it, or use another --store") from error
    handle.seek(0)
    handle.truncate()
    handle.write(f"{os.getpid()}\n".encode())
    handle.flush()
    return handle


def writer(path: Path) -> str:
    """The process that writes a store right now ("" if none does, or if this system cannot tell).

    The system's list of locks is read: trying the lock could turn away a writer that starts at this moment.
    """
    lock = Path(f"{path}.lock")
    try:
        inode = str(lock.stat().st_ino)
        held = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
        if any(one[1] == "FLOCK" and one[5].rpartition(":")[2] == inode for one in held):
            return lock.read_text(encoding="ascii").strip() or "unknown"
    except (OSError, IndexError, ValueError):
        pass
    return ""
