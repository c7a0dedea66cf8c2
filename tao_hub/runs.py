"""The report of a run, recomputed from the store; and one prompt's candidates side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import across, health
from .ablations import what_each_adds
from .compose import compose
from .config import Plan, Source, load_plan, opened_name
from .errors import UsageError
from .examples import examples_of
from .guards import labels_used, tuning_slice
from .history import Eval, History
from .loop import kept_round, splits_by_task, suite_of
from .recycle import drawn_in
from .session import Session
from .stats import paired_delta, proportion_interval
from .store import Slice
from .stored import load_prompt
from .tally import of_task
from .types import Report


def run_report(session: Session, name: str = "") -> Report:
    """All that a run's report shows, from the store alone (see `tao_hub.report` for its shape)."""
    history = History(session.store)
    run = history.find(name)
    if not run["plan"]:
        from .leaderboard import leaderboard  # which needs what is below

        return leaderboard(session, run["name"])
    plan = load_plan(run["plan"])
    evals = history.evals(run["id"])
    split_of = {(m.suite_row, m.use.split): m for m in across.splits(session, plan, evals)}
    rounds = history.rounds(run["id"])
    seconds = history.seconds(run["id"])
    by_round = history.round_seconds(run["id"])
    quality = [row for e in evals for row in _measured(session, history, e, split_of)]
    deltas = _deltas(session, history, run["id"], plan, evals)
    data: dict[str, Any] = {
        "title": f"{' + '.join(plan.by_task())} · {called(plan.policy)}",
        "run": run["name"],
        "status": "done" if run["finished"] else "interrupted",
        "created": run["created"],
        "command": run["command"],
        "seed": plan.seed,
        "seconds": sum(seconds.values()),
        "stage_seconds": seconds,
        "peak_memory_mb": history.peak_memory(run["id"]),
        "labels_used": labels_used(session, plan),
        "worked_examples": worked_examples(session, plan),
        "policy": {"name": plan.policy, "digest": session.store.policy_of(evals[0]["policy"])[0] if evals else ""},
        "tuned": _tuned(session, plan, run["id"], rounds),
        "environment": flat(history.environment(run["environment"])),
        "plugins": [
            {"name": p.name, "distribution": p.distribution, "version": p.version}
            for p in session.hub.plugins if not p.error
        ],
        "config": json.dumps(plan.as_dict(), indent=1, ensure_ascii=False),
        "quality": quality,
        "deltas": deltas,
        "rounds": [
            _round(r, plan) | {"seconds": by_round.get(r["number"]), "repeats": _repeats(rounds, r)}
            for r in rounds if r["after"] is not None
        ],
    }  # fmt: skip
    if plan.tasks:
        data |= _of_several(session, history, plan, run, evals, data)
    else:
        data |= _of_one(session, history, plan, run, evals)
    if gates := across.gates(session, plan, run["id"]):
        data["gates"] = gates
    data["warnings"] = [*data.get("warnings", []), *health.warnings(data)]
    return Report(run["name"], data["title"], data)


