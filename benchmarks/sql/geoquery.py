"""GeoQuery (question split) in the loop: 150 labelled train questions for the base, all other questions unlabelled.

    python benchmarks/sql/geoquery.py base --data ../shared/data/geoquery --out work
    python benchmarks/sql/geoquery.py tune --data ../shared/data/geoquery --out work --seeds 0 1 2 3 4
    python benchmarks/sql/geoquery.py adapter --data …; … tune --lora …   # the same with SmolLM2
    python benchmarks/sql/geoquery.py learnt …                            # how right is what round 1 learnt from?
    python benchmarks/sql/geoquery.py picked …                            # and what each reward would have picked

Unlabelled are the other train and dev questions and, up to --prompts, questions with other values put in; the 279 test
questions are sealed. `base` and `adapter` also measure what they have made; `base --labels 598 --copies 15` trains on
all labels: the supervised line.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import base
import picking
from sqlglot import exp, parse_one
from tao_reward_sql.repair import written
from tao_reward_sql.suites import Folder
from tao_reward_sql.values import vary

import tao_hub

Row = dict[str, str]


def questions(data: Path) -> Iterator[tuple[str, Row]]:
    """(split, {"question", "query"}) of each question whose query runs, variables filled in."""
    entries = json.loads(gzip.decompress((data / "geography.json.gz").read_bytes()))
    with closing(sqlite3.connect(data / "geography.sqlite")) as db:
        for entry in entries:
            for sentence in entry["sentences"]:
                text, sql = sentence["text"], entry["sql"][0]
                for name in sorted(sentence["variables"], key=len, reverse=True):
                    text, sql = (s.replace(name, sentence["variables"][name]) for s in (text, sql))
                try:
                    rows = db.execute(sql).fetchall()
                except sqlite3.Error:
                    continue
                short = shortened(sql)
                if sorted(map(repr, db.execute(short).fetchall())) != sorted(map(repr, rows)):
                    short = sql
                yield sentence["question-split"], {"question": text, "query": short}


def shortened(sql: str) -> str:
    """The query in small letters, with 'text' for "text", and no aliases where a SELECT has one table."""
    tree = parse_one(sql, dialect="sqlite")
    for column in list(tree.find_all(exp.Column)):
        if column.this.quoted:
            column.replace(exp.Literal.string(column.name))
    for node in tree.find_all(exp.Identifier):
        node.set("this", node.name.lower())
    for select in tree.find_all(exp.Select):
        sources = [select.args["from_"].this] if select.args.get("from_") else []
        if len(sources) != 1 or select.args.get("joins") or not isinstance(sources[0], exp.Table):
            continue
        alias = sources[0].alias
        for column in select.find_all(exp.Column):
            if column.table == alias:
                column.set("table", None)
        sources[0].set("alias", None)
    return written(tree)


def prepare(data: Path, out: Path, labelled: int, prompts: int) -> Path:
    """The folder of a `sql/folder` suite: seed, prompts (no queries), dev and test, and the database."""
    folder = out / f"geoquery-{labelled}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(data / "geography.sqlite", folder)
    rng = random.Random(0)
    splits: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
    for split, row in questions(data):
        splits[split].append(row)
    held_out = {row["question"] for row in splits["test"]}
    known = [row for row in splits["train"] + splits["dev"] if row["question"] not in held_out]
    rng.shuffle(known)
    seed, others = known[:labelled], known[labelled:]
    texts = dict.fromkeys(row["question"] for row in others)
    while known and len(texts) < prompts:
        made = vary(rng.choice(known)["question"], [], folder / "geography.sqlite", rng)
        if made is not None and made[0] not in held_out:
            texts[made[0]] = None
    for row in seed:
        texts.pop(row["question"], None)
    for name, rows in (
        ("seed", seed), ("test", splits["test"]), ("prompts", [{"question": text} for text in list(texts)[:prompts]]),
    ):  # fmt: skip
        told = "".join(json.dumps({**row, "db": "geography"}) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(told, encoding="utf-8")
    return folder


def make_base(what: str, folder: Path, out: Path, seed: int, copies: int) -> Path:
    """The base policy from the folder's labelled pairs: `base`, a small Llama from scratch, or SmolLM2's `adapter`."""
    suite = Folder(Folder.Options(path=str(folder)))
    pairs = list(suite.prompts("seed"))
    queries = [str(p.reference) for p in pairs]
    out, database = out / f"{what}-{len(pairs)}", folder / "geography.sqlite"
    if what == "adapter":
        return base.adapter(out, pairs, queries, database, copies, seed)
    asked = (p.text for split in ("seed", "prompts") for p in suite.prompts(split))
    return base.small(out, pairs, queries, asked, database, copies, seed)


def way_back(folder: Path, out: Path, seed: int, copies: int) -> tao_hub.Ref:
    """The reward of a small Llama that has learnt the labelled pairs from query to question."""
    pairs = list(Folder(Folder.Options(path=str(folder))).prompts("seed"))
    queries = [str(p.reference) for p in pairs]
    learned = base.varied(pairs, queries, folder / "geography.sqlite", copies, seed)
    return base.way_back(out / f"way-back-{len(pairs)}", learned, seed)


def plan(folder: Path, policy: Path, seed: int, options: argparse.Namespace) -> tao_hub.Plan:
    small, cycle = not options.lora, []
    vary = options.vary if options.vary is not None else 3 if small else 0
    if options.cycle_weight:
        found = way_back(folder, options.out, 0, options.copies or 60)
        cycle = [{"name": found.name, "label": "cycle", "weight": options.cycle_weight, "options": found.options}]
    reads: dict[str, Any] = {"databases": str(folder), "workers": 2}
    pairs = [{"input": p.text, "output": p.reference} for p in Folder(Folder.Options(path=str(folder))).prompts("seed")]
    parts = {"databases": str(folder), "examples": pairs}
    own = {"options": parts, "own_examples": round(options.share * options.prompts)}
    lexicon = {"name": "sql/lexicon", "label": "lexicon", "weight": options.lexicon_weight, **own}
    return tao_hub.load_plan({
        "suite": "sql/folder", "suite_options": {"path": str(folder)}, "policy": str(policy), "seed": seed,
        "rounds": options.rounds, "policy_options": {"dtype": "float32"} if small else {},
        "max_tokens": 120, "drop_overlap": True,
        "candidates": [{"strategy": "direct", "n": options.n, "temperature": 1.0, "max_tokens": 120}],
        "combine": [
            *([{"strategy": "sql/compose", **own}] if options.compose else []), {"strategy": "sql/repair"},
        ],
        "vary": [{"strategy": "sql/values", "n": vary}] if vary else [],
        "rewards": [
            {"name": "sql/executes", "label": "executes", "gate": 1.0, "options": reads},
            {"name": "sql/consistency", "label": "consistency", "options": reads},
            {"name": "sql/schema", "label": "schema", "weight": options.schema_weight, "options": reads},
            *([lexicon] if options.compose else []), *cycle,
        ],
        "train": {"name": "trl/best-of-n", "start": "base", "options": {
            "lora_rank": 0 if small else 8, "learning_rate": options.learning_rate or (2e-3 if small else 5e-4),
            "epochs": options.epochs or (12.0 if small else 4.0),
            "batch_size": 32 if small else 8, "max_examples": round(options.share * options.prompts),
            **({"dtype": "float32"} if small else {}),
        }},
        "eval": [{"split": "test"}],
    })  # fmt: skip


def level(folder: Path, policy: Path, options: argparse.Namespace) -> dict[str, Any]:
    """How much of test a policy answers right."""
    from tao_hub.environment import describe
    from tao_hub.history import History
    from tao_hub.loop import measure

    with tao_hub.open_session(options.out / "tao-hub.db") as session:
        wanted = plan(folder, policy, options.seeds[0], options)
        history = History(session.store)
        run = history.begin(f"level-{policy.name}", wanted.as_dict(), "", describe(session.hub))
        start = session.policy(session.hub.policy(wanted.policy, wanted.policy_options))
        [done] = measure(session, wanted, run, start, "base", 0, wanted.measured)
        values = [item["value"] for item in history.eval_items(done.row)]
    scored = [value for value in values if value is not None]
    return {"policy": str(policy), "test": sum(scored) / len(values), "n": len(values),
            "unscored": len(values) - len(scored)}  # fmt: skip


def learnt_from(data: Path, folder: Path, policy: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """How right the answers of round 1 are, on the unlabelled questions whose gold the benchmark has: the policy's own
    greedy ones, the best ones by the rewards, and those that are learnt from (the surest)."""
    from tao_hub.guards import tuning_slice
    from tao_hub.loop import run_name

    known = {row["question"]: row["query"] for _, row in questions(data)}
    with tao_hub.open_session(options.out / "tao-hub.db", quiet=True) as session:
        wanted = plan(folder, policy, seed, options)
        best = base.chosen(session, run_name(wanted), 1)
        part = tuning_slice(session, wanted)
        asked = {row: p for row, p in session.store.prompts(part) if p.text in known}
        start = session.policy(session.hub.policy(wanted.policy, wanted.policy_options))
        greedy = dict(session.generator(start).generate(
            [tao_hub.Request(p.without_reference()) for p in asked.values()], tao_hub.Sampling(max_tokens=120)
        ))  # fmt: skip
    match = tao_hub.Hub().reward(tao_hub.Ref("sql/match", {"databases": str(folder)}))
    golds = {row: known[p.text] for row, p in asked.items()}

    def right(answers: dict[int, str]) -> dict[str, float]:
        return base.right(match, asked, answers, golds)

    surest = sorted(best, key=lambda row: -best[row][1])[: round(options.share * options.prompts)]
    own = {row: greedy[i][0].text for i, row in enumerate(asked)}
    learnt = {row: best[row][0] for row in surest if row in asked}
    return {
        "greedy": right(own), "best by the rewards": right({row: best[row][0] for row in asked if row in best}),
        "learnt": right(learnt), "greedy on what is learnt": right({row: own[row] for row in learnt}),
    }  # fmt: skip


def picked(data: Path, folder: Path, policy: Path, seed: int, options: argparse.Namespace) -> None:
    """What each reward, and their sums, would pick of round 1's candidates for the unlabelled questions whose gold the
    benchmark has: how much is right, and paired against `sql/consistency`. Nobody picks what does not run."""
    from tao_hub.loop import run_name

    known = {row["question"]: row["query"] for _, row in questions(data)}
    with tao_hub.open_session(options.out / "tao-hub.db", quiet=True) as session:
        wanted = plan(folder, policy, seed, options)
        drawn = [g for g in tao_hub.run_groups(session, run_name(wanted)) if g.prompt.text in known]
    match = tao_hub.Hub().reward(tao_hub.Ref("sql/match", {"databases": str(folder)}))
    groups = []
    for group in drawn:
        judged = replace(group.prompt, reference=known[group.prompt.text])
        verdicts = match.score_batch([(judged, candidate) for candidate in group.candidates])
        right = [v if isinstance(v, tao_hub.Score) else tao_hub.Score(v) for v in verdicts]
        groups.append(replace(group, scores=tuple({**s, "right": v} for s, v in zip(group.scores, right))))
    match.close()
    weights = {use.key: use.weight for use in wanted.rewards}
    labels = [label for label in weights if label != "executes"]
    rng = random.Random(seed)
    ways: dict[str, picking.Key] = {
        "at random": lambda group, i: rng.random(),
        "longest": lambda group, i: len(group.candidates[i].response),
        "log-probability": picking.mean_log_probability,
        **{"+".join(some): picking.total(weights, *some)
           for size in range(1, len(labels) + 1) for some in itertools.combinations(labels, size)},
    }  # fmt: skip
    found = {name: picking.picked(groups, key, mended=True) for name, key in ways.items()}
    there = [float(any(picking.value("right")(g, i) == 1.0 for i in range(len(g.candidates)))) for g in groups]
    print(f"{len(groups)} questions, a right candidate for {picking.mean(there):.1%}")
    for name, values in found.items():
        print(f"{name:30} {picking.mean(values):.1%}  over consistency", picking.against(found["consistency"], values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["base", "adapter", "tune", "learnt", "picked"])
    parser.add_argument("--data", type=Path, required=True, help="folder of geography.json.gz and geography.sqlite")
    parser.add_argument("--out", type=Path, default=Path("geoquery"))
    parser.add_argument("--labels", type=int, default=150)
    parser.add_argument("--prompts", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--n", type=int, default=6)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--share", type=float, default=1.0, help="of the prompts that are learnt from, the surest")
    parser.add_argument("--schema-weight", type=float, default=2.0)
    parser.add_argument(
        "--compose", action=argparse.BooleanOptionalAction, default=True,
        help="the labelled pairs' parts make candidates and rewards, too",
    )
    parser.add_argument("--lexicon-weight", type=float, default=1.0, help="of sql/lexicon, with --compose")
    parser.add_argument(
        "--vary", type=int, help="variations of each answer that is learnt (default: 3, of an adapter 0)"
    )
    parser.add_argument("--cycle-weight", type=float, default=0.0, help="of cycle/back-translation (0: without)")
    parser.add_argument("--copies", type=int, help="of each labelled pair, with other values (default: 60; adapter: 2)")
    parser.add_argument("--lora", action="store_true", help="tune SmolLM2 with its adapter")
    options = parser.parse_args()
    folder = prepare(options.data, options.out, options.labels, options.prompts)
    policy = options.out / f"{'adapter' if options.lora else 'base'}-{options.labels}"
    if options.what == "learnt":
        print(json.dumps(learnt_from(options.data, folder, policy, options.seeds[0], options)))
        return
    if options.what == "picked":
        picked(options.data, folder, policy, options.seeds[0], options)
        return
    if options.what != "tune":
        copies = options.copies or (60 if options.what == "base" else 2)
        made = make_base(options.what, folder, options.out, options.seeds[0], copies)
        print(json.dumps(level(folder, made, options)))
        return
    runs = []
    for seed in options.seeds:
        with tao_hub.open_session(options.out / "tao-hub.db") as session:
            wanted = plan(folder, policy, seed, options)
            data = tao_hub.tune_and_report(session, wanted, options.out / f"seed-{seed}.html", f"geoquery {seed}")
        runs.append(data["run"])
        for d in (d for d in data["deltas"] if d["before_label"] == "base"):
            kept = ("after_label", "before", "after", "delta", "low", "high", "p", "gains", "losses", "n")
            print(json.dumps({"seed": seed, **{k: d[k] for k in kept}, "seconds": data["seconds"]}), flush=True)
    if len(runs) > 1:
        with tao_hub.open_session(options.out / "tao-hub.db", quiet=True) as session:
            mean = base.mean_over_seeds(session, runs, "test")
        kept = ("before", "after", "delta", "low", "high", "p", "n")
        print(json.dumps({"seeds": options.seeds, **{k: mean[k] for k in kept}}))


if __name__ == "__main__":
    main()
