"""The commands about inputs: prompts synthesize."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .. import config
from ..types import Ref
from .files import OutputFile
from .lists import json_option
from .stages import named_suite, open_session, option_option, split_of, store_option, suite_option


@click.group("prompts")
def prompts_command() -> None:
    """Inputs to tune on: make new ones."""


@prompts_command.command("synthesize")
@click.argument("suite")
@click.option("--way", default="paraphrase", show_default=True,
              help="Strategy that makes inputs: paraphrase, more, sql/values, sql/backwards, …")
@click.option("-n", default=500, type=click.IntRange(1), show_default=True, help="New inputs wanted.")
@click.option("--output", "out", type=OutputFile(), required=True, help="JSONL file to write.")
@click.option("--pairs", "written_for", type=click.Path(path_type=Path), default=None,
              help="Also write what each input was written for (by sql/backwards), as JSONL of prompt and response.")
@click.option("--policy", default="smollm2", show_default=True, help="Who is asked (by strategies that ask).")
@click.option("--apart", multiple=True, help="Split that no new input may repeat; default: all others of the suite.")
@click.option("--temperature", default=0.9, show_default=True)
@click.option("--max-tokens", default=200, type=click.IntRange(1), show_default=True)
@click.option("--seed", default=0, show_default=True)
@option_option
@suite_option
@store_option
@json_option
def synthesize(
    suite: str, way: str, n: int, out: Path, written_for: Path | None, policy: str, apart: tuple[str, ...],
    temperature: float, max_tokens: int, seed: int, pairs: tuple[str, ...], suite_pairs: tuple[str, ...], store: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Make new unlabelled inputs from those of SUITE[:SPLIT], for a suite of JSONL files."""
    from ..synthesis import Synthesis
    from ..synthesis import synthesize as make

    with open_session(store, as_json) as s:
        ref, split = named_suite(s, suite, suite_pairs)
        if split is None:
            split = "prompts" if "prompts" in s.suite(ref)[0].splits() else split_of(s, suite, suite_pairs)[1]
        way_ref = Ref(way, config.parse_options(pairs))
        wanted = Synthesis(ref, split, way_ref, n, policy, temperature, max_tokens, seed, apart, written_for)
        told = make(s, wanted, out)
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"{told['written']} new inputs from {told['from']} in {out}")
    if told["worked_examples"]:
        click.echo(f"  {told['worked_examples']} worked examples (labels) to show from")
    for why, count in sorted(told["left_out"].items(), key=lambda item: -item[1]):
        click.echo(f"  {count} left out: {why}")
    if told["written"] < n:
        click.echo(f"  fewer than the {n} wanted: try another --way, --temperature or --seed", err=True)
