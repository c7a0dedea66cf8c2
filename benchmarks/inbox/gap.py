"""How much of what fine-tuning on labels gains do tuned runs gain, on the same items?

    python benchmarks/inbox/gap.py --supervised WORK/tao-hub.db --tuned WORK-0/tao-hub.db WORK-1/tao-hub.db

`--supervised` is the store of benchmarks/inbox/supervised.py; each store of `--tuned` holds a quickstart, of which the
newest run counts (`STORE:RUN` names another). An item's value is its mean over the runs; one JSON line a split, with
bootstrap intervals over items. The supervised line is one seed and taken as given.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

import tao_hub
from tao_hub.history import History
from tao_hub.stats import bootstrap_ratio, paired_delta


def values(store: str, split: str) -> dict[str, list[float]]:
    """Values by item of each label that a run measured on the split; one that failed counts as 0."""
    path, _, run = store.partition(":")
    with tao_hub.Store(Path(path), write=False) as opened:
        history = History(opened)
        evals = [e for e in history.evals(history.find(run)["id"]) if e["split"] == split]
        return {e["label"]: [i["value"] or 0.0 for i in history.eval_items(e["id"])] for e in evals}


def number(label: str) -> int:
    """Of "round 2": 2."""
    return int(label.removeprefix("round "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supervised", required=True)
    parser.add_argument("--tuned", nargs="+", required=True)
    given = parser.parse_args()
    for split in ("dev", "test", "human"):
        line = values(given.supervised, split)["supervised"]
        found = [values(store, split) for store in given.tuned]
        after = [one[max((label for label in one if label.startswith("round ")), key=number)] for one in found]
        base, prompted = found[0]["base"], found[0]["base, one-shot"]
        mean = [fmean(item) for item in zip(*after)]
        gained, could = ([new - old for new, old in zip(some, base)] for some in (mean, line))
        over = paired_delta(prompted, mean)
        told = {
            "split": split, "levels": [round(fmean(some), 4) for some in after], "mean": round(fmean(mean), 4),
            "supervised": round(fmean(line), 4),
            "over one-shot": [round(x, 4) for x in (over.delta, over.low, over.high)],
            "share of the gap": bootstrap_ratio(gained, could),
        }  # fmt: skip
        print(json.dumps(told))


if __name__ == "__main__":
    main()
