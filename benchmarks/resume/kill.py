"""A real quickstart killed with SIGKILL at random moments and started again, beside one that was left alone.

    python benchmarks/resume/kill.py [--kills 20] [--prompts 12] [--limit 5] [--seed 0]

Checks after each kill that no row that was there is lost or changed, and at the end that candidates, scores, what was
learnt from, weights, measurements and the report are those of the uninterrupted run with the same seed. Exit code 1 and
what differs, if anything does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

TABLES = ("candidates", "scores", "prompts", "items", "policies", "eval_items")  # a round's row is filled in at its end
CONTENT = {
    "candidates": "SELECT p.digest, o.digest, s.digest, slot, response, raw, finish_reason, c.error FROM candidates c "
    "JOIN prompts p ON p.id = c.prompt JOIN policies o ON o.id = c.policy JOIN sources s ON s.id = c.source",
    "scores": "SELECT k.name, p.digest, response, context, value, error FROM scores s JOIN prompts p ON "
    "p.id = s.prompt JOIN components k ON k.id = s.reward",
    "chosen": "SELECT round, p.digest, c.slot, c.response, total FROM chosen h JOIN prompts p ON p.id = h.prompt "
    "JOIN candidates c ON c.id = h.candidate",
    "weights": "SELECT number, o.digest, update_digest FROM rounds r JOIN policies o ON o.id = r.after",
    "evals": "SELECT label, split, position, value, i.error FROM eval_items i JOIN evals e ON e.id = i.eval",
    "deltas": "SELECT before, after, data FROM deltas",
}
TIMELESS = {"seconds", "stage_seconds", "peak_memory_mb", "run"}


def rows(store: Path) -> dict[str, set[Any]]:
    """The rows of each table; none while it is not there."""
    found: dict[str, set[Any]] = {}
    for table in TABLES:
        found[table] = set()
        if store.exists():
            with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=60)) as db:
                try:
                    found[table] = set(db.execute(f"SELECT * FROM {table}").fetchall())
                except sqlite3.OperationalError:
                    continue
    return found


def content(store: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(store)) as db:
        return {name: sorted(db.execute(query).fetchall(), key=repr) for name, query in CONTENT.items()}


def start(options: argparse.Namespace, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tao_hub.cli", "quickstart", "--rounds", "1", "--deterministic", "--json"]
    command += ["--prompts", str(options.prompts), "--limit", str(options.limit), "--seed", str(options.seed)]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )


def finish(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the quickstart ended with {process.returncode}")
    said: dict[str, Any] = json.loads(out)
    return {key: value for key, value in said.items() if key not in TIMELESS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("kills", 20), ("prompts", 12), ("limit", 5), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    draw, wrong = random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as scratch:
        alone, killed = Path(scratch) / "alone", Path(scratch) / "killed"
        alone.mkdir()
        killed.mkdir()
        began = time.monotonic()
        whole = finish(start(options, alone))
        took = time.monotonic() - began
        # a run started again has the program's start before it, and less to do each time
        moments = [draw.uniform(0.5, min(took, 6 + took / 3)) for _ in range(options.kills)]
        kept = rows(killed / "tao-hub.db")
        ended_early = 0
        for moment in moments:
            process = start(options, killed)
            try:
                process.wait(moment)
                ended_early += 1
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            now = rows(killed / "tao-hub.db")
            wrong += [f"rows of {t} lost or changed at {moment:.1f} s" for t in TABLES if not kept[t] <= now[t]]
            kept = now
        resumed = finish(start(options, killed))
        one, other = content(alone / "tao-hub.db"), content(killed / "tao-hub.db")
        wrong += [f"{name} differ from the uninterrupted run's" for name in one if one[name] != other[name]]
        wrong += [f"{key}: {resumed[key]} instead of {whole[key]}" for key in whole if whole[key] != resumed[key]]
        counts = {name: len(found) for name, found in other.items()}
    told = {"kills": options.kills - ended_early, "ended_before_the_kill": ended_early, "rows": counts, "wrong": wrong}
    print(json.dumps(told, indent=1))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
