"""The real model, SmolLM2-135M-Instruct: it answers, and a short quickstart runs through and resumes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tao_hub import Message, Prompt, Ref, Request, Sampling
from tao_hub.plugins import Hub

pytestmark = pytest.mark.slow


def test_the_real_model_answers(smollm2: str) -> None:
    generator = Hub().generator(Ref("hf/causal-lm", {"model": smollm2}))
    system = Message("system", "You answer briefly and politely with the facts.")
    prompt = Prompt((system, Message("user", "What is the capital of France?")))
    ((_, (answer,)),) = generator.generate([Request(prompt, 1, 0)], Sampling(0.0, 20))
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"


def test_the_real_model_computes_a_shared_prefix_once_also_in_bfloat16(smollm2: str) -> None:
    import torch
    from tao_train_trl import checkpoint, shared_prefix

    model, _, _ = checkpoint.load(smollm2, None, "bfloat16")
    assert shared_prefix.usable(model)  # in bfloat16 two right ways differ by a tenth: that must not rule it out
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "sdpa"


def quickstart(folder: Path, *more: str) -> dict[str, Any]:
    asked = ["quickstart", "--prompts", "12", "--limit", "5", "--json", *more]
    command = [sys.executable, "-m", "tao_hub.cli", *asked]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_short_quickstart_learns_and_the_same_command_finds_all_done(smollm2: str, tmp_path: Path) -> None:
    first = quickstart(tmp_path, "--rounds", "1")
    assert (first["labels_used"], first["worked_examples"], first["n"]) == (0, 8, 5)
    assert len(first["rounds"]) == 1
    assert first["stage_seconds"]["update"] > 0
    assert (tmp_path / "report.html").stat().st_size > 10_000
    models = sorted((tmp_path / "tao-hub-models").iterdir())
    again = quickstart(tmp_path, "--rounds", "1")
    for stage in ("generate", "update"):  # a run's seconds add up over its calls: the second call had nothing to add
        assert again["stage_seconds"][stage] == first["stage_seconds"][stage]
    assert {k: again[k] for k in ("base", "prompted", "rounds", "delta", "ci", "p")} == {
        k: first[k] for k in ("base", "prompted", "rounds", "delta", "ci", "p")
    }
    assert sorted((tmp_path / "tao-hub-models").iterdir()) == models
