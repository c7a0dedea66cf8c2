"""Registers the rewards by rule."""

from __future__ import annotations

import tao_hub


@tao_hub.hookimpl
def register_rewards(register: tao_hub.hookspecs.Register) -> None:
    here = "tao_reward_rules"
    register("regex", f"{here}.pattern:Regex", summary="the answer matches a pattern, or must not")
    register("exact", f"{here}.exact:Exact", summary="the answer equals the reference, as text or as JSON")
    register("schema", f"{here}.schema:Schema", summary="the answer is JSON that a JSON schema accepts")
    register("length", f"{here}.length:Length", summary="the answer is neither too short nor too long")
    register("grounded", f"{here}.grounded:Grounded", summary="every value of the answer occurs in the input")
    register("distinct", f"{here}.distinct:Distinct", summary="no two fields hold the same words")
    register("coverage", f"{here}.coverage:Coverage", summary="the input's rare words are in the answer")
    register("near", f"{here}.near:Near", summary="values that belong together stand together in the input")
    register("recurrence", f"{here}.recurrence:Recurrence", summary="a value is this input's own, and a whole phrase")
    register("consistency", f"{here}.consistency:Consistency", summary="vote: how many candidates say the same")
