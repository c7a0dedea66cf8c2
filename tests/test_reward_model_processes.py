"""A reward model trained by two processes has the weights of one that took the same steps alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import sharded_on_cpu
from conftest import PATIENCE
from safetensors.torch import load_file
from tao_reward_model.trained import processes
from test_reward_model_resume import asked, folder

from tao_hub import UsageError

__all__ = ["folder"]  # the fixture: a base and pairs


MORE = ["--batch-size", 8, "--ensemble", 2, "--held-out", 0.16]  # 80 groups: ten whole steps an epoch


def command(folder: Path, out: str, *start: str) -> list[str]:
    """`tao-hub train-reward` in two processes on this machine's CPU (gloo)."""
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *start]
    return [*two, *map(str, [*asked(folder, out), *MORE])]


def told(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """One JSON object: the other process says nothing."""
    assert process.returncode == 0, process.stderr
    [line] = process.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def run(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, check=False, cwd=folder, capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Any]:
    """What one process takes the steps of two with."""
    words = [*asked(folder, "one"), *MORE, "--accumulate", 2]
    return told(run(sys.executable, "-m", "tao_hub.cli", *map(str, words), folder=folder))


def assert_the_same(folder: Path, first: dict[str, Any], second: dict[str, Any], out: str) -> None:
    before = {f"bert.{name}": weight for name, weight in load_file(folder / "base" / "model.safetensors").items()}
    for member in (".", "members/1"):
        a, b = (load_file(folder / name / member / "model.safetensors") for name in ("one", out))
        assert set(a) == set(b)
        shared = [name for name in a if name in before and a[name].shape == before[name].shape]
        moved = sum(float((a[name] - before[name]).norm() ** 2) for name in shared) ** 0.5
        assert sum(float((a[name] - b[name]).norm() ** 2) for name in a) ** 0.5 < 1e-2 * moved
    assert second["metrics"]["accuracy"] == pytest.approx(first["metrics"]["accuracy"])
    assert not list(folder.glob(f".{out}*"))


def test_two_processes_train_what_one_does_and_one_of_them_speaks(folder: Path, alone: dict[str, Any]) -> None:
    two = told(run(*command(folder, "two", "-m", "tao_hub.cli"), folder=folder))
    assert [len(losses) for losses in two["losses"]] == [len(losses) for losses in alone["losses"]]
    for mine, theirs in zip(alone["losses"], two["losses"]):
        assert theirs == pytest.approx(mine, rel=1e-3, abs=1e-5)
    assert_the_same(folder, alone, two, "two")


def test_processes_that_share_the_weights_train_what_one_does_even_if_they_are_killed(
    folder: Path, alone: dict[str, Any]
) -> None:
    words = command(folder, "shares", sharded_on_cpu.__file__)
    shares = {"env": {**os.environ, **sharded_on_cpu.FSDP2}, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, **shares) as first:
        end = time.monotonic() + PATIENCE
        while first.poll() is None and not list(folder.glob(".shares.partial/member-0/checkpoint-*/complete")):
            assert time.monotonic() < end
            time.sleep(0.05)
        workers = psutil.Process(first.pid).children()  # the launcher's, which outlive it
        for process in (first, *workers):
            process.kill()
        psutil.wait_procs(workers)
    assert first.returncode == -signal.SIGKILL
    assert not (folder / "shares").exists()
    second = told(run(*words, folder=folder, **sharded_on_cpu.FSDP2))
    assert_the_same(folder, alone, second, "shares")


def test_what_several_processes_cannot_train_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    processes.check(frozen=True, batch_size=5, accumulate=1)  # alone everything goes
    monkeypatch.setenv("WORLD_SIZE", "2")
    processes.check(frozen=False, batch_size=8, accumulate=2)
    with pytest.raises(UsageError, match="start it without accelerate"):
        processes.check(frozen=True, batch_size=8, accumulate=1)
    with pytest.raises(UsageError, match="make it a multiple of 4"):
        processes.check(frozen=False, batch_size=6, accumulate=2)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UsageError, match="fsdp_version: 2"):
        processes.check(frozen=False, batch_size=8, accumulate=1)
    monkeypatch.setenv("FSDP_VERSION", "2")
    processes.check(frozen=False, batch_size=8, accumulate=1)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UsageError, match="not by DeepSpeed"):
        processes.check(frozen=False, batch_size=8, accumulate=1)
