"""What a workspace holds for reward models: scored candidates to learn from, and suites that none may learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .config import Plan, load_plan
from .errors import UsageError
from .guards import tuning_slice
from .history import History
from .learning import Drawn
from .session import Session
from .stages import taught
from .store import Member, Slice, Store
from .tally import of_task
from .types import Group, Ref

MEASURED = "measured"  # kind of a stored component: a suite that is there because rewards were measured on it

def run_groups(session: Session, run: str = "") -> Iterator[Group]:
    """The scored groups of all finished rounds of a run (default: the newest), round by round.

    `scores` are keyed by the plan's reward labels; `totals` and `rejected` are composed as the plan does. Nothing is
    scored: what the store does not hold is absent. Raises UsageError for an unknown run, or one without a finished
    round.
    """
    history = History(session.store)
    found = history.find(run, tuned=True)
    plan = load_plan(found["plan"])
    rounds = [r for r in history.rounds(found["id"]) if r["after"] is not None]
    if not rounds:
        raise UsageError(f"run {found['name']!r} has no finished round; `tao-hub tune` goes on with it")
    parts = {called: tuning_slice(session, task) for called, task in plan.by_task().items()}
    for done in rounds:
        for called, task in plan.by_task().items():
            yield from (group for _, group in drawn_in(session, called, task, parts[called], done).groups(session))


def drawn_in(session: Session, called: str, plan: Plan, part: Slice, done: Mapping[str, Any]) -> Drawn:
    """What a finished round (of `History.rounds`) drew for a task, opened again from the store."""
    uses = plan.rewards_in(done["number"])
    opened = {use.key: session.informed(session.reward(use.ref, plan.suite_ref), part) for use in uses}
    members = [Member(*m) for m in of_task(done["stats"], called).get("members", [])]
    after = sum(c.learnt for c in plan.combine if c.in_round(done["number"]))  # made when the learning ones had scored
    opened |= taught(session, part, members[: len(members) - after], uses, opened)
    return Drawn(called, plan, done["number"], part, members, opened)


def evaluated_suites(store: Store) -> list[Ref]:
    """The suites, with their options, that anything was ever measured on in this workspace: policies, or rewards
    (`mark_measured`)."""
    rows = [int(row[0]) for row in store.rows("SELECT DISTINCT suite FROM evals ORDER BY suite")]
    rows += [int(row[0]) for row in store.rows("SELECT id FROM components WHERE kind = ? ORDER BY id", [MEASURED])]
    found = [History(store).suite_ref(row) for row in rows]
    return list({ref.digest: ref for ref in found}.values())


def mark_measured(session: Session, suites: Iterable[Ref]) -> None:
    """Keep in the workspace that rewards were measured on these suites: `evaluated_suites` lists them from now on.

    Paths in their options should be absolute, since who reads them may stand elsewhere. Raises UsageError for a suite
    that no plugin has.
    """
    for ref in suites:
        identity = session.hub.identity("suite", session.hub.resolve("suite", ref))
        session.store.component({**identity, "kind": MEASURED})
