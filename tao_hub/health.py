"""What looks wrong in a run: rewards that tell nothing, answers that grow, a proxy that rises while quality falls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

Row = Mapping[str, Any]

FEW_GROUPS = 0.1  # of the groups: with less to learn from than this, say so
NO_SPREAD = 0.9  # of the groups in which a reward gives every candidate the same
SATURATED = 0.95  # of the scores that are the highest the reward gave
ERRORS = 0.05  # of the scores
REPEATED = 0.8  # of the candidates that repeat another of their prompt
GROWTH = 1.5  # chosen answers or the model's own, to what they were


def warnings(data: Row) -> list[str]:
    """One sentence per thing a user should look at, from the report's own numbers (see `run_report`)."""
    rounds = [r for r in data.get("rounds", []) if isinstance(r, Mapping)]
    found = [f"round {r['number']}: {text}" for r in rounds for text in _tasks(r)]
    fell = list(_overoptimised(data, rounds, data.get("primary") or {}))
    for task in data.get("tasks", []):  # rewards and metric of one task say nothing about those of another
        own = [{**t, "number": r["number"]} for r in rounds for t in r.get("tasks", []) if t["label"] == task["label"]]
        fell += _overoptimised(data, own, {**task, "suite": task["label"]})
    return [*unscored(data.get("quality", [])), *found, *_growth(data), *fell]


def unscored(rows: Sequence[Row]) -> Iterator[str]:
    """Measured items without a score, by split and reason, from report rows of evals."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.get("errors") and row.get("why_errors"):
            found.setdefault((row.get("suite", ""), row["split"], row["why_errors"]), []).append(row)
    for (suite, split, why), some in found.items():
        counts = ", ".join(dict.fromkeys(f"{row['label']}: {row['errors']} of {row['n']}" for row in some))
        yield f"{suite} {split}".strip() + f" has items without a score, which count as wrong ({counts}): {why}"


def _tasks(r: Row) -> Iterator[str]:
    """What looks wrong in a round, task by task where there are several."""
    if r.get("repeats"):
        yield (
            f"it learnt the same from the same start as round {r['repeats']}, so it gave the same policy: let a "
            "[[candidates]] table ask the tuned one (policy = \"current\"), or leave it out"
        )
    if "tasks" not in r:
        yield from _round(r)
    for task in r.get("tasks", []):
        yield from (f"{task['label']}: {text}" for text in _round(task))


def _round(r: Row) -> Iterator[str]:
    groups = r.get("groups") or 0
    failed = sum(source.get("errors") or 0 for source in r.get("sources", []))
    if failed:
        yield f"{failed} of {r['candidates']} candidates failed: `tao-hub show` says why, --retry-errors asks again"
    if groups:
        if r.get("unscored_groups"):
            yield f"{r['unscored_groups']} of {groups} prompts have no candidate with a total; `tao-hub show` says why"
        if r["chosen"] < FEW_GROUPS * groups:
            yield f"only {r['chosen']} of {groups} prompts gave anything to learn from"
    if r.get("rewards") == [] and r.get("chosen"):
        yield "no [[rewards]] judge the answers: each prompt's first whole one was learnt"
    if (r.get("repeated") or 0) > REPEATED:
        yield f"{r['repeated']:.0%} of the candidates repeat another one: a higher temperature or other strategies"
    if r.get("letters") and (r.get("letters_chosen") or 0) > GROWTH * r["letters"]:
        yield f"chosen answers are {r['letters_chosen'] / r['letters']:.1f} times as long as all: a reward likes length"
    for reward in r.get("rewards", []):
        yield from _reward(reward, r.get("candidates") or 0)


def _reward(reward: Row, candidates: int) -> Iterator[str]:
    label, errors = reward["label"], reward.get("errors") or 0
    if candidates and errors > ERRORS * candidates:
        why = f" ({reward['why_errors']})" if reward.get("why_errors") else ""
        yield f"{label} failed on {errors} of {candidates} candidates{why}; --retry-errors asks again"
    gate = reward.get("gate") is not None
    if not gate and (reward.get("no_spread") or 0) > NO_SPREAD:
        why = f", mostly: {reward['why_same']}" if reward.get("why_same") else ""
        yield f"{label} gives all candidates of a prompt the same in {reward['no_spread']:.0%} of cases{why}"
    elif not gate and (reward.get("at_most") or 0) > SATURATED:
        yield f"{label} is at its highest for {reward['at_most']:.0%} of the candidates: it tells little any more"


def _growth(data: Row) -> Iterator[str]:
    """The tuned model's answers against the base's, on the primary split: inference should not cost more."""
    primary = data.get("primary") or {}
    tokens = {
        q["label"]: q["output_tokens"] for q in data.get("quality", [])
        if q["split"] == primary.get("split") and q.get("output_tokens")
        and q.get("suite") == primary.get("suite", q.get("suite"))
    }  # fmt: skip
    before, after = tokens.get(primary.get("before_label")), tokens.get(primary.get("after_label"))
    if before and after and after > GROWTH * before:
        yield f"answers grew from {before:.0f} to {after:.0f} tokens: inference costs that much more"


def _overoptimised(data: Row, rounds: Sequence[Row], primary: Row) -> Iterator[str]:
    """Rewards of the chosen answers up from one round to the next, and the metric significantly down."""
    fell = {
        d["after_label"]: d for d in data.get("deltas", [])
        if d.get("verdict") == "regressed" and d["metric"] == primary.get("metric")
        and d.get("suite") == primary.get("suite", d.get("suite"))
    }  # fmt: skip
    for before, after in pairwise(rounds):
        rose = _chosen(after) > _chosen(before)
        delta = fell.get(f"round {after['number']}")
        if rose and delta and delta["before_label"] == f"round {before['number']}":
            yield (
                f"round {after['number']}: rewards rose while {delta['metric']} fell on {_where(delta, rounds)}: the "
                "rewards are being optimised, not the task (keep = \"best\" goes back)"
            )


def _where(delta: Row, rounds: Sequence[Row]) -> str:
    """The split, and its suite where the run has several tasks."""
    return f"{delta['suite']} {delta['split']}" if rounds[0].keys() & {"label", "tasks"} else str(delta["split"])


def _chosen(r: Row) -> float:
    return float(sum(w["weight"] * (w.get("mean_chosen") or 0.0) for w in r.get("rewards", [])))
