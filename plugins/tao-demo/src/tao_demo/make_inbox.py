"""Writes the splits of the suite *inbox* from a seed: `python -m tao_demo.make_inbox --seed 7 --out DIR`."""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from .making.banks import KINDS, shapes
from .making.overlap import LIMIT, Seen
from .making.render import Made, render

SEED = 7
SIZES = {"test": 400, "dev": 200, "prompts": 1000}  # test first: nothing made later may come near it
HELD_OUT_SHAPES = 0.35
HUMAN = Path(__file__).parent / "inbox" / "human.jsonl"

Row = dict[str, Any]


def make_one(seed: int, split: str, index: int, seen: Seen) -> Made:
    """The message number `index` of a split; drawn again while it is too near to one already made."""
    test = split == "test"
    shared = [s for s in shapes() if not s.test]
    held_out = [s for s in shapes() if s.test]
    for attempt in range(100):
        rng = Random(f"{seed}/{split}/{index}/{attempt}")
        shape = rng.choice(held_out if test and rng.random() < HELD_OUT_SHAPES else shared)
        made = render(rng, shape, KINDS[index % len(KINDS)], test)
        if seen.nearest(made.text) <= LIMIT:
            return made
    raise RuntimeError(f"no fresh message for {split} {index} in 100 draws: add shapes or wordings")


def make(seed: int = SEED) -> dict[str, list[Row]]:
    """Rows by split: {"id", "message", "reference", "meta"}; rows of `prompts` have their reference too."""
    human = [json.loads(line)["message"] for line in HUMAN.read_text(encoding="utf-8").splitlines()]
    seen = Seen(human)
    splits: dict[str, list[Row]] = {}
    for split, size in SIZES.items():
        made = []
        for index in range(size):
            made.append(make_one(seed, split, index, seen))
            seen.add(made[-1].text)
        Random(f"{seed}/{split}").shuffle(made)
        splits[split] = [
            {"id": f"{split}-{i:04}", "message": m.text, "reference": dict(m.record), "meta": dict(m.meta)}
            for i, m in enumerate(made)
        ]
    return splits


def encode(rows: Sequence[Row]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write(splits: dict[str, list[Row]], out: Path, gold: Path | None = None) -> list[Path]:
    """Write SPLIT.jsonl.gz under `out`, `prompts` without references; those go to `gold` where asked for."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    if gold is not None:
        gold.mkdir(parents=True, exist_ok=True)
        written.append(gold / "prompts-gold.jsonl")
        written[-1].write_bytes(encode(splits["prompts"]))
    for split, rows in splits.items():
        hidden = {"reference"} if split == "prompts" else set()
        shown = [{k: v for k, v in row.items() if k not in hidden} for row in rows]
        written.append(out / f"{split}.jsonl.gz")
        written[-1].write_bytes(gzip.compress(encode(shown), mtime=0))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, required=True, help="folder for the splits")
    parser.add_argument("--gold", type=Path, help="folder, outside the package, for the gold records of the prompts")
    options = parser.parse_args()
    for path in write(make(options.seed), options.out, options.gold):
        print(path)


if __name__ == "__main__":
    main()
