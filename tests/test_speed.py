"""The speed benchmarks run at a small size, and both sides of each compute the same; nothing here is timed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from conftest import PATIENCE, ROOT

pytest.importorskip("torch")


def quick(script: str, *more: str) -> dict[str, Any]:
    return run(script, "--quick", "--json", *more)


def run(script: str, *more: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / "speed" / script), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_sampling_is_that_of_transformers_and_samples_of_a_prompt_share_what_they_write() -> None:
    found = quick("generate.py")
    assert found["logprob_difference"] < 1e-3
    assert found["lengths_p"] > 1e-3
    assert found["first_tokens_p"] > 1e-3
    assert found["distinct_contexts"] < found["tokens"] / 2
    assert found["ratio"] > 0
    assert found["ceiling_gflops"] > 0


def test_attention_written_out_is_that_of_the_kernel() -> None:
    found = run("attention.py", "--repeats", "2")
    assert found["largest_difference"] < 0.03  # bfloat16
    assert found["products"]["backward_ms"] > 0


def test_scores_are_those_of_a_plain_loop_and_training_ends_where_trl_does() -> None:
    pytest.importorskip("trl")
    found = quick("reward_model.py")
    assert found["score_difference"] < 1e-4
    assert found["loss"] == pytest.approx(found["trl_loss"], abs=0.02)
    assert found["loss"] < found["loss_before"] + 0.02


def test_a_round_and_plain_grpo_say_where_their_time_goes() -> None:
    pytest.importorskip("trl")
    pytest.importorskip("tao_demo")
    found = quick("round.py")
    for side in (found["ours"], found["trl"]):
        assert side["steps"] > 0
        assert side["drawn_tokens"] > 0
        assert 0 <= side["dev"] <= 1
        assert min(side["generate"], side["score"], side["update"]) > 0
        assert side["generate"] + side["score"] + side["update"] <= side["seconds"] + 0.1
    assert 0 <= found["dev_before"] <= 1
