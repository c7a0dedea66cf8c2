"""The plan of the quickstart: which candidates, rewards and updates turn unlabelled messages into a better model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tao_hub

ROUNDS = 1
PROMPTS = 600
DEV = 60  # of dev's 200, to keep the whole thing short
EPOCHS = 1.1  # of what is learnt, to keep it short

# The untouched model is asked with eight worked examples; a string of its answer can only be copied from the message.
# From round 2 on the tuned model, which needs no examples any more, is asked the plain prompt. What the untouched one
# said still votes (it is drawn once): the tuned model alone would confirm its own errors.
CANDIDATES = [
    {
        "strategy": "few-shot", "policy": "start", "n": 2, "temperature": 0.7, "max_tokens": 80,
        "options": {"copy_strings": True, "extract": "auto"},
    },
    {
        "strategy": "direct", "n": 2, "temperature": 0.7, "max_tokens": 80, "first_round": 2,
        "options": {"copy_strings": True, "extract": "auto"},
    },
]  # fmt: skip

# `assemble` makes one record per message from the winning fields, once for each kind of problem; the rewards choose.
# It does so again when `model/fields` has learnt who and what is meant.
ASSEMBLE = {
    "strategy": "assemble",
    "options": {
        "source_weights": {"embed/spans": 0.3, "embed/places": 0.3}, "null_weight": 0.3, "null_floor": 0.015,
    },
}  # fmt: skip
COMBINE = [{"strategy": "embed/spans"}, {"strategy": "embed/places"}, ASSEMBLE, {**ASSEMBLE, "learnt": True}]

# A field is sure where none of these doubts it; where one does, the update only reads what was guessed.
SURE = {
    "consistency.customer": 0.3, "consistency.product": 0.3, "kind.customer": 0.3, "kind.product": 0.15,
    "recurrence.product": 0.7, "near": 0.9, "embedding": 0.85, "context": 0.8, "context.product": 0.6,
}  # fmt: skip

# The untouched model hardly ever says null, so null has bounds of its own (0: it is learnt). From round 2 on it is the
# tuned model's favourite error: there it takes votes.
SURE_NULL = {"kind.customer": 0.0, "near.quantity": 0.0, "context.product": 0.9}
LATER_NULL = {
    "consistency.customer": 0.4, "consistency.quantity": 0.9, "consistency.product": 0.2, "context.product": 0.9,
}  # fmt: skip

# `fields` learns from what is sure by these, and then has its say in what the update learns.
FIELDS_SURE = {"fields": 0.2, "fields.problem": 0.1}
FIELDS_NULL = {"fields.customer": 0.5, "fields.quantity": 0.5, "fields.product": 0.5}
ENOUGH = {"fields.customer": 0.8, "fields.order_id": 0.7, "fields.product": 0.95, "fields.problem": 0.6}

REWARDS = [
    {"name": "rules/schema", "label": "schema", "gate": 1.0},
    {"name": "rules/grounded", "label": "grounded", "gate": 1.0},
    {
        "name": "rules/consistency", "label": "consistency", "weight": 1.0,
        "options": {"ignore": ["problem"], "unheard": ["embed/spans", "embed/places"]},
    },
    {"name": "rules/recurrence", "label": "recurrence", "weight": 1.0},
    {"name": "rules/near", "label": "near", "weight": 0.5},
    {"name": "embed/kind", "label": "kind", "weight": 1.0},
    {"name": "embed/choice", "label": "embedding", "weight": 1.0},
    {"name": "embed/context", "label": "context", "weight": 1.0},
    {
        "name": "model/fields", "label": "fields", "weight": 8.0,
        "options": {
            "copied": ["customer", "order_id", "product", "quantity", "date"], "chosen": ["problem"],
            "min_parts": SURE, "null_parts": SURE_NULL,
        },
        "later": {"null_parts": LATER_NULL},
    },
]  # fmt: skip


def plan(
    policy: str, rounds: int, seed: int, prompts: int | None = None, limit: int | None = None,
    deterministic: bool = False, epochs: float | None = None,
) -> tao_hub.Plan:  # fmt: skip
    """The quickstart's plan; `limit` bounds the items measured per split.

    What is learnt is learnt `epochs` times over; by default little more than once, to keep it short.
    """
    prompts = prompts or PROMPTS
    splits: list[dict[str, Any]] = [
        {"split": "dev", "limit": min(limit or DEV, DEV)},
        {"split": "test", "sealed": True, "limit": limit},
        {"split": "human", "sealed": True, "limit": limit},
    ]
    return tao_hub.load_plan({
        "suite": "inbox", "policy": policy, "rounds": rounds, "seed": seed, "prompts": prompts,
        "max_tokens": 80, "deterministic": deterministic, "candidates": CANDIDATES,
        "combine": COMBINE, "rewards": REWARDS,
        "train": {
            "name": "trl/best-of-n", "start": "base",
            "options": {
                "epochs": epochs or EPOCHS, "batch_size": 8, "lora_rank": 16,
                "min_parts": {**SURE, **FIELDS_SURE}, "null_parts": {**SURE_NULL, **FIELDS_NULL},
                "enough_parts": ENOUGH,
            },
            "later": {"null_parts": {**LATER_NULL, **FIELDS_NULL}},
        },
        "eval": splits,
        "baselines": [{"label": "base, one-shot", "strategy": "few-shot", "options": {"k": 1}}],
    })  # fmt: skip


def summary(data: Mapping[str, Any]) -> dict[str, Any]:
    """The report's main numbers as one flat object; metrics are fractions of exact records on the sealed split."""
    primary = data["primary"]
    here = [q for q in data["quality"] if q["split"] == primary["split"] and q["metric"] == primary["metric"]]
    value = {q["label"]: q["value"] for q in here}
    delta = next(
        d for d in data["deltas"]
        if all(d[k] == primary[k] for k in ("split", "metric", "before_label", "after_label"))
    )  # fmt: skip
    return {
        "base": value["base"],
        "prompted": value.get("base, one-shot"),
        "rounds": [value[label] for label in value if label.startswith("round ")],
        "delta": delta["delta"],
        "ci": [delta["low"], delta["high"]],
        "p": delta["p"],
        "n": delta["n"],
        "gains": delta["gains"],
        "losses": delta["losses"],
        "verdict": delta["verdict"],
        "labels_used": data["labels_used"],
        "worked_examples": data["worked_examples"],
        "seconds": data["seconds"],
        "peak_memory_mb": data["peak_memory_mb"],
        "stage_seconds": data["stage_seconds"],
    }
