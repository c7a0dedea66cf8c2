"""A reward model's training that was killed or stopped goes on to the same weights, and leaves nothing behind."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import PATIENCE, shell, spawn, write_rows
from tao_reward_model.trained.options import TrainOptions
from tao_reward_model.trained.train import train
from tao_reward_model.trained.unfinished import unfinished
from tiny_bert import make_tiny_bert

from tao_hub import Hub, UsageError

OPTIONS = {"max_length": 32, "batch_size": 4, "epochs": 2.0, "ensemble": 2, "device": "cpu", "checkpoint_minutes": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and pairs whose better answer says yes."""
    made = tmp_path_factory.mktemp("resume")
    make_tiny_bert(made / "base")
    draw = random.Random(0)
    tails = ["the sky is blue", "it is not bad", "because of it", "a good question", "than to be"]
    rows = [
        {"prompt": f"question {i} {draw.random():.6f}", "chosen": f"yes. {tail}", "rejected": f"nay. {tail}"}
        for i, tail in enumerate(draw.choices(tails, k=96))
    ]
    write_rows(made / "p.jsonl", *rows)
    return made


def trained(folder: Path, out: str, **changes: object) -> str:
    """The digest of a training in this process, which nobody disturbs."""
    options = TrainOptions.model_validate({"base": str(folder / "base"), **OPTIONS, **changes})
    return str(train([str(folder / "p.jsonl")], options, folder / out, hub=Hub([]))["digest"])


@pytest.fixture(scope="module")
def whole(folder: Path) -> str:
    return trained(folder, "whole")


def asked(folder: Path, out: str) -> list[object]:
    given = [x for name, value in OPTIONS.items() for x in ("--" + name.replace("_", "-"), value)]
    return ["train-reward", "--data", "p.jsonl", "--base", folder / "base", *given, "--out", out, "--json"]


def stopped(folder: Path, out: str, how: int, ripe: Callable[[Path], bool]) -> subprocess.Popen[str]:
    """A training that gets the signal `how` as soon as what it has kept is `ripe`."""
    process = spawn(*asked(folder, out), cwd=folder)
    deadline = time.monotonic() + PATIENCE
    while not ripe(folder / f".{out}.partial") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()[1]
    process.send_signal(how)
    process.wait(PATIENCE)
    return process


def step(work: Path, member: int) -> int:
    """The last step of a member that is safe."""
    found = [int(f.parent.name.rpartition("-")[2]) for f in work.glob(f"member-{member}/checkpoint-*/complete")]
    return max(found, default=0)


def test_a_training_that_was_killed_and_stopped_has_the_weights_of_one_left_alone(folder: Path, whole: str) -> None:
    work = folder / ".rm.partial"
    stopped(folder, "rm", signal.SIGKILL, lambda work: step(work, 0) >= 25)  # in the second epoch's order
    assert step(work, 0) >= 25
    told = stopped(folder, "rm", signal.SIGINT, lambda work: step(work, 1) >= 5)  # the first member is finished
    assert told.returncode == 130
    assert "the same command goes on from here" in told.communicate()[1]
    done = shell(*asked(folder, "rm"), cwd=folder)
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["digest"] == whole
    assert [len(losses) for losses in result["losses"]] == [42, 42]
    assert not list(folder.glob(".rm*"))


def test_what_another_training_left_is_not_gone_on_with(folder: Path, whole: str) -> None:
    with suppress(KeyboardInterrupt), unfinished(folder / "other", "another") as work:
        (work / "member-0").mkdir()
        (work / "member-0" / "losses.json").write_text("[0.0]", encoding="utf-8")
        raise KeyboardInterrupt
    assert (folder / ".other.partial").exists()
    assert trained(folder, "other") == whole
    assert not list(folder.glob(".other*"))


def test_a_training_that_would_fail_again_leaves_nothing(folder: Path) -> None:
    with pytest.raises(ValueError, match="lower --learning-rate"):
        trained(folder, "wild", learning_rate=1e20, ensemble=1)
    assert not list(folder.glob("*wild*"))


def test_two_trainings_into_one_folder_do_not_disturb_each_other(folder: Path) -> None:
    with unfinished(folder / "both", "first"), pytest.raises(UsageError, match="another process is training into"):
        trained(folder, "both")
