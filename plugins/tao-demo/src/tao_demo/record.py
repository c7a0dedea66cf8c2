"""The metric of *inbox*: is the record exactly the one a careful reader takes from the message?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tao_hub

LIMIT = 8000  # characters parsed; a record has some 200


def parse(response: str) -> dict[str, Any] | None:
    """The one JSON object that `response` is, or None: text around it, a repeated key or excess size spoil it."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("repeated key")
        return dict(pairs)

    if len(response) > LIMIT:
        return None
    try:
        record = json.loads(response, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def same(found: Any, gold: Any) -> bool:
    """Equal up to case, blanks and a leading "#"; a whole number may also be written as text ("2" for 2)."""
    if isinstance(gold, int) and not isinstance(found, (bool, dict, list)):
        try:
            return found is not None and float(found) == gold
        except (ValueError, OverflowError):
            return False
    if isinstance(gold, str) and isinstance(found, str):
        return _plain(found) == _plain(gold)
    return found is None and gold is None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).removeprefix("#").lstrip()


class Record(tao_hub.Reward):
    """1.0 for an exact record, else 0.0.

    Parts: 0 or 1 per field; "fields", their mean; "valid", whether the answer is one JSON object with exactly the keys
    of the reference. An answer that is no JSON object is a wrong answer: value and parts 0.
    """

    uses_reference = True

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        return [score(candidate.response, prompt.reference) for prompt, candidate in pairs]


def score(response: str, reference: Any) -> tao_hub.Score:
    """Score one answer against the gold record. Raises ValueError where there is no gold record."""
    if not isinstance(reference, Mapping) or not reference:
        raise ValueError(
            f"demo/record needs the gold record as reference, found {type(reference).__name__}: use a split with gold"
        )
    record = parse(response)
    found = record or {}
    parts = {field: float(field in found and same(found[field], gold)) for field, gold in reference.items()}
    wrong = [field for field, right in parts.items() if not right]
    valid = float(record is not None and record.keys() == reference.keys())
    if record is None:
        why = "not one JSON object"
    elif not valid:
        why = f"keys are {', '.join(map(str, record))[:200]}"
    else:
        why = f"wrong: {', '.join(wrong)}" if wrong else "exact"
    exact = float(bool(valid) and not wrong)
    return tao_hub.Score(exact, why=why, parts={**parts, "fields": sum(parts.values()) / len(parts), "valid": valid})
