"""Predictions against gold under every semantics at once, and where they part."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tao_hub

from .databases import find_database
from .engines import Place
from .extract import extract_sql
from .perturb import copies
from .sandbox import Sandbox
from .verdict import Verdict, judge_all, run_ahead

SQL_KEYS = ("sql", "query", "SQL", "reference", "gold")
ANSWER_KEYS = ("response", "prediction", "predicted", "sql", "query", "SQL")
SOFT = ("bird_rves", "bird_soft_f1")  # numbers, no proportions
DATABASE_KEYS = ("db", "db_id", "db_name", "database")


@dataclass(frozen=True)
class Question:
    """A gold question: its id, the accepted queries, the database's name or file."""

    id: str
    golds: tuple[str, ...]
    database: str


@dataclass
class Item:
    """What each semantics says of one prediction. `faults` names those that have no verdict, with the reason."""

    id: str
    database: str
    predicted: str
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    @property
    def disagree(self) -> bool:
        """Whether some semantics takes the prediction and another does not (soft scores: from 1 on it is taken)."""
        return len({v.value >= 1 for n, v in self.verdicts.items() if not v.fault and n != "bird_rves"}) > 1


def read_gold(path: Path) -> dict[str, Question]:
    """Questions by id. Raises UsageError with file and line for a row without a query, a database or an own id."""
    found: dict[str, Question] = {}
    for number, row in _rows(path):
        golds = _first(row, SQL_KEYS)
        golds = [golds] if isinstance(golds, str) else golds
        if not isinstance(golds, list) or not golds or not all(isinstance(g, str) and g.strip() for g in golds):
            raise _bad(path, number, f"no gold query under any of {', '.join(SQL_KEYS)}")
        meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
        database = _first({**(meta or {}), **row}, DATABASE_KEYS)
        if not isinstance(database, str) or not database:
            raise _bad(path, number, f"no database under any of {', '.join(DATABASE_KEYS)}")
        name = _id(row, number)
        if name in found:
            raise _bad(path, number, f"the id {name!r} stands twice")
        found[name] = Question(name, tuple(golds), database)
    if not found:
        raise tao_hub.UsageError(f"{path}: no questions")
    return found


def read_predictions(path: Path) -> dict[str, str]:
    """SQL by id, taken from the model's replies. Raises UsageError with file and line for what is no prediction."""
    found: dict[str, str] = {}
    for number, row in _rows(path):
        answer = _first(row, ANSWER_KEYS)
        if not isinstance(answer, str):
            raise _bad(path, number, f"no text under any of {', '.join(ANSWER_KEYS)}")
        name = _id(row, number)
        if name in found:
            raise _bad(path, number, f"the id {name!r} stands twice")
        found[name] = extract_sql(answer)
    return found


def compare_all(
    predictions: Mapping[str, str],
    questions: Mapping[str, Question],
    databases: Path,
    sandbox: Sandbox,
    semantics: Sequence[str],
    perturbed: int = 0,
    progress: tao_hub.Progress | None = None,
) -> list[Item]:
    """One item per gold question, in gold's order; a question without a prediction is a pred_error.

    `perturbed` copies count for `strict` only: the published semantics know one database. Raises UsageError for a
    database that is not there and for predictions of unknown questions.
    """
    unknown = [name for name in predictions if name not in questions]
    if unknown:
        raise tao_hub.UsageError(f"{len(unknown)} predictions have an id that gold does not know, as {unknown[0]!r}")
    files: dict[str, Place] = {}
    for question in questions.values():
        try:
            files.setdefault(question.database, find_database(question.database, str(databases)))
        except (OSError, ValueError) as error:
            raise tao_hub.UsageError(f"question {question.id!r}: {error}") from None
    progress = progress or tao_hub.Progress()
    progress.start("compare", len(questions), "questions")
    asked = [(q, predictions[q.id]) for q in questions.values() if q.id in predictions]
    run_ahead(sandbox, [(files[q.database], gold, sql) for q, sql in asked for gold in q.golds], semantics)
    items = []
    for question in questions.values():
        file = files[question.database]
        item = Item(question.id, question.database, predictions.get(question.id, ""))
        for name in semantics:
            if question.id not in predictions:
                item.verdicts[name] = Verdict("pred_error", 0.0, "no prediction")
                continue
            where = [file, *copies(file, perturbed if name == "strict" else 0)]
            told = [judge_all(sandbox, where, gold, item.predicted, name) for gold in question.golds]
            item.verdicts[name] = max(told, key=lambda v: (v.value, not v.fault))
        items.append(item)
        progress.advance(1)
    progress.finish()
    return items


def summary(items: Sequence[Item], semantics: Sequence[str]) -> dict[str, Any]:
    """Per semantics: n, how many are right, the score in percent with its 95% interval, verdicts, errors."""
    table = {}
    for name in semantics:
        told = [item.verdicts[name] for item in items]
        scored = [v for v in told if not v.fault]
        right = sum(v.value >= 1 or (name == "bird_rves" and v.value > 0) for v in scored)
        values = [math.sqrt(v.value) if name == "bird_rves" else v.value for v in scored]
        interval = tao_hub.proportion_interval(right, len(scored)) if scored and name not in SOFT else None
        table[name] = {
            "n": len(scored),
            "right": right,
            "score": 100 * sum(values) / len(values) if values else None,
            "ci": [100 * bound for bound in interval] if interval else None,
            "verdicts": dict(Counter(v.name for v in told).most_common()),
            "errors": len(told) - len(scored),
        }
    apart = [
        {
            "id": item.id, "database": item.database, "predicted": item.predicted,
            "verdicts": {n: {"verdict": v.name, "value": v.value, "why": v.why} for n, v in item.verdicts.items()},
        }
        for item in items if item.disagree
    ]  # fmt: skip
    return {"n": len(items), "semantics": table, "disagreements": apart}


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a JSONL file or of a JSON list (then the number is the item's)."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise tao_hub.UsageError(f"{path}: {error}") from None
    if text.lstrip().startswith("["):
        lines = [(i, item) for i, item in enumerate(_json(path, 1, text), 1)]
    else:
        lines = [(i, _json(path, i, line)) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    for number, row in lines:
        if not isinstance(row, dict):
            raise _bad(path, number, f"found {type(row).__name__}, a row is an object")
        yield number, row


def _json(path: Path, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _bad(path, number, f"no JSON ({error})") from None


def _bad(path: Path, number: int, what: str) -> tao_hub.UsageError:
    return tao_hub.UsageError(f"{path}, line {number}: {what}")


def _first(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _id(row: Mapping[str, Any], number: int) -> str:
    """The row's own id, else its place in the file, so that files without ids are paired line by line."""
    found = _first(row, ("id", "question_id"))
    return str(number if found is None else found)
