"""Loads a checkpoint for inference and says what it is by content."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from tao_hub import UsageError

DTYPES = ("float32", "bfloat16", "float16")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
# what saving a checkpoint again may change though it computes the same
INCIDENTAL = {
    "_name_or_path", "architectures", "backend", "dtype", "is_local", "local_files_only", "name_or_path",
    "tokenizer_class", "torch_dtype", "transformers_version", "use_cache", "_from_model_config",
}  # fmt: skip


def choose_device(device: str) -> str:
    """The device, `auto` decided. Raises UsageError for a GPU that torch does not see."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device {device!r}: torch {torch.__version__} sees no GPU here; use auto or cpu")
    return device


def choose_dtype(dtype: str, device: str) -> str:
    """The dtype that is fast here: bfloat16 on GPUs and on CPUs with bfloat16 dot products, else float32.

    `TAO_HUB_DTYPE` overrides "auto". Decided by what the processor says it has, never by a measurement, so that the
    same machine always answers the same.
    """
    import torch

    if dtype == "auto":
        dtype = os.environ.get("TAO_HUB_DTYPE") or "auto"
    if dtype in DTYPES:
        return dtype
    if dtype != "auto":
        raise UsageError(f"TAO_HUB_DTYPE is {dtype!r}; it must be one of auto, {', '.join(DTYPES)}")
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "bfloat16" if device == "cpu" and _cpu_has_bfloat16() else "float32"


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512-BF16, AMX, Arm BF16); elsewhere it is slower."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def resolve_adapter(path: Path, adapter: str | None) -> tuple[str | None, Path | None]:
    """(base model named by an adapter folder or None, adapter folder or None) for a model path and an option."""
    if adapter is not None:
        folder = Path(adapter).expanduser()
        if not (folder / "adapter_config.json").is_file():
            raise UsageError(f"adapter {adapter} is no LoRA folder: it has no adapter_config.json")
        return None, folder
    if path.is_dir() and not (path / "config.json").is_file():  # the policy named is itself an adapter
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
        return str(config.get("base_model_name_or_path") or ""), path
    return None, None


def load(path: Path, adapter: Path | None, dtype: str, device: str) -> tuple[Any, Any]:
    """(model in eval mode on `device`, tokenizer). An adapter is merged in float32, then rounded once."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    source: dict[str, Any] = {"pretrained_model_name_or_path": path}
    if path.is_file():
        source = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    wanted = getattr(torch, dtype)
    first = torch.float32 if adapter is not None or path.is_file() else wanted
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source)
        model: Any = AutoModelForCausalLM.from_pretrained(**source, dtype=first, attn_implementation="sdpa")
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    finally:
        if bars:
            logging.enable_progress_bar()
    return model.to(device=device, dtype=wanted).eval(), tokenizer


def stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end an answer: eos of the generation config, of the model and of the tokenizer, and <|im_end|>."""
    found: set[int] = set()
    for owner in (model.generation_config, model.config.get_text_config(), tokenizer):
        ids = getattr(owner, "eos_token_id", None)
        found.update(ids if isinstance(ids, (list, tuple)) else [] if ids is None else [ids])
    if tokenizer.chat_template and "<|im_end|>" in tokenizer.chat_template:
        found.update(
            i for i in tokenizer.convert_tokens_to_ids(["<|im_end|>"]) if i not in {None, tokenizer.unk_token_id}
        )
    return frozenset(found)


def content_digest(path: Path, adapter: Path | None = None) -> str:
    """Identity of a policy: 32 hex digits of BLAKE2b over weights, adapter, tokenizer and chat template.

    Whole files, so about a second per gigabyte. The model's configuration counts too (the same weights under another
    rotary base are another policy), without what only records how it was saved.
    """
    whole = hashlib.blake2b(digest_size=16)
    for folder in [path] if adapter is None or adapter == path else [path, adapter]:
        for file in _identity_files(folder):
            whole.update(f"{file.name}\0".encode())
            whole.update(_file_digest(file))
    return whole.hexdigest()


def _identity_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    weights = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.bin"))
    if not weights:
        raise UsageError(f"{path} holds no weights (*.safetensors)")
    named = ("config.json", "generation_config.json", "adapter_config.json", *TOKENIZER_FILES)
    return [*weights, *(path / name for name in named if (path / name).is_file())]


def _file_digest(file: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    if file.name.endswith("config.json"):
        data = json.loads(file.read_text(encoding="utf-8"))
        kept = {k: v for k, v in data.items() if k not in INCIDENTAL}
        digest.update(json.dumps(kept, sort_keys=True).encode())
        return digest.digest()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.digest()


def give_back_memory() -> None:
    """Hand what was freed back to the system: glibc keeps it for each thread that ever allocated, and the lanes did."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
            ctypes.CDLL(None).malloc_trim(0)
