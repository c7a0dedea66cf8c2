"""SNIPS: requests people spoke to an assistant → slots, tuned without labels, beside five services trained on labels.

    python benchmarks/snips/run.py AddToPlaylist --data $TAO_HUB_DATA/snips [--seed 0] [--prompts 250] [--out snips]

Data: the SNIPS benchmark (Coucke et al. 2018, arXiv 1805.10190, CC0). Tuning sees the texts of the train file only; the
test is the benchmark's own 100 queries. A slot is right when its value is, up to case and blanks; of a slot that occurs
twice in a query, the first counts as gold. Prints one JSON object: precision, recall and F1 per slot, micro and macro,
of the base with a plain and a few-shot prompt and of the tuned model, with a bootstrap interval of the difference of
micro F1, and the macro recall that was published of the services by number of labelled queries.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import tao_hub
from tao_hub.history import History

HERE = Path(__file__).parent
PART = re.compile(r"<([A-Z]+)>")  # of a pattern in tasks.json
Counts = dict[str, list[int]]  # slot → [right, said, there]


def spelled_out(pattern: str, parts: Mapping[str, str]) -> str:
    """A regular expression with each <NAME> in it replaced by that part, parts of parts too."""
    while (whole := PART.sub(lambda m: parts[m[1]], pattern)) != pattern:
        pattern = whole
    return pattern


def load_tasks() -> dict[str, Any]:
    """Intent → what its records hold, worked examples, and what values look like and are preceded by."""
    tasks: dict[str, Any] = json.loads((HERE / "tasks.json").read_text(encoding="utf-8"))
    for task in tasks.values():
        parts = task.get("parts", {})
        task["match"] = {slot: spelled_out(pattern, parts) for slot, pattern in task["match"].items()}
    return tasks


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def record(row: Mapping[str, Any], slots: Sequence[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = dict.fromkeys(slots)
    for slot in row["slots"]:
        if found[slot["slot"]] is None:
            found[slot["slot"]] = slot["value"]
    return found


def write(data: Path, intent: str, slots: Sequence[str], folder: Path) -> list[dict[str, str | None]]:
    """prompts.jsonl (texts only) and test.jsonl (with references); returns the references in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, source in (("prompts", "train"), ("test", "test")):
        rows = []
        for row in lines(data / f"{source}_{intent}.jsonl.gz"):
            made = {"id": row["id"], "prompt": row["text"]}
            rows.append(made | ({"reference": record(row, slots)} if split == "test" else {}))
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return [row["reference"] for row in rows]


def plan(task: Mapping[str, Any], folder: Path, options: argparse.Namespace) -> tao_hub.Plan:
    slots = task["slots"]
    examples = [{"input": text, "output": tao_hub.dump_record(gold)} for text, gold in task["examples"]]
    copied = {"copy_strings": True, "copy_match": task["match"], "extract": "auto"}
    by_field = "kinds" in task
    if by_field:
        copied["copy_keys"] = slots
    votes: dict[str, Any] = {"keys": slots, "null_weight": options.null_weight}
    tokens = 14 * len(slots) + 20
    return tao_hub.load_plan({
        "suite": "jsonl", "policy": "smollm2", "seed": options.seed, "prompts": options.prompts, "max_tokens": tokens,
        "suite_options": {
            "path": str(folder), "system": task["system"], "examples": examples, "metric": {"name": "demo/record"},
        },
        "drop_overlap": True,  # a few texts of the train file are in the test file
        "candidates": [{
            "strategy": "few-shot", "policy": "start", "n": options.n, "temperature": 0.7, "max_tokens": tokens,
            "options": {"shuffle": True, **copied},
        }],
        **(sure_fields(task, votes, options) if by_field else sure_records(task, votes, options)),
        "eval": [{"split": "test"}],
        "baselines": [{"label": "base, few-shot", "strategy": "few-shot"}],
    })  # fmt: skip


