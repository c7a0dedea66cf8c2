"""Registers the rewards by model."""

from __future__ import annotations

import tao_hub


@tao_hub.hookimpl
def register_rewards(register: tao_hub.hookspecs.Register) -> None:
    register("choice", "tao_reward_model.choice:Choice", summary="the input is near the option that the answer chose")
    register("about", "tao_reward_model.about:About", summary="the answer is about what the prompt asks for")
    register("context", "tao_reward_model.context:Context", summary="each value stands where the input speaks of it")
    register("kind", "tao_reward_model.kinds:Kind", summary="each value is the kind of thing that its field holds")


@tao_hub.hookimpl
def register_strategies(register: tao_hub.hookspecs.Register) -> None:
    register("options", "tao_reward_model.options:NearestOptions", summary="proposes options that the input is near to")
    register("spans", "tao_reward_model.kinds:Spans", summary="proposes spans of the input of the kind a field holds")
    register("places", "tao_reward_model.context:Places", summary="proposes values by the words around them")


@tao_hub.hookimpl
def register_suites(register: tao_hub.hookspecs.Register) -> None:
    register("banking77", "tao_reward_model.banking:Banking77", summary="bank customers' messages, one of 77 intents")
