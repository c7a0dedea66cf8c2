"""Label-free by construction: no reward that sees references, no tuning prompt that occurs in an eval split."""

from __future__ import annotations

from collections.abc import Iterator

from .config import Plan
from .counts import known_items
from .errors import LabelLeak, UsageError
from .overlap import find_overlap
from .session import Session
from .store import Slice
from .types import Prompt, Ref

SHOWN = 20  # overlapping prompts listed in the error


def check(session: Session, plan: Plan) -> None:
    """All guards of a run, task by task. Raises LabelLeak, or UsageError where two tasks have a prompt in common."""
    parts: dict[str, Slice] = {}
    for called, task in plan.by_task().items():
        guard_labels(session, task)
        part = tuning_slice(session, task, check=True)
        for other, there in parts.items():
            if common := _common(session, part, there):
                raise UsageError(
                    f"tasks {other} and {called} have a prompt in common ({common}): one policy cannot learn two "
                    "answers to it. Leave it out of one of them"
                )
        parts[called] = part


def _common(session: Session, one: Slice, other: Slice) -> str:
    sql = (
        "SELECT a.item FROM items a JOIN items b ON b.prompt = a.prompt AND b.suite = ? AND b.split = ? AND "
        "b.position < ? WHERE a.suite = ? AND a.split = ? AND a.position < ? LIMIT 1"
    )
    found = session.store.one(sql, [*other.where, *one.where])
    return str(found[0]) if found else ""


def guard_labels(session: Session, plan: Plan) -> None:
    """Refuse rewards that use references. Raises LabelLeak."""
    if plan.allow_labels:
        return
    for use in plan.rewards:
        opened = session.reward(use.ref, plan.suite_ref)
        if opened.reward.uses_reference:
            raise LabelLeak(
                f"reward {opened.who} sees the references (labels); tuning is label-free. Leave it out of [[rewards]], "
                "or say --allow-labels"
            )


def labels_used(session: Session, plan: Plan) -> int:
    """How many references the tuning itself can see: 0 unless labels were allowed and a reward uses them."""
    return sum(_labels_used(session, task) for task in plan.by_task().values())


def _labels_used(session: Session, plan: Plan) -> int:
    seen = any(session.reward(use.ref, plan.suite_ref).reward.uses_reference for use in plan.rewards)
    if not seen:
        return 0
    sql = "SELECT count(reference) FROM (SELECT reference FROM items WHERE suite = ? AND split = ? LIMIT ?)"
    limit = -1 if plan.prompts is None else plan.prompts
    found = session.store.one(sql, [session.suite(plan.suite_ref)[1], plan.split, limit])
    return int(found[0]) if found else 0


def tuning_slice(session: Session, plan: Plan, check: bool = False) -> Slice:
    """The prompts to tune on, in the store, without those that overlap an eval split if the plan drops them. A store
    that is only read gives those that it holds.

    With `check`, raises LabelLeak listing overlapping prompts, and UsageError if nothing is left.
    """
    _, row = session.suite(plan.suite_ref)
    without = f"{plan.split} without overlap"  # another set of prompts, so it is kept as a split of its own
    if not session.store.write:  # who looks at a run changes nothing of it, whatever became of its files
        kept_apart = plan.drop_overlap and known_items(session.store, row, without).count
        return known_items(session.store, row, without if kept_apart else plan.split, plan.prompts)
    if not check and not plan.drop_overlap:
        return session.store.add_items(row, plan.split, session.prompts(plan.suite_ref, plan.split), plan.prompts)
    found = overlap(session, plan)
    if found and not plan.drop_overlap:
        listed = "\n".join(f"  {a} ~ {b}" for a, b in list(found.items())[:SHOWN])
        more = f"\n  … and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise LabelLeak(
            f"{len(found)} tuning prompts also occur in an eval split (exactly or nearly):\n{listed}{more}\n"
            "Remove them from the prompts, or leave them out with --drop-overlap (drop_overlap = true)"
        )
    kept = (p for name, p in _named(session, plan.suite_ref, plan.split) if name not in found)
    part = session.store.add_items(row, without if found else plan.split, kept, plan.prompts)
    if not part.count:
        raise UsageError(f"suite {plan.suite}, split {plan.split!r}: no prompts to tune on")
    return part


def overlap(session: Session, plan: Plan) -> dict[str, str]:
    """Tuning prompt id → "SPLIT:id" of the eval prompt it repeats."""
    tuning = ((name, p.text) for name, p in _named(session, plan.suite_ref, plan.split))
    return find_overlap(tuning, held_out(session, plan))


def held_out(session: Session, plan: Plan) -> list[tuple[str, str]]:
    """("SPLIT:id", text) of every prompt in the splits that are measured."""
    found = []
    for use in plan.eval:
        suite = Ref(use.suite, use.options) if use.suite else plan.suite_ref
        where = f"{use.label} {use.split}".strip()
        found += [(f"{where}:{name}", p.text) for name, p in _named(session, suite, use.split)]
    return found


def _named(session: Session, suite: Ref, split: str) -> Iterator[tuple[str, Prompt]]:
    """Prompts by the name that the store gives them: a prompt without an id is known by its place."""
    return ((p.id or str(i), p) for i, p in enumerate(session.prompts(suite, split)))
