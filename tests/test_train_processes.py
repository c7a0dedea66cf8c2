"""Updates in two processes give the weights of one, and an update of the loop that was killed goes on."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import bandit
import pytest
from conftest import PATIENCE, ROOT, Site, hub_of, write_rows
from recorder import Recorder

import tao_hub
from tao_hub import Ref

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tao_train_trl import launch, worker  # noqa: E402
from tao_train_trl.examples import Learned  # noqa: E402
from tao_train_trl.tao import Tao  # noqa: E402
from two_processes import SMALL, TRAINERS, Each  # noqa: E402


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bandit.make_policy(tmp_path_factory.getbasetemp() / "bandit")


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def assert_close(a: Path, b: Path, start: Path) -> None:
    """By norms: Adam makes whole steps of gradients that are nothing but rounding, so single weights may differ."""
    one, two, before = weights(a), weights(b), weights(start)
    moved, apart = (sum(float((one[n] - other[n]).norm() ** 2) for n in one) ** 0.5 for other in (before, two))
    assert max(float((one[n] - before[n]).abs().max()) for n in one) > 1e-3
    assert apart < 5e-3 * moved


@pytest.fixture(scope="module")
def alone(arms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each offline trainer makes in one process."""
    made = tmp_path_factory.mktemp("one")
    Each().train(Learned(), Ref("hf/causal-lm", {"model": str(arms)}), made, Recorder(), "")
    return made


@pytest.mark.parametrize("weights_are", ["ddp", "fsdp"])
def test_every_offline_trainer_gives_the_weights_of_one_process_in_two(
    arms: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_are: str
) -> None:
    """`two_processes` lets accelerate shard on a CPU, where bfloat16 is left out: one process alone has float32."""
    start = Ref("hf/causal-lm", {"model": str(arms)})
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    asked = launch.config_file(weights_are).read_text(encoding="utf-8")
    (tmp_path / "asked.yaml").write_text(asked.replace("mixed_precision: bf16", "mixed_precision: 'no'"))
    progress = Recorder()
    options = Each.Options(launch=str(tmp_path / "asked.yaml"), processes=2)
    launch.run(launch.Job(Each, options, Learned(), start, tmp_path / "two", "", os.getpid()), progress)
    steps = 0
    for i in range(len(TRAINERS)):
        one, two = alone / str(i), tmp_path / "two" / str(i)
        assert_close(one, two, arms)
        first, second = (json.loads((at / "tao-hub.json").read_text(encoding="utf-8")) for at in (one, two))
        assert (first["processes"], second["processes"]) == (1, 2)
        assert first["steps"] == second["steps"]
        assert first["first_loss"] == pytest.approx(second["first_loss"], rel=1e-3, abs=1e-5)
        steps += second["steps"]
    assert len([call for call in progress.calls if call[:1] == (1,)]) == steps
    assert progress.calls.count("finish") == len(TRAINERS)


