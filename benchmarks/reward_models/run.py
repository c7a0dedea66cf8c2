"""Reward models from real preferences: held-out accuracy beside length alone and words alone.

    python benchmarks/reward_models/run.py harmless --data $TAO_HUB_DATA [--cap 500] [-- --frozen --max-length 128]
    python benchmarks/reward_models/run.py gsm8k --data $TAO_HUB_DATA -- --frozen --loss bce --max-length 192
    python benchmarks/reward_models/run.py mixture --data $TAO_HUB_DATA -- --frozen --max-length 128

`harmless` is HH-RLHF's harmless-base test file (Bai et al. 2022, arXiv 2204.05862, MIT): pairs that people judged.
`gsm8k` are four models' solutions of 300 problems with a checker's verdict each (Cobbe et al. 2021, arXiv 2110.14168,
MIT): lists of four with ties. `alpaca` are four models' answers to AlpacaEval's 805 instructions, each against the
baseline's, by GPT-4's preference (Li et al. 2023; CC BY-NC 4.0: for trying out only); `pandalm` are pairs that three
people judged, by their majority (Wang et al. 2024, Apache-2.0). `mixture` is one model of harmless, alpaca and pandalm.
All are split by prompt; what stands after `--` goes to `tao-hub train-reward`. Prints a Markdown table, with a row for
each source of a mixture, and the seconds it took; the folder with its card stays in --out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def harmless(data: Path, work: Path) -> Path:
    return data / "hh-rlhf" / "harmless-base-test.jsonl.gz"


def gsm8k(data: Path, work: Path) -> Path:
    target = work / "gsm8k.jsonl"
    with gzip.open(data / "gsm8k" / "example_model_solutions.first300.jsonl.gz", "rt", encoding="utf-8") as source:
        rows = [json.loads(line) for line in source]
    with target.open("w", encoding="utf-8") as out:
        for row in rows:
            told = [row[model] for model in MODELS]
            made = {"prompt": row["question"], "responses": [t["solution"] for t in told],
                    "scores": [float(t["is_correct"]) for t in told]}  # fmt: skip
            out.write(json.dumps(made) + "\n")
    return target


def alpaca(data: Path, work: Path) -> Path:
    """Pairs whose preference (1: the first output, 2: the second) is clear: not within 0.1 of the middle."""
    target = work / "alpaca.jsonl"
    with target.open("w", encoding="utf-8") as out:
        for file in sorted((data / "alpaca_eval").glob("*.annotations.json.gz")):
            for row in json.loads(gzip.decompress(file.read_bytes())):
                answers = [row["output_1"], row["output_2"]]
                clear = row["preference"] is not None and abs(row["preference"] - 1.5) > 0.1
                if not clear or row["generator_1"] == row["generator_2"] or not all(map(str.strip, answers)):
                    continue
                better = round(row["preference"]) - 1
                made = {"prompt": row["instruction"], "chosen": answers[better], "rejected": answers[1 - better]}
                out.write(json.dumps(made) + "\n")
    return target


def pandalm(data: Path, work: Path) -> Path:
    """Pairs of which most of the three annotators prefer one (1 or 2; 0 is a tie)."""
    target = work / "pandalm.jsonl"
    with target.open("w", encoding="utf-8") as out:
        for row in json.loads(gzip.decompress((data / "pandalm" / "testset-v1.json.gz").read_bytes())):
            votes = [int(row[f"annotator{i}"]) for i in (1, 2, 3)]
            answers = [row["response1"], row["response2"]]
            better = next((v for v in (1, 2) if votes.count(v) > 1), 0)
            if better and all(map(str.strip, answers)):
                prompt = "\n\n".join(filter(None, (row["instruction"], row["input"])))
                made = {"prompt": prompt, "chosen": answers[better - 1], "rejected": answers[2 - better]}
                out.write(json.dumps(made) + "\n")
    return target


SOURCES: dict[str, Callable[[Path, Path], Path]] = {
    "harmless": harmless, "gsm8k": gsm8k, "alpaca": alpaca, "pandalm": pandalm,
}  # fmt: skip
MIXTURE = ("harmless", "alpaca", "pandalm")


def cells(name: str, m: dict[str, Any]) -> list[str]:
    """A source's row: pairs, accuracy, the two baselines and what the model has over each."""
    words = m["baselines"]["words"]
    return [
        name, str(m["accuracy"]["n"]), percent(m["accuracy"]), percent(m["length_only"]), gain(m["over_length"]),
        percent(words), gain(words["over"]),
    ]  # fmt: skip


def gain(row: dict[str, float]) -> str:
    return f"{100 * row['delta']:+.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}], p {row['p']:.2g}"


def percent(row: dict[str, Any]) -> str:
    return f"{100 * row['value']:.1f} ({100 * row['low']:.1f}–{100 * row['high']:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=[*SOURCES, "mixture"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cap", type=int, help="rows of a source, at most")
    parser.add_argument("--out", type=Path)
    own = sys.argv[1:]
    cut = own.index("--") if "--" in own else len(own)
    chosen, more = parser.parse_args(own[:cut]), own[cut + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        asked = []
        for name in MIXTURE if chosen.task == "mixture" else (chosen.task,):
            cap = f",cap={chosen.cap}" if chosen.cap else ""
            asked += ["--data", f"{SOURCES[name](chosen.data, Path(folder))},domain={name}{cap}"]
        out = chosen.out or Path(folder) / "model"
        command = [sys.executable, "-m", "tao_hub.cli", "train-reward", *asked, "--out", str(out), "--json"]
        start = time.perf_counter()
        done = subprocess.run([*command, *more], stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - start
    result = json.loads(done.stdout)
    m = result["metrics"]
    print("| source | held-out pairs | accuracy | length alone | over length | words alone | over words |")
    print("|---" * 7 + "|")
    for name, of in {chosen.task: m, **m["domains"]}.items():
        print("| " + " | ".join(cells(name, of)) + " |")
    found = m["calibration"]
    print(f"{result['rows']['train']} rows, {seconds:.0f} s, {m['verdict']}", end="")
    print(f"; ECE {found['ece_before']:.3f}, calibrated {found['ece_after']:.3f}" if found else "")
    if m["ranking"]:
        best = m["ranking"]
        print(f"best of {best['mean_n']:.1f}: {percent(best['best_of_n'])}, by chance {100 * best['chance']:.1f}")


if __name__ == "__main__":
    main()
