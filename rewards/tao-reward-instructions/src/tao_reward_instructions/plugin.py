"""Registers the reward by verifiable instructions, the strategy that mends answers, and their suites."""

from __future__ import annotations

import tao_hub


@tao_hub.hookimpl
def register_rewards(register: tao_hub.hookspecs.Register) -> None:
    here = "tao_reward_instructions"
    register("followed", f"{here}.followed:Followed", summary="the answer follows the prompt's verifiable instructions")


@tao_hub.hookimpl
def register_strategies(register: tao_hub.hookspecs.Register) -> None:
    here = "tao_reward_instructions"
    register("mend", f"{here}.mend:Mend", summary="answers edited to follow the prompt's verifiable instructions")


@tao_hub.hookimpl
def register_suites(register: tao_hub.hookspecs.Register) -> None:
    here = "tao_reward_instructions.suites"
    register("ifeval", f"{here}:IFEval", summary="IFEval: prompts with instructions that a program verifies")
    register("self-instruct", f"{here}:SelfInstruct", summary="Self-Instruct's seed tasks with instructions attached")
