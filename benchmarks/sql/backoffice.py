"""The SQL rewards in the loop, without labels: base policies of *backoffice* (200 labelled pairs) tuned on questions.

    python benchmarks/sql/backoffice.py base --out work            # the recipe of the small base policy
    python benchmarks/sql/backoffice.py adapter --out work         # the recipe of SmolLM2's adapter
    python benchmarks/sql/backoffice.py tune --seeds 0 1 2 3 4 --out work
    python benchmarks/sql/backoffice.py learnt --gold GOLD --out work    # how right is what its rounds learnt from?
    python benchmarks/sql/backoffice.py compare --gold GOLD --out work   # and best of n, and all labels
    python benchmarks/sql/backoffice.py sweep --sizes 1 2 4 8 16 --out work   # or --over prompts --sizes 250 500 …

`tune` prints, per seed, strict execution accuracy on the sealed test split before and after, and writes a report.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import base
from tao_demo.office.plan import PROMPTS, ROUNDS, plan
from tao_demo.office.suite import Backoffice, database

import tao_hub


def make_base(out: Path, seed: int, copies: int, gold: Path | None = None) -> Path:
    """A small Llama from scratch, trained on the seed pairs with other values of the same columns put in; with `gold`
    (what make_backoffice writes to --gold) also on all prompts' queries: the supervised line."""
    suite = Backoffice()
    pairs = list(suite.prompts("seed"))
    queries = [str(p.reference) for p in pairs]
    if gold is not None:
        known = queries_of(gold)
        pairs += (others := list(suite.prompts("prompts")))
        queries += [known[p.id] for p in others]
    asked = (p.text for split in ("seed", "prompts") for p in suite.prompts(split))
    return base.small(out / "base", pairs, queries, asked, database(), copies, seed)


def queries_of(gold: Path) -> dict[str, str]:
    """Id → query of the prompts, as make_backoffice writes them to --gold."""
    rows = map(json.loads, gzip.decompress((gold / "prompts.jsonl.gz").read_bytes()).splitlines())
    return {row["id"]: row["query"] for row in rows}


def learnt(options: argparse.Namespace) -> None:
    """How right the answers that each round of a tuning learnt from are: all that are accepted, and the surest."""
    from tao_hub.guards import tuning_slice
    from tao_hub.loop import rounds_done, run_name

    golds = queries_of(options.gold)
    for seed in options.seeds:
        wanted = asked_for(options, seed)
        with tao_hub.open_session(options.out / "tao-hub.db", quiet=True) as session:
            asked = dict(session.store.prompts(tuning_slice(session, wanted)))
            rounds = [base.chosen(session, run_name(wanted), n + 1) for n in range(rounds_done(session, wanted))]
        if not rounds:
            raise SystemExit(f"{options.out}: no finished round of {run_name(wanted)}; `tune` with these options first")
        match = tao_hub.Hub().reward(tao_hub.Ref("sql/match", Backoffice().options_for("sql/match")))
        known = {row: golds[str(p.id)] for row, p in asked.items()}
        for number, best in enumerate(rounds, 1):
            surest = sorted(best, key=lambda row: -best[row][1])[: wanted.train.options.get("max_examples")]
            for what, some in (("accepted", list(best)), ("learnt", surest)):
                found = base.right(match, asked, {row: best[row][0] for row in some}, known)
                print(json.dumps({"seed": seed, "round": number, "what": what, **found}), flush=True)


def make_adapter(out: Path, seed: int, copies: int) -> Path:
    """LoRA adapters of SmolLM2, trained on the seed pairs and `copies` of each with other values."""
    pairs = list(Backoffice().prompts("seed"))
    return base.adapter(out / "adapter", pairs, [str(p.reference) for p in pairs], database(), copies, seed)


def way_back(out: Path, seed: int, copies: int) -> tao_hub.Ref:
    """The reward of a small Llama from scratch that has learnt the seed pairs from query to question."""
    pairs = list(Backoffice().prompts("seed"))
    learned = base.varied(pairs, [str(p.reference) for p in pairs], database(), copies, seed)
    return base.way_back(out / "way-back", learned, seed)


