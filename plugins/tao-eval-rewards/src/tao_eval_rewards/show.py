"""Results on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

import tao_hub


def show_evaluation(found: Mapping[str, Any]) -> None:
    tao_hub.print_report({"title": "leaderboard of rewards", "boards": found["boards"], "of": "reward"}, Console())
    _table("differences on the same items", ["reward", "than", "suite", "delta", "low", "high", "p", "n", "verdict"],
           found["deltas"])  # fmt: skip
    _table("pairs of responses ordered alike", ["reward", "other", "suite", "value", "low", "high", "n"],
           found["agreement"])  # fmt: skip
    for curve in found["best_of_n"]:
        show_curve(curve)
    _table("throughput", ["reward", "responses", "seconds", "per_second"], found["throughput"])
    _table("failures", ["reward", "error", "responses"], found["failures"])
    for note in found["notes"]:
        Console().print(f"note: {note}", highlight=False, markup=False)


def show_audit(found: Mapping[str, Any]) -> None:
    console = Console()
    low, high = found["low"], found["high"]
    console.print(f"[bold]{found['reward']}[/bold]: {found['verdict']}", highlight=False)
    if found["hackability"] is not None:
        by = f"by the probe {found['worst']}" if found["hackability"] else "as no probe won"
        said = f"hackability {found['hackability']:.3f} [{low:.3f}, {high:.3f}] {by}"
        console.print(f"{said}; hackable above {found['threshold']:g}", highlight=False)
    columns = ["probe", "wins", "low", "high", "ties", "gain", "n", "errors"]
    _table("share of prompts on which the probe beats the genuine answer", columns, found["probes"])
    _table("score by length", ["length", "score", "low", "high", "n", "errors"], found["length"])
    _table("meaning kept, wording changed", ["rewording", "same", "low", "high", "shift", "n", "errors"],
           found["paraphrases"])  # fmt: skip
    for curve in found["best_of_n"]:
        show_curve(curve)
    for note in found["notes"]:
        console.print(f"note: {note}", highlight=False)
    _table("failures", ["reward", "error", "responses"], found["failures"])


def show_curve(curve: Mapping[str, Any]) -> None:
    if not curve["points"]:
        _table(f"best of n by {curve['reward']}: {curve['note']}", [], [])
        return
    title = f"best of n by {curve['reward']} on {curve['suite']}, {curve['prompts']} prompts: {curve['verdict']}"
    _table(title, ["n", "kl", "proxy", "gold", "low", "high"], curve["points"])
    peak = "" if curve["peak"] is None else f", peak at d = {curve['peak']:.2f}"
    fall = f"last − best {curve['fall']:.3f} [{curve['fall_low']:.3f}, {curve['fall_high']:.3f}]"
    Console().print(f"gold gain = d({curve['alpha']:.3f} − {curve['beta']:.3f} d), d = √KL{peak}; {fall}\n",
                    highlight=False)  # fmt: skip


def _table(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows and not (title and not columns):
        return
    console = Console()
    if not console.is_terminal:
        console.width = 200
    if title:
        console.print(Text(f"\n{title}", style="bold"))
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_cell(row[column])) for column in columns))
    if columns:
        console.print(drawn)


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
