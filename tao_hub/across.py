"""A run over several suites as one result: the macro rows of its report, and its retention gates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

from .config import EvalUse, Plan
from .errors import GateFailed
from .history import History
from .loop import kept_round, level, looks, splits_by_task, suite_of
from .macro import MACRO, Retention, Values, compare_all, retention
from .session import Session
from .stats import POWER, paired_delta

Row = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """One split of a run's plan with what is in the store of it: per label the row of its eval."""

    use: EvalUse
    called: str
    metric: str
    suite_row: int
    evals: Mapping[str, Row]

    def values(self, history: History, label: str) -> Values:
        return {str(i["position"]): i["value"] for i in history.eval_items(self.evals[label]["id"])}


def splits(session: Session, plan: Plan, evals: Sequence[Row]) -> list[Measured]:
    """The splits that a plan measures, in its order, with the evals of a run (`History.evals`)."""
    return [_measured(session, plan, use, evals) for use in plan.measured]


def _measured(session: Session, plan: Plan, use: EvalUse, evals: Sequence[Row]) -> Measured:
    ref = suite_of(plan, use)
    suite, row = session.suite(ref)
    here = {e["label"]: e for e in evals if e["suite_row"] == row and e["split"] == use.split}
    return Measured(use, use.label or ref.name.rsplit("/", 1)[-1], suite.metric_name, row, here)


# -- the macro delta ---------------------------------------------------------------------------------------------------


def macro(session: Session, plan: Plan, run: int, deltas: Sequence[Row], quality: Sequence[Row]) -> dict[str, Any]:
    """Rows of the mean over the tasks' suites: {"quality", "deltas", "primary", "warnings"}; {} for one task.

    A task's primary split is its first sealed one, else its last one. The first open splits make a second mean, for
    the rounds before the last. Metrics that are no shares have no scale in common: then there is a warning instead.
    """
    if not plan.tasks:
        return {}
    history = History(session.store)
    evals = history.evals(run)
    tasks = [[_measured(session, plan, use, evals) for use in uses] for uses in splits_by_task(plan).values()]
    if not all(tasks):
        return {}
    primary = [next((m for m in of if m.use.sealed), of[-1]) for of in tasks]
    opened = [m for of in tasks if (m := next((m for m in of if not m.use.sealed), None))]
    found: dict[str, Any] = {"quality": [], "deltas": [], "primary": {}, "warnings": []}
    metric = _metric(primary)
    if len(tasks) == 1:  # no mean: its own primary split
        where = {"suite": primary[0].called, "split": primary[0].use.split, "metric": metric}
        return {**found, "primary": _compared(primary, where)}
    no_shares = sorted({q["metric"] for q in quality if not 0 <= q["value"] <= 1} & {m.metric for m in primary})
    if no_shares:
        found["warnings"].append(f"no macro delta: {', '.join(no_shares)} is no share, so suites have no common scale")
        return found
    for kind, over in (("primary", primary), ("open", opened)):
        if len(over) < len(tasks) or (kind == "open" and over == primary):
            continue
        where = {"suite": MACRO, "split": _split(over, kind), "metric": metric}
        found["quality"] += _levels(over, where, quality)
        sealed = all(m.use.sealed for m in over)
        made = _deltas(history, over, metric, deltas)
        found["deltas"] += [{**d, "split": where["split"], "sealed": sealed} for d in made]
        if kind == "primary":
            found["primary"] = _compared(over, where)
    return found


def _compared(over: Sequence[Measured], where: Row) -> Row:
    """The comparison that a report is headed by: base and the last round, {} before there is one."""
    last, sealed = _last(over), all(m.use.sealed for m in over)
    return {**where, "sealed": sealed, "before_label": "base", "after_label": f"round {last}"} if last else {}


def _metric(over: Sequence[Measured]) -> str:
    names = {m.metric for m in over}
    return names.pop() if len(names) == 1 else "mean of metrics"


def _split(over: Sequence[Measured], kind: str) -> str:
    names = {m.use.split for m in over}
    return names.pop() if len(names) == 1 else kind


def _last(over: Sequence[Measured]) -> int:
    """The last round that all of the splits were measured in; 0: none."""
    common = set.intersection(*({e["round"] for e in m.evals.values()} for m in over))
    return max(common, default=0)


def _labels(over: Sequence[Measured]) -> list[str]:
    return [label for label in over[0].evals if all(label in m.evals for m in over)]


