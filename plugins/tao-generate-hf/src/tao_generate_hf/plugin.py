"""Registers the generator `hf/causal-lm` and the command group `tao-hub models`."""

from __future__ import annotations

import click

import tao_hub


@tao_hub.hookimpl
def register_generators(register: tao_hub.hookspecs.Register) -> None:
    register(
        "causal-lm",
        "tao_generate_hf.generator:CausalLM",
        summary="any causal language model of transformers: a registered name, a folder, a GGUF file, a hub id",
    )


@tao_hub.hookimpl
def register_commands(cli: click.Group) -> None:
    @cli.group(invoke_without_command=True)
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
    @click.pass_context
    def models(context: click.Context, as_json: bool) -> None:
        """List, add and remove the models that policies can name."""
        if context.invoked_subcommand is None:
            from .listing import print_models

            print_models(as_json)

    @models.command()
    @click.argument("name")
    @click.argument("path", required=False)
    def add(name: str, path: str | None) -> None:
        """Bring the model `smollm2`, or give NAME to the checkpoint folder or GGUF file at PATH."""
        from . import models as registry

        def say(text: str) -> None:
            click.echo(text, err=True)

        model = registry.register(name, path) if path else registry.fetch(name, say)
        click.echo(f"{model.name}  {model.path}")

    @models.command()
    @click.argument("name")
    def remove(name: str) -> None:
        """Forget NAME; files that `add` made in the cache are deleted, a folder you registered is left alone."""
        from . import models as registry

        click.echo(f"{name} removed ({registry.remove(name)})")
