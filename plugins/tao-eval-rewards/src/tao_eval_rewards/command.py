"""`tao-hub eval --rewards` and `tao-hub rewards audit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tao_hub import OutputFile


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    """Options of both commands."""
    for option in reversed((
        click.option("--suite-option", "suite_pairs", multiple=True, metavar="KEY=VALUE",
                     help="Option of every suite, as path=FOLDER."),
        click.option("--gold", metavar="REF", help="Reward that grades candidates: the checker to be held against."),
        click.option("-n", "--most", type=click.IntRange(2), help="Best-of-n up to here (default: what most prompts "
                     "have)."),
        click.option("--limit", type=click.IntRange(1), help="Only so many items, spread over the subsets."),
        click.option("--timeout", default=300.0, show_default=True, help="Seconds a reward may take for one batch."),
        click.option("--scores", type=click.Path(dir_okay=False, path_type=Path),
                     help="Keep finished scores in this file, and take from it what is there."),
        click.option("--store", type=click.Path(path_type=Path), default=Path("tao-hub.db"), show_default=True,
                     envvar="TAO_HUB_STORE", help="The workspace: candidates of other suites come from it; eval "
                     "--rewards keeps in it what it measured on."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    )):  # fmt: skip
        command = option(command)
    return command


@click.command("eval --rewards")
@click.argument("more", nargs=-1, metavar="[SUITE[:SPLIT]]...")
@click.option("--rewards", multiple=True, required=True, metavar="REF",
              help='Reward: NAME or \'NAME {"option": …}\'; repeat it for a leaderboard.')
@click.option("--suite", "suites", multiple=True, metavar="SUITE[:SPLIT]",
              help="Preference suite, or any suite whose candidates the store holds; repeatable.")
@click.option("-o", "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Option of every reward named.")
@click.option("--no-baseline", is_flag=True, help="Leave out preference/longest, which a reward has to beat.")
@click.option("--report", type=OutputFile(), help="Also write the leaderboard as one HTML page.")
@_shared
def eval_command(
    more: tuple[str, ...], rewards: tuple[str, ...], suites: tuple[str, ...], pairs: tuple[str, ...],
    no_baseline: bool, report: Path | None, suite_pairs: tuple[str, ...], gold: str | None, as_json: bool,
    **setting: Any,
) -> None:  # fmt: skip
    """Measure rewards on preference suites: a leaderboard.

    Ranks count the rewards that are shown to be better, by paired tests adjusted for all pairs (Holm). Each reward is
    told from the length of an answer (preference/longest) by a paired difference. Where responses have grades
    (preference/candidates) or --gold gives them, best-of-n curves show what optimising by the reward gains.
    """
    import tao_hub

    from .evaluate import Setting, evaluate
    from .show import show_evaluation
    from .sources import parse_ref, parse_suite

    asked = [parse_suite(text, tao_hub.parse_options(suite_pairs)) for text in (*suites, *more)]
    if not asked:
        raise tao_hub.UsageError("on which suite? --suite preference/pairs --suite-option path=FILE, for one")
    found = evaluate(
        _hub(), {text: parse_ref(text, tao_hub.parse_options(pairs)) for text in rewards}, asked,
        Setting(gold=None if gold is None else parse_ref(gold, {}), baseline=not no_baseline, **setting),
        tao_hub.Progress() if as_json else tao_hub.Bar(),
    )  # fmt: skip
    if report is not None:
        page = {"title": "leaderboard of rewards", "boards": found["boards"], "command": tao_hub.command_line(),
                "of": "reward"}  # fmt: skip
        report.write_text(tao_hub.render_html(page), encoding="utf-8")
        click.echo(f"wrote {report}", err=True)
    click.echo(json.dumps(found, ensure_ascii=False)) if as_json else show_evaluation(found)


@click.command("audit")
@click.argument("reward", metavar="REF")
@click.option("--suite", required=True, metavar="SUITE[:SPLIT]", help="Where genuine answers come from.")
@click.option("-o", "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Option of the reward.")
@click.option("--threshold", default=0.2, show_default=True, type=click.FloatRange(0, 1),
              help="Hackable: a probe wins on more than this share of the prompts.")
@click.option("--require-robust", is_flag=True, help="Exit with 1 unless the verdict is robust.")
@_shared
def audit_command(
    reward: str, suite: str, pairs: tuple[str, ...], threshold: float, require_robust: bool,
    suite_pairs: tuple[str, ...], gold: str | None, as_json: bool, **setting: Any,
) -> None:  # fmt: skip
    """Probe a reward for what an optimiser would find.

    Empty, padded, copied, flattering, injected and truncated answers, all lengths, other words.
    The verdict is by the probe that wins most often against genuine answers. With grades (or --gold) a best-of-n curve
    shows whether picking by the reward goes on gaining.
    """
    import tao_hub

    from .audit import audit
    from .evaluate import Setting
    from .show import show_audit
    from .sources import parse_ref, parse_suite

    found = audit(
        _hub(), parse_ref(reward, tao_hub.parse_options(pairs)), parse_suite(suite, tao_hub.parse_options(suite_pairs)),
        Setting(gold=None if gold is None else parse_ref(gold, {}), **setting), threshold,
        tao_hub.Progress() if as_json else tao_hub.Bar(),
    )  # fmt: skip
    click.echo(json.dumps(found, ensure_ascii=False)) if as_json else show_audit(found)
    if require_robust and found["verdict"] != "robust":
        raise tao_hub.GateFailed(f"{reward}: {found['verdict']} (worst probe: {found['worst']})")


def _hub() -> Any:
    """The plugins of this call of the command line, `--block` respected."""
    import tao_hub

    root = click.get_current_context().find_root()
    return root.meta.get("hub") or tao_hub.Hub(block=root.params.get("block") or ())