def tune(seeds: Iterable[int], out: Path, options: argparse.Namespace) -> None:
    """One run per seed, all in one store, and their mean; a killed one goes on."""
    runs = []
    for seed in seeds:
        with tao_hub.open_session(out / "tao-hub.db") as session:
            page = out / f"seed-{seed}.html"
            data = tao_hub.tune_and_report(session, asked_for(options, seed), page, f"backoffice --seed {seed}")
        found = [d for d in data["deltas"] if d["before_label"] == "base" and d["metric"] == "execution accuracy"]
        last = max(d["after_label"] for d in found)
        for d in (d for d in found if d["after_label"] == last):
            kept = ("split", "before", "after", "delta", "low", "high", "p", "gains", "losses", "n")
            print(json.dumps({"seed": seed, **{k: d[k] for k in kept}, "seconds": data["seconds"]}), flush=True)
        runs.append(data["run"])
    if len(runs) > 1:
        kept = ("before", "after", "delta", "low", "high", "p", "n")
        with tao_hub.open_session(out / "tao-hub.db", quiet=True) as session:
            for split in ("dev", "test", "human"):
                mean = base.mean_over_seeds(session, runs, split)
                print(json.dumps({"seeds": list(seeds), "split": split, **{k: mean[k] for k in kept}}))


def asked_for(options: argparse.Namespace, seed: int) -> tao_hub.Plan:
    given = {"epochs": options.epochs, "learning_rate": options.learning_rate, "max_examples": options.examples}
    training = {key: value for key, value in given.items() if value is not None}
    if options.cycle_weight:
        back = way_back(options.out, 0, options.copies or 40)
        training["rewards"] = [{
            "name": back.name, "label": "cycle", "weight": options.cycle_weight, "options": back.options,
        }]  # fmt: skip
    return plan(
        options.policy, options.rounds, seed, options.prompts, n=options.n, lora=options.lora,
        compose=options.compose, vary=options.vary, **training,
    )  # fmt: skip


def side_by_side(options: argparse.Namespace) -> None:
    """The comparison table of the first seed, or the sweep over `--sizes`; written as a page, too."""
    with tao_hub.open_session(options.out / "tao-hub.db") as session:
        asked = asked_for(options, options.seeds[0])
        if options.what == "sweep":
            report = tao_hub.sweep(session, asked, options.sizes, options.seeds, over=options.over)
        else:
            gold = options.gold / "prompts.jsonl.gz" if options.gold else None
            small = not (bool(options.policy) if options.lora is None else options.lora)
            training = {"epochs": 8 if small else 4} if gold else {}  # without variations, labels bear more of them
            ways = tao_hub.Ways(gold=gold, best_of=options.n, options=training)
            report = tao_hub.comparison(session, asked, ways)
    page = options.out / f"{options.what}.html"
    page.write_text(tao_hub.render_html(report.data), encoding="utf-8")
    kept = ("label", "split", "value", "low", "high", "n", "output_tokens", "latency_s")
    for row in report.data["quality"]:
        print(json.dumps({key: row.get(key) for key in kept}))
    for row in [*report.data["deltas"], *report.data.get("gap", []), *report.data.get("sweep", [])]:
        print(json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["base", "adapter", "tune", "learnt", "compare", "sweep"])
    parser.add_argument("--policy", default="", help="what is tuned (default: the one that is shipped)")
    parser.add_argument("--out", type=Path, default=Path("backoffice"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--examples", type=int, help="answers learnt from, at most")
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--cycle-weight", type=float, default=0.0, help="of cycle/back-translation (0: without)")
    parser.add_argument(
        "--compose", action=argparse.BooleanOptionalAction, default=True,
        help="the seed pairs' parts make candidates and rewards, too",
    )
    parser.add_argument("--vary", type=int, default=3, help="variations of each answer that is learnt, with --compose")
    parser.add_argument(
        "--copies", type=int, help="of each seed pair, with other values (default: 80; way back: 40; adapter: 2)"
    )
    parser.add_argument(
        "--gold", type=Path, help="folder of the prompts' queries: what base and compare learn, and learnt counts by"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="of a sweep")
    parser.add_argument("--over", choices=["n", "prompts"], default="n", help="what a sweep's sizes are of")
    parser.add_argument(
        "--lora", action=argparse.BooleanOptionalAction, help="train an adapter (default: where --policy is given)"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "base":
        print(make_base(options.out, options.seeds[0], options.copies or 80, options.gold))
    elif options.what == "adapter":
        print(make_adapter(options.out, options.seeds[0], options.copies or 2))
    elif options.what == "learnt":
        learnt(options)
    elif options.what in ("compare", "sweep"):
        side_by_side(options)
    else:
        tune(options.seeds, options.out, options)


if __name__ == "__main__":
    main()
