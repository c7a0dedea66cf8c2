"""Measure rewards on suites: quality, what they gain over the baseline, agreement, best-of-n, throughput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import tao_hub

from . import best_of_n
from .agreement import agreement
from .items import Item, Judged, Measure, Outcome
from .scores import Kept, Scorer
from .sources import load, remember

BASELINE = "preference/longest"


@dataclass(frozen=True)
class Setting:
    """How a measurement runs. `gold` grades candidates; `store` is the workspace they may come from; `scores` a file
    that keeps finished scores."""

    store: Path = Path("tao-hub.db")
    scores: Path | None = None
    gold: tao_hub.Ref | None = None
    limit: int | None = None
    most: int | None = None
    timeout: float = 300.0
    baseline: bool = True


def evaluate(
    hub: tao_hub.Hub,
    rewards: Mapping[str, tao_hub.Ref],
    suites: Sequence[tuple[tao_hub.Ref, str]],
    setting: Setting,
    progress: tao_hub.Progress | None = None,
) -> dict[str, Any]:
    """Measure each reward (label → Ref) on each (suite, split).

    Returns {"boards", "quality", "deltas", "agreement", "best_of_n", "throughput", "failures"}, each a list of rows,
    and "notes"; shares lie in [0, 1]. Boards rank the rewards on each suite (`tao_hub.board`). Deltas are paired,
    reward − baseline and later reward − first reward. What is measured on is kept in the store (`remember`). Raises
    UsageError for what cannot be read; a reward that fails on an item is an error of that item.
    """
    kept, progress = Kept(setting.scores), progress or tao_hub.Progress()
    named = {**({BASELINE: tao_hub.Ref(BASELINE)} if setting.baseline else {}), **rewards}
    kinds = ("boards", "quality", "deltas", "agreement", "best_of_n", "throughput", "failures")
    found: dict[str, Any] = {kind: [] for kind in kinds}
    loaded = [(hub.resolve("suite", ref), *load(hub, ref, split, setting.store, setting.limit))
              for ref, split in suites]  # fmt: skip
    found["notes"] = remember(hub, [(ref, split) for ref, _, split, _ in loaded], setting.store)
    with ExitStack() as stack:
        def scorer(ref: tao_hub.Ref) -> Scorer:
            return stack.enter_context(Scorer(hub, ref, kept, setting.timeout, progress))

        gold = None if setting.gold is None else scorer(setting.gold)
        scorers = {label: scorer(ref) for label, ref in named.items()}
        for ref, suite, split, items in loaded:
            where = {"suite": ref.name, "split": split}
            graded = None if gold is None else gold.judge(items, "gold")
            asked = [with_grades(i, g) for i, g in zip(items, graded)] if graded else items
            judged = {label: s.judge(asked, f"{ref.name}:{split}") for label, s in scorers.items()}
            outcomes = {label: suite.measure(rows) for label, rows in judged.items()}
            found["quality"] += [{"reward": label, **where, "metric": m.name, **_numbers(m)}
                                 for label, o in outcomes.items() for m in o.measures]  # fmt: skip
            found["boards"].append(_board(outcomes, asked, ref.name, split))
            found["deltas"] += _deltas(outcomes, asked, where, next(iter(rewards)))
            found["agreement"] += _agreements(judged, where)
            found["best_of_n"] += curves(judged, graded or grades(asked), where, setting.most)
        found["throughput"] = [_speed(label, s) for label, s in scorers.items()]
        found["failures"] = failures({**scorers, **({"gold": gold} if gold else {})})
    return found


def with_grades(item: Item, gold: Judged) -> Item:
    """An item of candidates with gold grades; a suite that has labels of its own keeps them."""
    if item.label is not None or gold.failed:
        return item
    return replace(item, label=tuple(gold.values), best=gold.values.index(max(gold.values)))


def _numbers(measure: Measure) -> dict[str, Any]:
    return {k: v for k, v in asdict(measure).items() if k != "name"}


def _board(outcomes: Mapping[str, Outcome], items: Sequence[Item], suite: str, split: str) -> dict[str, Any]:
    clusters = {item.id: item.cluster for item in items}
    rows = {}
    for label, outcome in outcomes.items():
        whole, *parts = outcome.measures
        rows[label] = {**_numbers(whole), "parts": {part.name: part.value for part in parts}}
    deltas = {(a, b): d for a, b in combinations(outcomes, 2) if (d := _paired(outcomes[a], outcomes[b], clusters))}
    metric = next(iter(outcomes.values())).measures[0].name
    return tao_hub.board(suite.rsplit("/", 1)[-1], split, metric, len(items), rows, deltas)


def _paired(before: Outcome, after: Outcome, clusters: Mapping[str, str]) -> Any:
    """The difference on the items that both could score; None where there are none."""
    same = [key for key in before.credits if key in after.credits]
    old, new = ([outcome.credits[k] for k in same] for outcome in (before, after))
    return tao_hub.paired_delta(old, new, [clusters[k] for k in same]) if same else None


def _deltas(
    outcomes: Mapping[str, Outcome], items: Sequence[Item], where: Mapping[str, str], first: str
) -> list[dict[str, Any]]:
    clusters = {item.id: item.cluster for item in items}
    pairs = [(before, after) for before in dict.fromkeys([BASELINE, first]) for after in outcomes
             if before in outcomes and after not in (BASELINE, before)]  # fmt: skip
    rows = []
    for before, after in pairs:
        d = _paired(outcomes[before], outcomes[after], clusters)
        if d is None:
            continue
        verdict = "better" if d.p <= 0.05 and d.low > 0 else "worse" if d.p <= 0.05 and d.high < 0 else "inconclusive"
        rows.append({"reward": after, "than": before, **where, "delta": d.delta, "low": max(-1.0, d.low),
                     "high": min(1.0, d.high), "p": d.p, "n": d.n, "verdict": verdict})  # fmt: skip
    return rows


def _agreements(judged: Mapping[str, Sequence[Judged]], where: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"reward": one, "other": other, **where, **_numbers(agreement("agreement", judged[one], judged[other]))}
        for one, other in combinations(judged, 2)
    ]


def grades(items: Sequence[Item]) -> list[Judged]:
    """The grades that items bring themselves."""
    return [Judged(i, tuple(i.label) if isinstance(i.label, tuple) else (None,)) for i in items]


def curves(
    judged: Mapping[str, Sequence[Judged]], gold: Sequence[Judged], where: Mapping[str, str], most: int | None
) -> list[dict[str, Any]]:
    """Best-of-n curves where there are grades for all responses of an item."""
    if all(g.failed for g in gold):
        return []
    rows = []
    for label, found in judged.items():
        try:
            rows.append({"reward": label, **where, **asdict(best_of_n.curve(found, gold, most))})
        except ValueError as error:
            rows.append({"reward": label, **where, "points": [], "note": str(error)})
    return rows


def _speed(label: str, scorer: Scorer) -> dict[str, Any]:
    rate = scorer.computed / scorer.seconds if scorer.computed and scorer.seconds else None
    return {"reward": label, "responses": scorer.computed, "seconds": scorer.seconds, "per_second": rate}


def failures(scorers: Mapping[str, Scorer]) -> list[dict[str, Any]]:
    return [{"reward": label, "error": message, "responses": count}
            for label, s in scorers.items() for message, count in s.errors.items()]  # fmt: skip
