"""Registers what this distribution brings; its classes are imported when they are used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tao_hub


@tao_hub.hookimpl
def register_rewards(register: Callable[..., None]) -> None:
    register("polite", "tao_example.rewards:Polite", summary="the share of polite words that the answer has")
    register("sum", "tao_example.rewards:RightSum", summary="the answer is the sum asked for")


@tao_hub.hookimpl
def register_strategies(register: Callable[..., None]) -> None:
    register("please", "tao_example.strategy:Please", summary="ask politely")


@tao_hub.hookimpl
def register_suites(register: Callable[..., None]) -> None:
    register("sums", "tao_example.suite:Sums", summary="sums of two small numbers")


@tao_hub.hookimpl
def register_commands(cli: Any) -> None:
    import click

    @cli.command("greet")
    @click.argument("name")
    def greet(name: str) -> None:
        """Greet NAME (the command of the example plugin)."""
        click.echo(f"Hello, {name}!")
