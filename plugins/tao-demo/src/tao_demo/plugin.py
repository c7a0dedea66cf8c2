"""Registers the suite *inbox* and its metric."""

from __future__ import annotations

import tao_hub


@tao_hub.hookimpl
def register_suites(register: tao_hub.hookspecs.Register) -> None:
    register("inbox", "tao_demo.suite:Inbox", summary="messy customer messages → one JSON record")


@tao_hub.hookimpl
def register_rewards(register: tao_hub.hookspecs.Register) -> None:
    register("record", "tao_demo.record:Record", summary="exact record against the gold one, and per field")