def test_every_shipped_configuration_is_one_of_accelerates_and_others_are_files(tmp_path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    for name, kind in (("ddp", "MULTI_GPU"), ("fsdp", "FSDP"), ("deepspeed-zero2", "DEEPSPEED"),
                       ("deepspeed-zero3", "DEEPSPEED")):  # fmt: skip
        assert load_config_from_file(str(launch.config_file(name))).distributed_type.value == kind
    own = tmp_path / "own.yaml"
    own.write_text(launch.config_file("ddp").read_text(encoding="utf-8"), encoding="utf-8")
    assert launch.config_file(str(own)) == own
    with pytest.raises(ValueError, match="neither a shipped configuration"):
        launch.config_file("horovod")


def test_an_error_in_a_process_is_raised_where_the_update_was_called(
    arms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = Tao(Tao.Options(**SMALL)).learn_from(bandit.draw(arms))
    options = Tao.Options(**SMALL, max_length=4)
    job = launch.Job(Tao, options, learned, Ref("hf/causal-lm", {"model": str(arms)}), tmp_path, "", os.getpid())
    (tmp_path / "job.pkl").write_bytes(pickle.dumps(job))
    monkeypatch.setattr(sys, "argv", ["worker", str(tmp_path / "job.pkl")])
    with pytest.raises(ValueError, match="longer than 4 tokens"):
        worker.main()
    said = capsys.readouterr().out
    code = f"print('noise'); print({said.splitlines()[-1]!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        failed = launch._listen(process, worker.Progress())
    with pytest.raises(ValueError, match="longer than 4 tokens"):
        launch._raise(failed, 1, "")
    with pytest.raises(RuntimeError, match=r"exit code -9\n(much\n){14}the last line"):
        launch._raise({}, -9, "much\n" * 30 + "the last line")
    assert isinstance(learned, Learned)


KILLED = """
import sys
from pathlib import Path
import bandit
import tao_hub
from tao_hub import Ref
from tao_train_trl.tao import Tao
at, out = map(Path, sys.argv[1:])
Tao(Tao.Options({options})).update(bandit.draw(at), Ref("hf/causal-lm", {{"model": str(at)}}), out)
"""


def test_an_update_that_was_killed_goes_on_from_its_checkpoint_to_the_same_weights(arms: Path, tmp_path: Path) -> None:
    options = {**SMALL, "epochs": 20, "checkpoint_minutes": 0.002}
    start = Ref("hf/causal-lm", {"model": str(arms)})
    script = KILLED.format(options=", ".join(f"{key}={value!r}" for key, value in options.items()))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-c", script, str(arms), str(tmp_path / "killed")]
    partial = tmp_path / ".killed.partial"
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + PATIENCE
        while process.poll() is None and not list(partial.glob("checkpoint-*/complete")):
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert partial.exists()
    progress = Recorder()
    for name, told in (("killed", progress), ("whole", None)):
        Tao(Tao.Options(**options)).update(bandit.draw(arms), start, tmp_path / name, told)
    assert progress.calls[1][0] > 0  # steps that were not done again
    killed, whole = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "whole"))
    assert killed == whole
    assert not partial.exists()


RESUMING = '''
import tao_hub
class Halves(tao_hub.Trainer):
    """Does half of its work in each call: the first one is cut."""
    resumes = True
    def update(self, groups, start, out, progress=None):
        list(groups)
        out.mkdir(exist_ok=True)
        if not (out / "half").exists():
            (out / "half").write_text("done")
            raise KeyboardInterrupt
        return tao_hub.Ref("core/echo", {"template": "tuned"})
class Forgets(Halves):
    resumes = False
@tao_hub.hookimpl
def register_trainers(register):
    register("halves", Halves)
    register("forgets", Forgets)
'''


@pytest.mark.parametrize(("trainer", "ends"), [("halves", True), ("forgets", False)])
def test_the_loop_leaves_what_a_trainer_that_resumes_has_left(
    site: Site, tmp_path: Path, trainer: str, ends: bool
) -> None:
    write_rows(tmp_path / "data" / "prompts.jsonl", {"prompt": "one"}, {"prompt": "two"})
    plan = tao_hub.load_plan({
        "suite": "jsonl", "suite_options": {"path": str(tmp_path / "data")}, "policy": "core/echo", "rounds": 1,
        "candidates": [{"n": 2}], "rewards": [{"name": "rules/length", "options": {"max": 9}}],
        "train": {"name": f"halves/{trainer}"},
    })  # fmt: skip
    with tao_hub.Session(tmp_path / "s.db", hub_of(site.add("halves", RESUMING))) as session:
        with pytest.raises(KeyboardInterrupt):
            tao_hub.tune(session, plan)
        if ends:
            assert tao_hub.tune(session, plan)
        else:
            with pytest.raises(KeyboardInterrupt):
                tao_hub.tune(session, plan)
