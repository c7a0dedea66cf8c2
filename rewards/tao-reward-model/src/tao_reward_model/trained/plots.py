"""The card's drawings as SVG files: how calibrated a model is, and what the best of n by it is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 460, 300, 64, 30, 16, 46  # pixels
INK, GREY, BLUE = "#24292f", "#8c959f", "#0969da"
Point = tuple[float, float]


def write_plots(metrics: Mapping[str, Any], folder: Path) -> None:
    """`calibration.svg` and `best-of-n.svg`, each where the metrics hold what it shows."""
    found = metrics.get("calibration")
    if found and found["bins"]:
        (folder / "calibration.svg").write_text(calibration(found["bins"]), encoding="utf-8")
    if metrics.get("curve"):
        (folder / "best-of-n.svg").write_text(curve(metrics["curve"]["points"]), encoding="utf-8")


def calibration(bins: Sequence[Mapping[str, float]]) -> str:
    """The share that came true in each bin of the predicted probability, with its 95% interval, beside the diagonal."""
    axes = Axes((0, 1), (0, 1))
    drawn = [axes.line([(0, 0), (1, 1)], GREY, dash=True)]
    for b in bins:
        drawn.append(axes.line([(b["predicted"], b["low"]), (b["predicted"], b["high"])], BLUE))
        told = f"{b['observed']:.2f} of {b['n']:g} at {b['predicted']:.2f}"
        drawn.append(axes.dot((b["predicted"], b["observed"]), told))
    ticks = [0, 0.25, 0.5, 0.75, 1]
    return axes.svg(drawn, "predicted probability", "share that came true", ticks, ticks)


def curve(points: Sequence[Mapping[str, float]]) -> str:
    """The held-out score of the best of n by the model (with its 95% interval), of a random pick and of the best."""
    shown = [p[key] for p in points for key in ("low", "high", "best", "chance")]
    axes = Axes((0, len(points) - 1), (min(shown), max(shown)))
    drawn = []
    for key, colour in (("best", GREY), ("chance", GREY), ("value", BLUE)):
        drawn.append(axes.line([(i, p[key]) for i, p in enumerate(points)], colour, dash=key != "value"))
        drawn.append(axes.text((len(points) - 1, points[-1][key]), {"value": "by the model"}.get(key, key), colour))
    for i, p in enumerate(points):
        drawn.append(axes.line([(i, p["low"]), (i, p["high"])], BLUE))
        drawn.append(axes.dot((i, p["value"]), f"n = {p['n']:g}: {p['value']:.3f}"))
    low, high = axes.y
    levels = [low + (high - low) * i / 4 for i in range(5)]
    return axes.svg(drawn, "best of n", "held-out score", range(len(points)), levels, [f"{p['n']:g}" for p in points])


class Axes:
    """Data coordinates in a frame of pixels."""

    def __init__(self, x: Point, y: Point) -> None:
        self.x = x if x[0] < x[1] else (x[0] - 0.5, x[1] + 0.5)
        self.y = y if y[0] < y[1] else (y[0] - 0.5, y[1] + 0.5)

    def at(self, point: Point) -> Point:
        share = [(value - low) / (high - low) for value, (low, high) in zip(point, (self.x, self.y))]
        return LEFT + share[0] * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share[1] * (HEIGHT - TOP - BOTTOM)

    def line(self, points: Iterable[Point], colour: str, dash: bool = False) -> str:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.at, points))
        dashes = ' stroke-dasharray="4 4"' if dash else ""
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>'

    def dot(self, point: Point, told: str) -> str:
        x, y = self.at(point)
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{BLUE}"><title>{told}</title></circle>'

    def text(self, point: Point, told: str, colour: str) -> str:
        x, y = self.at(point)
        return f'<text x="{x - 6:.1f}" y="{y - 7:.1f}" text-anchor="end" fill="{colour}">{told}</text>'

    def svg(
        self, drawn: Iterable[str], x_name: str, y_name: str, x_ticks: Sequence[float], y_ticks: Sequence[float],
        x_texts: Sequence[str] = (),
    ) -> str:  # fmt: skip
        """The whole picture: frame, ticks, names, and what was drawn."""
        middle, turned = (LEFT + WIDTH - RIGHT) / 2, f"rotate(-90 14 {HEIGHT / 2})"
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" font-size="12" fill="{INK}"><rect width="100%" height="100%" fill="#ffffff"/>',
            f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{x_name}</text>',
            f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" transform="{turned}">{y_name}</text>',
        ]
        for value, told in zip(x_ticks, x_texts or [f"{v:g}" for v in x_ticks]):
            parts.append(f'<text x="{self.at((value, 0))[0]:.1f}" y="{HEIGHT - 28}" text-anchor="middle">{told}</text>')
        for value in y_ticks:
            y = self.at((0, value))[1]
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dee4"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        return "\n".join([*parts, *drawn, "</svg>"]) + "\n"
