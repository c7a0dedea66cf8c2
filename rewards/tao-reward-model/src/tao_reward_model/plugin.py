"""Registers the rewards by model."""

from __future__ import annotations

import tao_hub


@tao_hub.hookimpl
def register_rewards(register: tao_hub.hookspecs.Register) -> None:
    register("choice", "tao_reward_model.choice:Choice", summary="the input is near the option that the answer chose")
