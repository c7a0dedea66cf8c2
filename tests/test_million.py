"""The benchmark of the hub itself runs, on a fiftieth of its size."""

from __future__ import annotations

import json
import subprocess
import sys

from conftest import PATIENCE, ROOT


def test_twenty_thousand_candidates_go_through_with_little_memory() -> None:
    script = ROOT / "benchmarks" / "speed" / "million.py"
    command = [sys.executable, str(script), "--candidates", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["candidates"] == 20000
    assert 0 < found["peak_memory_mb"] <= 500
    assert found["owed_s"] > 0
    assert found["show_s"] > 0
