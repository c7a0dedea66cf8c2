"""When two result tables are the same: strict, and as published benchmarks decide it. Pure functions over rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import product
from typing import Any

Row = Sequence[Any]
Rows = Sequence[Row]

TOLERANCE = 1e-6  # relative, of numbers
DIGITS = 9  # to which numbers are rounded where they are hashed
MOST_TRIES = 5_000  # partial column matchings that are looked at


# -- strict ---------------------------------------------------------------------------------------------------------


def canonical(value: Any) -> Hashable:
    """The value with its kind, numbers rounded to 9 digits: 1 = 1.0 = True; NULL, '', 0 and b'' are four things."""
    if value is None:
        return ("null",)
    if isinstance(value, (bool, int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            return ("number~", str(value))
        number = float(value)  # SQLite's integers have 64 bits
        return ("number", float(f"{number:.{DIGITS - 1}e}") + 0.0 if number else 0.0)
    return ("bytes", bytes(value)) if isinstance(value, (bytes, memoryview)) else ("text", str(value))


def alike(a: Any, b: Any) -> bool:
    """Equal; numbers within a relative 1e-6."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b or math.isclose(a, b, rel_tol=TOLERANCE)
    return canonical(a) == canonical(b)


def same_rows(gold: Rows, predicted: Rows) -> bool:
    """Whether the rows are the same multiset, columns in their order."""
    if len(gold) != len(predicted):
        return False
    one, two = (sorted((tuple(canonical(v) for v in row), row) for row in _keyed(rows)) for rows in (gold, predicted))
    if [key for key, _ in one] == [key for key, _ in two]:
        return True
    return all(len(a) == len(b) and all(map(alike, a, b)) for (_, a), (_, b) in zip(one, two))


def _keyed(rows: Rows) -> list[Any]:
    return [_Row(row) for row in rows]


class _Row(tuple[Any, ...]):
    """A row that never decides an order: rows with equal keys are alike."""

    __slots__ = ()

    def __lt__(self, other: object) -> bool:
        return False


def match_columns(gold: Rows, predicted: Rows) -> tuple[int, ...] | None:
    """Which column of `predicted` stands for each of `gold` so that the rows are one multiset; None if there is none.

    Columns are paired by what they hold (a fingerprint), one after the other, and each step compares the rows so far:
    polynomial where fingerprints differ. Of columns that hold the same in the same rows one stands for all. After
    `MOST_TRIES` steps the search gives up, which only tables with many look-alike columns reach.
    """
    width = len(gold[0]) if gold else 0
    if len(gold) != len(predicted) or any(len(row) != width for row in (*gold, *predicted)):
        return None
    if same_rows(gold, predicted):
        return tuple(range(width))
    ours, theirs = ([[canonical(row[c]) for row in rows] for c in range(width)] for rows in (gold, predicted))
    prints = [[_fingerprint(column) for column in columns] for columns in (ours, theirs)]
    if Counter(prints[0]) != Counter(prints[1]):
        return _tolerant(gold, predicted, width)
    order = sorted(range(width), key=lambda c: prints[1].count(prints[0][c]))
    tries = 0

    def extend(chosen: list[int]) -> list[int] | None:
        nonlocal tries
        if len(chosen) == width:
            return chosen
        column, seen = order[len(chosen)], []
        for candidate in range(width):
            if candidate in chosen or prints[1][candidate] != prints[0][column] or theirs[candidate] in seen:
                continue
            seen.append(theirs[candidate])
            tries += 1
            if tries > MOST_TRIES:
                return None
            trial = [*chosen, candidate]
            left = Counter(zip(*(ours[c] for c in order[: len(trial)])))
            if left == Counter(zip(*(theirs[c] for c in trial))) and (found := extend(trial)) is not None:
                return found
        return None

    found = extend([])
    if found is None:
        return None
    return tuple(found[order.index(c)] for c in range(width))


def _fingerprint(column: Sequence[Hashable]) -> Hashable:
    return frozenset(Counter(column).items())


def _tolerant(gold: Rows, predicted: Rows, width: int) -> tuple[int, ...] | None:
    """The order as it stands, or the one by the columns' sorted values: for numbers that round apart."""
    if width > 1:
        orders = [
            sorted(range(width), key=lambda c: sorted(map(_sortable, (r[c] for r in rows))))
            for rows in (gold, predicted)
        ]
        match = dict(zip(*orders))
        if same_rows(gold, [[row[match[c]] for c in range(width)] for row in predicted]):
            return tuple(match[c] for c in range(width))
    return None


def _sortable(value: Any) -> tuple[int, float, str]:
    if value is None:
        return (0, 0.0, "")
    if isinstance(value, (int, float)):
        return (1, float(value), "")
    return (2, 0.0, str(value))


def strict(gold: Rows, predicted: Rows, blocks: Sequence[int] | None = None, last: Rows | None = None) -> str:
    """ "" if the tables are the same, else what differs first.

    `blocks`: sizes of the runs of rows that gold's top-level ORDER BY leaves tied, in order (None: no order is asked
    for). `last`: where a LIMIT cuts the last run, all the rows that were tied for it; any of them may stand there.
    """
    if gold and predicted and len(gold[0]) != len(predicted[0]):
        return f"{len(predicted[0])} columns, gold has {len(gold[0])}"
    if len(gold) != len(predicted):
        return f"{len(predicted)} rows, gold has {len(gold)}"
    whole = list(gold)
    if last is not None and blocks:
        return _cut(whole, predicted, blocks, last)
    columns = match_columns(whole, predicted)
    if columns is None:
        return _first_difference(whole, predicted)
    if blocks is None:
        return ""
    rows = [[row[c] for c in columns] for row in predicted] if columns else list(predicted)
    return _in_order(whole, rows, blocks)