def sure_records(task: Mapping[str, Any], votes: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """What is learnt of an intent with few slots: whole records that cover their text."""
    return {
        "combine": [{"strategy": "assemble", "options": votes}],
        "rewards": [
            *form(task["slots"]), {"name": "rules/distinct", "label": "distinct", "gate": 1.0, "options": apart(task)},
            {"name": "rules/coverage", "label": "coverage", "gate": options.covered},
            {"name": "rules/consistency", "label": "consistency"},
        ],
        "train": {
            "name": "trl/best-of-n", "min_total": 3.0 + options.covered + options.agree, "options": course(options),
        },
    }  # fmt: skip


def sure_fields(task: Mapping[str, Any], votes: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """What is learnt of an intent with many: of each record the fields that are agreed on, and whose value is of the
    kind that the slot holds, in the eyes of a sentence encoder."""
    typed = {"kinds": task["kinds"], "fields": task["kind_of"]}
    rewards = [
        *form(task["slots"]), {"name": "rules/distinct", "label": "distinct", "options": apart(task)},
        {"name": "rules/coverage", "label": "coverage"},
        {"name": "rules/consistency", "label": "consistency", "options": {"unheard": ["embed/spans"]}},
        {"name": "embed/kind", "label": "kind", "options": typed},
    ]  # fmt: skip
    if task.get("contexts"):
        rewards.append({"name": "embed/context", "label": "context", "options": {"fields": task["contexts"]}})
    return {
        "combine": [
            {"strategy": "embed/spans", "options": typed},
            {"strategy": "assemble", "options": {**votes, "source_weights": {"embed/spans": 0.2}}},
        ],
        "rewards": rewards,
        "train": {
            "name": "trl/best-of-n", "options": {**course(options), "min_parts": {"consistency": options.agree}},
        },
    }  # fmt: skip


def form(slots: Sequence[str]) -> list[dict[str, Any]]:
    """The gates: a record of these slots, whose values stand in the text."""
    schema = {
        "type": "object", "required": slots, "additionalProperties": False,
        "properties": {slot: {"type": ["string", "null"]} for slot in slots},
    }  # fmt: skip
    return [
        {"name": "rules/schema", "label": "schema", "gate": 1.0, "options": {"schema": schema}},
        {"name": "rules/grounded", "label": "grounded", "gate": 1.0},
    ]


def apart(task: Mapping[str, Any]) -> dict[str, Any]:
    return {"trust": [*task["match"], task["slots"][0]]}


def course(options: argparse.Namespace) -> dict[str, Any]:
    return {"epochs": options.epochs, "max_examples": options.examples, "learning_rate": options.learning_rate}


def plain(value: Any) -> str:
    return " ".join(str(value).casefold().split())


def count(items: Sequence[tuple[dict[str, Any], dict[str, Any]]], slots: Sequence[str]) -> Counts:
    counts = {slot: [0, 0, 0] for slot in slots}
    for said, gold in items:
        for slot in slots:
            found, there = said.get(slot), gold.get(slot)
            counts[slot][1] += found is not None
            counts[slot][2] += there is not None
            counts[slot][0] += found is not None and there is not None and plain(found) == plain(there)
    return counts


def scores(counts: Counts) -> dict[str, Any]:
    def three(right: int, said: int, there: int) -> dict[str, float]:
        f1 = 2 * right / (said + there) if said + there else 0.0
        return {"precision": right / said if said else 0.0, "recall": right / there if there else 0.0, "f1": f1}

    per_slot = {slot: three(*c) for slot, c in counts.items() if c[2]}
    return {
        "micro": three(*(sum(c[i] for c in counts.values()) for i in range(3))),
        "macro": {name: mean(s[name] for s in per_slot.values()) for name in ("precision", "recall", "f1")},
        "slots": per_slot,
    }


def answers(
    session: tao_hub.Session, run: int, label: str, gold: Sequence[dict[str, Any]]
) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
    """Item → (what was said, what is there) of one measurement."""
    history = History(session.store)
    (measured,) = [e for e in history.evals(run) if e["label"] == label]
    found = {}
    for item in history.eval_items(measured["id"]):
        try:
            said = dict(tao_hub.parse_record(item["response"]))
        except ValueError:
            said = {}
        found[item["position"]] = (said, gold[item["position"]])
    return found


def interval(before: Mapping[int, Any], after: Mapping[int, Any], slots: Sequence[str]) -> list[float]:
    """95% percentile bootstrap over queries (2,000 draws, seed 0) of the difference of micro F1."""
    draw, names = random.Random(0), sorted(before)
    deltas = []
    for _ in range(2000):
        some = draw.choices(names, k=len(names))
        f1 = [scores(count([side[n] for n in some], slots))["micro"]["f1"] for side in (before, after)]
        deltas.append(f1[1] - f1[0])
    deltas.sort()
    return [deltas[49], deltas[1949]]


def published(data: Path, intent: str) -> dict[str, dict[str, float]]:
    """Service → labelled queries → macro recall over slots, the mean over repetitions."""
    with gzip.open(data / "published_metrics.json.gz", "rt", encoding="utf-8") as file:
        services = json.load(file)[intent]
    found: dict[str, dict[str, float]] = {}
    for service, by_size in services.items():
        for size, slots in by_size.items():
            recalls = [mean(0.0 if math.isnan(r) else r for r in s["recall"]) for s in slots.values()]
            found.setdefault(service, {})[size] = round(mean(recalls), 3)
    return found


def main() -> None:
    tasks = load_tasks()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("intent", choices=list(tasks))
    parser.add_argument("--data", type=Path, required=True, help="folder of the SNIPS files")
    parser.add_argument("--out", type=Path, default=Path("snips"), help="where the store and the texts go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompts", type=int, default=500, help="unlabelled texts")
    parser.add_argument("--n", type=int, default=4, help="candidates per text, each with the examples in another order")
    parser.add_argument("--examples", type=int, default=300, help="answers learnt from, at most")
    parser.add_argument("--epochs", type=float, default=8, help="times each answer is seen")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="of the LoRA adapters")
    parser.add_argument("--null-weight", type=float, default=0.3, help="what a vote for null weighs")
    parser.add_argument("--agree", type=float, default=0.4, help="least share of agreeing votes")
    parser.add_argument("--covered", type=float, default=0.9, help="least share of a text's rare words in the answer")
    options = parser.parse_args()
    task, folder = tasks[options.intent], options.out / options.intent
    gold = write(options.data, options.intent, task["slots"], folder)
    with tao_hub.open_session(options.out / "tao-hub.db") as session:
        name = tao_hub.tune(session, plan(task, folder, options), command=" ".join(["snips", options.intent]))
        run = next(r["id"] for r in History(session.store).runs() if r["name"] == name)
        sides = {label: answers(session, run, label, gold) for label in ("base", "base, few-shot", "round 1")}
    found = {label: scores(count(list(side.values()), task["slots"])) for label, side in sides.items()}
    before, after = sides["base, few-shot"], sides["round 1"]
    result = {
        "intent": options.intent, "n": len(after), "seed": options.seed,
        "labels_used": 0, "worked_examples": len(task["examples"]),
        "scores": found, "micro_f1_gain_over_few_shot": interval(before, after, task["slots"]),
        "published_macro_recall": published(options.data, options.intent),
    }  # fmt: skip
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
