"""`tao-hub sql`: tools for SQL that need no store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.group("sql")
def sql() -> None:
    """Judge SQL by running it."""


@sql.command("report")
@click.argument("predictions", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--gold", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--databases", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--semantics", default="strict,bird_ex,bird_soft_f1,spider_ts,wikisql_ex", show_default=True,
              help="Which to tell, separated by commas; bird_rves runs each right answer 25 times.")  # fmt: skip
@click.option("--perturbed", default=0, show_default=True, help="Copies with other data where strict must match, too.")
@click.option("--timeout", default=5.0, show_default=True, help="Seconds a query may take.")
@click.option("--workers", default=1, show_default=True, help="Sandbox processes.")
@click.option("--show", default=20, show_default=True, help="Disagreements listed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all disagreements.")
def report(
    predictions: Path, gold: Path, databases: Path, semantics: str, perturbed: int, timeout: float, workers: int,
    show: int, as_json: bool,
) -> None:  # fmt: skip
    """Compare predicted SQL with gold under every semantics, side by side, and list where they disagree.

    PREDICTIONS and --gold are JSONL files (or JSON lists) whose rows have an id; without ids they are paired line by
    line. A prediction may be a model's reply. Gold's rows name their database (db, db_id or meta.db): NAME is looked
    for as NAME.sqlite (or .duckdb) and NAME/NAME.sqlite in --databases.
    """
    import tao_hub

    from .report import compare_all, read_gold, read_predictions, summary
    from .sandbox import Limits, Sandbox
    from .verdict import SEMANTICS

    names = [name.strip() for name in semantics.split(",") if name.strip()]
    if unknown := [name for name in names if name not in SEMANTICS]:
        raise tao_hub.UsageError(f"no semantics {unknown[0]!r}: {', '.join(SEMANTICS)}")
    questions, predicted = read_gold(gold), read_predictions(predictions)
    progress = tao_hub.Progress() if as_json else tao_hub.Bar()
    with Sandbox(workers, Limits(seconds=timeout)) as sandbox:
        items = compare_all(predicted, questions, databases, sandbox, names, perturbed, progress)
    found = summary(items, names)
    click.echo(json.dumps(found, indent=1)) if as_json else _print(found, show)


def _print(found: dict[str, Any], show: int) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tao_hub import tidy

    console = Console()
    table = Table("semantics", "right", "n", "score", "95%", "verdicts", box=None, pad_edge=False)
    for name, row in found["semantics"].items():
        interval = "–".join(f"{x:.1f}" for x in row["ci"]) if row["ci"] else ""
        score = "" if row["score"] is None else f"{row['score']:.1f}"
        told = ", ".join(f"{count} {verdict}" for verdict, count in row["verdicts"].items())
        table.add_row(name, str(row["right"]), str(row["n"]), score, interval, told)
    console.print(table)
    apart = found["disagreements"]
    more = f", the first {show}:" if len(apart) > show else ""
    console.print(f"\n{len(apart)} of {found['n']} judged differently{more}")
    for item in apart[:show]:
        yes = [n for n, v in item["verdicts"].items() if v["value"] >= 1]
        no = [n for n, v in item["verdicts"].items() if v["value"] < 1]
        where = escape(tidy(item["database"]))
        console.print(f"\n[bold]{escape(tidy(item['id']))}[/bold] ({where})  taken by {', '.join(yes)}")
        console.print(f"  {escape(tidy(item['predicted'], 300))}", highlight=False)
        for name in no:
            told = item["verdicts"][name]
            console.print(f"  {name}: {told['verdict']} {escape(tidy(told['why'], 200))}", highlight=False)
