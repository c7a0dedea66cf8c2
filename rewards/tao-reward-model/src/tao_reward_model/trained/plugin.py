"""Registers trained reward models and the command that trains them."""

from __future__ import annotations

from typing import Any

import tao_hub


@tao_hub.hookimpl
def register_rewards(register: tao_hub.hookspecs.Register) -> None:
    from .registry import registered

    here = "tao_reward_model.trained"
    register("preference", f"{here}.preference:Preference", summary="the score of a trained reward model's folder")
    fields = "tao_reward_model.own.fields:Fields"
    register("fields", fields, summary="each field's value, by a model of the round's own surest fields")
    for name, entry in registered().items():
        register(name, f"{here}.named:{name}", summary=entry["summary"])


@tao_hub.hookimpl
def register_commands(cli: Any) -> None:
    from .command import train_reward
    from .label import label

    cli.add_command(train_reward)
    cli.add_command(label)
