"""What a report shows, worked out from its data: formatted numbers, positions in percent, compared answers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

MISSING = "–"
MANY_DELTAS = 12  # of more, those of a metric's parts are folded on the page, and left out in the terminal
Row = Mapping[str, Any]
# C0/C1 controls, bidirectional overrides and lone surrogates: text a model wrote must not steer a terminal or a page.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


# --- text and numbers ------------------------------------------------------------------------------------------------


def tidy(value: Any, limit: int = 4000) -> Any:
    """A copy of report data with safe, bounded text, and None for every number that is not finite."""
    if isinstance(value, str):
        text = _UNSAFE.sub("\ufffd", value.replace("\r\n", "\n").replace("\r", "\n"))
        return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {tidy(str(k), 200): tidy(v, 50_000 if k == "config" else limit) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [tidy(item, limit) for item in value]
    return value


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 3) -> str:
    """Significant digits without an exponent for everyday sizes: 0.0123, 4.57, 1,234."""
    if not is_number(value):
        return MISSING
    if isinstance(value, int) or abs(value) >= 1000 or value == round(value):
        return f"{round(value):,}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def percent(value: Any) -> str:
    return f"{100 * value:.1f}%".replace("-", "−") if is_number(value) else MISSING


def p_value(value: Any) -> str:
    if not is_number(value):
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: Any) -> str:
    if not is_number(seconds):
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def latency(seconds: Any) -> str:
    """Milliseconds below one second: one answer takes that long."""
    return f"{1000 * seconds:.0f} ms" if is_number(seconds) and seconds < 1 else duration(seconds)


def memory(megabytes: Any) -> str:
    if not is_number(megabytes):
        return MISSING
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"


def level(value: Any, plain: bool) -> str:
    return number(value) if plain else percent(value)


def change(row: Row, plain: bool) -> tuple[str, str]:
    """A delta and its interval: ("+27.2 pp", "[21.4, 33.0]")."""
    factor, unit = (1, "") if plain else (100, " pp")

    def signed(value: Any, form: str) -> str:
        return format(factor * value, form).replace("-", "−") if is_number(value) else MISSING

    places = ".3g" if plain else ".1f"
    delta = signed(row.get("delta"), "+" + places) + unit
    return delta if is_number(row.get("delta")) else MISSING, between(row, plain)


def between(row: Row, plain: bool) -> str:
    """The interval of a row in the units of its metric, without the unit: "[21.4, 33.0]"."""
    low, high = row.get("low"), row.get("high")
    if not (is_number(low) and is_number(high)):
        return MISSING
    ends = [f"{end:.3g}" if plain else f"{100 * end:.1f}" for end in (low, high)]
    return f"[{ends[0]}, {ends[1]}]".replace("-", "−")


def plain_metrics(data: Row) -> set[str]:
    """Metrics that are no shares: some level lies outside [0, 1]. All others are shown as percentages."""
    levels = [(row.get("metric"), row.get(key)) for row in rows(data, "quality") for key in ("value",)]
    levels += [(row.get("metric"), row.get(key)) for row in rows(data, "deltas") for key in ("before", "after")]
    levels += [
        (row.get("metric"), (row.get(side) or {}).get("value")) for row in rows(data, "adds") for side in ADDS_SIDES
    ]
    return {str(metric) for metric, value in levels if is_number(value) and not 0 <= value <= 1}


ADDS_SIDES = ("without", "with")


def rows(data: Row, key: str) -> list[Row]:
    return [row for row in data.get(key) or [] if isinstance(row, Mapping)]


# --- scales ----------------------------------------------------------------------------------------------------------


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (steps of 1, 2 or 5 times a power of ten) that enclose [low, high]."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(m * power for m in (1, 2, 5, 10) if span / (m * power) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def place(value: Any, low: float, high: float) -> float | None:
    """Position in percent of the way from low to high, clipped; None for no number."""
    return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 3) if is_number(value) else None


def numbers(values: Iterable[Any]) -> list[float]:
    return [value for value in values if is_number(value)]


# --- the figures -----------------------------------------------------------------------------------------------------


def same(row: Row, primary: Row, *keys: str) -> bool:
    return all(key not in primary or key not in row or row[key] == primary[key] for key in keys)


def headline(data: Row) -> dict[str, Any] | None:
    """The primary comparison in words, None without one. Costs are compared only where both were measured."""
    primary = data.get("primary") or {}
    if not primary:
        return None
    keys = ("suite", "split", "metric", "before_label", "after_label")
    delta: Row = next((row for row in rows(data, "deltas") if same(row, primary, *keys)), {})
    sides: list[Row] = [
        next(
            (row for row in rows(data, "quality")
             if same(row, primary, "suite", "split", "metric") and row.get("label") == primary.get(label)), {})
        for label in ("before_label", "after_label")
    ]  # fmt: skip
    plain = str(primary.get("metric")) in plain_metrics(data)
    levels = [delta.get(key, side.get("value")) for key, side in zip(("before", "after"), sides)]
    if not any(map(is_number, levels)):
        return None
    moved, interval = change(delta, plain)
    n = delta.get("n", sides[1].get("n"))
    return {
        **delta, "primary": primary, "levels": [level(value, plain) for value in levels], "delta": moved,
        "interval": interval, "p": p_value(delta.get("p")), "n": n, "cost": inference_cost(*sides),
    }  # fmt: skip


def inference_cost(before: Row, after: Row) -> str:
    """Mean output tokens per answer before and after, in words; "" where either was not measured."""
    old, new = before.get("output_tokens"), after.get("output_tokens")
    if not (is_number(old) and is_number(new)) or old <= 0:
        return ""
    ratio = new / old
    words = "same inference cost" if 0.9 <= ratio <= 1.1 else f"{ratio:.2g}× the output tokens"
    return f"{words}: {number(old)} → {number(new)} output tokens per answer"


def curve(data: Row) -> dict[str, Any] | None:
    """Quality over rounds: one line per split (x and y in percent, y downwards), other labels as horizontals.

    `data["step"]` is what the labels on the line begin with, if not "round "; a number follows.
    """
    quality, primary = rows(data, "quality"), data.get("primary") or (rows(data, "quality") or [{}])[0]
    shown = [row for row in quality if same(row, primary, "suite", "metric") and is_number(row.get("value"))]
    base = "base" if any(row.get("label") == "base" for row in shown) else primary.get("before_label")
    word = str(data.get("step") or "round ")
    steps = {base: 0, **{row["label"]: int(m[1]) for row in shown if (m := _step(row, word))}}
    on_line = [row for row in shown if row.get("label") in steps]
    if len({row["label"] for row in on_line}) < 2:
        return None
    splits = sorted({str(row.get("split")) for row in on_line}, key=lambda s: (s != primary.get("split"), s))
    plain = str(primary.get("metric")) in plain_metrics(data)
    marks = ticks(*_range([row.get(key) for row in shown for key in ("value", "low", "high")]))
    low, high = marks[0], marks[-1]
    order = sorted({steps[row["label"]] for row in on_line})

    def point(row: Row, shift: float) -> dict[str, Any]:
        ys = {key: 100 - y if (y := place(row.get(key), low, high)) is not None else None for key in _ENDS}
        x = round(100 * (order.index(steps[row["label"]]) + 0.5) / len(order) + shift, 3)
        return {"x": x, **ys, "text": level(row["value"], plain), "row": row, "interval": between(row, plain)}

    lines: list[dict[str, Any]] = []
    for i, split in enumerate(splits):
        found = sorted((r for r in on_line if str(r.get("split")) == split), key=lambda r: steps[r["label"]])
        lines.append({"split": split, "points": [point(row, 1.6 * i) for row in found]})
    others, word = [row for row in shown if row not in on_line], word if len(order) <= 5 else ""
    return {
        "lines": lines, "suite": primary.get("suite"), "metric": primary.get("metric"),
        "ticks": [{"y": 100 - (place(mark, low, high) or 0), "text": _tick(mark, plain)} for mark in marks],
        "steps": [{"x": 100 * (i + 0.5) / len(order), "text": str(base) if step == 0 else f"{word}{step}"}
                  for i, step in enumerate(order)],
        "horizontals": _horizontals(others, primary, (low, high), lines[0]["points"], plain),
    }  # fmt: skip


def _horizontals(
    others: list[Row], primary: Row, domain: tuple[float, float], line: list[Any], plain: bool
) -> list[dict[str, Any]]:
    """Levels outside the rounds, the primary split's first, each named at the end where the first line is farther."""
    drawn: dict[str, dict[str, Any]] = {}
    for row in sorted(others, key=lambda row: row.get("split") != primary.get("split")):
        y = 100 - (place(row["value"], *domain) or 0.0)
        side = 0 if abs(y - line[0]["value"]) > abs(y - line[-1]["value"]) else 100
        if any(abs(y - peer["y"]) < 7 and side == peer["side"] for peer in drawn.values()):
            side = 100 - side
        found = {
            "y": y,
            "side": side,
            "text": level(row["value"], plain),
            "label": row["label"],
            "split": row.get("split"),
        }
        drawn.setdefault(str(row["label"]), found)
    return list(drawn.values())


