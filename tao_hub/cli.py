"""The click command line: names and one-line helps here, each command's code in `tao_hub.commands`."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import Any

import click

from .interrupts import Terminated, sigterm_as_interrupt

# name → (module in tao_hub.commands, one-line help). Help needs no import of the command.
CORE = {
    "compare": ("ways", "Tuning beside the other ways to use the model; or two labels of a run."),
    "sweep": ("ways", "Draw quality against tuning compute: candidates per prompt, or prompts."),
    "eval": ("stages", "Measure policies on suites: a leaderboard."),
    "generate": ("stages", "Draw the candidates that are owed."),
    "score": ("stages", "Score candidates in the store, or rows of a JSONL file."),
    "prompts": ("prompts", "Make new unlabelled inputs: reworded, more of the kind, other values."),
    "tune": ("stages", "Tune a policy in rounds, label-free, from a TOML file."),
    "update": ("stages", "Train on the scored candidates of a round."),
    "plugins": ("plugins", "List plugins: what each registers, what is broken and why; `check` tries it."),
    "engines": ("lists", "List engines: where stages run."),
    "generators": ("lists", "List generators: prompts → candidates."),
    "rewards": ("lists", "List rewards: candidates → scores."),
    "strategies": ("lists", "List strategies: how prompts are asked."),
    "suites": ("lists", "List suites: prompts and metrics."),
    "trainers": ("lists", "List trainers: scored groups → a new policy."),
    "completion": ("lists", "Print the shell completion script."),
    "report": ("reports", "Write a run's report as HTML, markdown or JSON."),
    "runs": ("reports", "List the runs of a store."),
    "show": ("reports", "Show a run's prompts: candidates, scores, and what was chosen."),
}


class Cli(click.Group):
    """Core commands are imported when used; plugin commands are asked from the plugins, or from a cache for help."""

    core_commands = CORE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commands_of: object = None  # the hub whose plugins' commands `self.commands` holds

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*CORE, *self._plugin_helps(ctx)})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in CORE:
            module = import_module(f"tao_hub.commands.{CORE[name][0]}")
            command: click.Command = getattr(module, f"{name}_command")
            return command
        self.load_plugins(ctx)
        return self.commands.get(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        helps = {name: text for name, (_, text) in CORE.items()} | self._plugin_helps(ctx)
        with formatter.section("Commands"):
            formatter.write_dl(sorted(helps.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            broken = [p for p in hub(ctx).plugins if p.error]
            if broken:
                names = ", ".join(p.name for p in broken)
                why = f"{error.message} (broken plugins: {names}; see `tao-hub plugins`)"
                raise click.UsageError(why, ctx) from error
            raise

    def load_plugins(self, ctx: click.Context) -> None:
        """Have the commands of this call's plugins, and of no call's before it in the same process."""
        found = hub(ctx)
        if found is not self._commands_of:
            self.commands.clear()
            found.add_commands(self)
            self._commands_of = found

    def _plugin_helps(self, ctx: click.Context) -> dict[str, str]:
        from .help_cache import read, write

        blocked = ctx.find_root().params.get("block")  # the cache is of all plugins
        found = None if blocked else read()
        if found is None:
            self.load_plugins(ctx)
            found = {n: c.get_short_help_str(80) for n, c in self.commands.items()}
            if not blocked:
                write(found, [p.target.partition(":")[0] for p in hub(ctx).plugins])
        return found


def hub(ctx: click.Context | None = None) -> Any:
    """The plugins of this environment, loaded once per call of the command line."""
    root = (ctx or click.get_current_context()).find_root()
    if "hub" not in root.meta:
        from .plugins import Hub

        root.meta["hub"] = Hub(block=root.params.get("block") or ())
    return root.meta["hub"]


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(  # eager, so that the help that follows it leaves them out, too
    "--block", multiple=True, is_eager=True, metavar="PLUGIN", help="Leave out a plugin (entry point or distribution)."
)
@click.version_option(package_name="tao-hub")
def cli(block: tuple[str, ...]) -> None:
    """Tune a language model from inputs alone, with pluggable rewards, and see what it gained.

    Start with `tao-hub quickstart`, or `tao-hub tune --init tune.toml`.
    """


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 a gate said no, 2 usage or bad input, 130 interrupted (143: by SIGTERM) and
    resumable."""
    try:
        with sigterm_as_interrupt():
            code = cli.main(standalone_mode=False)
    except click.exceptions.Abort as error:
        code = 143 if isinstance(error.__cause__ or error.__context__, Terminated) else 130
        click.echo("interrupted; the same command goes on from here", err=True)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except KeyboardInterrupt as error:
        code = 143 if isinstance(error, Terminated) else 130
        click.echo("interrupted; the same command goes on from here", err=True)
    except BrokenPipeError:  # `tao-hub … | head`
        sys.stderr.close()
        code = 0
    except Exception as error:
        from .errors import TaoHubError

        if isinstance(error, TaoHubError):
            click.echo(f"Error: {error}", err=True)
            code = error.exit_code
        else:  # not the 1 that means "a gate said no"
            from .faults import of_machine

            if told := of_machine(error):
                click.echo(f"Error: {told}", err=True)
            else:  # a fault of ours or a plugin's
                traceback.print_exc()
            code = 2
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
