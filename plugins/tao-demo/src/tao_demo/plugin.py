"""Registers the suites *inbox* and *backoffice*, and the metric of the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tao_hub


@tao_hub.hookimpl
def register_suites(register: Callable[..., None]) -> None:
    register("inbox", "tao_demo.suite:Inbox", summary="messy customer messages → one JSON record")
    register("backoffice", "tao_demo.office.suite:Backoffice", summary="a company's questions → one SQLite query")


@tao_hub.hookimpl
def register_rewards(register: Callable[..., None]) -> None:
    register("record", "tao_demo.record:Record", summary="exact record against the gold one, and per field")


@tao_hub.hookimpl
def register_commands(cli: Any) -> None:
    from .command import quickstart

    cli.add_command(quickstart)
