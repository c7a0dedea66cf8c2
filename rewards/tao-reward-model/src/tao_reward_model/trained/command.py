"""`tao-hub train-reward`: preferences in, a reward model's folder with its card out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each field of `TrainOptions`, with its description."""
    from .options import TrainOptions

    for name, field in reversed(TrainOptions.model_fields.items()):
        kind: Any = field.annotation
        choices = getattr(kind, "__args__", None)  # of a Literal
        settings: dict[str, Any] = {"is_flag": True} if kind is bool else {
            "type": click.Choice(list(choices)) if choices else kind, "show_default": True
        }  # fmt: skip
        command = click.option(
            "--" + name.replace("_", "-"), name, default=field.default, help=field.description, **settings
        )(command)
    return command


@click.command("train-reward")
@click.option("--data", multiple=True, metavar="PATH[,weight=W][,cap=N][,domain=NAME][,split=NAME]",
              help="JSONL, JSON or Parquet (also .gz), a folder of them, or a folder saved by `datasets` (split: which "
              "one); repeatable.")
@click.option("--from-run", multiple=True, metavar="RUN", help="Scored candidates of a run in the store; repeatable.")
@click.option("--reward", "by", default="", metavar="LABEL", help="With --from-run: whose scores; default: the totals.")
@click.option("--store", type=click.Path(path_type=Path), default=Path("tao-hub.db"), show_default=True,
              envvar="TAO_HUB_STORE", help="The workspace; what it measures on is no training data.")
@click.option("--out", type=click.Path(path_type=Path), help="A new folder for the model.")
@click.option("--name", default="", help="Also register it: model/NAME@1, then @2, …")
@click.option("--check", is_flag=True, help="Only read, count and split the data.")
@click.option("--skip-invalid", is_flag=True, help="Leave out malformed rows instead of stopping; they are counted.")
@click.option("--drop-overlap", is_flag=True, help="Leave out prompts that occur in an evaluation suite.")
@click.option("--against", multiple=True, metavar="'SUITE KEY=VALUE …'", help="Check against a suite with options.")
@click.option("--except-suite", multiple=True, metavar="SUITE", help="Do not check against it; the card says so.")
@click.option("--licence", default="", help="A note for the card.")
@training_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def train_reward(
    data: tuple[str, ...], from_run: tuple[str, ...], by: str, store: Path, out: Path | None, name: str, check: bool,
    skip_invalid: bool, drop_overlap: bool, against: tuple[str, ...], except_suite: tuple[str, ...], licence: str,
    as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Train a reward model on preferences, measure it on held-out prompts, and write its card.

    A row is {prompt, chosen, rejected[, margin]}, {prompt, responses, scores} or {prompt, responses, ranking}; prompt
    is text or messages. With --attributes it rates named ones: {prompt, responses, attributes: {NAME: scores}}, or
    {prompt, chosen, rejected, attribute: NAME}. No prompt of an evaluation suite is trained on. The folder is a plain
    one of transformers: `tao-hub score model/preference -o model=FOLDER` scores with it.
    """
    import tao_hub

    from . import processes
    from .prepare import Wishes, load, prepare
    from .recycled import recycled
    from .rows import Problems
    from .train import train

    if not data and not from_run:
        raise tao_hub.UsageError("say what to train on: --data FILE, or --from-run RUN")
    if out is None and not check:
        raise tao_hub.UsageError("--out FOLDER is missing (or --check, to look at the data only)")
    options = _validated(given)
    wishes = Wishes(skip_invalid, drop_overlap, against, _measured_on(store), except_suite)
    hub, problems = tao_hub.Hub(block=click.get_current_context().find_root().params.get("block") or ()), Problems()
    more = [recycled(store, run, by, hub, problems) for run in from_run]
    if out is None or check:
        ready = prepare([*load(data, problems), *more], options, wishes, hub, problems)
        if not processes.rank():
            _tell_counts(ready.counts, as_json)
        return
    result = train(
        data, options, out, wishes=wishes, more=more, problems=problems, name=name, licence=licence, hub=hub,
        progress=tao_hub.Progress() if as_json or processes.rank() else tao_hub.Bar(),
    )  # fmt: skip
    if processes.rank():
        return
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        _tell(result)


def _validated(given: dict[str, Any]) -> Any:
    import pydantic

    import tao_hub

    from .options import TrainOptions

    try:
        return TrainOptions.model_validate(given)
    except pydantic.ValidationError as error:
        told = []
        for e in error.errors():
            option = "".join(f"--{name} " for name in e["loc"]).replace("_", "-")
            told.append(option + e["msg"].removeprefix("Value error, "))
        raise tao_hub.UsageError("; ".join(told)) from None


def _measured_on(store: Path) -> tuple[Any, ...]:
    """The suites that the workspace has measured something on, if there is a workspace."""
    import tao_hub

    if not store.exists():
        return ()
    with tao_hub.Store(store, write=False) as opened:
        return tuple(tao_hub.evaluated_suites(opened))


def _tell_counts(counts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(counts, ensure_ascii=False))
        return
    click.echo(", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in counts["rows"].items()))
    for s in counts["sources"] if len(counts["sources"]) > 1 else []:
        cap = f", after cap {s['capped']}" if s["cap"] else ""
        told = f"kept {s['kept']}: {s['train']} to train on, {s['held_out']} held out"
        click.echo(f"{s['name']}: read {s['read']}{cap}, {told}; weight {s['weight']:g}, so {s['per_epoch']} an epoch")
    for kind, count in counts["problems"].items():
        click.echo(f"  {count} {kind}")
    checked = counts["contamination"]["suites"]
    click.echo(f"checked against {sum(checked.values())} prompts of {len(checked)} splits of evaluation suites")


def _tell(result: dict[str, Any]) -> None:
    _tell_counts(result, False)
    for name, metrics in [("", result["metrics"]), *result["metrics"].get("attributes", {}).items()]:
        if "accuracy" in metrics:
            _tell_accuracy(metrics, f"{name}: " if name else "")
    click.echo(f"{result['out']}  digest {result['digest']}")
    called = f"model/{result['name']}" if "name" in result else f"model/preference -o model={result['out']}"
    click.echo(f"use it: tao-hub score {called}; the card is {result['out']}/README.md")


def _tell_accuracy(metrics: dict[str, Any], head: str) -> None:
    rows = {"held-out accuracy": metrics["accuracy"], "length alone": metrics["length_only"], **metrics["baselines"]}
    for label, row in rows.items():
        interval = f"{100 * row['low']:.1f}–{100 * row['high']:.1f}, n = {row['n']}"
        click.echo(f"{head}{label}: {100 * row['value']:.1f}% ({interval})")
    click.echo(head + metrics["verdict"])
