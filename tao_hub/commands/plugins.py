"""Commands about plugins: list them, try what they bring, begin a new one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cli import cli, hub
from ..errors import GateFailed, UsageError
from ..hookspecs import KINDS
from .extend import OpenGroup
from .lists import json_option, table

if TYPE_CHECKING:
    from ..plugins import Entry, Hub, Plugin
    from ..rows import Row


@click.group("plugins", cls=OpenGroup, invoke_without_command=True)
@json_option
@click.pass_context
def plugins_command(ctx: click.Context, as_json: bool) -> None:
    """List plugins: version, distribution, what each registers, what is broken and why.

    Nothing that a plugin registers is imported for it: `check` does that.
    """
    if ctx.invoked_subcommand is None:
        _list(ctx, as_json)


def _list(ctx: click.Context, as_json: bool) -> None:
    found = hub(ctx)
    cli.load_plugins(ctx)  # so that a plugin whose commands fail shows as broken
    rows = [
        {
            "name": p.name, "distribution": p.distribution, "version": p.version, "error": p.error or None,
            "hint": p.hint or None, "registers": {k: [e.name for e in p.entries if e.kind == k] for k in KINDS
                                                  if any(e.kind == k for e in p.entries)},
            "commands": p.commands,
        }
        for p in found.plugins
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    lines = []
    for row in rows:
        short = {k: ", ".join(n.split("/")[1] for n in names) for k, names in row["registers"].items()}
        brings = "; ".join(f"{KINDS[k]}: {names}" for k, names in short.items())
        if row["commands"]:
            brings += f"; commands: {', '.join(row['commands'])}"
        state = f"BROKEN {row['error']} ({row['hint']})" if row["error"] else brings.removeprefix("; ")
        lines.append([row["name"], row["distribution"], row["version"], state])
    table(["plugin", "distribution", "version", "registers"], lines)


@plugins_command.command("check")
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("-o", "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Option of the one component named.")
@click.option(
    "--input", "source", type=click.Path(path_type=Path), metavar="FILE.jsonl",
    help="Rows to score, as `tao-hub score --input` takes them, instead of four small ones.",
)
@click.option("--timeout", default=60.0, show_default=True, help="Seconds that one call of a reward may take.")
@json_option
@click.pass_context
def check_command(
    ctx: click.Context, names: tuple[str, ...], pairs: tuple[str, ...], source: Path | None, timeout: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Import and build what plugins bring, as far as their default options go.

    NAME is a plugin, a distribution or a component. Where one is named, suites are read and rewards keep what they
    promise: the same scores again, in reverse order, one by one and built anew; one finite score or an error each;
    a stable content_digest. Ends with exit code 1 if something is wrong.
    """
    from ..config import parse_options
    from ..rows import Row, read_rows
    from ..trial import ROWS, try_entry, try_plugin

    found: Hub = hub(ctx)
    cli.load_plugins(ctx)
    plugins, entries = _named(found, names)
    if pairs and len(entries) != 1:
        raise UsageError(f"-o is for one component; named are {len(entries)}: `tao-hub plugins check PLUGIN/NAME -o …`")
    rows: list[Row] | None = None
    if names:
        rows = [row for row in read_rows(source) if isinstance(row, Row)] if source else ROWS
        if not rows:
            raise UsageError(f"{source} has no rows to score")
    findings = [try_plugin(plugin) for plugin in plugins]
    findings += [try_entry(found, e, parse_options(pairs) if pairs else None, rows, timeout) for e in entries]
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings], indent=1, ensure_ascii=False))
    else:
        lines = [[f.kind, f.name, f.plugin, _state(f)] for f in findings]
        table(["kind", "name", "plugin", "found"], lines)
    if wrong := [finding for finding in findings if finding.wrong]:
        names_of = ", ".join(finding.name for finding in wrong)
        raise GateFailed(f"{len(wrong)} of {len(findings)} are not as they should be: {names_of}")


@plugins_command.command("new")
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write it; default: tao-NAME.")
@click.pass_context
def new_command(ctx: click.Context, name: str, folder: Path | None) -> None:
    """Write a plugin that runs: a distribution tao-NAME with one reward, NAME/word, and a test of it."""
    from ..scaffold import write_plugin

    folder = folder or Path(f"tao-{name}")
    for file in write_plugin(name, folder, [p.name for p in hub(ctx).plugins]):
        click.echo(file)
    there = shlex.quote(str(folder) if folder.is_absolute() else f"./{folder}")
    click.echo(f"then: pip install -e {there}; tao-hub plugins check {name}", err=True)


def _state(finding: Any) -> str:
    return "; ".join([*(f"WRONG {why}" for why in finding.wrong), *finding.notes]) or "ok"


def _named(found: Hub, names: tuple[str, ...]) -> tuple[list[Plugin], list[Entry]]:
    """The plugins and components that are meant: all, those of the plugins named, or single components."""
    plugins = [p for p in found.plugins if not names or {p.name, p.distribution} & {*names}]
    entries = [entry for plugin in plugins for entry in plugin.entries]
    known = {name for plugin in plugins for name in (plugin.name, plugin.distribution)}
    for name in (name for name in names if name not in known):
        hits = [e for kind in KINDS for e in found.entries(kind) if name in (e.name, e.short)]
        if not hits:
            there = ", ".join(p.name for p in found.plugins)
            raise UsageError(f"no plugin, distribution or component is called {name!r}; plugins: {there}")
        entries += hits
    return plugins, entries
