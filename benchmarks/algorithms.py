"""The offline training algorithms on the same stored candidates: *backoffice*'s small base policy, one round.

    python benchmarks/algorithms.py --out work [--prompts 400] [--seed 0] [--only trl/tao …]

Candidates are drawn and judged once; each algorithm then learns from them, from the same start: best-of-n and tao from
the 65% of the groups with the highest totals, the others from all. Prints, per algorithm, strict execution accuracy on
dev before and after (paired, on identical questions) and the update's seconds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tao_demo.office.plan import EXAMPLES, plan

import tao_hub

SHARED = {"lora_rank": 0, "dtype": "float32", "batch_size": 32}
TRAINERS = {
    "trl/best-of-n": {"learning_rate": 5e-4, "epochs": 8},
    "trl/reward-weighted": {"learning_rate": 5e-4, "epochs": 4},
    "trl/tao": {"learning_rate": 1e-4, "epochs": 2, "accumulate": 4},
    "trl/dpo": {"learning_rate": 1e-4, "epochs": 4, "loss": ["sigmoid", "sft"]},
    "trl/kto": {"learning_rate": 1e-4, "epochs": 4},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("algorithms"))
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(TRAINERS), default=list(TRAINERS))
    parser.add_argument("-o", dest="more", type=json.loads, default={}, help="options on top, as JSON")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        options = {**SHARED, **TRAINERS[name], **given.more}
        most = {"trl/best-of-n": "max_examples", "trl/tao": "max_groups"}.get(name)
        if most:
            options.setdefault(most, round(EXAMPLES * given.prompts))
        whole = plan(seed=given.seed, rounds=1, prompts=given.prompts, n=8, compose=False).as_dict()
        wanted = {**whole, "train": {"name": name, "start": "base", "options": options}, "eval": [{"split": "dev"}]}
        with tao_hub.open_session(given.out / "tao-hub.db") as session:
            data = tao_hub.tune_and_report(session, tao_hub.load_plan(wanted), given.out / "report.html", "")
        (delta,) = (d for d in data["deltas"] if d["metric"] == "execution accuracy")
        kept = ("before", "after", "delta", "low", "high", "p", "gains", "losses", "n")
        seconds = round(data["stage_seconds"].get("update", 0.0))
        print(json.dumps({"trainer": name, **{k: delta[k] for k in kept}, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
