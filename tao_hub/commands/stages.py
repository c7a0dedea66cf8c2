"""Commands of the loop: generate, score, update, eval, compare, tune."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import config
from ..cli import hub
from ..errors import GateFailed, PluginError, UsageError
from ..types import Ref, Sampling
from .extend import OpenCommand
from .files import OutputFile
from .lists import json_option, numbers
from .progress import Bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..session import Policy, Session

store_option = click.option(
    "--store", type=click.Path(path_type=Path), default=Path("tao-hub.db"), show_default=True, envvar="TAO_HUB_STORE",
    help="The workspace: one SQLite file.",
)  # fmt: skip
option_option = click.option(
    "-o", "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Option (JSON or text; @FILE reads a file)."
)
suite_option = click.option(
    "--suite-option", "suite_pairs", multiple=True, metavar="KEY=VALUE",
    help="Option of the suite, as its folder: path=FOLDER (see `tao-hub suites show NAME`).",
)  # fmt: skip
policy_option = click.option(
    "--policy", default="smollm2", show_default=True, help="Model name, folder, GGUF, hub id, URL or generator."
)
policy_options_option = click.option(
    "--policy-option", "policy_pairs", multiple=True, metavar="KEY=VALUE",
    help="Option of the policy: model=NAME of a URL, adapter=FOLDER (see `tao-hub generators show NAME`).",
)  # fmt: skip
retry_option = click.option(
    "--retry-errors", is_flag=True, help="Try again what failed before, when a server was away say."
)


def open_session(
    store: Path, quiet: bool = False, timeout: float = 300.0, deterministic: bool = False, retry_errors: bool = False
) -> Session:
    """A session on a store that draws its progress on the terminal, unless `quiet`."""
    from ..components import Progress
    from ..session import Session

    own = hub() if click.get_current_context(silent=True) else None  # outside the command line: a hub of its own
    return Session(store, own, Progress() if quiet else Bar(), timeout, deterministic, retry_errors)


def command_line() -> str:
    """What the user typed, for the record of a run."""
    return "tao-hub " + shlex.join(sys.argv[1:])


def split_of(opened: Any, text: str, pairs: Sequence[str] = ()) -> tuple[Ref, str]:
    """SUITE[:SPLIT] with its options; a suite with one split needs none named."""
    ref, split = named_suite(opened, text, pairs)
    if split is None:
        splits = list(opened.suite(ref)[0].splits())
        if not splits:
            cure = f"its data is not there (see `tao-hub suites show {ref.name}`)"
            raise UsageError(f"suite {ref.name} has no split: {cure}")
        preferred = [s for s in ("test", "dev") if s in splits]
        split = preferred[0] if preferred else splits[0]
    return ref, split


def named_suite(opened: Any, text: str, pairs: Sequence[str] = ()) -> tuple[Ref, str | None]:
    """SUITE[:SPLIT] as it was written: a suite's name or, where none is called so, a JSONL file or a folder of them."""
    name, split = config.parse_suite(text)
    options = config.parse_options(pairs)
    try:
        opened.hub.find("suite", name)
    except PluginError:
        if not Path(name).exists():
            raise
        return Ref("jsonl", {**options, "path": name}), split
    return Ref(name, options), split


def policy_of(opened: Session, text: str, pairs: Sequence[str]) -> Policy:
    """What --policy means, with its --policy-option values."""
    return opened.policy(opened.hub.policy(text, config.parse_options(pairs)))


