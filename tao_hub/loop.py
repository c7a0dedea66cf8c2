"""generate · score · combine · update · compare: the round on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .beforehand import try_components
from .budget import exhausted, fitted, generated_tokens, parse_budget
from .config import EvalUse, Plan, opened_name
from .exploring import ways, with_own
from .guards import check, tuning_slice
from .history import Eval, History
from .learning import Drawn, update
from .session import Policy, Session
from .stages import combine, generate, score, score_and_combine
from .stats import alpha_spent
from .stats import compare as compare_items
from .types import Delta, Ref, Sampling, digest

__all__ = ["combine", "compare", "draw", "evaluate", "generate", "run_round", "score", "tune", "update"]


def run_round(session: Session, plan: Plan, run: int, number: int, before: Policy, start: Policy) -> Policy:
    """One round: prompts → candidates → scores → update. Everything already in the store is not done again."""
    History(session.store).begin_round(run, number, plan.as_dict(), before)
    drawn = [draw(session, called, task, run, number, before, start) for called, task in plan.by_task().items()]
    return update(session, plan, run, number, drawn, before, start)


def draw(
    session: Session, called: str, plan: Plan, run: int, number: int, before: Policy, start: Policy
) -> Drawn:
    """The candidates and scores of one task in a round; `plan` is the task's own (`Plan.by_task`)."""
    part = tuning_slice(session, plan)
    plan = with_own(session, plan, run, number, part)
    asked = ways(session.store, plan, run, number, called, part)
    members = [
        generate(session, part, before if way.source.policy == "current" else start, way.ref,
                 way.source.sampling(plan.seed), way.n, plan.suite_ref)
        for way in asked
    ]  # fmt: skip
    members, rewards = score_and_combine(session, part, plan, number, before, members, plan.suite_ref)
    return Drawn(called, plan, number, part, members, rewards, [way.index for way in asked])


def evaluate(
    session: Session,
    suite: Ref,
    split: str,
    policy: Policy,
    *,
    run: int,
    label: str,
    number: int = 0,
    strategy: Ref | None = None,
    max_tokens: int = 256,
    limit: int | None = None,
) -> Eval:
    """Greedy answers to a split, judged by the suite's metric. The metric sees the references; nothing else does."""
    part = session.slice(suite, split, limit)
    metric = session.reward(session.suite(suite)[0].metric, suite)
    member = generate(session, part, policy, strategy or Ref("core/direct"), Sampling(0.0, max_tokens), 1, suite)
    metric = score(session, part, [member], metric)
    seen = metric.reward.uses_reference
    return History(session.store).add_eval(run, number, label, part, policy, member, metric.row, seen)


def compare(
    session: Session, run: int, suite: Ref, before: Eval, after: Eval, alpha: float = 0.05, look: int = 1,
    called: str = "",
) -> list[Delta]:  # fmt: skip
    """Deltas as `deltas_between` gives them, kept with the run: its report shows them."""
    deltas = deltas_between(session, suite, before, after, alpha, look, called)
    for delta in deltas:
        History(session.store).add_delta(run, before.label, after.label, suite, after.split, delta)
    return deltas


def deltas_between(
    session: Session, suite: Ref, before: Eval, after: Eval, alpha: float = 0.05, look: int = 1, called: str = ""
) -> list[Delta]:
    """Deltas of the metric and its parts on identical items at the level `alpha`, of the `look`-th look at the split.

    `called` is what reports call the suite, if not by its name. Nothing is kept.
    """
    opened, _ = session.suite(suite)
    history = History(session.store)
    old, new = history.eval_items(before.row), history.eval_items(after.row)
    return [
        compare_items(
            _values(old, part), _values(new, part), metric=part or opened.metric_name,
            suite=called or opened_name(suite), alpha=alpha, note=f"look {look}" if look > 1 else "",
        )
        for part in (None, *opened.metric_parts)
    ]  # fmt: skip


def _values(items: Sequence[Mapping[str, Any]], part: str | None) -> dict[Any, float | None]:
    if part is None:
        return {i["position"]: i["value"] for i in items}
    return {i["position"]: None if i["value"] is None else i["parts"].get(part) for i in items}


