"""A report's examples: answers that are JSON records beside the reference, field by field."""

from __future__ import annotations

import json
from typing import Any

from .figures import MISSING, Row, rows, tidy


def json_object(text: Any) -> dict[str, Any] | None:
    """The JSON object in a text a model wrote (from the first brace to the last), None where there is none."""
    found = str(text)[:8000]
    start, end = found.find("{"), found.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        value = json.loads(found[start : end + 1])
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def field_table(example: Row) -> dict[str, Any] | None:
    """Answers beside the reference field by field, None unless the reference and some answer are JSON objects.

    A cell is "right" where it equals the reference up to case and blanks, "wrong" where it does not: a reading aid,
    the metric itself may be stricter or laxer.
    """
    reference = json_object(example.get("reference") or "")
    answers = [(row, json_object(row.get("text") or "")) for row in rows(example, "answers")]
    if reference is None or not any(answer is not None for _, answer in answers):
        return None
    names = list(dict.fromkeys([*reference, *(key for _, answer in answers for key in answer or ())]))[:40]
    body = []
    for name in names:
        cells = [_cell(name, answer, reference) for _, answer in answers]
        body.append(
            {
                "name": tidy(name, 80),
                "reference": _shown(reference.get(name)) if name in reference else "",
                "cells": cells,
            }
        )
    unread = [row for row, answer in answers if answer is None]
    return {"answers": [row for row, _ in answers], "rows": body, "unread": unread}


def _cell(name: str, answer: dict[str, Any] | None, reference: dict[str, Any]) -> dict[str, str]:
    if answer is None or name not in answer:
        return {"text": MISSING, "state": "wrong" if name in reference else "none"}
    right = name in reference and _plain(answer[name]) == _plain(reference[name])
    return {"text": _shown(answer[name]), "state": "right" if right else "wrong"}


def _plain(value: Any) -> Any:
    return " ".join(value.casefold().split()) if isinstance(value, str) else value


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return str(tidy(text, 300))
