"""The line that tuning without labels aims at: SmolLM2 fine-tuned on the gold of the quickstart's prompts.

    python -m tao_demo.make_inbox --out ELSEWHERE --gold GOLD
    python benchmarks/inbox/supervised.py --gold GOLD --out WORK [--labels 600] [--epochs 4] [--seeds 0 1 2]

Trained as the quickstart's update is, but on all fields of all labelled messages; measured as it is, by the plain
prompt. One line per seed and split; a stopped one goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from tao_demo import quickstart

import tao_hub
from tao_hub.environment import describe
from tao_hub.history import History
from tao_hub.loop import measure
from tao_hub.ways import supervised


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, required=True, help="folder that make_inbox --gold wrote")
    parser.add_argument("--out", type=Path, required=True, help="workspace")
    parser.add_argument("--policy", default="smollm2")
    parser.add_argument("--labels", type=int, default=quickstart.PROMPTS)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--limit", type=int, help="items measured per split, at most")
    given = parser.parse_args()
    lines = (given.gold / "prompts-gold.jsonl").read_text(encoding="utf-8").splitlines()
    gold = {row["message"]: row["reference"] for row in map(json.loads, lines)}
    given.out.mkdir(parents=True, exist_ok=True)
    with tao_hub.open_session(given.out / "tao-hub.db") as session:
        for seed in given.seeds:
            plan = quickstart.plan(given.policy, 1, seed, given.labels, given.limit)
            part = session.slice(plan.suite_ref, plan.split, given.labels)
            labelled = [replace(p, reference=gold[p.text]) for _, p in session.store.prompts(part)]
            start = session.policy(session.hub.policy(plan.policy, plan.policy_options))
            policy = supervised(session, plan, labelled, start, {"epochs": given.epochs})
            history, name = History(session.store), f"supervised-{given.labels}-{given.epochs:g}-s{seed}"
            run = history.begin(name, plan.as_dict(), "", describe(session.hub))
            for done in measure(session, plan, run, policy, "supervised", 0, plan.measured):
                values = [item["value"] for item in history.eval_items(done.row)]
                level = {
                    "exact": round(sum(v or 0.0 for v in values) / len(values), 4), "n": len(values),
                    "unscored": values.count(None),
                }  # fmt: skip
                print(json.dumps({"seed": seed, "labels": len(labelled), "split": done.split, **level}), flush=True)


if __name__ == "__main__":
    main()