_ENDS = ("value", "low", "high")


def _step(row: Row, word: str) -> re.Match[str] | None:
    return re.match(re.escape(word) + r"(\d{1,6})$", str(row.get("label")))


def _range(values: Sequence[Any]) -> tuple[float, float]:
    found = numbers(values)
    low, high = min(found), max(found)
    return (0.0 if 0 <= low < 0.5 * high else low), high


def _tick(mark: float, plain: bool, sign: str = "") -> str:
    if plain:
        return format(mark, f"{sign if mark else ''}.4g").replace("-", "−")
    return f"{100 * mark:.4g}%".replace("-", "−")


def forest(data: Row) -> list[dict[str, Any]]:
    """Deltas in groups of one scale each (shares; others by metric), primary first, with positions in percent.

    Where there are many, those of a metric's parts are marked as `part`: a suite's first metric is the metric itself.
    """
    plain = plain_metrics(data)
    groups: dict[str, list[Row]] = {}
    whole: dict[Any, Any] = {}
    for row in rows(data, "deltas"):
        groups.setdefault(str(row.get("metric")) if str(row.get("metric")) in plain else "", []).append(row)
        whole.setdefault((row.get("suite"), row.get("split")), row.get("metric"))
    found = [_forest(group, bool(metric)) for metric, group in groups.items()]
    many = sum(len(group["rows"]) for group in found) > MANY_DELTAS
    for item in (item for group in found for item in group["rows"]):
        row = item["row"]
        item["part"] = many and row.get("metric") != whole[row.get("suite"), row.get("split")]
    return found


