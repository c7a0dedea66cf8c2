"""Commands that list what is installed: the components of each kind."""

from __future__ import annotations

import json
from typing import Any

import click

from ..cli import cli, hub
from ..errors import UsageError
from .extend import OpenGroup

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table on stdout (or say that there is nothing)."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(drawn if rows else "nothing here yet")


def _list(kind: str, as_json: bool) -> None:
    rows = [{"name": e.name, "summary": e.summary, "plugin": e.plugin.label} for e in hub().entries(kind)]
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    table(["name", "summary", "plugin"], [[r["name"], r["summary"], r["plugin"]] for r in rows])


def describe(kind: str, name: str) -> dict[str, Any]:
    """A component's options (type, default, description) and what it needs."""
    from ..components import GroupReward, Reward

    entry = hub().find(kind, name)
    cls = entry.load()
    schema = cls.Options.model_json_schema()
    options = [
        {
            "name": field,
            "type": _type(info),
            "required": field in schema.get("required", []),
            "default": info.get("default"),
            "description": info.get("description", ""),
        }
        for field, info in schema.get("properties", {}).items()
    ]
    found: dict[str, Any] = {
        "name": entry.name, "plugin": entry.plugin.label, "summary": entry.summary,
        "doc": (cls.__doc__ or "").strip(), "options": options,
    }  # fmt: skip
    if issubclass(cls, Reward):
        found["uses_reference"] = cls.uses_reference
        found["reads_inputs"] = cls.reads_inputs
        found["learns"] = cls.learns
        found["scores"] = "groups" if issubclass(cls, GroupReward) else "candidates"
    return found


def _type(info: dict[str, Any]) -> str:
    if "anyOf" in info:
        return " | ".join(_type(i) for i in info["anyOf"])
    if "enum" in info:
        return " | ".join(json.dumps(v) for v in info["enum"])
    if info.get("type") == "array":
        return f"list of {_type(info.get('items', {}))}"
    return str(info.get("type") or info.get("$ref", "any").rsplit("/", 1)[-1])


def _show(kind: str, name: str, as_json: bool) -> None:
    found = describe(kind, name)
    if as_json:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False, default=str))
        return
    click.echo(f"{found['name']}  ({found['plugin']})\n{found['summary']}\n\n{found['doc']}\n")
    if kind == "reward":
        seen = "sees the reference (labels)" if found["uses_reference"] else "needs no reference"
        read = "; reads all inputs first" if found["reads_inputs"] else ""
        read += "; learns from the round first, so only a plan can use it" if found["learns"] else ""
        click.echo(f"{seen}; scores {found['scores']}{read}\n")
    lines = [
        [o["name"], o["type"], "required" if o["required"] else json.dumps(o["default"]), o["description"]]
        for o in found["options"]
    ]
    table(["option", "type", "default", "description"], lines)


def _names(ctx: click.Context, kind: str, start: str) -> list[str]:
    return [e.name for e in hub(ctx).entries(kind) if e.name.startswith(start)]


def _group(kind: str, plural: str) -> click.Group:
    told = f"List {plural}; `show NAME` tells one's options."

    @click.group(plural, cls=OpenGroup, invoke_without_command=True, help=told)
    @json_option
    @click.pass_context
    def group(ctx: click.Context, as_json: bool) -> None:
        if ctx.invoked_subcommand is None:
            _list(kind, as_json)

    @group.command("show")
    @click.argument("name", shell_complete=lambda c, p, start: _names(c, kind, start))
    @json_option
    def show(name: str, as_json: bool) -> None:
        """Options with types, defaults and descriptions."""
        _show(kind, name, as_json)

    return group


suites_command = _group("suite", "suites")
strategies_command = _group("strategy", "strategies")
generators_command = _group("generator", "generators")
rewards_command = _group("reward", "rewards")
trainers_command = _group("trainer", "trainers")
engines_command = _group("engine", "engines")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the completion script: `eval "$(tao-hub completion bash)"`."""
    from click.shell_completion import get_completion_class

    cls = get_completion_class(shell)
    assert cls is not None
    click.echo(cls(cli, {}, "tao-hub", "_TAO_HUB_COMPLETE").source())


def numbers(text: str, option: str) -> list[int]:
    """Numbers separated by commas. Raises UsageError."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: expected numbers separated by commas, as in 1,4,16") from error
