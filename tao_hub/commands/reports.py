"""Commands that read the store: runs, show, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..cli import hub
from ..lock import writer
from .files import OutputFile
from .lists import json_option, table
from .stages import store_option


def reading(store: Path) -> Any:
    from ..session import Session
    from ..store import Store

    return Session(Store(store, write=False), hub())


def unfinished(store: Path) -> str:
    """What is to be said of a run that is not done while a process writes its store; "" while none does."""
    process = writer(store)
    return f"unfinished (process {process} is writing)" if process else ""


@click.command("runs")
@store_option
@json_option
def runs_command(store: Path, as_json: bool) -> None:
    """List the runs of a store, newest last."""
    from ..history import History

    with reading(store) as s:
        rows = History(s.store).runs()
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    open_ = unfinished(store) or "interrupted (same command resumes)"
    lines = [[r["name"], r["created"], "done" if r["finished"] else open_, str(r["rounds"])] for r in rows]
    table(["run", "created", "state", "rounds"], lines)


@click.command("report")
@click.argument("run", required=False, default="")
@click.option("--format", "form", type=click.Choice(["terminal", "html", "markdown", "json"]), default="terminal",
              show_default=True, help="How it is written.")
@click.option("--output", type=OutputFile(), help="File to write; default: stdout.")
@store_option
def report_command(run: str, form: str, output: Path | None, store: Path) -> None:
    """Show or write the report of RUN (default: the newest), recomputed from the store."""
    from ..report import print_report, render_html, render_markdown
    from ..runs import run_report

    with reading(store) as s:
        data = dict(run_report(s, run).data)
    if data["status"] == "interrupted":
        data["status"] = unfinished(store) or data["status"]
    if form == "terminal" and output is None:
        from rich.console import Console

        print_report(data, Console())
        return
    render = {"html": render_html, "markdown": render_markdown, "terminal": render_markdown}
    text = json.dumps(data, ensure_ascii=False, indent=1) if form == "json" else render[form](data)
    if output is None:
        click.echo(text)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"wrote {output}", err=True)


@click.command("show")
@click.argument("run", required=False, default="")
@click.option("--prompt", default="", help="One prompt, by its id.")
@click.option("--round", "number", type=int, help="Round; default: the last.")
@click.option("--limit", default=3, type=click.IntRange(1), show_default=True, help="Prompts shown.")
@store_option
@json_option
def show_command(run: str, prompt: str, number: int | None, limit: int, store: Path, as_json: bool) -> None:
    """Show RUN's candidates side by side: every reward's value, parts and why, and the chosen ones; and its gates."""
    from ..runs import run_gates, show_prompts

    with reading(store) as s:
        found = show_prompts(s, run, number, prompt, limit)
        gates = run_gates(s, run)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for gate in gates:
        click.echo(f"gate: {gate}")
    for one in found:
        click.secho(f"\n{one['task']} {one['id']}" if "task" in one else f"\n{one['id']}", bold=True)
        click.echo(_clean(one["prompt"][-1][1]))
        rewards = sorted({k for c in one["candidates"] for k in c["scores"]})
        lines = []
        for c in sorted(one["candidates"], key=lambda c: (c["total"] is None, -(c["total"] or 0.0))):
            total = "–" if c["total"] is None else f"{c['total']:.3f}"
            note = c["error"] or c["rejected"]
            values = [_cell(c["scores"].get(k)) for k in rewards]
            mark = "chosen" if c["chosen"] else ""
            lines.append([mark, c["strategy"].split("/")[-1], _clean(c["response"])[:400], *values, total, note])
        table(["", "strategy", "response", *rewards, "total", "refused"], lines)


def _cell(score: dict[str, Any] | None) -> str:
    if score is None:
        return "–"
    if score["error"]:
        return f"error: {score['error']['type']}: {score['error']['message'][:80]}"
    parts = " ".join(f"{k}={v:.2g}" for k, v in list(score["parts"].items())[:8])
    why = f" {score['why'][:80]}" if score["why"] else ""
    return f"{score['value']:.3f}{why}" + (f" ({parts})" if parts else "")


def _clean(text: str) -> str:
    """Model-written text without control characters, so that it cannot drive the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
