"""What the tests share: plugins written to a folder of their own, the command line, a workspace."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from spider import Spider

import tao_hub
from tao_hub import cli

ROOT = Path(__file__).parent.parent
PATIENCE = 900.0  # seconds a subprocess may take: machines that test are busy


HOME = os.environ.get("TAO_HUB_HOME")

# Files of a minute and more: they come first, so that no process has one of them left when the others are done.
LONG = (
    "test_real_model", "test_docs", "test_speed", "test_backoffice", "test_reward_model_resume",
    "test_reward_model_processes", "test_train_processes", "test_sql_reward_model", "test_train_online",
    "test_train_preferences",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture
def smollm2(own_cache: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the real model, where `tao-hub models add smollm2` has brought it (`make test` does)."""
    if HOME is None:
        monkeypatch.delenv("TAO_HUB_HOME")
    else:
        monkeypatch.setenv("TAO_HUB_HOME", HOME)
    models = pytest.importorskip("tao_generate_hf.models")
    if "smollm2" not in models.registered():
        pytest.skip("needs `tao-hub models add smollm2`")
    return "smollm2"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("TAO_HUB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TAO_HUB_STORE", raising=False)


@dataclass
class Site:
    """A folder on the import path, with distributions written into it as an installer would leave them."""

    path: Path
    modules: list[str] = field(default_factory=list)

    def add(self, name: str, source: str, version: str = "1.2", distribution: str = "") -> metadata.EntryPoint:
        """Write distribution tao-NAME whose entry point NAME is a module with `source`; returns the entry point."""
        distribution = distribution or f"tao-{name}"
        module = f"{distribution.replace('-', '_')}_of_{self.path.parent.name}_{len(self.modules)}"
        (self.path / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        info = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)  # a distribution may have several entry points
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        named = info / "entry_points.txt"
        known = named.read_text() if named.is_file() else "[tao_hub]\n"
        named.write_text(f"{known}{name} = {module}\n")
        self.modules.append(module)
        importlib.invalidate_caches()
        (point,) = (p for p in metadata.Distribution.at(info).entry_points if p.name == name)
        return point


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[Site]:
    """An empty folder of installed distributions, first on the import path of this process."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    found = Site(folder)
    yield found
    for module in found.modules:
        sys.modules.pop(module, None)


def installed(*names: str) -> list[metadata.EntryPoint]:
    """The real entry points of those names, as they are installed here."""
    points = [p for p in metadata.entry_points(group="tao_hub") if p.name in names]
    assert {p.name for p in points} == set(names), f"install the project's own distributions first: {names}"
    return points


def hub_of(*points: metadata.EntryPoint, block: Sequence[str] = ()) -> tao_hub.Hub:
    """A hub with the core, the rewards by rule, and the given entry points."""
    return tao_hub.Hub([*installed("core", "rules"), *points], block=block)


@dataclass
class Result:
    """What a call of the command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`run("plugins", "--json")`: the real entry point `main`, in this process and in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["tao-hub", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        return Result(int(stop.value.code or 0), said.out, said.err)

    return call


def spawn(*args: object, cwd: Path, path: Path | None = None) -> subprocess.Popen[str]:
    """`tao-hub ARGS` as a process of its own, with the folder `path` first on its import path."""
    environment = dict(os.environ)
    if path:  # before what is there: a checkout that is tested without being installed, say
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), environment.get("PYTHONPATH", "")]))
    # what a shell starts in the background ignores SIGINT, and so would this process
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{heard}; from tao_hub.cli import main; main()", *map(str, args)]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def shell(*args: object, cwd: Path, path: Path | None = None) -> Result:
    """`tao-hub ARGS` as a process of its own, to its end."""
    process = spawn(*args, cwd=cwd, path=path)
    out, err = process.communicate(timeout=PATIENCE)
    return Result(process.returncode, out, err)


@pytest.fixture(scope="session")
def spider(tmp_path_factory: pytest.TempPathFactory) -> Spider:
    return Spider.unpacked(tmp_path_factory.mktemp("spider"))


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed tests/example_plugin."""
    source = tmp_path_factory.mktemp("source") / "example_plugin"  # a build leaves its traces beside the source
    shutil.copytree(ROOT / "tests" / "example_plugin", source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--target", str(target), str(source)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


def write_rows(path: Path, *rows: object) -> Path:
    """A JSONL file; a string is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
