"""How *backoffice* is tuned without labels: candidates of the policy itself and of the parts of the pairs that it has
seen, mended, and judged by what they do and by what words they are asked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tao_hub

from .suite import ADAPTER, TINY

ROUNDS = 1
PROMPTS = 2000
EXAMPLES = 0.65  # of the prompts, without `compose`: those whose best candidate has the highest totals are learnt from
MAX_TOKENS = 100

# `sql/schema` weighs most: the votes of a small policy repeat its own errors, the words of the question do not. The
# weights were chosen by what they pick on dev.
REWARDS = [
    {"name": "sql/executes", "label": "executes", "gate": 1.0, "options": {"workers": 2}},
    {"name": "sql/consistency", "label": "consistency", "options": {"workers": 2}},
    {"name": "sql/schema", "label": "schema", "weight": 8.0, "options": {"workers": 2}},
]
LEXICON = {"name": "sql/lexicon", "label": "lexicon", "weight": 2.0}
OWN = 0.75  # of the prompts: so many answers of its own teach the next round's lexicon


def plan(
    policy: str = "", rounds: int = ROUNDS, seed: int = 0, prompts: int | None = None, limit: int | None = None,
    deterministic: bool = False, n: int = 4, lora: bool | None = None, rewards: Sequence[Mapping[str, Any]] = (),
    compose: bool = True, vary: int = 3, **training: Any,
) -> tao_hub.Plan:  # fmt: skip
    """The plan, with `rewards` beside its own. Without `compose` the seed pairs are left to the policy alone: no
    candidates of their parts, no reward by their words, and what is learnt is not varied (else `vary` times each, where
    all weights are tuned). `policy`: empty for the small one that is shipped, all its weights tuned in float32;
    "adapter" for the shipped adapter of SmolLM2; or one of the user's own. All but the first get LoRA, unless `lora`
    says otherwise."""
    small = not (bool(policy) if lora is None else lora)
    vary = vary if compose and small else 0
    policy = {"": str(TINY), "adapter": str(ADAPTER)}.get(policy, policy)
    asked = prompts or PROMPTS
    options = {
        "lora_rank": 0 if small else 8, "learning_rate": 5e-4,
        "epochs": (3 if vary else 8) if small else 4,
        "batch_size": 32 if small else 8, **({} if compose else {"max_examples": round(EXAMPLES * asked)}),
        **({"dtype": "float32"} if small else {}), **training,
    }  # fmt: skip
    own = {"own_examples": round(OWN * asked)}
    return tao_hub.load_plan({
        "suite": "backoffice", "policy": policy, "seed": seed, "prompts": asked, "rounds": rounds,
        "policy_options": {"dtype": "float32"} if small else {}, "max_tokens": MAX_TOKENS,
        "deterministic": deterministic,
        "candidates": [{"strategy": "direct", "n": n, "temperature": 1.0, "max_tokens": MAX_TOKENS}],
        "combine": [*([{"strategy": "sql/compose", **own}] if compose else []), {"strategy": "sql/repair"}],
        "vary": [{"strategy": "sql/values", "n": vary}] if vary else [],
        "rewards": [*REWARDS, *([{**LEXICON, **own}] if compose else []), *rewards],
        "train": {"name": "trl/best-of-n", "start": "base", "options": options},
        "eval": [
            {"split": "dev", "limit": limit}, {"split": "test", "sealed": True, "limit": limit},
            {"split": "human", "sealed": True, "limit": limit},
        ],
    })  # fmt: skip
