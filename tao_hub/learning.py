"""Scored groups of one or several tasks → the next policy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .compose import compose
from .config import Plan, RewardUse
from .errors import NothingToLearn
from .history import History
from .judging import judged_by
from .session import OpenReward, Policy, Session
from .store import Member, Slice
from .tally import RoundStats, together
from .types import Group, Ref, Score, canonical_json
from .varying import varied


@dataclass(frozen=True)
class Drawn:
    """What a round drew for one task: its own plan, its prompts, who gave their candidates, and by what they are
    scored. `asked` are the places of the ways to ask in the plan's candidates."""

    called: str
    plan: Plan
    number: int
    part: Slice
    members: Sequence[Member]
    rewards: dict[str, OpenReward]
    asked: Sequence[int] = ()

    @property
    def uses(self) -> list[RewardUse]:
        return self.plan.rewards_in(self.number)

    def groups(self, session: Session) -> Iterator[tuple[int, Group]]:
        """(prompt row id, group with its totals) in the suite's order."""
        labels = {key: (r.row, r.whole_groups) for key, r in self.rewards.items()}
        for row, group in session.store.groups(self.part, self.members, labels):
            yield row, compose(group, self.uses, self.plan.train.min_total)


@dataclass(frozen=True)
class Taken:
    """What of a task is learnt from: `rows` of its prompts (None: all), and the scale its totals are put on."""

    drawn: Drawn
    rows: frozenset[int] | None
    mean: float = 0.0
    spread: float = 1.0

    def groups(self, session: Session) -> Iterator[tuple[int, Group]]:
        for row, group in self.drawn.groups(session):
            if self.rows is None or row in self.rows:
                yield row, self.scaled(group)

    def scaled(self, group: Group) -> Group:
        if (self.mean, self.spread) == (0.0, 1.0):
            return group
        totals = tuple(
            t if t is None or t.value is None else Score((t.value - self.mean) / self.spread, why=t.why, parts=t.parts)
            for t in group.totals
        )
        return replace(group, totals=totals)


def update(
    session: Session, plan: Plan, run: int, number: int, drawn: Sequence[Drawn], before: Policy, start: Policy
) -> Policy:
    """Scored groups → the next policy. An update that the store already holds (same groups, same start) is reused, also
    where the workspace was moved; where its files are gone, it is done again.

    Totals of different tasks are on scales of their own and never compared. With several tasks a trainer gets each
    task's totals in units of their own: (total − mean) / standard deviation over the task's candidates of the round,
    as in GDPO (arXiv 2601.05242) per reward (as they are, where a round draws none and the trainer does); and
    `max_examples` bounds what one task gives.
    """
    history, origin = History(session.store), start if plan.train.start == "base" else before
    trainer_ref = trainer_of(session, plan, number)
    online = session.hub.trainer(trainer_ref).online
    total = blake2b(canonical_json(_made_by(session, trainer_ref, origin, drawn, online)).encode(), digest_size=16)
    counted = [_count(session, one, total.update) for one in drawn]
    update_digest = total.hexdigest()
    history.choose(run, number, [row for seen in counted for row in seen.chosen])
    history.drew(run, number, _stats(drawn, counted))
    out = models_folder(session) / update_digest[:16]
    after_ref = _trained(session, history.trained(update_digest), out)
    if after_ref is None:
        if not online and not any(seen.chosen for seen in counted):
            reasons = "; ".join(f"{one.called}: {seen.reasons()}" if len(drawn) > 1 else seen.reasons()
                                for one, seen in zip(drawn, counted) if seen.reasons())  # fmt: skip
            cure = f"; `tao-hub show --round {number}` lists them" if reasons else ""
            raise NothingToLearn(f"round {number} has nothing to learn from: {reasons or 'no candidates'}{cure}")
        taken = [_taken(one, seen, len(drawn) > 1) for one, seen in zip(drawn, counted)]
        session.free_generator()
        judge = _judge(session, taken) if online else None

        def groups() -> Iterator[tuple[int, Group]]:
            for one in taken:  # a trainer that draws by itself asks prompts of the store only
                yield from one.groups(session) if online else varied(session, one.drawn.plan, one.groups(session))

        after_ref = train(session, trainer_ref, groups, origin, out, judge)
    after = session.policy(after_ref)
    if moved(kept := session.store.policy_of(after.row)[1], out) != kept:
        session.store.place(after.row, after_ref)
    history.end_round(run, number, after, update_digest)
    return after


def _trained(session: Session, done: int | None, out: Path) -> Ref | None:
    """The policy (row id) that an update gave, by where its files are now; None if there is none or they are gone."""
    if done is None:
        return None
    ref = moved(session.store.policy_of(done)[1], out)
    if any(out.name in Path(v).parts and not Path(v).exists() for v in ref.options.values() if isinstance(v, str)):
        session.progress.note(f"update · the tuned policy {out} is there no more: it is trained again")
        return None
    return ref