def _in_order(gold: Rows, rows: Rows, blocks: Sequence[int]) -> str:
    start = 0
    for size in blocks:
        if not same_rows(gold[start : start + size], rows[start : start + size]):
            return f"order: rows {start + 1} to {start + size} should be {_show(gold[start])} …"
        start += size
    return ""


def _cut(gold: list[Row], predicted: Rows, blocks: Sequence[int], last: Rows) -> str:
    """Gold's last run may hold any of the rows tied for it: those that the prediction chose, where it chose such."""
    head = len(gold) - blocks[-1]
    allowed = Counter(tuple(canonical(v) for v in row) for row in last)
    chosen = Counter(tuple(canonical(v) for v in row) for row in predicted[head:])
    if not chosen - allowed:
        return _in_order(gold[:head], predicted[:head], blocks[:-1])
    columns = match_columns(gold, predicted)
    if columns is None:
        return _first_difference(gold, predicted)
    return _in_order(gold, [[row[c] for c in columns] for row in predicted] if columns else predicted, blocks)


def _first_difference(gold: Rows, predicted: Rows) -> str:
    missing = Counter(tuple(canonical(v) for v in row) for row in gold)
    missing.subtract(tuple(canonical(v) for v in row) for row in predicted)
    wanted = next((row for row in gold if missing[tuple(canonical(v) for v in row)] > 0), None)
    other = next((row for row in predicted if missing[tuple(canonical(v) for v in row)] < 0), None)
    return f"gold has {_show(wanted)}, found {_show(other)}"


def _show(row: Row | None) -> str:
    return "nothing more" if row is None else str(tuple(row))[:120]


# -- as published ---------------------------------------------------------------------------------------------------


def bird_ex(gold: Rows, predicted: Rows) -> bool:
    """BIRD's execution accuracy: equal sets of rows (Li et al. 2023, evaluation.py)."""
    return {tuple(row) for row in gold} == {tuple(row) for row in predicted}


def bird_soft_f1(gold: Rows, predicted: Rows) -> float:
    """BIRD mini-dev's soft F1: rows without repeats paired by position, values looked up in the paired row.

    Per row, over gold's width: matched = predicted values in the gold row, predicted only, gold only; F1 of the sums
    (mini_dev/evaluation/evaluation_f1.py).
    """
    if not gold and not predicted:
        return 1.0
    ours, theirs = (list(dict.fromkeys(tuple(row) for row in rows)) for rows in (gold, predicted))
    matched = only_predicted = only_gold = 0.0
    for i, row in enumerate(ours):
        if i >= len(theirs):
            only_gold += 1
            continue
        width = len(row)
        hits = sum(value in row for value in theirs[i])
        matched += hits / width
        only_predicted += (len(theirs[i]) - hits) / width
        only_gold += sum(value not in theirs[i] for value in row) / width
    only_predicted += max(0, len(theirs) - len(ours))
    precision = matched / (matched + only_predicted) if matched + only_predicted else 0.0
    recall = matched / (matched + only_gold) if matched + only_gold else 0.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def bird_rves(ratio: float) -> float:
    """BIRD mini-dev's reward for efficiency of a right answer, from gold's time over the prediction's: 1.25, 1, 0.75,
    0.5 or 0.25 (mini_dev/evaluation/evaluation_ves.py). The score of many is 100 times the mean of the square roots."""
    for least, reward in ((2.0, 1.25), (1.0, 1.0), (0.5, 0.75), (0.25, 0.5)):
        if ratio >= least:
            return reward
    return 0.25


def spider_ts(gold: Rows, predicted: Rows, ordered: bool) -> bool:
    """The test-suite's comparison of two tables: a multiset (or list, if `ordered`) of rows under some permutation of
    the columns (Zhong et al. 2020, test-suite-sql-eval, exec_eval.py)."""
    if not gold and not predicted:
        return True
    if len(gold) != len(predicted) or len(gold[0]) != len(predicted[0]):
        return False
    width = len(gold[0])
    ours, theirs = ([[row[c] for row in rows] for c in range(width)] for rows in (gold, predicted))
    keys = [[sorted(column, key=lambda v: str(v) + str(type(v))) for column in columns] for columns in (ours, theirs)]
    choices = [[c for c in range(width) if keys[1][c] == keys[0][column]] for column in range(width)]
    if math.prod(map(len, choices)) > MOST_TRIES:
        return match_columns(gold, predicted) is not None
    for order in product(*choices):
        if len(set(order)) < width:
            continue
        rows = [tuple(row[c] for c in order) for row in predicted]
        if rows == [tuple(row) for row in gold] if ordered else _multiset(rows) == _multiset(gold):
            return True
    return False


def _multiset(rows: Rows) -> Counter[Any]:
    return Counter(tuple(row) for row in rows)


def wikisql_ex(gold: Rows, predicted: Rows) -> bool:
    """WikiSQL's execution accuracy: the lists of first values are equal, in order (Zhong et al. 2017)."""
    return [row[0] for row in gold] == [row[0] for row in predicted]
