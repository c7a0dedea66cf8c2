"""The suite *backoffice*: questions about a company's database, each to become one SQLite query."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import tao_hub

HERE = Path(__file__).parents[1] / "backoffice"
TINY = HERE / "tiny"  # a Llama of 1.9 million parameters from scratch, trained on the seed pairs
ADAPTER = HERE / "adapter"  # LoRA of SmolLM2-135M-Instruct, trained on the seed pairs
FILES = {split: f"{split}.jsonl.gz" for split in ("seed", "prompts", "dev", "test")} | {"human": "human.jsonl"}
SYSTEM = "Write one SQLite query that answers the question. Reply with the query only."


@cache
def database() -> Path:
    """The SQLite file, unpacked into the user's cache on first use."""
    data = (HERE / "backoffice.sqlite.gz").read_bytes()
    folder = tao_hub.home_folder() / "databases"
    file = folder / f"backoffice-{hashlib.blake2b(data, digest_size=6).hexdigest()}.sqlite"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as out:
            out.write(gzip.decompress(data))
        os.replace(partial, file)  # complete or absent, whoever else does the same
    return file


class Backoffice(tao_hub.Suite):
    """2,000 prompts without references to tune on, 200 labelled pairs (seed) for a base policy, dev, the sealed test
    with compositions that seed has not, and questions written by hand (human)."""

    metric = tao_hub.Ref("sql/match", {"semantics": "strict"})
    metric_name = "execution accuracy"

    def splits(self) -> Sequence[str]:
        return tuple(FILES)

    def prompts(self, split: str) -> Iterator[tao_hub.Prompt]:
        if split not in FILES:
            raise ValueError(f"demo/backoffice has no split {split!r}: use one of {', '.join(FILES)}")
        return _read(split)

    def options_for(self, component: str) -> Mapping[str, Any]:
        brought: dict[str, Any] = {"db": str(database())} if component.startswith("sql/") else {}
        if component in ("sql/backwards", "sql/compose", "sql/lexicon"):
            brought["examples"] = [{"input": pair.text, "output": pair.reference} for pair in _read("seed")]
        return brought


def _read(split: str) -> Iterator[tao_hub.Prompt]:
    system = tao_hub.Message("system", f"{SYSTEM}\n\n{(HERE / 'schema.txt').read_text(encoding='utf-8')}")
    data = (HERE / FILES[split]).read_bytes()
    lines = (gzip.decompress(data) if FILES[split].endswith(".gz") else data).decode("utf-8").splitlines()
    for row in map(json.loads, lines):
        messages = (system, tao_hub.Message("user", row["question"]))
        yield tao_hub.Prompt(messages, id=row["id"], reference=row.get("query"))
