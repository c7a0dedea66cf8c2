"""The command line: exit codes, help everywhere, completion, results on stdout and progress on stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import PATIENCE, Run, shell

from tao_hub.cli import CORE, cli
from tao_hub.commands import progress
from tao_hub.hookspecs import KINDS


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every core command and its subcommands, with the words that call it."""
    context = click.Context(group)
    found = []
    for name in CORE if group is cli else group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


def test_every_command_and_option_has_help() -> None:
    found = commands(cli)
    assert len(found) >= len(CORE) + len(KINDS)
    for words, command in found:
        assert command.help, words
        assert command.get_short_help_str(200).rstrip(".")
        for option in command.params:
            if isinstance(option, click.Option) and option.name != "help":
                plain = option.show_default or option.name in ("seed", "limit", "rounds")
                assert option.help or plain, (words, option.name)


def test_the_list_of_commands_is_that_of_the_commands(run: Run) -> None:
    shown = run("--help")
    assert shown.code == 0
    assert all(f"  {name} " in shown.out for name in CORE)
    assert "quickstart" in shown.out


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"], ["tune"], ["tune", "absent.toml"], ["show", "--store", "no.db"], ["runs", "--store", "no.db"],
        ["rewards", "show", "absent"], ["eval"], ["score"], ["completion", "tcsh"], ["generate", "absent"],
        ["generate", "jsonl", "--policy", "core/echo"], ["tune", "bad.toml"], ["tune", "not.toml"], ["--nonsense"],
        ["generate", "inbox:dev", "--policy", "core/echo", "--max-tokens", "0"], ["score", "rules/schema", "inbox:dev"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_usage_ends_with_code_two_a_reason_and_no_traceback(run: Run, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "bad.toml").write_text('suite = "inbox"\nround = 3\n')
    (tmp_path / "not.toml").write_text("suite = [")
    refused = run(*words)
    assert refused.code == 2
    assert refused.out == ""
    assert "Error" in refused.err
    assert "Traceback" not in refused.err


def test_errors_of_a_plan_name_file_place_and_cure(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('suite = "inbox"\npolicy = "core/echo"\nround = 3\n[[rewards]]\nweight = "x"\n')
    said = run("tune", "bad.toml").err
    for part in ("bad.toml", "round: ", "rewards.0.name", "rewards.0.weight", "tao-hub tune --init"):
        assert part in said
    absent = run("tune", "absent.toml").err
    assert "`tao-hub tune --init absent.toml` writes one" in absent


def test_a_written_config_is_a_valid_plan_and_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    from tao_hub import load_plan

    assert run("tune", "--init", "tune.toml").code == 0
    plan = load_plan(tmp_path / "tune.toml", {"seed": 7})
    assert plan.seed == 7
    assert plan.rewards
    assert plan.candidates
    again = run("tune", "--init", "tune.toml")
    assert again.code == 2
    assert "exists" in again.err


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_each_shell(run: Run, shell_name: str) -> None:
    script = run("completion", shell_name)
    assert script.code == 0
    assert "_TAO_HUB_COMPLETE" in script.out
    assert "tao-hub" in script.out


def test_completion_answers_with_commands_and_names_of_rewards(tmp_path: Path) -> None:
    code = "import os, sys; sys.argv = ['tao-hub']; from tao_hub.cli import main; main()"
    for words, expected in (("tao-hub comp", "compare"), ("tao-hub rewards show rules/len", "rules/length")):
        asked = {"_TAO_HUB_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True,
            timeout=PATIENCE, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert f"plain,{expected}" in done.stdout, done.stderr


@pytest.mark.parametrize("plural", [*KINDS.values(), "plugins"])
def test_lists_print_tables_and_json(run: Run, plural: str) -> None:
    rows = run(plural, "--json").json
    table = run(plural)
    assert table.code == 0
    assert all(row["name"] in table.out for row in rows)


def test_a_component_is_shown_with_its_options_types_and_defaults(run: Run) -> None:
    shown = run("rewards", "show", "length").out
    for word in ("rules/length", "tao-reward-rules", "needs no reference", "scores candidates", "integer | null"):
        assert word in shown
    assert "sees the reference (labels)" in run("rewards", "show", "exact").out
    assert "scores groups" in run("rewards", "show", "rules/consistency").out
    options = {o["name"]: o for o in run("generators", "show", "echo", "--json").json["options"]}
    assert options["template"]["default"] == "{input}"
    assert all(o["description"] for o in options.values())


def test_long_work_without_a_terminal_gives_a_sign_of_life_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    bar = progress.Bar()
    bar.start("update", 300, "steps")
    bar.advance(100)  # a resumed one
    for _ in range(10):
        now[0] += 20
        bar.advance(1, loss=0.25)
    now[0] += 20
    bar.finish()
    bar.start("read", None, "rows")
    now[0] += 61
    bar.advance(6100)
    bar.finish()
    bar.start("generate", 1200, "candidates")
    now[0] += 90
    for _ in range(128):  # a batch: its first candidate tells nothing of the pace
        bar.advance(1)
    bar.finish()
    assert capsys.readouterr().err.splitlines() == [
        "update: 103 of 300 steps, 3.0 steps/min, 1 h 5 min left loss 0.25",
        "update: 106 of 300 steps, 3.0 steps/min, 1 h 4 min left loss 0.25",
        "update: 109 of 300 steps, 3.0 steps/min, 1 h 3 min left loss 0.25",
        "update: 110 steps in 220.0 s",
        "read: 6100 rows, 100.0 rows/s",
        "read: 6100 rows in 61.0 s",
        "generate: 1 of 1200 candidates",
        "generate: 128 candidates in 90.0 s",
    ]


def test_results_go_to_stdout_and_progress_to_stderr(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"id": 1, "prompt": "q", "response": "a"}) + "\n")
    words = ["score", "length", "--input", "in.jsonl", "--output", "out.jsonl", "-o", "max=3"]
    done = shell(*words, cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out == "rows: 1, scored: 1, errors: 0, skipped: 0\n"
    assert "score · rules/length: 1 rows in" in done.err


def test_the_store_may_be_named_by_the_environment(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAO_HUB_STORE", str(tmp_path / "elsewhere.db"))
    assert "elsewhere.db" in run("runs").err


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "jsonl:test", "--policy", "core/echo"), ("tune", "plan.toml"), ("compare", "plan.toml"),
        ("sweep", "plan.toml"), ("quickstart",), ("eval", "--rewards", "preference/longest", "preference/pairs"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_report_that_could_not_be_written_is_told_before_the_work_begins(run: Run, words: tuple[str, ...]) -> None:
    told = run(*words, "--report", "nowhere/page.html")
    assert told.code == 2
    assert "the folder nowhere does not exist: mkdir -p nowhere" in told.err
    assert "is a directory" in run(*words, "--report", ".").err
    assert not list(Path().iterdir())
