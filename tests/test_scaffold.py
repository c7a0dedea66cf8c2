"""`tao-hub plugins new`: what it writes installs, passes its own test and scores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, Run, read_rows, shell, write_rows
from test_docs import blocks


def test_a_new_plugin_passes_its_own_test_installs_and_scores(run: Run, tmp_path: Path) -> None:
    assert run("plugins", "new", "well-said").out.split() == [
        "tao-well-said/pyproject.toml", "tao-well-said/src/tao_well_said/__init__.py",
        "tao-well-said/src/tao_well_said/plugin.py", "tao-well-said/src/tao_well_said/word.py",
        "tao-well-said/tests/test_word.py",
    ]  # fmt: skip
    folder, site = tmp_path / "tao-well-said", tmp_path / "site"
    own = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(own, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(folder)], check=True, timeout=PATIENCE)
    (row,) = [r for r in shell("plugins", "--json", cwd=tmp_path, path=site).json if r["name"] == "well-said"]
    assert (row["distribution"], row["registers"]) == ("tao-well-said", {"reward": ["well-said/word"]})
    tried = shell("plugins", "check", "well-said", "--json", cwd=tmp_path, path=site)
    assert tried.code == 0, tried.out
    assert tried.json[1]["notes"] == ["built", "scored 4 of 4"]
    rows = write_rows(
        tmp_path / "rows.jsonl",
        {"id": 1, "prompt": "Ask for the salt.", "response": "The salt, please."},
        {"id": 2, "prompt": "Ask for the salt.", "response": "Salt!"},
    )
    words = ["score", "well-said/word", "--input", rows, "--output", tmp_path / "scores.jsonl"]
    assert shell(*words, cwd=tmp_path, path=site).code == 0
    assert [r["value"] for r in read_rows(tmp_path / "scores.jsonl")] == [1.0, 0.0]


def test_the_page_about_plugins_shows_what_is_written(run: Run, tmp_path: Path) -> None:
    run("plugins", "new", "polite")
    shown = {b.path: b.text for b in blocks(ROOT / "docs" / "plugins.md") if b.path.startswith("tao-polite/")}
    assert len(shown) == 4
    assert shown == {path: (tmp_path / path).read_text() for path in shown}


@pytest.mark.parametrize("name", ["Polite", "a b", "../up", "", "1st", "core", "rules"])
def test_a_name_that_cannot_be_one_or_is_taken_writes_nothing(run: Run, tmp_path: Path, name: str) -> None:
    done = run("plugins", "new", name)
    assert done.code == 2
    assert f"'{name}'" in done.err
    assert not [p for p in tmp_path.iterdir() if p.name != "home"]


def test_a_folder_that_is_there_stays_as_it_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    done = run("plugins", "new", "polite", "--folder", tmp_path / "there")
    assert (done.code, "exists; remove it" in done.err) == (2, True)
    assert not list((tmp_path / "there").iterdir())