def _forest(group: list[Row], plain: bool) -> dict[str, Any]:
    ends = numbers([row.get(key) for row in group for key in ("delta", "low", "high")] + [0.0])
    marks = ticks(min(ends), max(ends))
    low, high = marks[0], marks[-1]
    drawn = []
    for row in group:
        mde = row.get("mde")
        delta, interval = change(row, plain)
        drawn.append({
            "row": row, "delta": delta, "interval": interval, "p": p_value(row.get("p")),
            "before": level(row.get("before"), plain), "after": level(row.get("after"), plain),
            "mde": (number(mde) if plain else f"{100 * mde:.1f} pp") if is_number(mde) else MISSING,
            "x": {key: place(row.get(key), low, high) for key in ("delta", "low", "high")},
            "band": [place(end, low, high) for end in (-mde, mde)] if is_number(mde) else None,
        })  # fmt: skip
    text = [{"x": place(mark, low, high), "text": _tick(mark if plain else 100 * mark, True, "+")} for mark in marks]
    return {"rows": drawn, "zero": place(0.0, low, high), "ticks": text, "unit": "" if plain else "percentage points"}


def fields(data: Row) -> list[dict[str, Any]]:
    """Every other metric of the primary suite and split, before and after: one small panel of two bars each."""
    primary, quality = data.get("primary") or {}, rows(data, "quality")
    labels = [primary.get("before_label"), primary.get("after_label")]
    plain = plain_metrics(data)
    panels: dict[str, dict[Any, Row]] = {}
    for row in quality:
        metric = str(row.get("metric"))
        if metric == primary.get("metric") or metric in plain or row.get("label") not in labels:
            continue
        if same(row, primary, "suite", "split") and is_number(row.get("value")):
            panels.setdefault(metric, {})[row["label"]] = row
    deltas = {str(row.get("metric")): row for row in rows(data, "deltas")
              if same(row, primary, "suite", "split", "before_label", "after_label")}  # fmt: skip
    return [
        {"metric": metric, "bars": [bar(pair[label], str(label)) for label in labels],
         "delta": change(deltas[metric], False) if metric in deltas else None,
         "verdict": deltas.get(metric, {}).get("verdict")}
        for metric, pair in panels.items() if len(pair) == len(labels) == 2
    ]  # fmt: skip


