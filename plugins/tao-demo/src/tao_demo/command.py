"""`tao-hub quickstart`: label-free rounds on *inbox* with SmolLM2, or on *backoffice*, and the report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tao_hub import OutputFile

if TYPE_CHECKING:
    import tao_hub


AHEAD = {
    "inbox": (
        "Measures the model on 527 messages, draws answers to 600 others without labels, learns the best, measures "
        "again:\n10 minutes on two cores that multiply bfloat16, up to an hour on others. A first look in a fifth of "
        'that:\n--prompts 120 --limit 40 (with make: ARGS="--prompts 120 --limit 40"). Ctrl-C stops it, the same '
        "command goes on."
    ),
    "backoffice": (
        "Measures the model on 900 questions, makes queries for 2,000 others without labels, learns the best, measures "
        "again:\nabout ten minutes. Ctrl-C stops it, the same command goes on."
    ),
}
"""What lies ahead, told before the first round (docs/results/inbox.md, sql.md)."""


@click.command("quickstart")
@click.option("--suite", type=click.Choice(["inbox", "backoffice"]), default="inbox", show_default=True,
              help="inbox: messages to records, with SmolLM2; backoffice: questions to SQL, with a small model.")
@click.option("--policy", default=None, help="Model name, checkpoint folder, GGUF or hub id (default: the suite's; "
              "backoffice also has `adapter`: SmolLM2 that has learnt its 200 labelled pairs).")
@click.option("--rounds", type=int, default=None, help="Rounds in all; default: 1, then one more each time.")
@click.option("--seed", default=0, show_default=True)
@click.option("--prompts", type=int, default=None, help="Unlabelled inputs used (fewer: faster, weaker).")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), default=None,
              help="Passes over all that is learnt: longer, better (inbox: 4; default: the suite's short plan).")
@click.option("--limit", type=click.IntRange(1), default=None,
              help="Items measured per split (a quick try; the report says n).")
@click.option("--ablate", is_flag=False, flag_value="all", metavar="[LABEL,…]",
              help="Also tune without each reward in turn, or without each of those named: what it adds (long).")
@click.option("--deterministic", is_flag=True, help="Same candidates and weights after any interruption.")
@click.option("--store", type=click.Path(path_type=Path), default=Path("tao-hub.db"), show_default=True)
@click.option("--report", type=OutputFile(), default=Path("report.html"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def quickstart(
    suite: str, policy: str | None, rounds: int | None, seed: int, prompts: int | None, epochs: float | None,
    limit: int | None, ablate: str | None, deterministic: bool, store: Path, report: Path, as_json: bool,
) -> None:  # fmt: skip
    """Tune a model without labels on messy customer messages (or on questions to SQL), and measure what it gained.

    Run it again in the same folder and it goes on with the next round; stop it at any time and it resumes.
    """
    import tao_hub

    from .quickstart import summary

    if suite == "inbox":
        from .quickstart import ROUNDS, plan

        policy = policy or "smollm2"
    else:
        from .office.plan import ROUNDS, plan

    policy = policy or ""
    longer = {} if epochs is None else {"epochs": epochs}
    wanted = plan(policy, rounds or ROUNDS, seed, prompts, limit, deterministic, **longer)
    left_out = _labels(wanted, ablate) if ablate else []
    _bring("smollm2" if policy == "adapter" else policy)
    with tao_hub.open_session(store, as_json, wanted.timeout, deterministic) as opened:
        done = tao_hub.rounds_done(opened, wanted)
        if not (done or prompts or limit or as_json):
            click.echo(AHEAD[suite], err=True)
        if rounds is None:
            rounds = done + 1 if done >= ROUNDS else ROUNDS
            wanted = plan(policy, rounds, seed, prompts, limit, deterministic, **longer)
        for label in left_out:
            tao_hub.tune(opened, tao_hub.without(wanted, label), command=tao_hub.command_line())
        data = tao_hub.tune_and_report(opened, wanted, report, tao_hub.command_line())
    if as_json:
        click.echo(json.dumps(summary(data)))
    else:
        tao_hub.show_report(data, report)


def _labels(plan: tao_hub.Plan, ablate: str) -> list[str]:
    """The rewards to leave out in turn. Raises BadParameter for a label that the plan has not."""
    known = list(dict.fromkeys(use.key for use in plan.rewards))
    wanted = known if ablate == "all" else [label.strip() for label in ablate.split(",")]
    if unknown := [label for label in wanted if label not in known]:
        raise click.BadParameter(f"no reward {', '.join(unknown)}; there are {', '.join(known)}", param_hint="--ablate")
    return wanted


def _bring(policy: str) -> None:
    """Fetch the named model once, if it is the one that the project knows how to bring."""
    from importlib.util import find_spec

    if policy != "smollm2" or find_spec("tao_generate_hf") is None:
        return
    listed = _run(["models", "--json"])
    if any(model["name"] == policy for model in json.loads(listed or "[]")):
        return
    click.echo("fetching SmolLM2-135M-Instruct (93 MB, once) …", err=True)
    fetch = [sys.executable, "-m", "tao_hub.cli", "models", "add", policy]
    if subprocess.run(fetch, stdout=sys.stderr, check=False).returncode:
        raise click.ClickException(f"the model could not be fetched; try `tao-hub models add {policy}`")


def _run(arguments: list[str]) -> str:
    command = [sys.executable, "-m", "tao_hub.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


