"""Scored groups as the trainers get them: small ones, made by hand."""

from __future__ import annotations

import json
from typing import Any

from tao_hub import Candidate, Group, Message, Prompt, Score

SYSTEM = Message("system", "You answer with one JSON record and nothing else.")


def prompt(i: int) -> Prompt:
    return Prompt((SYSTEM, Message("user", f"Is the order A-{i} of {i} red lamps" + " late" * (i % 5) + "?")))


def group(i: int, *candidates: tuple[Candidate, float | None, str]) -> Group:
    totals = tuple(None if value is None else Score(value) for _, value, _ in candidates)
    return Group(prompt(i), tuple(c for c, _, _ in candidates), (), totals, tuple(gate for _, _, gate in candidates))


def groups(count: int = 40) -> list[Group]:
    """Half say yes with a higher score than no; the other half only ever say yes."""
    yes, no = Candidate("p", "yes"), Candidate("p", "no")
    return [group(i, (no, 0.2, ""), (yes, 0.9, "")) if i % 2 else group(i, (yes, 0.4, "")) for i in range(count)]


def parted(i: int, record: Any, **parts: dict[str, float]) -> Group:
    scores = ({label: Score(0.5, parts=some) for label, some in parts.items()},)
    response = record if isinstance(record, str) else json.dumps(record)
    return Group(prompt(i), (Candidate("p", response),), scores, (Score(float(i)),), ("",))
