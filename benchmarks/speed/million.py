"""A million candidates and scores: memory of the hub, time to find what is owed, time of `tao-hub show`.

    python benchmarks/speed/million.py                      # 100,000 prompts × 10, some minutes
    python benchmarks/speed/million.py --candidates 20000   # the same in seconds

No model: the echo generator and the reward rules/length, so that only the hub itself is measured. Prints one JSON line:
`peak_memory_mb` (largest resident size of the process that ran the round; goal 500), `owed_s` (a new process opens the
store, compares its prompts with the suite's and finds the slots and scores that were taken out; goal 2), `show_s`
(`tao-hub show RUN` as a process of its own; goal 1), `round_s` (the round) and `store_mb`. Exits with 1 if a goal is
missed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import tao_hub
from tao_hub.environment import peak_memory_mb
from tao_hub.store import Member

EACH = 10  # candidates per prompt, all different
GOALS = {"peak_memory_mb": 500.0, "owed_s": 2.0, "show_s": 1.0}
TAKEN = 100  # prompts whose candidates are taken out, and as many whose scores are


class Still(tao_hub.Trainer):
    """Reads all groups and returns the policy it started from: the hub's part of an update, without training."""

    def update(
        self, groups: Iterable[tao_hub.Group], start: tao_hub.Ref, out: Path, progress: tao_hub.Progress | None = None
    ) -> tao_hub.Ref:
        out.mkdir(parents=True, exist_ok=True)
        sum(group.best() is not None for group in groups)
        return start


@tao_hub.hookimpl
def register_trainers(register: Any) -> None:
    register("still", Still)


def hub() -> tao_hub.Hub:
    points = [p for p in metadata.entry_points(group="tao_hub") if p.name in ("core", "rules")]
    return tao_hub.Hub([*points, metadata.EntryPoint("bench", "million", "tao_hub")])


def plan(folder: Path) -> tao_hub.Plan:
    return tao_hub.load_plan({
        "suite": "core/jsonl", "suite_options": {"path": str(folder / "prompts.jsonl")},
        "policy": "core/echo", "policy_options": {"replies": [f"answer {'x' * i}" for i in range(EACH)]},
        "candidates": [{"strategy": "direct", "n": EACH}], "train": {"name": "bench/still"},
        "rewards": [{"name": "rules/length", "options": {"target": 10}}],
    })  # fmt: skip


def one_round(folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    with tao_hub.Session(folder / "s.db", hub()) as session:
        name = tao_hub.tune(session, plan(folder))
        scores = session.store.one("SELECT count(*) FROM scores")
        candidates = session.store.one("SELECT count(*) FROM candidates")
    assert scores == candidates
    return {"run": name, "round_s": time.perf_counter() - start, "peak_memory_mb": peak_memory_mb()}


def take_out(folder: Path) -> None:
    """Remove the candidates of some prompts and the scores of others, as if a process had died before them."""
    with tao_hub.Store(folder / "s.db") as store:
        prompts = [row for (row,) in store.rows("SELECT id FROM prompts")]
        drawn = random.Random(0).sample(prompts, 2 * TAKEN)
        with store.atomic():
            store.db.execute("DELETE FROM chosen")
            for i, prompt in enumerate(drawn):
                store.db.execute("DELETE FROM scores WHERE prompt = ?", [prompt])
                if i < TAKEN:
                    store.db.execute("DELETE FROM candidates WHERE prompt = ?", [prompt])


def find_owed(folder: Path) -> dict[str, Any]:
    wanted = plan(folder)
    opened = tao_hub.Session(folder / "s.db", hub())
    start = time.perf_counter()
    with opened as session:
        part = session.slice(wanted.suite_ref, "prompts")
        policy = session.policy(session.hub.policy(wanted.policy, wanted.policy_options))
        (source,) = wanted.candidates
        direct = session.strategy(source.ref, wanted.suite_ref)[1]
        member = Member(policy.row, session.source(direct, policy, source.sampling(wanted.seed)), source.n)
        slots = session.store.owed_slots(part, member)
        reward = session.reward(wanted.rewards[0].ref, wanted.suite_ref)
        scores = sum(len(page) for page in session.store.owed_scores(part, reward.row, [member]))
        seconds = time.perf_counter() - start
    assert (len(slots), scores) == (TAKEN, TAKEN * EACH), (len(slots), scores)
    return {"owed_s": seconds}


def show(folder: Path, run: str) -> dict[str, Any]:
    start = time.perf_counter()
    tao_hub_command = [sys.executable, "-c", "from tao_hub.cli import main; main()"]
    command = [*tao_hub_command, "show", run, "--store", str(folder / "s.db"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    shown = [len(prompt["candidates"]) for prompt in json.loads(done.stdout)]
    assert shown == [EACH] * 3, shown
    return {"show_s": seconds}


def apart(step: str, folder: Path) -> dict[str, Any]:
    """A step in a process of its own, so that its memory and its imports are its own."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=1_000_000, help="how many, at least 2000; ten a prompt")
    parser.add_argument("--step", choices=["round", "owed"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.candidates < 2 * TAKEN * EACH:
        parser.error(f"--candidates {given.candidates}: at least {2 * TAKEN * EACH}")
    if given.step:
        print(json.dumps({"round": one_round, "owed": find_owed}[given.step](given.folder)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "prompts.jsonl").open("w", encoding="utf-8") as rows:
            for i in range(given.candidates // EACH):
                rows.write(json.dumps({"id": f"p{i}", "prompt": f"Message number {i}: please answer it."}) + "\n")
        result = {"candidates": given.candidates, **apart("round", folder)}
        result |= show(folder, result["run"])
        result["store_mb"] = (folder / "s.db").stat().st_size / 1e6
        take_out(folder)
        result |= apart("owed", folder)
    result["goals_met"] = all(result[key] <= goal for key, goal in GOALS.items())
    print(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in result.items()}))
    return 0 if result["goals_met"] else 1


if __name__ == "__main__":
    sys.exit(main())
