"""The suite *inbox*: messy customer messages, each to become one JSON record."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import tao_hub

HERE = Path(__file__).parent / "inbox"
FILES = {split: f"{split}.jsonl.gz" for split in ("prompts", "dev", "test")} | {"human": "human.jsonl"}


@cache
def task() -> Mapping[str, Any]:
    """What goes with the messages: system prompt, schema, examples, questions, choices, kinds … (see CARD.md)."""
    found: Mapping[str, Any] = json.loads((HERE / "task.json").read_text(encoding="utf-8"))
    return found


class Inbox(tao_hub.Suite):
    """1,000 prompts without references to tune on; dev, the sealed test, and messages written by hand (human)."""

    metric = tao_hub.Ref("demo/record")
    metric_name = "exact"
    metric_parts = ("fields", "customer", "order_id", "product", "quantity", "date", "problem", "valid")

    def splits(self) -> Sequence[str]:
        return tuple(FILES)

    def prompts(self, split: str) -> Iterator[tao_hub.Prompt]:
        if split not in FILES:
            raise ValueError(f"demo/inbox has no split {split!r}: use one of {', '.join(FILES)}")
        return _read(split)

    def options_for(self, component: str) -> Mapping[str, Any]:
        """Worked examples, questions, schema and problem descriptions for the components that can use them."""
        brought = task()
        copied = {
            "copy_keys": list(brought["questions"]), "copy_choices": {"problem": list(brought["choices"])},
            "copy_numbers": ["quantity"],
            "copy_match": brought["forms"], "copy_start": brought["starts"],
        }  # fmt: skip
        looks = brought["forms"] | brought["starts"] | brought["names"]
        typed = {"kinds": brought["kinds"], "fields": brought["kind_of"]}
        placed = {"fields": {k: {"form": brought["forms"].get(k, ""), **v} for k, v in brought["contexts"].items()}}
        return {
            "core/direct": copied,
            "core/few-shot": {"examples": brought["examples"], **copied},
            "core/decompose": {"questions": brought["questions"], "integers": ["quantity"]},
            "core/assemble": {"choices": {"problem": list(brought["choices"])}, "keys": list(brought["questions"])},
            "embed/spans": {**typed, "counts": {"quantity": "product"}},
            "rules/near": {"fields": {"quantity": "product"}},
            "embed/kind": typed,
            "embed/context": placed,
            "embed/places": placed,
            "rules/recurrence": {"own": {"customer": 0.012}, "phrase": ["product"]},
            "rules/schema": {"schema": _with_forms(brought["schema"], looks)},
            "rules/grounded": {"ignore": ["problem"]},  # a kind is chosen, not copied
            "embed/choice": {"field": "problem", "choices": brought["choices"]},
        }.get(component, {})


def _with_forms(schema: Mapping[str, Any], forms: Mapping[str, str]) -> dict[str, Any]:
    """The schema whose strings must look like what they are (`forms`: what an order number or a date begins with)."""
    fields = {k: {**v, "pattern": f"^(?:{forms[k]})"} if k in forms else v for k, v in schema["properties"].items()}
    return {**schema, "properties": fields}


def _read(split: str) -> Iterator[tao_hub.Prompt]:
    path = HERE / FILES[split]
    system = tao_hub.Message("system", task()["system"])
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8").strip().split("\n")
    for row in map(json.loads, lines):
        messages = (system, tao_hub.Message("user", row["message"]))
        yield tao_hub.Prompt(messages, id=row["id"], reference=row.get("reference"))
