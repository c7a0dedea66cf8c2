"""The directions of architecture.md, read from the imports; and that help stays light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT

import tao_hub
from tao_hub import types

CORE = ROOT / "tao_hub"
HEAVY = {
    "torch", "transformers", "trl", "peft", "vllm", "lm_eval", "openai", "datasets", "sentence_transformers",
    "ctranslate2", "gguf", "llama_cpp", "numpy", "accelerate",
}  # fmt: skip
PUBLIC = {"types", "components", "hookspecs", "errors"}  # beside the names in tao_hub.__all__
TOLERATED = {("tao-demo", "commands")}  # its command draws progress and report as the core's do
MEMBERS = sorted(p.parent for kind in ("rewards", "plugins") for p in ROOT.glob(f"{kind}/*/pyproject.toml"))


def imports(file: Path, top_level: bool = False) -> Iterator[tuple[str, ...]]:
    """Absolute dotted names a file imports, also inside functions; not those for type checkers only."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = file.relative_to(CORE.parent).parts[:-1] if file.is_relative_to(CORE) else ()
    skipped = {
        id(n) for i in ast.walk(tree) if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test)
        for b in i.body for n in ast.walk(b)
    }  # fmt: skip
    for node in tree.body if top_level else ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = (*start, *(node.module or "").split(".")) if node.module else start
            yield from ((*module, alias.name) for alias in node.names)


def core_modules(name: str) -> set[str]:
    """Modules of the core that the core's module `name` imports."""
    found = {dotted[1] for dotted in imports(CORE / f"{name}.py") if dotted[0] == "tao_hub" and len(dotted) > 1}
    return found - {name}


def test_types_import_the_standard_library_only() -> None:
    assert {dotted[0] for dotted in imports(CORE / "types.py")} <= set(sys.stdlib_module_names)
    assert core_modules("components") <= {"types"}
    assert core_modules("hookspecs") <= {"types"}
    assert core_modules("errors") == set()


def test_store_and_stats_know_types_only_and_nothing_imports_the_command_line() -> None:
    assert core_modules("store") <= {"types", "stored", "errors", "light_sqlite", "migrations", "lock"}
    assert core_modules("stored") == {"types"}
    assert core_modules("stats") <= {"types", "student"}
    assert core_modules("student") == set()
    assert core_modules("report") & {"loop", "store", "session", "plugins"} == set()
    for file in CORE.rglob("*.py"):
        inside = file.relative_to(CORE).parts
        if inside[0] in ("cli.py", "commands"):
            continue
        found = {dotted[1] for dotted in imports(file) if dotted[0] == "tao_hub" and len(dotted) > 1}
        assert not found & {"cli", "commands"}, file
    users = {f.name for f in CORE.rglob("*.py") if ("sqlite_utils",) in {d[:1] for d in imports(f)}}
    assert users == {"light_sqlite.py"}
    users = {f.name for f in CORE.rglob("*.py") if ("tao_hub", "light_sqlite") in {d[:2] for d in imports(f)}}
    assert users == {"store.py", "migrations.py"}  # the store is the only user of sqlite-utils


def test_a_command_that_opens_a_store_does_not_wait_for_pandas() -> None:
    pytest.importorskip("pandas")
    asked = "import sys, tao_hub.store; assert 'pandas' not in sys.modules; import pandas; print(pandas.__name__)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "pandas\n"


def test_the_core_imports_no_model_library() -> None:
    for file in CORE.rglob("*.py"):
        assert not {dotted[0] for dotted in imports(file)} & HEAVY, file


@pytest.mark.parametrize("member", MEMBERS, ids=lambda m: m.name)
def test_members_import_the_public_api_only_and_register_lightly(member: Path) -> None:
    packages = {p.name for m in MEMBERS for p in (m / "src").iterdir() if (p / "__init__.py").exists()}
    own = {p.name for p in (member / "src").iterdir() if (p / "__init__.py").exists()}
    assert own
    for file in member.glob("src/**/*.py"):
        for dotted in imports(file):
            assert dotted[0] not in packages - own, f"{file} imports {dotted}"
            if dotted[0] == "tao_hub" and len(dotted) > 1 and (member.name, dotted[1]) not in TOLERATED:
                assert dotted[1] in {*tao_hub.__all__, *PUBLIC}, f"{file} imports {'.'.join(dotted)}: not public"
        if file.name in ("__init__.py", "plugin.py"):
            assert not {dotted[0] for dotted in imports(file, top_level=True)} & HEAVY, file


def test_data_is_frozen_and_seeds_stores_and_hubs_are_no_globals() -> None:
    nouns = [getattr(types, name) for name in dir(types) if hasattr(getattr(types, name), "__dataclass_params__")]
    assert len(nouns) >= 10
    assert all(noun.__dataclass_params__.frozen for noun in nouns)
    for file in CORE.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call):
                called = getattr(node.value.func, "id", getattr(node.value.func, "attr", ""))
                assert called not in {"Hub", "Store", "Session", "Random", "default_rng"}, file


LIGHT = """
import sys
from tao_hub.cli import main
sys.argv = ["tao-hub", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code
print("LOADED", *sorted({m for m in sys.modules}), file=sys.stderr)
"""


def test_help_imports_no_model_library_no_store_and_no_plugin(example: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(example)}
    for already in (False, True):  # the first call asks the plugins for their commands, the later ones the cache
        done = subprocess.run(
            [sys.executable, "-c", LIGHT], env=environment, capture_output=True, text=True, timeout=PATIENCE,
            check=True, cwd=tmp_path,
        )  # fmt: skip
        assert "tune" in done.stdout
        assert "Greet NAME" in done.stdout
        loaded = set(done.stderr.split("LOADED ")[1].split())
        assert not loaded & HEAVY
        assert not loaded & {"sqlite_utils", "sqlite3", "tao_example.rewards", "tao_example.suite", "tao_hub.loop"}
        if already:
            assert not loaded & {"pydantic", "pluggy", "rich", "jinja2", "tao_example", "tao_reward_rules", "tao_demo"}