def moved(ref: Ref, out: Path) -> Ref:
    """`ref` with its paths into a folder of the name of `out` put into `out`, where they are there no more: a workspace
    may be moved."""

    def now(value: Any) -> Any:
        if not isinstance(value, str) or out.name not in Path(value).parts or Path(value).exists():
            return value
        parts = Path(value).parts
        inside = out.joinpath(*parts[parts.index(out.name) + 1 :])
        return str(inside) if inside.exists() else value

    return Ref(ref.name, {key: now(value) for key, value in ref.options.items()})


def _made_by(session: Session, trainer: Ref, origin: Policy, drawn: Sequence[Drawn], online: bool) -> list[Any]:
    """What else than the groups decides an update."""
    made_by: list[Any] = [session.hub.identity("trainer", trainer), origin.digest]
    if online:  # what it will draw is scored by these, and no group says so
        for one in drawn:
            identities = [session.hub.identity("reward", one.rewards[use.key].ref) for use in one.uses]
            weighed = [use.model_dump(mode="json") for use in one.uses]
            made_by += [identities, weighed, one.plan.train.min_total]
    variations = [[session.hub.identity("strategy", use.ref), use.n] for one in drawn for use in one.plan.vary]
    if variations and not online:
        made_by.append({"vary": variations})
    if len(drawn) > 1 or any(one.plan.max_examples for one in drawn):
        bounds = [[one.part.count, one.plan.max_examples] for one in drawn]  # which groups are of one task, and bounds
        made_by.append({"tasks": bounds, "seed": drawn[0].plan.seed})
    return made_by


def _count(session: Session, one: Drawn, feed: Callable[[bytes], None]) -> RoundStats:
    """Count a task's groups while they stream by, and feed what makes them these groups into the update's identity."""
    seen = RoundStats()
    for row, group in one.groups(session):
        feed(seen.add(row, group))
    seen.bound(one.plan.max_examples, one.plan.seed)
    return seen


def _taken(one: Drawn, seen: RoundStats, several: bool) -> Taken:
    rows = frozenset(row for row, _, _ in seen.chosen) if seen.bounded else None
    return Taken(one, rows, *seen.scale()) if several else Taken(one, rows)


def _judge(session: Session, taken: Sequence[Taken]) -> Callable[[Group], Group]:
    """The rewards of each prompt's own task, for a trainer that draws candidates itself."""
    judges = [
        judged_by(session, t.drawn.part, t.drawn.uses, t.drawn.rewards, t.drawn.plan.train.min_total) for t in taken
    ]
    if len(taken) == 1:
        return judges[0]
    of = {p.digest: i for i, t in enumerate(taken) for _, p in session.store.prompts(t.drawn.part)}

    def judge(group: Group) -> Group:
        i = of[group.prompt.digest]
        return taken[i].scaled(judges[i](group))

    return judge


def _stats(drawn: Sequence[Drawn], counted: Sequence[RoundStats]) -> dict[str, Any]:
    """What a round leaves in the store; of several tasks the sums, and each task's own under `tasks`."""
    each = [
        {**seen.as_dict(one.uses, one.part.count), "members": [[m.policy, m.source, m.n] for m in one.members],
         "ways": list(one.asked)}
        for one, seen in zip(drawn, counted)
    ]  # fmt: skip
    if len(each) == 1:
        return each[0]
    return together({one.called: stats for one, stats in zip(drawn, each)})


def train(
    session: Session,
    trainer_ref: Ref,
    groups: Any,
    origin: Policy,
    out: Path,
    judge: Callable[[Group], Group] | None = None,
) -> Ref:
    """Run the trainer on `groups()`, unless a finished update already lies in `out` (killed before the store heard)."""
    marker = out.with_suffix(".ref.json")
    if marker.exists() and out.exists():
        saved = json.loads(marker.read_text(encoding="utf-8"))
        return moved(Ref(saved["name"], saved["options"]), out)
    trainer = session.hub.trainer(trainer_ref)
    trainer.judge = judge
    if not trainer.resumes:
        shutil.rmtree(out, ignore_errors=True)  # what an interrupted update left
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with session.timed("update"):
            after = trainer.update((g for _, g in groups()), origin.ref, out, session.progress)
    finally:
        trainer.close()
    temporary = marker.with_suffix(".tmp")
    temporary.write_text(canonical_json({"name": after.name, "options": dict(after.options)}), encoding="utf-8")
    temporary.replace(marker)
    return after


def models_folder(session: Session) -> Path:
    """Where a workspace keeps its tuned policies: beside the store."""
    path = session.store.path.resolve()
    return path.parent / f"{path.stem}-models"


def trainer_of(session: Session, plan: Plan, number: int) -> Ref:
    """The trainer of a round, with the plan's seed where the trainer has one and the plan names none."""
    options = plan.train.options_in(number)
    if "seed" in session.hub.find("trainer", plan.train.name).load().Options.model_fields:
        options.setdefault("seed", plan.seed)
    return session.hub.resolve("trainer", Ref(plan.train.name, options))
