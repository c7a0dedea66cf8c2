"""`tao-hub label`: a person judges the pairs a reward is least sure of; the answers are preferences to train on."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import Any

import click

import tao_hub
from tao_hub import Message, Prompt, Ref, UsageError

KEYS = {"1": "the first", "2": "the second", "t": "a tie", "s": "skip", "q": "stop"}


@click.command("label")
@click.option("--reward", required=True, metavar="REF", help="Whose doubts: model/NAME, or any reward.")
@click.option("-o", "--option", "given", multiple=True, metavar="KEY=VALUE", help="Option of the reward.")
@click.option("--data", type=click.Path(path_type=Path), help='JSONL of {"prompt", "responses": […]}.')
@click.option("--from-run", "run", default=None, metavar="RUN", help="The candidates of a run of the store.")
@click.option("--out", type=tao_hub.OutputFile(), required=True, help="JSONL that answers are added to.")
@click.option("-n", default=20, show_default=True, help="Pairs to judge, at most.")
@click.option("--who", default="", help="Who judges; default: your user name.")
@click.option("--seed", default=0, show_default=True, help="Which of two answers is shown first.")
@click.option("--store", type=click.Path(path_type=Path), default=Path("tao-hub.db"), show_default=True,
              envvar="TAO_HUB_STORE", help="The workspace that --from-run reads.")
def label(
    reward: str, given: tuple[str, ...], data: Path | None, run: str | None, out: Path, n: int, who: str, seed: int,
    store: Path,
) -> None:  # fmt: skip
    """Judge the pairs of answers that a reward is least sure of. Each answer is kept at once; pairs that --out already
    holds are not asked again. Train on it: `tao-hub train-reward --data OUT`."""
    from .unsure import least_sure

    if (data is None) == (run is None):
        raise UsageError("say what to judge: --data FILE, or --from-run RUN")
    done = {str(row.get("pair")) for row in _rows(out)} if out.exists() else set()
    asked = _from_file(data) if data else _from_run(store, run or "")
    opened = tao_hub.Hub().reward(Ref(reward, tao_hub.parse_options(given)))
    try:
        pairs = [pair for pair in least_sure(opened, asked) if pair.key not in done][:n]
    finally:
        opened.close()
    if not pairs:
        click.echo("no pair is left to judge")
        return
    judged = _ask(pairs, out, {"by": who or _user(), "reward": reward}, Random(seed))
    click.echo(f"{judged} judged, in {out}; train on them: tao-hub train-reward --data {out}")


def _ask(pairs: Sequence[Any], out: Path, told: dict[str, str], draw: Random) -> int:
    """Show each pair and keep the answer; returns how many were judged."""
    judged = 0
    for number, pair in enumerate(pairs, 1):
        shown = list(pair.answers)
        draw.shuffle(shown)
        click.secho(f"\n{number} of {len(pairs)}  (the reward is {pair.sureness:.0%} sure)", bold=True)
        click.echo(tao_hub.tidy(pair.prompt[-1].content))
        for i, text in enumerate(shown, 1):
            click.secho(f"\n[{i}]", bold=True)
            click.echo(tao_hub.tidy(text))
        keys = ", ".join(f"{key}: {meaning}" for key, meaning in KEYS.items())
        choice = click.prompt(f"\nbetter? {keys}", type=click.Choice(list(KEYS)), show_choices=False)
        if choice == "q":
            break
        if choice != "s":
            _keep(out, _row(pair, shown, choice, told))
            judged += 1
    return judged


def _row(pair: Any, shown: Sequence[str], choice: str, told: dict[str, str]) -> dict[str, Any]:
    prompt = [{"role": m.role, "content": m.content} for m in pair.prompt]
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    note = {"pair": pair.key, "sureness": round(pair.sureness, 4), "at": when, **told}
    if choice == "t":
        return {"prompt": prompt, "responses": list(shown), "scores": [0.0, 0.0], **note}
    chosen, rejected = shown if choice == "1" else reversed(shown)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **note}


def _keep(out: Path, row: dict[str, Any]) -> None:
    """Add the row, so that it is there whatever happens next."""
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")  # not at what else splits lines
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError
        except ValueError as error:
            raise UsageError(f"{path}:{number}: expected a JSON object, found {line[:80]}") from error
        yield row


def _from_file(path: Path) -> Iterator[tuple[Prompt, Sequence[str]]]:
    for number, row in enumerate(_rows(path), 1):
        asked, answers = row.get("prompt"), row.get("responses")
        texts = isinstance(answers, list) and all(isinstance(a, str) for a in answers)
        if not texts or not isinstance(asked, (str, list)) or not asked:
            expected = '{"prompt": text or messages, "responses": [texts]}'
            raise UsageError(f"{path}:{number}: expected {expected}, found {json.dumps(row)[:80]}")
        turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        try:
            yield Prompt(tuple(Message(m["role"], m["content"]) for m in turns)), answers
        except (KeyError, TypeError) as error:
            raise UsageError(f"{path}:{number}: a message needs role and content: {error}") from error


def _from_run(store: Path, run: str) -> Iterator[tuple[Prompt, Sequence[str]]]:
    with tao_hub.Session(store, tao_hub.Hub()) as session:
        for group in tao_hub.run_groups(session, run):
            usable = [c.response for c in group.candidates if not c.error and not c.truncated]
            yield group.prompt.without_reference(), usable


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
