"""One SmolLM2 for three tasks at once, without labels: records (inbox), SQL (backoffice) and instruction following.

    python benchmarks/multitask.py --data $TAO_HUB_DATA [--seed 0] [--out multitask]

The first two tasks are those of multitask.toml beside this file; the third one is that of instructions/run.py, with
IFEval as its sealed test. Prints a JSON object for each suite, split and metric (before, after, the difference with a
95% interval and p), and for the mean over the tasks (macro); then the gates.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from instructions import run as instructions

import tao_hub

KEPT = ("suite", "split", "metric", "before", "after", "delta", "low", "high", "p", "n", "errors")


def plan(options: argparse.Namespace) -> tao_hub.Plan:
    both: dict[str, Any] = tao_hub.load_plan(Path(__file__).with_suffix(".toml")).as_dict()
    words = ["--data", str(options.data), "--seed", str(options.seed), "--prompts", str(options.instructions)]
    words += ["--n", str(options.n), *(["--limit", str(options.limit)] if options.limit else [])]
    third = instructions.plan(instructions.parser().parse_args(words)).as_dict()
    own = ("suite", "suite_options", "prompts", "max_tokens", "candidates", "combine", "rewards", "eval")
    both["tasks"].append({key: third[key] for key in own})
    for task in both["tasks"][:2]:
        task["prompts"] = options.prompts
        for split in task["eval"]:
            split["limit"] = min((most for most in (options.limit, split["limit"]) if most), default=None)
    return tao_hub.load_plan({**both, "seed": options.seed, "rounds": options.rounds, "drop_overlap": True})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds self-instruct and ifeval")
    parser.add_argument("--out", type=Path, default=Path("multitask"), help="where the store and the report go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=400, help="messages, and questions, to tune on")
    parser.add_argument("--instructions", type=int, default=300, help="tasks with instructions to tune on")
    parser.add_argument("--n", type=int, default=4, help="candidates of a task with instructions")
    parser.add_argument("--limit", type=int, help="measure at most so many items of each split")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tao_hub.open_session(options.out / "tao-hub.db") as session:
        page = options.out / f"seed-{options.seed}.html"
        data = tao_hub.tune_and_report(session, plan(options), page, "three tasks")
    common = {"seed": options.seed, "labels_used": data["labels_used"]}
    for delta in (d for d in data["deltas"] if d["before_label"] == "base"):
        print(json.dumps({**common, **{k: delta.get(k) for k in KEPT}}), flush=True)
    print(json.dumps({**common, "gates": data.get("gates", []), "seconds": data["seconds"]}), flush=True)


if __name__ == "__main__":
    main()
