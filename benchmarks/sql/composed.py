"""What `sql/compose` writes from worked examples alone: is its first query right, and is a right one among eight?

    python benchmarks/sql/composed.py backoffice                                # dev, from the 200 seed pairs
    python benchmarks/sql/composed.py geoquery --data ../shared/data/geoquery   # unlabelled questions, from 150 pairs
    python benchmarks/sql/composed.py … --folds 5                               # of the pairs, from the others

GeoQuery's unlabelled questions are judged by the gold that the benchmark has for them; sealed splits only by `--split`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import geoquery
from tao_demo.office.suite import Backoffice
from tao_reward_sql.suites import Folder

import tao_hub

Judged = tuple[Mapping[str, Any], Sequence[tao_hub.Prompt], Sequence[tao_hub.Prompt]]  # options, pairs, questions


def backoffice(split: str) -> Judged:
    suite = Backoffice()
    return suite.options_for("sql/match"), list(suite.prompts("seed")), list(suite.prompts(split or "dev"))


def of_geoquery(data: Path, work: Path, split: str) -> Judged:
    folder = geoquery.prepare(data, work, 150, 1500)
    suite = Folder(Folder.Options(path=str(folder)))
    if split:
        return {"databases": str(folder)}, list(suite.prompts("seed")), list(suite.prompts(split))
    known = {row["question"]: row["query"] for _, row in geoquery.questions(data)}
    asked = [
        tao_hub.Prompt(p.messages, reference=known[p.text], meta=p.meta)
        for p in suite.prompts("prompts") if p.text in known
    ]  # fmt: skip
    return {"databases": str(folder)}, list(suite.prompts("seed")), asked


def right(
    options: Mapping[str, Any], pairs: Sequence[tao_hub.Prompt], asked: Sequence[tao_hub.Prompt]
) -> Iterator[tuple[bool, bool]]:
    """For each question: is the first query right, and any of the eight?"""
    examples = [{"input": p.text, "output": str(p.reference)} for p in pairs]
    hub, reads = tao_hub.Hub(), {k: v for k, v in options.items() if k in ("db", "databases")}
    strategy = hub.strategy(tao_hub.Ref("sql/compose", {"examples": examples, "n": 8, **reads}))
    match = hub.reward(tao_hub.Ref("sql/match", dict(options)))
    for prompt in asked:
        written = strategy.combine(tao_hub.Group(prompt.without_reference(), ()))
        scores = [s if isinstance(s, tao_hub.Score) else tao_hub.Score(s)
                  for s in match.score_batch([(prompt, candidate) for candidate in written])]  # fmt: skip
        found = [bool(score.value) for score in scores]
        yield bool(found and found[0]), any(found)
    match.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["backoffice", "geoquery"])
    parser.add_argument("--data", type=Path, help="folder of geography.json.gz and geography.sqlite")
    parser.add_argument("--split", default="", help="judge this split instead")
    parser.add_argument("--folds", type=int, default=0, help="judge the pairs, each fold by the other ones")
    given = parser.parse_args()
    if given.what == "geoquery" and given.data is None:
        parser.error("geoquery needs --data DIR")
    with tempfile.TemporaryDirectory() as work:
        options, pairs, asked = (
            backoffice(given.split) if given.what == "backoffice" else of_geoquery(given.data, Path(work), given.split)
        )
        started, found = time.monotonic(), []
        if given.folds:
            Random(0).shuffle(shuffled := list(pairs))
            for fold in range(given.folds):
                others = [p for i, p in enumerate(shuffled) if i % given.folds != fold]
                found += right(options, others, shuffled[fold :: given.folds])
        else:
            found += right(options, pairs, asked)
    shares = {name: round(sum(values) / len(found), 3) for name, values in zip(("first", "among_8"), zip(*found))}
    print(json.dumps({"what": given.what, "split": given.split, "folds": given.folds, "n": len(found), **shares,
                      "seconds": round(time.monotonic() - started, 1)}))  # fmt: skip


if __name__ == "__main__":
    main()