def _of_one(
    session: Session, history: History, plan: Plan, run: dict[str, Any], evals: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What the report of one task shows of its primary split: the first sealed one, else the last."""
    suite, _ = session.suite(plan.suite_ref)
    sealed = next((e.split for e in plan.eval if e.sealed), plan.eval[-1].split if plan.eval else None)
    last = max((e["round"] for e in evals if e["split"] == sealed), default=0)
    data: dict[str, Any] = {"examples": examples_of(session, history, [e for e in evals if e["split"] == sealed])}
    if sealed and last:
        name = opened_name(plan.suite_ref)
        data["adds"] = what_each_adds(history, run, sealed, suite.metric_name, name)
        data["primary"] = {
            "suite": name, "split": sealed, "metric": suite.metric_name,
            "sealed": any(e.sealed and e.split == sealed for e in plan.eval), "before_label": "base",
            "after_label": f"round {last}",
        }  # fmt: skip
    return data


def _of_several(
    session: Session, history: History, plan: Plan, run: dict[str, Any], evals: Sequence[dict[str, Any]],
    data: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What the report of several tasks shows: the macro rows before those of the suites, and examples of each task."""
    found: dict[str, Any] = {"tasks": [], "examples": []}
    for name, uses in splits_by_task(plan).items():
        if uses:
            use = next((use for use in uses if use.sealed), uses[-1])
            suite, row = session.suite(suite_of(plan, use))
            here = [e for e in evals if e["suite_row"] == row and e["split"] == use.split]
            examples = examples_of(session, history, here)
            found["tasks"].append({"label": use.label or name, "split": use.split, "metric": suite.metric_name})
            found["examples"] += [{**one, "id": f"{name} {one['id']}"} for one in examples]
    macro = across.macro(session, plan, run["id"], data["deltas"], data["quality"])
    if macro:
        found |= {key: macro[key] for key in ("primary", "warnings") if macro[key]}
        found |= {key: [*macro[key], *data[key]] for key in ("quality", "deltas")}
    return found


def _tuned(session: Session, plan: Plan, run: int, rounds: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The policy that a run ended with: its round, digest, and the folder or name to use it by."""
    kept = kept_round(session, plan, run)
    found = [r["after"] for r in rounds if r["number"] == kept and r["after"] is not None]
    if not found:
        return None
    digest, ref = session.store.policy_of(found[0])
    named = {key: ref.options[key] for key in ("model", "adapter") if ref.options.get(key)}
    return {"round": kept, "digest": digest, "policy": named.get("adapter") or named.get("model") or ref.name}


def worked_examples(session: Session, plan: Plan) -> int:
    """How many worked examples (inputs with answers) the prompts of a plan's strategies hold."""

    def shown(task: Plan) -> int:
        given = [s.ref for s in task.candidates if not s.own_examples]  # its own answers are nobody's work
        given += [combination.ref for combination in task.combine]
        return max((session.strategy(ref, task.suite_ref)[0].worked_examples() for ref in given), default=0)

    return sum(map(shown, plan.by_task().values()))


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """An environment as `environment.describe` gives it, without levels."""
    flat: dict[str, Any] = {k: v for k, v in record.items() if not isinstance(v, dict)}
    return {**flat, **record.get("libraries", {})}


def called(policy: str) -> str:
    """What a report calls a policy: its name, or the last part of a folder's path."""
    return Path(policy).name if Path(policy).is_absolute() else policy


def quality_rows(history: History, run: int, done: Eval, name: str, parts: Sequence[str]) -> list[dict[str, Any]]:
    """Report rows of one eval: the metric and its parts, each with interval, n, errors, tokens and latency."""
    return next(_quality(history, e, name, parts) for e in history.evals(run) if e["id"] == done.row)


def _measured(
    session: Session, history: History, e: dict[str, Any], split_of: Mapping[tuple[int, str], across.Measured]
) -> list[dict[str, Any]]:
    """Report rows of an eval by its own suite's metric, under the name that the plan gives the suite."""
    suite = session.suite(history.suite_ref(e["suite_row"]))[0]
    known = split_of.get((e["suite_row"], e["split"]))
    return _quality(history, e, suite.metric_name, suite.metric_parts, known.called if known else "")


def _quality(
    history: History, e: dict[str, Any], name: str, parts: Sequence[str], suite: str = ""
) -> list[dict[str, Any]]:
    items = history.eval_items(e["id"])
    tokens = [i["output_tokens"] for i in items if i["output_tokens"] is not None]
    seconds = [i["seconds"] for i in items if i["seconds"] is not None]
    rows = []
    for part in (None, *parts):
        # Intent to treat: an item that failed counts as 0, and is counted beside it.
        values = [_value(i, part) for i in items]
        if not values:
            continue
        mean = sum(values) / len(values)
        binary = all(v in (0.0, 1.0) for v in values)
        if binary:
            low, high = proportion_interval(sum(values), len(values))
        else:
            spread = paired_delta([0.0] * len(values), values)
            low, high = spread.low, spread.high
        rows.append({
            "label": e["label"], "suite": suite or e["suite"].rsplit("/", 1)[-1], "split": e["split"],
            "metric": part or name, "value": mean, "low": low, "high": high, "n": len(values),
            "errors": sum(i["value"] is None for i in items), "why_errors": _commonest(items),
            "truncated": sum(i["finish_reason"] == "length" for i in items),
            "output_tokens": sum(tokens) / len(tokens) if tokens else None,
            "latency_s": sum(seconds) / len(seconds) if seconds else None,
        })  # fmt: skip
    return rows


def _commonest(items: Sequence[Mapping[str, Any]]) -> str:
    """What most of the items that have no score failed by ("" if all have one)."""
    told: Counter[str] = Counter()
    for error in (i["error"] for i in items if i["value"] is None and i["error"]):
        told[json.loads(error)["message"] if error.startswith("{") else error] += 1
    return next((why[:200] for why, _ in told.most_common(1)), "")


def _value(item: dict[str, Any], part: str | None) -> float:
    if item["value"] is None:
        return 0.0
    return float(item["value"] if part is None else item["parts"].get(part, 0.0))


def _deltas(
    session: Session, history: History, run: int, plan: Plan, evals: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Deltas of a run: the sealed splits first, each with its metric before the metric's parts."""
    order = {e["label"]: i for i, e in enumerate(evals)}
    uses = [(use.label or opened_name(suite_of(plan, use)), use) for use in plan.measured]
    splits = [(name, use.split) for name, use in sorted(uses, key=lambda u: not u[1].sealed)]
    sealed = {(name, use.split) for name, use in uses if use.sealed}
    metrics: dict[str, list[str]] = {}
    for name, use in uses:
        suite = session.suite(suite_of(plan, use))[0]
        metrics[name] = [suite.metric_name, *suite.metric_parts]

    def rank(d: dict[str, Any]) -> tuple[int, ...]:
        at = splits.index((d["suite"], d["split"])) if (d["suite"], d["split"]) in splits else len(splits)
        names = metrics.get(d["suite"], [])
        part = names.index(d["metric"]) if d["metric"] in names else 99
        return (at, order.get(d["after_label"], 0), order.get(d["before_label"], 0), part)

    rows = [{**d, "sealed": (d["suite"], d["split"]) in sealed} for d in history.deltas(run)]
    return sorted(rows, key=rank)


def _way(source: Source) -> str:
    notes = ["start policy"] * (source.policy == "start")
    notes += [f"{source.own_examples} examples of its own"] * bool(source.own_examples)
    return source.strategy + (f" ({', '.join(notes)})" if notes else "")


INSIDE = ("members", "ways", "strategies")  # of a round's statistics: what its sources are made from


def _round(r: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """A round's statistics and sources; of several tasks also each one's own."""
    stats = {k: v for k, v in r["stats"].items() if k not in (*INSIDE, "tasks")}
    if not plan.tasks:
        return {"number": r["number"], **stats, "sources": _sources(r["stats"], r["number"], plan)}
    tasks = {name: of_task(r["stats"], name) for name in plan.by_task()}
    sources = {name: _sources(tasks[name], r["number"], task) for name, task in plan.by_task().items()}
    return {
        "number": r["number"], **stats,
        "sources": [{**s, "strategy": f"{name} · {s['strategy']}"} for name in sources for s in sources[name]],
        "tasks": [
            {"label": name, **{k: v for k, v in tasks[name].items() if k not in INSIDE},
             "sources": sources[name]}
            for name in tasks
        ],
    }  # fmt: skip


def _repeats(rounds: Sequence[Mapping[str, Any]], r: Mapping[str, Any]) -> int | None:
    """The first round that made the very update of `r`, if it is an earlier one."""
    first = next(one["number"] for one in rounds if one["update"] == r["update"])
    return int(first) if first < r["number"] else None


def _sources(stats: Mapping[str, Any], number: int, plan: Plan) -> list[dict[str, Any]]:
    used = [i for i, s in enumerate(plan.candidates) if s.in_round(number)]
    drawn = {i: n for i, (_, _, n) in zip(stats.get("ways") or used, stats.get("members", []))}
    made = dict(stats.get("strategies", {}))
    found = []
    for i, n in drawn.items():
        alike = [j for j in drawn if plan.candidates[j].strategy == plan.candidates[i].strategy]
        name = next((k for k in made if k.rsplit("/")[-1] == plan.candidates[i].strategy.rsplit("/")[-1]), "")
        known = made.pop(name) if name and alike == [i] else {}
        found.append({"strategy": _way(plan.candidates[i]), "n": n, **_made(known)})
    return found + [{"strategy": name.removeprefix("core/"), "n": None, **_made(known)} for name, known in made.items()]


def _made(counted: Mapping[str, Any]) -> dict[str, Any]:
    """What a strategy made in a round: mean tokens of the answers that a model wrote, and the seconds of all."""
    if not counted:
        return {}
    kept = {key: int(counted[key]) for key in ("candidates", "best", "truncated", "errors")}
    written = counted["counted"]
    tokens = counted["tokens"] / written if written else None
    return {**kept, "output_tokens": tokens, "seconds": counted["seconds"] if written else None}


def show_prompts(
    session: Session, name: str, number: int | None = None, prompt: str = "", limit: int = 10
) -> list[dict[str, Any]]:
    """Prompts of a round with their candidates, every reward's value, parts and why, and the chosen ones.

    `prompt` is an item id (or digest). Raises UsageError for an unknown run, round or prompt.
    """
    history = History(session.store)
    run = history.find(name, tuned=True)
    plan = load_plan(run["plan"])
    rounds = [r for r in history.rounds(run["id"]) if number in (None, r["number"])]
    if not rounds:
        raise UsageError(f"run {run['name']} has no round {number if number is not None else ''}".rstrip())
    at = rounds[-1]["number"]
    found = []
    for called, task in plan.by_task().items():
        suite = session.suite(task.suite_ref)[1]
        rows = _chosen_items(session, run["id"], at, suite, prompt, limit)
        if prompt and not rows:  # none of its candidates was good enough
            rows = _known_item(session, prompt, suite if plan.tasks else None)
        elif not rows:
            rows = _first_items(session, tuning_slice(session, task), limit)
        found += [_one_prompt(session, called, task, run["id"], rounds[-1], row, bool(plan.tasks)) for row in rows]
    if not found and prompt:
        raise UsageError(f"no prompt {prompt!r} in run {run['name']}; `tao-hub show {run['name']}` lists some")
    return found


def _chosen_items(session: Session, run: int, number: int, suite: int, prompt: str, limit: int) -> list[Any]:
    """(prompt row, item id, messages) of a suite's prompts that a round chose a candidate of."""
    sql = (
        "SELECT i.prompt, i.item, p.messages FROM items i CROSS JOIN chosen c ON c.prompt = i.prompt AND c.run = ? "
        "AND c.round = ? JOIN prompts p ON p.id = i.prompt WHERE i.suite = ? AND (? = '' OR i.item = ?) "
        "ORDER BY i.split, i.position"  # the primary key's order: rows come at once, and no more are read than shown
    )
    once: dict[int, Any] = {}
    for row in session.store.rows(sql, [run, number, suite, prompt, prompt]):
        once.setdefault(row[0], row)
        if len(once) >= limit:
            break
    return list(once.values())


def _first_items(session: Session, part: Slice, limit: int) -> list[Any]:
    """The first prompts of a round that chose nothing, as `_chosen_items` gives them: there the reason is seen."""
    sql = (
        "SELECT min(i.prompt), i.item, p.messages FROM items i JOIN prompts p ON p.id = i.prompt WHERE i.suite = ? "
        "AND i.split = ? AND i.position < ? GROUP BY i.prompt ORDER BY min(i.position) LIMIT ?"
    )
    return list(session.store.rows(sql, [*part.where, limit]))


def _known_item(session: Session, prompt: str, suite: int | None) -> list[Any]:
    sql = (
        "SELECT p.id, i.item, p.messages FROM items i JOIN prompts p ON p.id = i.prompt WHERE i.item = ? "
        "AND i.suite = coalesce(?, i.suite) LIMIT 1"
    )
    return list(session.store.rows(sql, [prompt, suite]))


def run_gates(session: Session, name: str) -> list[str]:
    """The retention gates of a run, a line each."""
    run = History(session.store).find(name, tuned=True)
    return [across.told(row) for row in across.gates(session, load_plan(run["plan"]), run["id"])]


def _one_prompt(
    session: Session, name: str, plan: Plan, run: int, r: dict[str, Any], row: tuple[Any, ...], several: bool
) -> dict[str, Any]:
    drawn = drawn_in(session, name, plan, tuning_slice(session, plan), r)
    labels = {k: (o.row, o.whole_groups) for k, o in drawn.rewards.items()}
    group = compose(session.store.group(row[0], drawn.members, labels), drawn.uses, plan.train.min_total)
    sql = "SELECT candidate FROM chosen WHERE run = ? AND round = ? AND prompt = ?"
    chosen = session.store.one(sql, [run, r["number"], row[0]])
    return {
        **({"task": name} if several else {}),
        "id": row[1],
        "prompt": [[m.role, m.content] for m in load_prompt(row[2]).messages],
        "candidates": [
            {
                "id": c.id, "strategy": c.strategy, "policy": c.policy, "index": c.index, "response": c.response,
                "raw": c.raw, "finish_reason": c.finish_reason, "error": c.error,
                "chosen": bool(chosen and chosen[0] == c.id),
                "total": None if t is None else t.value, "rejected": why,
                "scores": {
                    k: {"value": s.value, "error": s.error and dict(s.error), "why": s.why, "parts": dict(s.parts)}
                    for k, s in scores.items()
                },
            }
            for c, scores, t, why in zip(group.candidates, group.scores, group.totals, group.rejected)
        ],
    }  # fmt: skip