def tune(session: Session, plan: Plan, *, run: str = "", command: str = "") -> str:
    """All rounds of a plan, measured before and after; returns the run's name. The same call resumes a stopped run.

    Raises LabelLeak if a reward would see references or tuning prompts occur in an eval split.
    """
    from .environment import describe, watch

    plan = fitted(plan)
    try_components(session, plan)
    check(session, plan)
    name = run or run_name(plan)
    history = History(session.store)
    row = history.begin(name, plan.as_dict(), command, describe(session.hub))
    with watch(session, history, row):
        start = session.policy(session.hub.policy(plan.policy, plan.policy_options))
        uses = plan.measured
        compared = [[base] for base in measure(session, plan, row, start, "base", 0, uses)]
        for baseline in plan.baselines:
            way = Ref(baseline.strategy, baseline.options)
            for others, done in zip(compared, measure(session, plan, row, start, baseline.label, 0, uses, way)):
                others.append(done)
    policy = start
    tuned: list[Policy] = []
    for number in range(1, plan.rounds + 1):
        if why := enough(session, plan, row, number):
            session.progress.note(f"tune · no round {number}: {why}")
            break
        with watch(session, history, row, number):
            policy = run_round(session, plan, row, number, policy, start)
            tuned.append(policy)
            _after(session, plan, row, policy, number, [(u, o) for u, o in zip(uses, compared) if not u.sealed])
    if kept := kept_round(session, plan, row):
        sealed = [(u, o) for u, o in zip(uses, compared) if u.sealed]
        with watch(session, history, row, kept):
            _after(session, plan, row, tuned[kept - 1], kept, sealed)
    history.finish(row)
    return name


def _after(
    session: Session, plan: Plan, run: int, policy: Policy, number: int, uses: Sequence[tuple[EvalUse, list[Eval]]]
) -> None:
    """A round's policy measured on splits, and compared with what was measured on each before, which it joins."""
    measured = measure(session, plan, run, policy, f"round {number}", number, [use for use, _ in uses])
    for (use, others), after in zip(uses, measured):
        look = looks(session, run, suite_of(plan, use), use.split, number)
        for before in others:
            if before.round in (0, number - 1):  # base, the baselines, and the round before
                compare(session, run, suite_of(plan, use), before, after, level(plan, use, look), look, use.label)
        others.append(after)


def enough(session: Session, plan: Plan, run: int, number: int) -> str:
    """Why round `number` should not begin ("" if it may): the budget, or too long without a better round."""
    history = History(session.store)
    done = [r for r in history.rounds(run) if r["after"] is not None]
    if any(r["number"] >= number for r in done):
        return ""  # it is there already: nothing is spent by going on
    tokens = 0
    if parse_budget(plan.budget).tokens is not None:
        parts = [tuning_slice(session, task) for task in plan.by_task().values()]
        tokens = sum(generated_tokens(session.store, r["stats"], parts) for r in done)
    why = exhausted(plan, len(done), sum(history.seconds(run).values()), tokens)
    levels = round_levels(session, plan, run)
    if plan.patience and levels and number - 1 - best_of(levels) >= plan.patience:
        why = f"round {best_of(levels)} is still the best after {plan.patience} more"
    return why


def kept_round(session: Session, plan: Plan, run: int) -> int:
    """The round whose policy a run ends with: the last one, or the best one on the first open split (0: none)."""
    numbers = [r["number"] for r in History(session.store).rounds(run) if r["after"] is not None]
    wanted = [n for n in numbers if n <= plan.rounds]
    levels = round_levels(session, plan, run)
    return best_of(levels) if plan.keep == "best" and levels else max(wanted, default=0)


def best_of(levels: Mapping[int, float]) -> int:
    """The round with the highest level, the first of equals."""
    return max(levels, key=lambda number: (levels[number], -number))


