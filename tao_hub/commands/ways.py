"""Commands that set results side by side: compare and sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import config
from ..errors import UsageError
from .files import OutputFile
from .lists import json_option, numbers, table
from .reports import reading
from .stages import command_line, open_session, store_option, write_report

if TYPE_CHECKING:
    from collections.abc import Sequence

report_option = click.option(
    "--report", type=OutputFile(), default=Path("report.html"), show_default=True,
    help="Where the page goes.",
)  # fmt: skip


@click.command("compare")
@click.argument("what", metavar="CONFIG.toml | RUN BEFORE AFTER", nargs=-1, required=True)
@click.option("--labels", default="", help="Split with references: adds the supervised line.")
@click.option("--gold", type=click.Path(path_type=Path), help="JSONL of {id, reference} for tuning prompts: likewise.")
@click.option("--examples", type=click.IntRange(1), help="Labels the supervised line learns from, at most.")
@click.option("--best-of", type=click.IntRange(0), default=8, show_default=True,
              help="Candidates an answer is picked from at inference time; 0 leaves that line out.")
@click.option("--external", type=click.Path(path_type=Path), help="JSONL of other systems: {label, value, …}.")
@click.option("-o", "--option", "pairs", multiple=True, metavar="KEY=VALUE",
              help="Option of the supervised line's trainer in place of the plan's, as epochs=4.")
@report_option
@store_option
@json_option
def compare_command(
    what: Sequence[str], labels: str, gold: Path | None, examples: int | None, best_of: int, external: Path | None,
    pairs: tuple[str, ...], report: Path, store: Path, as_json: bool,
) -> None:  # fmt: skip
    """Tune as CONFIG.toml says and set it beside the other ways to use the model; or compare two labels of a run.

    CONFIG.toml: base, the plan's baselines, the best of n at inference time, tuning without labels, and, with --labels
    or --gold, the same model fine-tuned on labels. RUN BEFORE AFTER (say `base` and `round 2`): their paired deltas on
    every split both were measured on.
    """
    if len(what) == 3:
        _labels_of_a_run(what, store, as_json)
        return
    if len(what) != 1 or (labels and gold):
        raise UsageError("give CONFIG.toml with one of --labels and --gold, or RUN BEFORE AFTER")
    from ..across import require_kept
    from ..ways import Ways, comparison

    plan = config.load_plan(Path(what[0]))
    with open_session(store, as_json, plan.timeout, plan.deterministic) as s:
        ways = Ways(labels, gold, examples, best_of, external, config.parse_options(pairs))
        data = dict(comparison(s, plan, ways, command_line()).data)
    write_report(data, report, as_json)
    require_kept(data.get("gates", []))


@click.command("sweep")
@click.argument("plan", metavar="CONFIG.toml", type=click.Path(path_type=Path))
@click.option("--n", "sizes", default="", help="Candidates per prompt and round [default: 1,2,4,8,16,32].")
@click.option("--prompts", default="", help="Instead: of the first so many prompts, as in 250,500,1000,2000.")
@click.option("--seeds", default="0", show_default=True, help="Seeds, as in 0,1,2: items are averaged over them.")
@report_option
@store_option
@json_option
def sweep_command(plan: Path, sizes: str, prompts: str, seeds: str, report: Path, store: Path, as_json: bool) -> None:
    """Draw quality against tuning compute: tune CONFIG.toml with each number of candidates per prompt, or of prompts,
    from the base each time."""
    from ..scaling import sweep

    if sizes and prompts:
        raise UsageError("give --n or --prompts: a sweep turns one of them")
    over, text = ("prompts", prompts) if prompts else ("n", sizes or "1,2,4,8,16,32")
    turned, again = numbers(text, f"--{over}"), numbers(seeds, "--seeds")
    wanted = config.load_plan(plan)
    with open_session(store, as_json, wanted.timeout, wanted.deterministic) as s:
        data = dict(sweep(s, wanted, turned, again, command_line(), over).data)
    write_report(data, report, as_json)


def _labels_of_a_run(asked: Sequence[str], store: Path, as_json: bool) -> None:
    run, before, after = asked
    from ..across import splits
    from ..history import Eval, History
    from ..loop import deltas_between, level, looks

    with reading(store) as s:  # who looks once more changes no verdict of the run
        history = History(s.store)
        found = history.find(run, tuned=True)
        evals, plan = history.evals(found["id"]), config.load_plan(found["plan"])
        planned = {(m.suite_row, m.use.split): m.use for m in splits(s, plan, evals)}
        deltas: list[dict[str, Any]] = []
        for e in [e for e in evals if e["label"] == before]:
            same = (after, e["split"], e["suite_row"])
            for f in [f for f in evals if (f["label"], f["split"], f["suite_row"]) == same]:
                old, new = (Eval(x["id"], x["label"], x["split"], x["round"]) for x in (e, f))
                ref, use = history.suite_ref(e["suite_row"]), planned.get((e["suite_row"], e["split"]))
                look = max(1, looks(s, found["id"], ref, e["split"], max(e["round"], f["round"])))
                alpha = level(plan, use, look) if use else 0.05
                made = deltas_between(s, ref, old, new, alpha, look, use.label if use else "")
                deltas += [d.__dict__ | {"split": e["split"]} for d in made]
        if not deltas:
            labels = sorted({e["label"] for e in evals})
            pair_of = f"{before!r} and {after!r}"
            raise UsageError(f"run {found['name']} has no split measured for both {pair_of}; labels: {labels}")
    if as_json:
        click.echo(json.dumps(deltas))
        return
    keys = ["suite", "split", "metric", "before", "after", "delta", "low", "high", "p", "n", "gains", "losses", "mde",
            "verdict"]  # fmt: skip
    table(keys, [[f"{d[k]:.4g}" if isinstance(d[k], float) else str(d[k]) for k in keys] for d in deltas])
