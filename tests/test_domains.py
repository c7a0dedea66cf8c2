"""Benchmarks of other domains and of three tasks: the plans hold together, instruction-level accuracy is as by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT

import tao_hub


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


@pytest.mark.parametrize("name", ["instructions/run.py", "banking77/run.py", "multitask.py"])
def test_each_component_of_a_benchmarks_plan_takes_its_options(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, plan = script(name, monkeypatch, "--data", str(tmp_path), "--out", str(tmp_path / "out"))
    hub = tao_hub.Hub()
    assert [use.label for use in plan.measured if use.sealed] in ([""], ["inbox", "inbox", "backoffice", "ifeval"])
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
    assert plan.drop_overlap


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
