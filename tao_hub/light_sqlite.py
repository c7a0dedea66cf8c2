"""sqlite-utils without pandas.

It imports pandas only to know its column types, of which a store has none; where pandas is installed (TRL's datasets
bring it) that alone would take each command half a second and more.
"""

from __future__ import annotations

import sys

_absent = "pandas" not in sys.modules
if _absent:
    sys.modules["pandas"] = None  # type: ignore[assignment]  # "not installed", to whoever asks now
try:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations
finally:
    if _absent:
        del sys.modules["pandas"]

__all__ = ["Database", "Migrations"]