def bar(row: Row, label: str, top: float = 1.0, plain: bool = False) -> dict[str, Any]:
    return {"label": label, "x": {key: place(row.get(key), 0.0, top) for key in _ENDS},
            "text": level(row.get("value"), plain), "interval": between(row, plain)}  # fmt: skip


def adds(data: Row) -> list[dict[str, Any]]:
    """What each reward adds: quality of rounds without and with it, as paired bars on one scale per metric."""
    plain_set, drawn = plain_metrics(data), []
    for row in rows(data, "adds"):
        plain = str(row.get("metric")) in plain_set
        peers = [
            r.get(side) or {} for r in rows(data, "adds") if r.get("metric") == row.get("metric") for side in ADDS_SIDES
        ]
        top = max(numbers([side.get(key) for side in peers for key in _ENDS]), default=1.0) if plain else 1.0
        bars = [bar(row.get(side) or {}, side, top or 1.0, plain) for side in ADDS_SIDES]
        delta, interval = change(row, plain)
        drawn.append({"row": row, "bars": bars, "delta": delta, "interval": interval, "p": p_value(row.get("p"))})
    return drawn


def boards(data: Row) -> list[dict[str, Any]]:
    """Leaderboards as text and positions: one row per policy with its rank, its value, and how far it is behind."""
    drawn = []
    for board in rows(data, "boards"):
        found = rows(board, "rows")
        plain = any(is_number(row.get("value")) and not 0 <= row["value"] <= 1 for row in found)
        top = max(numbers([row.get(key) for row in found for key in _ENDS]), default=1.0) if plain else 1.0
        parts = list(dict.fromkeys(part for row in found for part in row.get("parts") or {}))
        lines = []
        for row in found:
            behind = row.get("behind") or {}
            delta, interval = change(behind, plain) if behind else ("", "")
            first, last = row.get("rank"), row.get("last")
            lines.append({
                "row": row, "rank": str(first) if first == last else f"{first}–{last}", "delta": delta,
                "behind": interval, "p": p_value(behind["p"]) if behind else "",
                "bar": bar(row, str(row.get("label")), top or 1.0, plain),
                "parts": [level((row.get("parts") or {}).get(part), plain) for part in parts],
            })  # fmt: skip
        cost = any(row.get("truncated") is not None for row in found)
        drawn.append({"board": board, "rows": lines, "parts": parts, "cost": cost})
    return drawn


def costs(data: Row) -> list[Row]:
    """One row per label on the primary suite, split and metric (all measurements without a primary), in given order."""
    primary = data.get("primary") or {}
    return [row for row in rows(data, "quality") if same(row, primary, "suite", "split", "metric")]


def stages(data: Row) -> list[dict[str, Any]]:
    """Seconds per stage with position and width in percent of their sum."""
    found = [(str(k), v) for k, v in (data.get("stage_seconds") or {}).items() if is_number(v) and v >= 0]
    total, x, drawn = sum(v for _, v in found), 0.0, []
    for name, seconds in found:
        width = 100 * seconds / total if total else 0.0
        drawn.append({"name": name, "seconds": seconds, "x": round(x, 3), "width": round(width, 3)})
        x += width
    return drawn
