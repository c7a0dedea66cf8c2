"""A reward model on disk: a plain Hugging Face folder, and `tao_reward.json` that says how its scores are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import tao_hub
from tao_hub import UsageError

from .attributes import weighed

CONTRACT = "tao_reward.json"
HEADS = "heads.safetensors"
INCIDENTAL = ("README.md", "data-problems.jsonl", "metrics.json", "calibration.svg", "best-of-n.svg")


class Attribute(tao_hub.Options):
    """One head of several: what it weighs in the value; its logit divided by `temperature` is its score. `bias` as of
    the contract."""

    name: str
    weight: float = 1.0
    temperature: float = 1.0
    centre: float = 0.0
    bias: float = 0.0


class Contract(tao_hub.Options):
    """How a folder's scores are made. A folder without it gets what its tokenizer and model say.

    `bias` is what a head learnt that has no place for one (stock decoders): logit + bias is the rating, or the log-odds
    of the verdict. The logits lack it, here as in `transformers`; for verdicts `centre` says it.
    """

    format: int = 1
    layout: str = "segments"
    max_length: int = 512
    loss: str = "bradley-terry"
    temperature: float = 1.0
    centre: float = 0.0
    members: list[str] = ["."]
    heads: bool = False
    base: str = ""
    attributes: list[Attribute] = []
    gate: bool = False
    bias: float = 0.0

    def with_biases(self, biases: Sequence[float]) -> Contract:
        """The contract with a bias for each attribute, or the one of the whole."""
        if not self.attributes:
            return self.model_copy(update={"bias": biases[0]})
        heads = [a.model_copy(update={"bias": bias}) for a, bias in zip(self.attributes, biases)]
        return self.model_copy(update={"attributes": heads})

    def weighted(self, weights: str) -> Contract:
        """The contract with other weights `NAME[=WEIGHT],…` (0 for who is not named) and no gate, "" for its own.

        The temperature was fitted with its own weights, so with others it is 1. Raises UsageError.
        """
        if not weights:
            return self
        names = [a.name for a in self.attributes]
        try:
            given = weighed(weights)
        except ValueError as error:
            raise UsageError(f"weights: {error}") from error
        if unknown := [name for name in given if name not in names]:
            raise UsageError(f"the model has no attribute {unknown[0]!r}; it has {', '.join(names) or 'one head only'}")
        if given == {a.name: a.weight for a in self.attributes} and not self.gate:
            return self
        others = [a.model_copy(update={"weight": given.get(a.name, 0.0)}) for a in self.attributes]
        centre = sum(a.weight * a.centre for a in others)
        changes = {"attributes": others, "temperature": 1.0, "centre": centre, "gate": False}
        return self.model_copy(update=changes)


def write_contract(folder: Path, contract: Contract) -> None:
    told = contract.model_dump(exclude=set() if contract.attributes else {"attributes", "gate"})
    for part in (told, *told.get("attributes", [])):
        if not part["bias"]:
            del part["bias"]
    (folder / CONTRACT).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def read_contract(folder: Path) -> Contract | None:
    """The folder's own contract, None if it has none. Raises UsageError for a broken or newer one."""
    file = folder / CONTRACT
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found.get("format") != 1:
            raise ValueError(f"format {found.get('format')!r}, this version reads 1: upgrade tao-reward-model")
        return Contract.model_validate(found)
    except ValueError as error:
        raise UsageError(f"{file}: {str(error)[:300]}") from error


def digest(folder: Path) -> str:
    """32 hex digits of BLAKE2b over weights, configuration, tokenizer and contract: what decides the scores."""
    total = blake2b(digest_size=16)
    for file in sorted(f for f in folder.rglob("*") if f.is_file() and f.name not in INCIDENTAL):
        total.update(file.relative_to(folder).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                total.update(chunk)
    return total.hexdigest()


def check_head(folder: Path) -> dict[str, Any]:
    """The folder's config. Raises UsageError where it is no sequence classifier: its head would be drawn at random."""
    file = folder / "config.json"
    if not file.is_file():
        raise UsageError(f"{folder} is no reward model: expected a folder with config.json")
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    made_as = config.get("architectures") or []
    if not any("ForSequenceClassification" in name for name in made_as):
        raise UsageError(
            f"{folder} holds {', '.join(made_as) or 'no architecture'}: its head would be random. Train one: "
            f"`tao-hub train-reward --base {folder.name} --data FILE --out FOLDER`"
        )
    return config
