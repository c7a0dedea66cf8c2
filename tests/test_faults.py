"""Full disks, places where nothing can be written, configs that are none: a reason and a cure, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, Run, write_rows

CONFIG = """
suite = "jsonl"
policy = "core/echo"
rounds = 0
policy_options = { replies = ["yes"] }
suite_options = { path = "data" }
candidates = [{ strategy = "direct", n = 2 }]
rewards = [{ name = "rules/length", options = { max = 9 } }]
eval = [{ split = "test" }]
"""
ASKED = ("eval", "jsonl:test", "--suite-option", "path=data", "--policy", "core/echo")
# What a full disk looks like, with no need for one: no file of this process may grow beyond so many bytes.
SMALL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); "


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = ({"prompt": f"Is {i} red?" * 20, "reference": "yes"} for i in range(2000))
    write_rows(tmp_path / "data" / "test.jsonl", *rows)
    write_rows(tmp_path / "data" / "prompts.jsonl", {"prompt": "Is it?"}, {"prompt": "Does it?"})
    (tmp_path / "p.toml").write_text(CONFIG, encoding="utf-8")
    return tmp_path / "data"


def command(before: str = "") -> list[str]:
    return [sys.executable, "-c", f"{before}from tao_hub.cli import main; main()", *ASKED]


def test_a_disk_that_is_full_is_told_and_the_same_command_goes_on(run: Run, data: Path, tmp_path: Path) -> None:
    full = subprocess.run(
        command(SMALL_DISK), cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert full.returncode == 2
    assert "Traceback" not in full.stderr
    assert "What was finished is kept: make room" in full.stderr
    assert run(*ASKED, "--json").json["quality"][0]["n"] == 2000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_nobody_can_take_is_an_error_without_a_traceback(data: Path, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(), cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
    assert done.returncode == 2
    assert "Error: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_where_none_can_be_is_refused_with_the_reason(run: Run, data: Path) -> None:
    refused = run(*ASKED, "--store", "p.toml/s.db")
    assert (refused.code, refused.out) == (2, "")
    assert "Error: no store can be written at p.toml/s.db" in refused.err
    assert "choose another --store" in refused.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_in_a_folder_that_is_only_read_can_be_read(run: Run, data: Path, tmp_path: Path) -> None:
    assert run(*ASKED, "--store", "kept/s.db").code == 0
    (tmp_path / "kept").chmod(0o500)
    try:
        assert "leaderboard" in run("report", "--store", "kept/s.db").out
        refused = run(*ASKED, "--store", "kept/s.db")
        assert (refused.code, "no store can be written" in refused.err) == (2, True)
    finally:
        (tmp_path / "kept").chmod(0o700)


def test_a_config_is_a_file_with_or_without_a_byte_order_mark(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("\ufeff" + CONFIG.replace("\n", "\r\n"), encoding="utf-8")
    assert run("tune", "p.toml").code == 0
    refused = run("tune", "data")
    assert (refused.code, refused.err) == (2, "Error: data: Is a directory; a config is a TOML file\n")
    refused = run("tune", "--init", "absent/p.toml")
    assert (refused.code, "mkdir -p absent" in refused.err) == (2, True)


@pytest.mark.parametrize("words", [("sweep", "p.toml", "--n", "1,2"), ("tune", "p.toml", "--seeds", "0,1")])
def test_a_plan_that_tunes_nothing_is_told_before_anything_is_drawn(run: Run, data: Path, words: list[str]) -> None:
    refused = run(*words)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "Error: the plan tunes nothing: rounds = 0; give it a round or more\n"


def test_an_improvement_that_was_never_measured_is_a_no_with_its_reason(run: Run, data: Path) -> None:
    done = run("tune", "p.toml", "--require-improvement")
    assert done.code == 1
    assert "no round was measured (rounds = 0" in done.err
