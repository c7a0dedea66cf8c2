"""Instruction following: SmolLM2 tuned on tasks with instructions that rules check, measured on IFEval, without labels.

    python benchmarks/instructions/run.py --data $TAO_HUB_DATA [--seed 0] [--prompts 400] [--n 4] [--out instructions]

Data: Self-Instruct's seed tasks (Wang et al. 2023, arXiv 2212.10560) with verifiable instructions drawn and attached,
no output read; IFEval (Zhou et al. 2023, arXiv 2311.07911) as the sealed test, greedy. What is learnt follows all its
prompt's instructions (`instructions/followed`), by itself or mended (`instructions/mend`), and is about the prompt
(`embed/about`). Prints a JSON object for each metric: before, after, the difference with a 95% interval and p (McNemar,
or the paired t for shares). `instructions strict` and `instructions loose` are the paper's instruction-level accuracy,
with a bootstrap interval over prompts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tao_hub
from tao_hub.history import History

KEPT = ("before", "after", "delta", "low", "high", "p", "gains", "losses", "n", "errors")
Followed = dict[int, tuple[float, int]]  # item → (instructions followed, instructions given)


def plan(options: argparse.Namespace) -> tao_hub.Plan:
    suite = {"path": str(options.data / "self-instruct"), "ifeval": str(options.data / "ifeval")}
    # 135M parameters know English, and so does the encoder of embed/about.
    suite |= {"seed": options.seed, "skip": ["language:response_language"], "copies": options.copies}
    return tao_hub.load_plan({
        "suite": "self-instruct", "suite_options": suite, "policy": "smollm2", "seed": options.seed,
        "prompts": options.prompts, "rounds": options.rounds, "max_tokens": options.max_tokens, "drop_overlap": True,
        "candidates": [{
            "strategy": "direct", "n": options.n, "temperature": options.temperature, "max_tokens": options.max_tokens,
        }],
        "combine": [{"strategy": "instructions/mend"}] if options.mend else [],
        "rewards": [
            {"name": "instructions/followed", "label": "followed", "gate": 1.0},
            {"name": "embed/about", "label": "about", "gate": options.about, "weight": 0.5},
        ],
        "train": {"name": options.trainer, "options": {
            "epochs": options.epochs, "learning_rate": options.learning_rate,
        }},
        "eval": [{
            "suite": "ifeval", "options": {"path": str(options.data / "ifeval")}, "split": "test", "sealed": True,
            "limit": options.limit,
        }],
    })  # fmt: skip


def followed(items: Sequence[Mapping[str, Any]], given: Sequence[int], part: str) -> Followed:
    """Per item how many instructions are followed, of how many; an answer that could not be scored follows none."""
    return {
        item["position"]: (
            0.0 if item["value"] is None else item["parts"][part] * given[item["position"]], given[item["position"]]
        ) for item in items
    }  # fmt: skip


def instruction_level(before: Followed, after: Followed) -> dict[str, Any]:
    """Accuracy over all instructions; the difference with a percentile bootstrap over prompts (10,000 draws)."""

    def levels(some: Sequence[int]) -> list[float]:
        given = sum(before[i][1] for i in some)
        return [sum(side[i][0] for i in some) / given for side in (before, after)]

    def gain(some: Sequence[int]) -> float:
        old, new = levels(some)
        return new - old

    items = sorted(before)
    (old, new), (low, high) = levels(items), tao_hub.bootstrap_interval(items, gain)
    found = {"before": old, "after": new, "delta": new - old, "low": low, "high": high}
    return found | {"n": len(items), "instructions": sum(given for _, given in before.values())}


def measured(session: tao_hub.Session, run: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The paper's two instruction-level accuracies before and after."""
    suite = tao_hub.Hub().suite(tao_hub.Ref("ifeval", {"path": str(options.data / "ifeval")}))
    given = [len(p.meta["kwargs"]) for p in suite.prompts("test")]
    history = History(session.store)
    evals = [e for e in history.evals(history.find(run)["id"]) if e["split"] == "test"]
    sides = [history.eval_items(e["id"]) for e in (evals[0], evals[-1])]
    return [
        {"metric": name, **instruction_level(*(followed(items, given, part) for items in sides))}
        for name, part in (("instructions strict", "share"), ("instructions loose", "loose share"))
    ]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds self-instruct and ifeval")
    parser.add_argument("--out", type=Path, default=Path("instructions"), help="where the store and the report go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompts", type=int, default=400, help="tasks with instructions to tune on")
    parser.add_argument("--copies", type=int, default=6, help="prompts of each task, with other instructions")
    parser.add_argument("--n", type=int, default=4, help="candidates a prompt")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--max-tokens", type=int, default=256, help="longest answer")
    parser.add_argument("--about", type=float, default=0.6, help="least value of embed/about")
    parser.add_argument("--mend", action=argparse.BooleanOptionalAction, default=True, help="edit what follows not all")
    parser.add_argument("--trainer", default="trl/best-of-n")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="of the LoRA adapters")
    parser.add_argument("--limit", type=int, help="measure on the first so many prompts of IFEval")
    return parser


def main() -> None:
    options = parser().parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tao_hub.open_session(options.out / "tao-hub.db") as session:
        report = options.out / f"seed-{options.seed}.html"
        data = tao_hub.tune_and_report(session, plan(options), report, "instructions")
        others = measured(session, data["run"], options)
    common = {"seed": options.seed, "labels_used": 0, "seconds": data["seconds"]}
    for delta in (d for d in data["deltas"] if d["before_label"] == "base"):
        print(json.dumps({**common, "metric": delta["metric"], **{k: delta[k] for k in KEPT}}), flush=True)
    for row in others:
        print(json.dumps({**common, **row}), flush=True)


if __name__ == "__main__":
    main()
