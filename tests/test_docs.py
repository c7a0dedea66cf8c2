"""The docs do what they say: every block of commands or Python in README and docs is run, or at least checked.

The comment before a block says how. Blocks of one page share a fresh folder and are taken in order.

    <!-- test -->        run: bash with -euo pipefail, Python in the same environment
    <!-- slow -->        takes minutes or a model: commands, options, make targets and names are checked, nothing is run
    <!-- file: PATH -->  written to PATH for the blocks that follow
    <!-- plan: PATH -->  the same, and it has to be a valid config of `tao-hub tune`
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

import tao_hub
from tao_hub.cli import cli
from tao_hub.hookspecs import Hooks

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARK = r"(?:^<!-- (?P<how>\w+)(?:: (?P<path>\S+))? -->\n)?"
BLOCK = re.compile(MARK + r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


class Block(NamedTuple):
    """A fenced block: how it is checked ("" if nothing says so), and in which line of the page it starts."""

    how: str
    path: str
    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(m["how"] or "", m["path"] or "", m["language"], m["text"], text.count("\n", 0, m.start("language")) + 1)
        for m in BLOCK.finditer(text)
    ]


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment of its own on top of this one, so that `pip install` in a page leaves this one as it is."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    outer = sysconfig.get_path("purelib")
    (site / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n", encoding="utf-8")
    for name, module in (("tao-hub", "tao_hub.cli"), ("pip", "pip._internal.cli.main")):
        script = home / "bin" / name
        script.write_text(f"#!{python}\nimport sys\nfrom {module} import main\nsys.exit(main())\n", encoding="utf-8")
        script.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TAO_HUB_", "PYTHON", "VIRTUAL_ENV"))}
    return kept | {
        "PATH": f"{home / 'bin'}{os.pathsep}{kept['PATH']}",
        "XDG_CACHE_HOME": str(home / "cache"),
        "PIP_NO_INDEX": "1",  # what a page installs needs nothing that is not here
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the wrong way round: 0 is without isolation
    }


@by_page
def test_every_block_of_commands_or_python_says_how_it_is_checked(page: Path) -> None:
    known = {"test", "slow", "file", "plan"}
    silent = [f"{page.name}:{b.line}" for b in blocks(page) if b.language in ("bash", "python") and b.how not in known]
    assert not silent, f"put <!-- test -->, <!-- slow --> or <!-- file: PATH --> right before {silent}"


@by_page
def test_what_a_page_says_to_run_runs(page: Path, commands: dict[str, str], tmp_path: Path) -> None:
    for block in blocks(page):
        if block.how in ("file", "plan"):
            target = tmp_path / block.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        if block.how == "plan":
            tao_hub.load_plan(target)
        if block.how != "test":
            continue
        start = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": ["python", "-c"]}[block.language]
        done = subprocess.run(
            [*start, block.text], cwd=tmp_path, env=commands, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{page.name}:{block.line}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@by_page
def test_what_takes_long_uses_commands_options_and_names_that_exist(page: Path) -> None:
    for block in blocks(page):
        if block.how == "slow" and block.language == "bash":
            for line in block.text.splitlines():
                check_command(shlex.split(line, comments=True), f"{page.name}:{block.line}: {line}")
        elif block.how == "slow":
            check_python(block.text)


def check_command(words: list[str], where: str) -> None:
    """A `tao-hub` command with options it has, or a target of the Makefile; nothing is run."""
    if not words:
        return
    if words[0] == "make":
        target = next(w for w in words[1:] if "=" not in w)
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M), where
        return
    if words[0] in ("accelerate", "torchrun"):  # they start several of what follows
        words = ["tao-hub", *words[words.index("tao_hub.cli") + 1 :]]
    assert words[0] == "tao-hub", f"{where}: only tao-hub and make can be checked without running them"
    context, command, rest = click.Context(cli), cli, words[1:]
    while isinstance(command, click.Group) and rest:
        found = command.get_command(context, rest[0])
        assert found is not None, f"{where}: no command {rest[0]!r}"
        context, command, rest = click.Context(found, parent=context, info_name=rest[0]), found, rest[1:]
    try:
        values, left, _ = command.make_parser(context).parse_args(args=list(rest))
        for parameter in command.params:
            parameter.type_cast_value(context, values.get(parameter.name))
    except click.UsageError as error:
        pytest.fail(f"{where}: {error.format_message()}")
    assert not left, f"{where}: nobody takes {left}"


def check_python(text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tao_hub":
            assert hasattr(tao_hub, node.attr), f"tao_hub has no {node.attr}"


@by_page
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not lost


def test_the_readme_names_every_command() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Commands")[1].split("##")[0]
    asked = [sys.executable, "-m", "tao_hub.cli", "--help"]  # a process of its own: no other test's plugin is in it
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("Commands:")[1]
    commands = re.findall(r"(?m)^  ([\w-]+) ", told)
    assert len(commands) > 15
    missing = [name for name in commands if name not in re.findall(r"[\w-]+", table)]
    assert not missing


def test_the_readme_names_every_reward() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [e.name for e in tao_hub.Hub().entries("reward") if f"`{e.name}`" not in text] == []


def test_the_plugin_page_names_every_hook_with_its_signature() -> None:
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    hooks = [name for name in vars(Hooks) if name.startswith("register_")]
    assert len(hooks) >= 7
    for name in hooks:
        argument = getattr(Hooks, name).__code__.co_varnames[1]
        assert f"`{name}({argument})`" in text


def test_the_plugin_of_the_readme_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = next(b.text for b in blocks(ROOT / "README.md") if b.path == "polite.py")
    (tmp_path / "polite.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    hub = tao_hub.Hub([EntryPoint("polite", "polite", "tao_hub")])
    prompt = tao_hub.Prompt((tao_hub.Message("user", "Ask for salt."),))
    pairs = [(prompt, tao_hub.Candidate(prompt.digest, text)) for text in ("Salt, Please.", "Salt!")]
    assert list(hub.reward(tao_hub.Ref("polite/polite")).score_batch(pairs)) == [1.0, 0.0]
    sys.modules.pop("polite", None)


def test_the_config_that_init_writes_is_a_plan_whose_components_exist_and_take_its_options(tmp_path: Path) -> None:
    plan = tao_hub.load_plan(write_config(tmp_path))
    assert (plan.suite, plan.policy) == ("inbox", "smollm2")
    hub = tao_hub.Hub()
    suite = hub.suite(hub.resolve("suite", plan.suite_ref))
    assert {e.split for e in plan.eval} < set(suite.splits())
    asked = [*plan.candidates, *plan.combine, *plan.baselines]
    used = [("strategy", tao_hub.Ref(use.strategy, use.options)) for use in asked]
    used += [("reward", use.ref) for use in plan.rewards]
    used.append(("trainer", tao_hub.Ref(plan.train.name, plan.train.options)))
    for kind, ref in used:
        whole = hub.resolve(kind, ref, suite)
        hub.find(kind, whole.name).load().Options.model_validate(dict(whole.options))


def test_the_config_that_init_writes_is_the_plan_of_the_quickstart(tmp_path: Path) -> None:
    quickstart = pytest.importorskip("tao_demo.quickstart")
    written = tao_hub.load_plan(write_config(tmp_path)).as_dict()
    wanted = quickstart.plan("smollm2", quickstart.ROUNDS, 0).as_dict()
    assert {k: v for k, v in written.items() if v != wanted[k]} == {}, "bring tao_hub/templates/tune.toml up to date"


def test_the_config_that_init_writes_names_every_key_of_a_plan(tmp_path: Path) -> None:
    text = write_config(tmp_path).read_text(encoding="utf-8")
    named = set(re.findall(r"\w+", text))
    assert [key for key in tao_hub.Plan.model_fields if key not in named] == []


def write_config(folder: Path) -> Any:
    from click.testing import CliRunner

    path = folder / "tune.toml"
    done = CliRunner().invoke(cli, ["tune", "--init", str(path)])
    assert done.exit_code == 0, done.output
    return path
