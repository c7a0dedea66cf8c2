"""All components of a plan with the options they will have, before anything is drawn: what is wrong is told at once."""

from __future__ import annotations

from .config import Combination, Plan, RewardUse, Source
from .learning import trainer_of
from .session import Session
from .types import Ref

ANY = [{"input": "…", "output": "…"}]  # in place of a round's own answers, which are not there yet


def try_components(session: Session, plan: Plan) -> None:
    """Raises UsageError or PluginError for the first component that is not there, takes no such options or cannot be
    built. Options of later rounds count too; where a round's own answers join them, as far as they are known."""
    for number in _rounds(plan):
        session.hub.trainer(trainer_of(session, plan, number))
    for task in plan.by_task().values():
        asked: list[Source | Combination] = [*task.candidates, *task.combine]
        for use in asked:
            _try(session, task, "strategy", use)
        for variation in task.vary:
            session.strategy(variation.ref, task.suite_ref)
        for number in _rounds(plan):
            for reward in task.rewards_in(number):
                _try(session, task, "reward", reward)
    for split in plan.measured:
        suite = Ref(split.suite, split.options) if split.suite else plan.suite_ref
        for baseline in plan.baselines:
            session.strategy(Ref(baseline.strategy, baseline.options), suite)


def _rounds(plan: Plan) -> list[int]:
    """The first round of each set of rewards and options: the trainer has others from round 2 on."""
    starts = {1, 2, *(use.first_round for task in plan.by_task().values() for use in task.rewards)}
    return sorted(number for number in starts if number <= plan.rounds)


def _try(session: Session, task: Plan, kind: str, use: Source | Combination | RewardUse) -> None:
    """Build a strategy; check the options of a reward (built once, by who scores) and of what has own examples."""
    suite = session.suite(task.suite_ref)[0]
    ref = session.hub.resolve(kind, use.ref, suite)
    if kind == "strategy" and not use.own_examples:
        session.hub.strategy(ref)
        return
    grown = {"examples": ref.options.get("examples") or ANY} if use.own_examples else {}
    session.hub.check_options(kind, Ref(ref.name, {**ref.options, **grown}))