@click.command("generate")
@click.argument("suite")
@policy_option
@policy_options_option
@click.option("--strategy", default="direct", show_default=True)
@option_option
@suite_option
@click.option("-n", default=4, type=click.IntRange(1), show_default=True, help="Candidates per prompt.")
@click.option("--temperature", default=0.8, type=click.FloatRange(min=0), show_default=True)
@click.option("--top-p", default=1.0, type=click.FloatRange(0, 1, min_open=True), show_default=True)
@click.option("--max-tokens", default=256, type=click.IntRange(1), show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Only the first so many prompts.")
@click.option("--deterministic", is_flag=True, help="Repeat whole batches on resume, so results are the same.")
@retry_option
@store_option
@json_option
def generate_command(
    suite: str, policy: str, policy_pairs: tuple[str, ...], strategy: str, pairs: tuple[str, ...],
    suite_pairs: tuple[str, ...], n: int, temperature: float, top_p: float, max_tokens: int, seed: int,
    limit: int | None, deterministic: bool, retry_errors: bool, store: Path, as_json: bool,
) -> None:  # fmt: skip
    """Draw the candidates that SUITE[:SPLIT] is owed."""
    from ..counts import candidate_counts, reasons
    from ..stages import generate

    with open_session(store, as_json, deterministic=deterministic, retry_errors=retry_errors) as s:
        ref, split = split_of(s, suite, suite_pairs)
        part = s.slice(ref, split, limit)
        sampling = Sampling(temperature, max_tokens, top_p, seed)
        owner = policy_of(s, policy, policy_pairs)
        member = generate(s, part, owner, Ref(strategy, config.parse_options(pairs)), sampling, n, ref)
        counted = candidate_counts(s.store, part, member)
        result = {
            "suite": ref.name, "split": split, "prompts": part.count, "policy": owner.digest, **counted,
            **({"reasons": reasons(s.store, part, member)} if counted["errors"] else {}),
        }  # fmt: skip
    _tell(result, as_json)


def _tell(result: dict[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(result) if as_json else ", ".join(f"{k}: {v}" for k, v in result.items()))


@click.command("score")
@click.argument("reward")
@click.argument("suite", required=False)
@click.option("--input", "source", type=click.Path(path_type=Path), help="Score rows of a JSONL file; no store needed.")
@click.option("--output", "target", type=OutputFile(), help="Where the scored rows go.")
@option_option
@suite_option
@click.option("--workers", default=1, show_default=True, help="Worker processes (with --input).")
@click.option("--skip-invalid", is_flag=True, help="Give malformed lines an error row instead of stopping.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds a reward may take for one batch.")
@click.option("--policy", default=None, help="Only this policy's candidates (with SUITE).")
@policy_options_option
@click.option("--limit", type=click.IntRange(1))
@retry_option
@store_option
@json_option
def score_command(
    reward: str, suite: str | None, source: Path | None, target: Path | None, pairs: tuple[str, ...],
    suite_pairs: tuple[str, ...], workers: int, skip_invalid: bool, timeout: float, policy: str | None,
    policy_pairs: tuple[str, ...], limit: int | None, retry_errors: bool, store: Path, as_json: bool,
) -> None:  # fmt: skip
    """Score with REWARD: the stored candidates of SUITE[:SPLIT], or the rows of --input.

    An input row is {"id", "prompt": text or messages, "response", "reference"?, "group"?, "meta"?}; an output row
    {"id", "value", "error", "why", "parts"}, in the same order.
    """
    ref = Ref(reward, config.parse_options(pairs))
    if source is not None or target is not None:
        if source is None or target is None or suite:
            raise UsageError("--input and --output go together, without SUITE")
        from ..components import Progress
        from ..rows import score_rows

        counts = score_rows(
            ref, source, target, hub=hub(), workers=workers, timeout=timeout, skip_invalid=skip_invalid,
            progress=Progress() if as_json else Bar(),
        )  # fmt: skip
        _tell(dict(counts), as_json)
        return
    if not suite:
        raise UsageError("say what to score: SUITE[:SPLIT] of the store, or --input FILE --output FILE")
    from ..counts import score_counts
    from ..stages import score

    with open_session(store, as_json, timeout, retry_errors=retry_errors) as s:
        of, split = split_of(s, suite, suite_pairs)
        part = s.slice(of, split, limit)
        owner = policy_of(s, policy, policy_pairs).row if policy else None
        members = s.store.members(part, owner)
        if not members:
            whose = f" by {policy}" if policy else ""
            raise UsageError(f"{store} holds no candidate of {suite}{whose} to score; `tao-hub generate` draws some")
        opened = score(s, part, members, s.reward(ref, of))
        counted = score_counts(s.store, part, opened.row, owner, opened.reward.uses_reference)
        result = {"suite": of.name, "split": split, **counted}
    _tell(result, as_json)


@click.command("eval", cls=OpenCommand, epilog="Measures rewards with --rewards (tao-eval-rewards).")
@click.argument("suites", nargs=-1, required=True)
@click.option("--policy", "policies", multiple=True, default=("smollm2",), help="Model; repeat it for a leaderboard.")
@policy_options_option
@click.option("--strategy", default="direct", show_default=True)
@option_option
@suite_option
@click.option("--max-tokens", default=256, type=click.IntRange(1), show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Only the first so many items.")
@click.option("--report", type=OutputFile(), help="Also write the leaderboard as one HTML page.")
@retry_option
@store_option
@json_option
def eval_command(
    suites: tuple[str, ...], policies: tuple[str, ...], policy_pairs: tuple[str, ...], strategy: str,
    pairs: tuple[str, ...], suite_pairs: tuple[str, ...], max_tokens: int, limit: int | None, report: Path | None,
    retry_errors: bool, store: Path, as_json: bool,
) -> None:  # fmt: skip
    """Measure each --policy on each SUITE[:SPLIT] by the suite's own metric, and rank them.

    A SUITE is a name of `tao-hub suites`, or a JSONL file or a folder of them (core/jsonl): `mails:test`.

    What was measured before is not measured again, and stays on the leaderboard: `tao-hub report 'eval SUITE:SPLIT'`
    shows all of a workspace.
    """
    from ..environment import describe
    from ..history import History
    from ..leaderboard import leaderboard, told_apart
    from ..loop import compare, evaluate
    from ..report import print_report, render_html
    from ..runs import quality_rows

    rows, deltas = [], []
    told = [pair for pair in policy_pairs if not pair.startswith("api_key_env=")]  # of the policy, not of who asks
    runs: dict[str, None] = {}
    measured: dict[str, None] = {}
    with open_session(store, as_json, retry_errors=retry_errors) as s:
        history = History(s.store)
        opened = [policy_of(s, policy, policy_pairs) for policy in policies]  # what is wrong with one is told first
        asked = [split_of(s, text, suite_pairs) for text in suites]
        called = told_apart([ref for ref, _ in asked])
        for (ref, split), name in zip(asked, called):
            run = history.begin(f"eval {ref.name}:{split}", {}, command_line(), describe(s.hub))
            base = None
            runs[f"eval {ref.name}:{split}"] = None
            for policy, owner in zip(policies, opened):
                way = Ref(strategy, config.parse_options(pairs))
                label = " ".join([policy, *told]) + (f", {strategy}" if strategy != "direct" else "")
                done = evaluate(
                    s, ref, split, owner, run=run, label=label, strategy=way, max_tokens=max_tokens, limit=limit,
                )  # fmt: skip
                suite = s.suite(ref)[0]
                made = quality_rows(history, run, done, suite.metric_name, suite.metric_parts)
                rows += [{**row, "suite": name} for row in made]
                if base is not None:
                    labels = {"before_label": base.label, "after_label": label, "split": split}
                    deltas += [d.__dict__ | labels for d in compare(s, run, ref, base, done, called=name)]
                base = base or done
                measured[label] = None
            history.finish(run)
        own = {s.suite(ref)[1] for ref, _ in asked}
        board = dict(leaderboard(s, *runs, labels=measured, suites=own).data)
    if report is not None:
        report.write_text(render_html(board), encoding="utf-8")
        click.echo(f"wrote {report}", err=True)
    if as_json:
        kept = {key: board[key] for key in ("boards", "warnings")}
        click.echo(json.dumps({"quality": rows, "deltas": deltas, **kept}, ensure_ascii=False))
        return
    from rich.console import Console

    print_report({key: board[key] for key in ("title", "boards", "warnings")}, Console())


@click.command("tune")
@click.argument("plan", metavar="CONFIG.toml", type=click.Path(path_type=Path), required=False)
@click.option("--init", type=OutputFile(), help="Write a commented config there and stop.")
@click.option("--policy", default=None, help="Starting policy (overrides the file).")
@click.option("--rounds", type=int, default=None)
@click.option("--seed", type=int, default=None)
@click.option("--seeds", default="", help="Tune with each of them, as in 0,1,2, and report their mean and spread.")
@click.option("--budget", default=None, help="What the tuning may cost: 10m, 2M-tokens or n=32 candidates a prompt.")
@click.option("--keep", type=click.Choice(["last", "best"]), default=None, help="Whose policy the run ends with.")
@click.option("--prompts", type=int, default=None, help="Use only the first so many prompts.")
@click.option("--allow-labels", is_flag=True, default=None, help="Let rewards that use references into the tuning.")
@click.option("--drop-overlap", is_flag=True, default=None, help="Leave out prompts that occur in an eval split.")
@click.option("--deterministic", is_flag=True, default=None, help="Same candidates and weights after any interruption.")
@click.option("--timeout", type=float, default=None, help="Seconds a reward may take for one batch.")
@click.option("--report", type=OutputFile(), default=Path("report.html"), show_default=True)
@click.option("--require-improvement", is_flag=True, help="Exit with 1 unless the primary delta says improved.")
@retry_option
@store_option
@json_option
def tune_command(
    plan: Path | None, init: Path | None, report: Path, require_improvement: bool, seeds: str, retry_errors: bool,
    store: Path, as_json: bool, **overrides: Any,
) -> None:  # fmt: skip
    """Tune a policy in rounds, label-free, as CONFIG.toml says. The same command resumes a stopped run.

    With --retry-errors a round whose answers or scores change by it is learnt anew.
    Ends with exit code 1 if a measured split that the config wants retained is not shown to be.
    """
    if init is not None:
        _init(init)
        return
    if plan is None:
        raise UsageError("which config? `tao-hub tune CONFIG.toml`; `tao-hub tune --init CONFIG.toml` writes one")
    from ..across import require_kept

    if seeds and overrides["seed"] is not None:
        raise UsageError("give --seed or --seeds")
    several = numbers(seeds, "--seeds") if seeds else []
    wanted = config.load_plan(plan, {k: v for k, v in overrides.items() if v is not None})
    with open_session(store, as_json, wanted.timeout, wanted.deterministic, retry_errors) as s:
        data = run_seeds(s, wanted, several) if several else tune_and_report(s, wanted, report, command_line())
    write_report(data, report, as_json)
    require_kept(data.get("gates", []))
    if require_improvement:
        _require(data)


def tune_and_report(opened: Any, plan: config.Plan, report: Path, command: str = "") -> dict[str, Any]:
    """Tune (or go on), write the HTML report, and return its data."""
    from ..loop import tune
    from ..report import render_html
    from ..runs import run_report

    name = tune(opened, plan, command=command)
    data = dict(run_report(opened, name).data)
    report.write_text(render_html(data), encoding="utf-8")
    return data


def run_seeds(opened: Any, plan: config.Plan, seeds: Sequence[int]) -> dict[str, Any]:
    """Tune with each seed (or go on), and return the data of their common report."""
    from ..repeats import repeated

    return dict(repeated(opened, plan, seeds, command_line()).data)


def write_report(data: dict[str, Any], report: Path, as_json: bool) -> None:
    """Write the page of results set side by side, and print them."""
    from ..report import render_html

    report.write_text(render_html(data), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(data, ensure_ascii=False))
    else:
        show_report(data, report)


def show_report(data: dict[str, Any], report: Path) -> None:
    """Print a report on the terminal and say where the page lies."""
    from rich.console import Console

    from ..report import print_report

    print_report(data, Console())
    click.echo(f"report: {report.resolve()}", err=True)
    if tuned := data.get("tuned"):
        click.echo(f"tuned policy (round {tuned['round']}): {tuned['policy']}", err=True)


def _require(data: dict[str, Any]) -> None:
    primary = data.get("primary")
    if not primary:
        raise GateFailed("--require-improvement: no round was measured (rounds = 0, no [[eval]], or no budget for one)")
    found = [
        d for d in data["deltas"]
        if all(d.get(k) == primary.get(k) for k in ("suite", "split", "metric", "before_label", "after_label"))
    ]  # fmt: skip
    if not found or found[0]["verdict"] != "improved":
        verdict = found[0]["verdict"] if found else "not measured"
        raise GateFailed(f"{primary.get('metric')} on {primary.get('split')}: {verdict}")


def _init(path: Path) -> None:
    from importlib.resources import files

    if path.exists():
        raise UsageError(f"{path} exists; remove it or choose another name")
    path.write_text((files("tao_hub") / "templates" / "tune.toml").read_text(encoding="utf-8"), encoding="utf-8")
    click.echo(f"wrote {path}; edit it, then: tao-hub tune {path}")


@click.command("update")
@click.argument("plan", metavar="CONFIG.toml", type=click.Path(path_type=Path))
@click.option("--round", "number", default=1, show_default=True)
@click.option("--seed", type=int, default=None)
@store_option
@json_option
def update_command(plan: Path, number: int, seed: int | None, store: Path, as_json: bool) -> None:
    """Do one round of CONFIG.toml (what is owed of it) and print the policy it gave."""
    from ..beforehand import try_components
    from ..environment import describe, watch
    from ..guards import check
    from ..history import History
    from ..loop import run_name, run_round

    wanted = config.load_plan(plan, {} if seed is None else {"seed": seed})
    with open_session(store, as_json, wanted.timeout, wanted.deterministic) as s:
        try_components(s, wanted)
        check(s, wanted)
        history = History(s.store)
        run = history.begin(run_name(wanted), wanted.as_dict(), command_line(), describe(s.hub))
        with watch(s, history, run, number):
            start = s.policy(s.hub.policy(wanted.policy, wanted.policy_options))
            before = start
            if number > 1:
                done = [r for r in history.rounds(run) if r["number"] == number - 1 and r["after"]]
                if not done:
                    cure = f"run `tao-hub update {plan} --round {number - 1}`"
                    raise UsageError(f"round {number} needs round {number - 1}; {cure}")
                before = s.policy(s.store.policy_of(done[0]["after"])[1])
            after = run_round(s, wanted, run, number, before, start)
    _tell({"round": number, "policy": after.digest, "ref": f"{after.ref.name} {dict(after.ref.options)}"}, as_json)
