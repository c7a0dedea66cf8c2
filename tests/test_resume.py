"""Killed and started again: nothing lost, nothing doubled, what was finished stays as it was."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Site, shell, spawn, write_rows
from learner import SOURCE

# Each answer depends on the whole batch it was drawn in, as the last bits of a real model's do.
SLOW = """
import time
import tao_hub
class Slow(tao_hub.Generator):
    class Options(tao_hub.Options):
        answer: str = ""
    def policy_digest(self):
        return tao_hub.digest(["slow", self.options.answer])
    def generate(self, requests, sampling):
        batch = tao_hub.digest([[r.prompt.digest, r.n, r.seed] for r in requests])
        for i, r in enumerate(requests):
            time.sleep(0.002)
            draws = [tao_hub.digest([batch, r.seed, j]) for j in range(r.n)]
            yield i, [tao_hub.Completion(self.options.answer or ("yes " if d < "8" else "no ") + d) for d in draws]
class Shout(tao_hub.Reward):
    def score_batch(self, pairs):
        time.sleep(0.005)
        return [float(int(c.response[-4:], 16)) if c.response.startswith("yes ") else 0.0 for _, c in pairs]
@tao_hub.hookimpl
def register_generators(register):
    register("slow", Slow)
@tao_hub.hookimpl
def register_rewards(register):
    register("shout", Shout)
"""
PROMPTS, EACH = 300, 3  # more prompts than one call of a generator covers
KILLS = 5


@pytest.fixture
def workspace(site: Site, tmp_path: Path) -> Path:
    site.add("learner", SOURCE)
    site.add("slow", SLOW)
    write_rows(tmp_path / "data" / "prompts.jsonl", *({"prompt": f"question {i}"} for i in range(PROMPTS)))
    write_rows(tmp_path / "data" / "test.jsonl", *({"prompt": f"exam {i}", "reference": "x"} for i in range(20)))
    (tmp_path / "plan.toml").write_text(
        f"""
        suite = "jsonl"
        suite_options = {{ path = {json.dumps(str(tmp_path / "data"))} }}
        policy = "slow/slow"
        rounds = 1
        deterministic = true
        candidates = [{{ strategy = "direct", n = {EACH} }}]
        rewards = [{{ name = "slow/shout" }}]
        train = {{ name = "learner/majority" }}
        eval = [{{ split = "test" }}]
        """
    )
    return tmp_path


def words(store: str) -> list[str]:
    return ["tune", "plan.toml", "--store", store, "--report", f"{store}.html"]


def rows(store: Path, table: str) -> list[Any]:
    """Rows of a table; none while the store (or the table) is not there yet."""
    if not store.exists():
        return []
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=60) as db:
        try:
            return db.execute(f"SELECT * FROM {table}").fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            db.rollback()


def finished(store: Path) -> dict[str, set[Any]]:
    return {table: set(rows(store, table)) for table in ("candidates", "scores", "prompts", "items", "policies")}


def wait_for(process: subprocess.Popen[str], store: Path, count: int) -> bool:
    """Wait until candidates and scores are at least `count`; False if the process ended before."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None:
        if len(rows(store, "candidates")) + len(rows(store, "scores")) >= count:
            return True
        assert time.monotonic() < end
        time.sleep(0.01)
    return False


def content(store: Path) -> dict[str, list[Any]]:
    """All that a run leaves, without row ids' order of making and without times."""
    sql = {
        "candidates": "SELECT p.digest, o.digest, s.digest, slot, response, raw, finish_reason, error "
        "FROM candidates c JOIN prompts p ON p.id = c.prompt "
        "JOIN policies o ON o.id = c.policy JOIN sources s ON s.id = c.source",
        "scores": "SELECT k.name, p.digest, response, context, value, error FROM scores s JOIN prompts p ON "
        "p.id = s.prompt JOIN components k ON k.id = s.reward",
        "chosen": "SELECT round, p.digest, c.slot, c.response, total FROM chosen h JOIN prompts p ON p.id = h.prompt "
        "JOIN candidates c ON c.id = h.candidate",
        "rounds": "SELECT number, o.digest, update_digest FROM rounds r JOIN policies o ON o.id = r.after",
        "evals": "SELECT label, split, position, value, i.error FROM eval_items i JOIN evals e ON e.id = i.eval",
        "deltas": "SELECT before, after, data FROM deltas",
    }
    with sqlite3.connect(store) as db:
        return {name: sorted(db.execute(query).fetchall(), key=repr) for name, query in sql.items()}


def test_killed_at_random_moments_and_resumed_nothing_is_lost_doubled_or_changed(workspace: Path, site: Site) -> None:
    store = workspace / "killed.db"
    draw = random.Random(2026)
    total = PROMPTS * EACH * 2  # candidates and scores of the round
    moments = sorted(draw.randrange(1, total) for _ in range(KILLS))
    kept: dict[str, set[Any]] = {}
    killed = 0
    for moment in moments:
        process = spawn(*words("killed.db"), cwd=workspace, path=site.path)
        if wait_for(process, store, moment):
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate(timeout=PATIENCE)
        now = finished(store)
        for table, before in kept.items():
            assert before <= now[table], f"rows of {table} were lost or changed"
        kept = now
    assert killed == KILLS
    done = shell(*words("killed.db"), "--json", cwd=workspace, path=site.path)
    assert done.code == 0, done.err
    for table, before in kept.items():
        assert before <= finished(store)[table]
    slots = [(r[1], r[2], r[3], r[4]) for r in rows(store, "candidates")]
    assert len(slots) == len(set(slots)) == PROMPTS * EACH + 2 * 20  # base and round 1 on the test split
    whole = shell(*words("whole.db"), "--json", cwd=workspace, path=site.path)
    assert whole.code == 0, whole.err
    assert content(store) == content(workspace / "whole.db")
    timeless = {"created", "command", "seconds", "stage_seconds", "peak_memory_mb", "environment"}
    for told in (done.json, whole.json):
        assert all(r["seconds"] > 0 for r in told["rounds"])
    one, other = ({k: v for k, v in r.json.items() if k not in timeless} for r in (done, whole))
    one["rounds"], other["rounds"] = ([{**r, "seconds": 0} for r in told["rounds"]] for told in (one, other))
    assert one == other


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_a_scheduler_end_it_with_a_word_and_the_same_command_goes_on(
    workspace: Path, site: Site, how: int, code: int
) -> None:
    store = workspace / "s.db"
    process = spawn(*words("s.db"), cwd=workspace, path=site.path)
    assert wait_for(process, store, 200)
    process.send_signal(how)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "the same command goes on" in err
    assert "Traceback" not in err
    before = finished(store)
    listed = shell("runs", "--store", "s.db", "--json", cwd=workspace, path=site.path).json
    assert [(r["finished"], r["rounds"]) for r in listed] == [(None, 0)]
    assert shell(*words("s.db"), cwd=workspace, path=site.path).code == 0
    assert all(rows_before <= finished(store)[table] for table, rows_before in before.items())
    listed = shell("runs", "--store", "s.db", "--json", cwd=workspace, path=site.path).json
    assert listed[0]["finished"]
    assert len(listed) == 1
