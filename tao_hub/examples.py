"""The examples of a report: items with the answers before and after, as they were when they were measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .history import History
from .session import Session
from .stored import load_prompt

EXAMPLES = 3


def examples_of(session: Session, history: History, chosen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items of the primary split with every label's answer, those that flipped first; `chosen` are its evals."""
    if not chosen:
        return []
    answers = {e["label"]: history.eval_items(e["id"]) for e in chosen}
    first, last = chosen[0]["label"], chosen[-1]["label"]
    by = {label: {i["position"]: i for i in rows} for label, rows in answers.items()}

    def rank(position: int) -> tuple[int, int]:
        before, after = by[first].get(position), by[last].get(position)
        gained = ((after or {}).get("value") or 0) - ((before or {}).get("value") or 0)
        # Two gains and one failure tell more than three gains.
        return (0 if gained > 0 else 1, position)

    ordered = sorted(by[first].keys() & by[last].keys(), key=rank)
    wrong = [p for p in ordered if not by[last][p]["value"]]
    picked = [*ordered[: EXAMPLES - 1], *wrong[:1]] if wrong else ordered[:EXAMPLES]
    return [
        {
            **_asked(session, chosen[-1], by[last][p]),
            "answers": [
                {"label": label, "text": i["response"] or i["error"] or "", "right": None if i["value"] is None else
                 i["value"] == 1.0}
                for label in by if (i := by[label].get(p)) and i["prompt"] == by[last][p]["prompt"]
            ],
        }
        for p in dict.fromkeys(picked)
    ]  # fmt: skip


def _asked(session: Session, e: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked and expected when an item was measured: a file may have been changed since. What the split does
    not hold any more has no reference to show, and its place for a name."""
    sql = (
        "SELECT p.messages, i.item, i.reference FROM prompts p LEFT JOIN items i ON i.prompt = p.id AND i.suite = ? "
        "AND i.split = ? AND i.reference_digest = ? WHERE p.id = ? ORDER BY i.position = ? DESC, i.position LIMIT 1"
    )
    where = [e["suite_row"], e["split"], item["gold"], item["prompt"], item["position"]]
    messages, name, reference = session.store.one(sql, where) or ('[["user", ""]]', None, None)
    return {
        "id": name if name is not None else f"#{item['position'] + 1}",
        "prompt": load_prompt(messages).messages[-1].content,
        "reference": None if reference is None else json.dumps(json.loads(reference), ensure_ascii=False),
    }
