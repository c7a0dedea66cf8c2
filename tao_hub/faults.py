"""Faults of the machine rather than of a program: no space left, a place where nothing can be written."""

from __future__ import annotations

import errno
import sqlite3

OF_SYSTEM = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EMFILE,
})  # fmt: skip
OF_SQLITE = ("database or disk is full", "disk I/O error", "attempt to write a readonly", "unable to open database")


def of_machine(error: BaseException) -> str:
    """What to tell instead of a traceback if the machine was at fault, with the cure; "" for all other errors."""
    if isinstance(error, OSError) and error.errno in OF_SYSTEM:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    elif isinstance(error, sqlite3.OperationalError) and str(error).startswith(OF_SQLITE):
        what = f"the store cannot be written: {error}"
    else:
        return ""
    return f"{what}. What was finished is kept: make room (or give the right to write), and the same command goes on"
