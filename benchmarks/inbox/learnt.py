"""What a round of the quickstart learns from, and how much of it is right: with all rewards, and without each.

    python -m tao_demo.make_inbox --out ELSEWHERE --gold GOLD
    python benchmarks/inbox/learnt.py --gold GOLD --out WORK
    python benchmarks/inbox/learnt.py --gold GOLD --out WORK --seeds 0 1 2 --only model/fields

    python benchmarks/inbox/learnt.py --gold GOLD --out WORK --run ""      # each round of a quickstart in WORK

Draws and scores round 1 (nothing is trained), then scores and combines again without each reward and without each
strategy that proposes. The gold is read here only, to count. One row per variation: how many fields are learnt, the
share of them that is right, the share of the surest 220 records that are exactly right, and of all best records.
"null" holds the fields among them that say null. Last, for each variation, what is lost without it: the best records
of the same messages, exact or not, compared in pairs; over several seeds a message's value is its mean. With --run (a
name, or "" for the newest) one row per finished round of that run instead, of what its update learnt; nothing is drawn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tao_demo import quickstart
from tao_demo.record import score as judge
from tao_train_trl.examples import field_spans

import tao_hub
from tao_hub.history import History
from tao_hub.recycle import drawn_in
from tao_hub.stats import compare

SUREST = 220


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, required=True, help="folder that make_inbox --gold wrote")
    parser.add_argument("--out", type=Path, required=True, help="workspace, kept; {seed} in it stands for the seed")
    parser.add_argument("--policy", default="smollm2")
    parser.add_argument("--prompts", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", help="of the rewards and strategies left out, these")
    parser.add_argument("--run", help="count what the rounds of this run in --out learnt")
    given = parser.parse_args()
    lines = (given.gold / "prompts-gold.jsonl").read_text(encoding="utf-8").splitlines()
    gold = {row["message"]: row["reference"] for row in map(json.loads, lines)}
    exact: dict[str, list[dict[str, float]]] = {}  # of each variation and seed: message → is its best record exact?
    for seed in given.seeds:
        out = Path(str(given.out).format(seed=seed))
        out.mkdir(parents=True, exist_ok=True)
        with tao_hub.open_session(out / "tao-hub.db") as session:
            plan = quickstart.plan(given.policy, 1, seed, given.prompts)
            asked = fresh(session, plan, given.only) if given.run is None else of_run(session, given.run)
            for name, options, what in asked:
                row, right = counts(what.groups(session), options, gold)
                exact.setdefault(name, []).append(right)
                print(json.dumps({"plan": name, "seed": seed, **row}), flush=True)
    if given.run is not None:
        return
    for name, found in exact.items():
        if name != "all":
            print(json.dumps({"lost": name, "seeds": given.seeds, **lost(exact["all"], found)}), flush=True)


def of_run(session: Any, run: str) -> Iterator[tuple[str, dict[str, Any], tao_hub.Drawn]]:
    """(name, options of the update, what was drawn) of each finished round."""
    history = History(session.store)
    found = history.find(run)
    plan = tao_hub.load_plan(found["plan"])
    part = session.slice(plan.suite_ref, plan.split, plan.prompts)
    for done in history.rounds(found["id"]):
        if done["after"] is not None:
            number = done["number"]
            yield f"round {number}", plan.train.options_in(number), drawn_in(session, "", plan, part, done)


def fresh(
    session: Any, plan: tao_hub.Plan, only: list[str] | None = None
) -> Iterator[tuple[str, dict[str, Any], tao_hub.Drawn]]:
    """(name, options of the update, what was drawn) of round 1 of each variation, or of those of `only` and all."""
    for name, variation in variations(plan):
        if only is None or name.removeprefix("without ") in ("all", *only):
            yield name, variation.train.options_in(1), drawn(session, variation)


def variations(plan: tao_hub.Plan) -> Iterator[tuple[str, tao_hub.Plan]]:
    """(name, plan): all of it, without each reward, without each strategy that proposes values."""
    yield "all", plan
    for key, name in {use.key: use.name for use in plan.rewards}.items():
        yield f"without {name}", tao_hub.without(plan, key)
    for made in (made for made in plan.combine if made.strategy != "assemble"):
        rest = [other for other in plan.combine if other != made]
        yield f"without {made.strategy}", plan.model_copy(update={"combine": rest})


def counts(
    groups: Iterable[Any], options: dict[str, Any], gold: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Of the round's answers: fields learnt, right ones among them, and exactly right records; and whether each
    message's best record is one."""
    learnt, exact, right = [], [], {}
    for _, group in groups:
        right[group.prompt.text] = 0.0
        best = group.best()
        if best is None:
            continue
        total, response = group.totals[best], group.candidates[best].response
        fields = field_spans(response)
        null = [name for name, span in fields.items() if response[slice(*span)] == "null"]
        bounds = (options["min_parts"], null, options["null_parts"], options.get("enough_parts", {}))
        sure = tao_hub.sure_fields(group.scores[best], fields, *bounds)
        found = judge(response, gold[group.prompt.text])
        value = total.value if total is not None and total.value is not None else 0.0
        learnt.append((len(sure), value, {name: found.parts[name] for name in sure}, sure & set(null)))
        exact.append((value, found.value))
        right[group.prompt.text] = found.value or 0.0
    ranked = sorted(learnt, key=lambda row: (-row[0], -row[1]))
    last = ranked[: options.get("max_examples")]
    kept = [parts for *_, parts, _ in last]
    names = list(next(iter(gold.values())))
    of_field = {name: [p[name] for p in kept if name in p] for name in names}
    of_null = {name: [p[name] for *_, p, missing in last if name in missing] for name in names}
    top = sorted(exact, key=lambda row: -row[0])[:SUREST]
    row = {
        "answers": len(kept),
        "fields": sum(map(len, kept)),
        "right": round(sum(sum(p.values()) for p in kept) / max(1, sum(map(len, kept))), 4),
        "by field": shares(of_field),
        "null": shares(of_null),
        "surest exact": round(sum(v or 0.0 for _, v in top) / max(1, len(top)), 4),
        "best exact": round(sum(right.values()) / max(1, len(right)), 4),
    }
    return row, right


def lost(whole: list[dict[str, float]], without: list[dict[str, float]]) -> dict[str, Any]:
    """Exact best records with all and without one, a message's value being its mean over seeds."""
    sides = [{m: sum(one[m] for one in seeds) / len(seeds) for m in seeds[0]} for seeds in (without, whole)]
    delta = compare(*sides, metric="exact", suite="inbox")
    kept = ("before", "after", "delta", "low", "high", "p", "gains", "losses", "n")
    return {key: round(getattr(delta, key), 4) if key != "p" else delta.p for key in kept}


def shares(found: dict[str, list[float]]) -> dict[str, list[float]]:
    """How many there are, and the share that is right, by name."""
    return {name: [len(v), round(sum(v) / max(1, len(v)), 3)] for name, v in found.items()}


def drawn(session: Any, plan: tao_hub.Plan) -> tao_hub.Drawn:
    start = session.policy(session.hub.policy(plan.policy, plan.policy_options))
    return tao_hub.draw(session, "", plan, 0, 1, start, start)


if __name__ == "__main__":
    main()