def _levels(over: Sequence[Measured], where: Row, quality: Sequence[Row]) -> Iterator[Row]:
    """The mean level by label. Its interval is that of independent means: half widths add as √Σ(half/T)²."""
    for label in _labels(over):
        rows = [
            next(q for q in quality if all(q[k] == v for k, v in
                 {"label": label, "suite": m.called, "split": m.use.split, "metric": m.metric}.items()))
            for m in over
        ]  # fmt: skip
        value = _mean([r["value"] for r in rows]) or 0.0
        below, above = (sum((r[end] - r["value"]) ** 2 for r in rows) ** 0.5 / len(rows) for end in ("low", "high"))
        yield {
            **where, "label": label, "value": value, "low": value - below, "high": value + above,
            **{key: sum(r[key] for r in rows) for key in ("n", "errors", "truncated")},
            **{key: _mean([r[key] for r in rows]) for key in ("output_tokens", "latency_s")},
        }  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _deltas(history: History, over: Sequence[Measured], metric: str, deltas: Sequence[Row]) -> Iterator[Row]:
    """The macro delta of every pair of labels that is compared on all of the splits, at the smallest α of theirs."""
    pairs: dict[tuple[str, str], list[Row]] = {}
    for m in over:
        for d in deltas:
            if (d["suite"], d["split"], d["metric"]) == (m.called, m.use.split, m.metric):
                pairs.setdefault((d["before_label"], d["after_label"]), []).append(d)
    for (before, after), rows in pairs.items():
        if len(rows) < len(over):
            continue
        suites = {f"{m.called} {m.use.split}": (m.values(history, before), m.values(history, after)) for m in over}
        delta = compare_all(suites, metric=metric, alpha=min(row["alpha"] for row in rows))
        yield {**asdict(delta), "before_label": before, "after_label": after}


# -- retention gates ---------------------------------------------------------------------------------------------------


def gates(session: Session, plan: Plan, run: int) -> list[Row]:
    """One row per `retain` of the plan: base against the policy that the run ends with, on the suite's metric.

    On a split that is looked at after each round, α is spent over the looks, as for deltas.
    """
    history = History(session.store)
    kept = kept_round(session, plan, run)
    found = []
    for m in splits(session, plan, history.evals(run)) if kept else []:
        if m.use.retain is None:
            continue
        where: Row = {"suite": m.called, "split": m.use.split, "metric": m.metric, "sealed": m.use.sealed}
        where |= {"before_label": "base", "after_label": f"round {kept}"}
        if "base" not in m.evals or where["after_label"] not in m.evals:
            found.append({**where, "margin": m.use.retain, "verdict": "not measured"})
            continue
        look = looks(session, run, suite_of(plan, m.use), m.use.split, kept)
        alpha = level(plan, m.use, look)
        values = [m.values(history, where[key]) for key in ("before_label", "after_label")]
        held = retention(values[0], values[1], m.use.retain, alpha)
        found.append({**where, **asdict(held), "note": _needed(values, held)})
    return found


def _needed(values: Sequence[Values], held: Retention) -> str:
    """For a gate that shows nothing: about how many items would, were the metric unchanged (80% power)."""
    if held.verdict != "not shown" or held.n < 2:
        return ""
    old, new = ([v or 0.0 for _, v in sorted(side.items())] for side in values)
    if se := paired_delta(old, new).se:
        z = NormalDist().inv_cdf(1 - held.alpha) + NormalDist().inv_cdf(POWER)
        needed = math.ceil(held.n * (z * se / held.margin) ** 2)
    else:  # no item differs: so many that the rule of three lies within the margin
        needed = math.ceil(math.log(held.alpha) / math.log1p(-min(held.margin, 0.999)))
    return f"about {needed} items would show it, were nothing lost" if needed > held.n else ""


def require_kept(rows: Sequence[Row]) -> None:
    """Raises GateFailed naming the gates that did not pass."""
    failed = [r for r in rows if r["verdict"] != "kept"]
    if failed:
        raise GateFailed("; ".join(told(r) for r in failed))


def told(row: Row) -> str:
    """A gate in a line."""
    what = f"{row['metric']} on {row['suite']} {row['split']} within {_size(row, row['margin'])}: {row['verdict']}"
    if row["verdict"] == "not measured":
        return what
    level = f"{100 * (1 - row['alpha']):.3g}%"
    moved = f"{_size(row, row['delta'], '+')}, at {level} between {_size(row, row['lower'], '+')} and"
    note = f"; {row['note']}" if row["note"] else ""
    return f"{what} ({moved} {_size(row, row['upper'], '+')}, n = {row['n']}{note})"


def _size(row: Row, value: float, sign: str = "") -> str:
    """A difference in percentage points, or as it is where the metric is no share."""
    share = all(0 <= row.get(key, 0.0) <= 1 for key in ("before", "after"))
    text = f"{100 * value:{sign}.3g} pp" if share else f"{value:{sign}.3g}"
    return text.replace("-", "−")
