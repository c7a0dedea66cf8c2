"""Benchmarks of other domains and of three tasks: the plans hold together, instruction-level accuracy is as by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib
from conftest import ROOT
from tao_demo import quickstart

import tao_hub
from tao_hub import load_plan
from tao_hub.config import EvalUse


def script(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[ModuleType, tao_hub.Plan]:
    """A benchmark's module, and the plan it makes of its default options."""
    file = ROOT / "benchmarks" / name
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location(f"{file.parent.name}_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: list[tao_hub.Plan] = []
    plan = module.plan

    def stop(options: object) -> tao_hub.Plan:
        made.append(plan(options))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "plan", stop)
    monkeypatch.setattr(module, "encoder_alone", lambda options: {}, raising=False)
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    with pytest.raises(KeyboardInterrupt):
        module.main()
    return module, made[0]


def commented() -> dict[str, Any]:
    """The tasks that the config of `tune --init` shows as comments."""
    text = (ROOT / "tao_hub" / "templates" / "tune.toml").read_text(encoding="utf-8")
    lines = text[text.index("# [[tasks]]") :].splitlines()
    return tomllib.loads('policy = "smollm2"\n' + "\n".join(line.removeprefix("#") for line in lines))


def fits(plan: tao_hub.Plan) -> None:
    """Every component of the plan exists and takes its options; no reward sees a label."""
    hub = tao_hub.Hub()
    for one in plan.by_task().values():
        suite = hub.suite(hub.resolve("suite", one.suite_ref))
        used = [("strategy", use.ref) for use in [*one.candidates, *one.combine]]
        used += [("strategy", tao_hub.Ref(use.strategy, use.options)) for use in one.baselines]
        used += [("reward", use.ref) for use in one.rewards]
        used += [("trainer", tao_hub.Ref(one.train.name, one.train.options))]
        used += [("suite", tao_hub.Ref(use.suite, use.options)) for use in one.eval if use.suite]
        for kind, ref in used:
            whole = hub.resolve(kind, ref, suite)
            component = hub.find(kind, whole.name).load()
            component.Options.model_validate(dict(whole.options))
            if kind == "reward":
                assert not component.uses_reference, "no label is seen"


@pytest.mark.parametrize("name", ["instructions/run.py", "banking77/run.py", "multitask.py"])
def test_each_component_of_a_benchmarks_plan_takes_its_options(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, plan = script(name, monkeypatch, "--data", str(tmp_path), "--out", str(tmp_path / "out"))
    fits(plan)
    assert [use.label for use in plan.measured if use.sealed] in ([""], ["inbox", "inbox", "backoffice", "ifeval"])
    assert plan.drop_overlap


@pytest.mark.parametrize("source", [ROOT / "benchmarks" / "multitask.toml", commented()], ids=["file", "comments"])
def test_the_examples_of_two_tasks_are_plans_whose_components_exist_and_take_their_options(source: Any) -> None:
    plan = load_plan(source)
    fits(plan)
    assert list(plan.by_task()) == ["inbox", "backoffice"]
    for use in [*plan.measured, *(EvalUse(suite=one.suite, split=one.split) for one in plan.by_task().values())]:
        assert use.split in tao_hub.Hub().suite(tao_hub.Ref(use.suite, use.options)).splits()
    assert [use.retain for use in plan.measured if use.retain] == [0.02]


def test_the_example_of_two_tasks_tunes_inbox_as_the_quickstart_does() -> None:
    inbox = load_plan(ROOT / "benchmarks" / "multitask.toml").by_task()["inbox"]
    alone = quickstart.plan("smollm2", 1, 0)
    for part in ("candidates", "combine", "rewards"):
        assert getattr(inbox, part) == getattr(alone, part)
    bounds = ("min_parts", "null_parts", "enough_parts")
    assert {key: inbox.train.options[key] for key in bounds} == {key: alone.train.options[key] for key in bounds}
    assert inbox.train.later == alone.train.later


def test_instruction_level_accuracy_weighs_each_instruction_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, _ = script("instructions/run.py", monkeypatch, "--data", str(tmp_path), "--out", str(tmp_path / "out"))
    given = [1, 3, 2]
    before = [
        {"position": 0, "value": 1.0, "parts": {"share": 1.0}},
        {"position": 1, "value": 0.0, "parts": {"share": 1 / 3}},
        {"position": 2, "value": None, "parts": {}},
    ]  # fmt: skip
    after = [{"position": i, "value": 1.0, "parts": {"share": 1.0}} for i in range(3)]
    sides = [module.followed(items, given, "share") for items in (before, after)]
    found = module.instruction_level(*sides)
    assert found["before"] == pytest.approx(2 / 6), "an answer that could not be scored follows none"
    assert found["after"] == 1.0
    assert found["delta"] == pytest.approx(4 / 6)
    assert found["low"] <= found["delta"] <= found["high"]
    assert (found["n"], found["instructions"]) == (3, 6)
    assert module.instruction_level(sides[0], sides[0])["delta"] == 0.0