def round_levels(session: Session, plan: Plan, run: int) -> dict[int, float]:
    """Mean metric by round on the first split that is no sealed one; an item that failed counts as 0.

    Of several tasks it is the mean over tasks, each on its own first open split.
    """
    history = History(session.store)
    evals, by_round = history.evals(run), dict[int, list[float]]()
    uses = [use for splits in splits_by_task(plan).values() if (use := next((u for u in splits if not u.sealed), None))]
    for use in uses:
        row = session.suite(suite_of(plan, use))[1]
        for e in evals:
            if e["split"] == use.split and e["suite_row"] == row and 0 < e["round"] <= plan.rounds:
                values = [item["value"] or 0.0 for item in history.eval_items(e["id"])]
                by_round.setdefault(e["round"], []).append(sum(values) / len(values) if values else 0.0)
    return {number: sum(found) / len(found) for number, found in by_round.items() if len(found) == len(uses)}


def splits_by_task(plan: Plan) -> dict[str, list[EvalUse]]:
    """What each task is measured by, and what else of its suite is measured. A plan of one task: all that is."""
    if not plan.tasks:
        return dict.fromkeys(plan.by_task(), plan.eval)
    own = {task.called: plan.measured_of(task) for task in plan.tasks}
    taken = [use for uses in own.values() for use in uses]
    more = [use for use in plan.measured if use not in taken]
    return {
        task.called: own[task.called] + [use for use in more if suite_of(plan, use) == task.suite_ref]
        for task in plan.tasks
    }


def rounds_done(session: Session, plan: Plan) -> int:
    """How many rounds of this plan the store already holds (whatever number of rounds it asks for)."""
    history = History(session.store)
    runs = [r for r in history.runs() if r["name"] == run_name(fitted(plan))]
    return int(runs[0]["rounds"]) if runs else 0


def looks(session: Session, run: int, suite: Ref, split: str, number: int) -> int:
    """How many rounds up to `number` were measured on a split: each look at it spends some of α."""
    own = session.suite(suite)[1]
    evals = [e for e in History(session.store).evals(run) if e["split"] == split and e["suite_row"] == own]
    return len({e["round"] for e in evals if 0 < e["round"] <= number})


def level(plan: Plan, use: EvalUse, look: int, alpha: float = 0.05) -> float:
    """The level of the `look`-th look at a split: all of `alpha` where the plan looks once, else what it spends."""
    once = use.sealed or plan.rounds == 1
    return alpha if once and look == 1 else alpha_spent(look, alpha)


def suite_of(plan: Plan, use: EvalUse) -> Ref:
    return Ref(use.suite, use.options) if use.suite else plan.suite_ref


def measure(
    session: Session, plan: Plan, run: int, policy: Policy, label: str, number: int, uses: Sequence[EvalUse],
    strategy: Ref | None = None,
) -> list[Eval]:  # fmt: skip
    """Evaluate `policy` on eval splits of the plan; splits of one suite are answered in one call, in fuller batches."""
    alike: dict[tuple[str, int], list[EvalUse]] = {}
    for use in uses:
        alike.setdefault((suite_of(plan, use).digest, use.max_tokens or plan.max_tokens), []).append(use)
    way = strategy or Ref("core/direct")
    for (_, most), together in alike.items():
        suite = suite_of(plan, together[0])
        parts = [session.slice(suite, use.split, use.limit) for use in together]
        if len(parts) > 1:
            generate(session, parts, policy, way, Sampling(0.0, most), 1, suite)
    return [
        evaluate(
            session, suite_of(plan, use), use.split, policy, run=run, label=label, number=number, strategy=way,
            max_tokens=use.max_tokens or plan.max_tokens, limit=use.limit,
        )
        for use in uses
    ]  # fmt: skip


def run_name(plan: Plan) -> str:
    """Name of a plan's run: the same plan with more rounds is the same run, so it goes on where it ended."""
    free = ("rounds", "timeout", "budget", "keep", "patience")  # how far it goes, not what it is
    same = {k: v for k, v in plan.as_dict().items() if k not in free}
    return f"{'+'.join(plan.by_task())}-{Path(plan.policy).stem}-s{plan.seed}-{digest(same)[:6]}"
