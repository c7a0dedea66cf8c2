"""A reward model trained by two processes has the weights of one that took the same steps alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE
from safetensors.torch import load_file
from tao_reward_model.trained import processes
from test_reward_model_resume import asked, folder

from tao_hub import UsageError

__all__ = ["folder"]  # the fixture: a base and pairs


def together(folder: Path, out: str, *more: object) -> subprocess.CompletedProcess[str]:
    """`tao-hub train-reward` in two processes on this machine's CPU (gloo)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tao_hub.cli", *map(str, [*asked(folder, out), *more])]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


def alone(folder: Path, out: str, *more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tao_hub.cli", *map(str, [*asked(folder, out), *more])]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


def test_two_processes_train_what_one_does_and_one_of_them_speaks(folder: Path) -> None:
    more = ["--batch-size", 8, "--ensemble", 2, "--held-out", 0.16]  # 80 groups: ten whole steps an epoch
    one = alone(folder, "one", *more, "--accumulate", 2)
    two = together(folder, "two", *more)
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    [told] = two.stdout.splitlines()  # one JSON object: the other process says nothing
    first, second = json.loads(one.stdout), json.loads(told)
    assert [len(losses) for losses in second["losses"]] == [len(losses) for losses in first["losses"]]
    for mine, theirs in zip(first["losses"], second["losses"]):
        assert theirs == pytest.approx(mine, rel=1e-3, abs=1e-5)
    before = {f"bert.{name}": weight for name, weight in load_file(folder / "base" / "model.safetensors").items()}
    for member in (".", "members/1"):
        a, b = (load_file(folder / out / member / "model.safetensors") for out in ("one", "two"))
        shared = [name for name in a if name in before and a[name].shape == before[name].shape]
        moved = sum(float((a[name] - before[name]).norm() ** 2) for name in shared) ** 0.5
        assert sum(float((a[name] - b[name]).norm() ** 2) for name in a) ** 0.5 < 1e-2 * moved
    assert second["metrics"]["accuracy"] == pytest.approx(first["metrics"]["accuracy"])
    assert not list(folder.glob(".two*"))


def test_what_several_processes_cannot_train_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    processes.check(frozen=True, batch_size=5, accumulate=1)  # alone everything goes
    monkeypatch.setenv("WORLD_SIZE", "2")
    processes.check(frozen=False, batch_size=8, accumulate=2)
    with pytest.raises(UsageError, match="start it without accelerate"):
        processes.check(frozen=True, batch_size=8, accumulate=1)
    with pytest.raises(UsageError, match="make it a multiple of 4"):
        processes.check(frozen=False, batch_size=6, accumulate=2)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UsageError, match="not sharded"):
        processes.check(frozen=False, batch_size=8, accumulate=1)
