"""Which ways to ask a round uses: the plan's, with its own answers as examples, and a budget that follows the wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .config import Plan, Source
from .history import History
from .session import Session
from .store import Member, Slice, Store
from .tally import of_task
from .types import Ref

# Of what a round chose: the candidates of one task's prompts. Tasks may ask in the same way.
_OF_PART = (
    " AND EXISTS (SELECT 1 FROM items i WHERE i.prompt = x.prompt AND i.suite = ? AND i.split = ? AND i.position < ?)"
)


@dataclass(frozen=True)
class Way:
    """A way to ask in one round: its place in the plan's candidates, what is asked, and how many candidates it gets."""

    index: int
    source: Source
    ref: Ref
    n: int


def ways(store: Store, plan: Plan, run: int, number: int, task: str = "", part: Slice | None = None) -> list[Way]:
    """The ways to ask in round `number`. They depend on the plan and the round before it only, so a resumed round has
    the same. With several tasks: of the one so called, whose prompts are `part` and whose own plan is given."""
    used = [(i, source) for i, source in enumerate(plan.candidates) if source.in_round(number)]
    shares = _shares(store, plan, run, number, [i for i, _ in used], task, part) if plan.adapt else {}
    return [
        Way(i, source, _with_own(store, source, run, number, part), shares.get(i, source.n))
        for i, source in used
        if not source.own_examples or number > 1
    ]


# -- examples of its own -----------------------------------------------------------------------------------------------


def with_own(session: Session, plan: Plan, run: int, number: int, part: Slice) -> Plan:
    """The plan of a task for round `number`: where `own_examples` says so, the surest answers of the round before join
    the examples that combining strategies and rewards learn from, after those of the plan or the suite."""
    if number < 2:
        return plan
    suite = session.suite(plan.suite_ref)[0]

    def grown(use: Any, kind: str) -> Any:
        if not use.own_examples:
            return use
        brought = suite.options_for(session.hub.find(kind, use.ref.name).name).get("examples", [])
        given = use.options.get("examples", brought)
        own = _own(session.store, use.own_examples, run, number, part)
        return use.model_copy(update={"options": {**use.options, "examples": [*given, *own]}})

    combine = [grown(use, "strategy") for use in plan.combine]
    return plan.model_copy(update={"combine": combine, "rewards": [grown(use, "reward") for use in plan.rewards]})


def _with_own(store: Store, source: Source, run: int, number: int, part: Slice | None = None) -> Ref:
    """The strategy with the surest answers that the round before chose as its worked examples."""
    own = _own(store, source.own_examples, run, number, part) if source.own_examples else []
    return Ref(source.strategy, {**source.options, "examples": own}) if own else source.ref


def _own(store: Store, most: int, run: int, number: int, part: Slice | None) -> list[dict[str, str]]:
    """The surest answers that the round before chose, with their inputs, each of both once."""
    sql = (
        "SELECT p.messages, c.response FROM chosen x JOIN candidates c ON c.id = x.candidate "
        "JOIN prompts p ON p.id = x.prompt WHERE x.run = ? AND x.round = ?"
    )
    sql += (_OF_PART if part else "") + " ORDER BY x.total DESC, x.prompt"
    examples: dict[str, str] = {}
    seen: set[str] = set()
    for messages, response in store.rows(sql, [run, number - 1, *(part.where if part else ())]):
        text = _input(messages)
        if text and response not in seen:  # an answer shown twice teaches it, not the task
            examples.setdefault(text, response)
            seen.add(response)
        if len(examples) == most:
            break
    return [{"input": text, "output": response} for text, response in examples.items()]


def _input(messages: str) -> str:
    from .stored import load_prompt

    return load_prompt(messages).text


# -- a bandit over ways to ask -----------------------------------------------------------------------------------------


def _shares(
    store: Store, plan: Plan, run: int, number: int, used: Sequence[int], task: str = "", part: Slice | None = None
) -> dict[int, int]:
    """Candidates per way for a round, in all as many as the plan gives: in proportion to how often a candidate of the
    way was chosen in earlier rounds.

    Probability matching on a Beta(1, 1) prior: (wins + 1) / (candidates + 2). No way gets less than one candidate. A
    combined candidate's win is shared among its parents.
    """
    wins, drawn = won(store, plan, run, number, task, part)
    rates = {i: (wins.get(i, 0.0) + 1) / (drawn.get(i, 0) + 2) for i in used}
    total = sum(plan.candidates[i].n for i in used)
    if not any(drawn.values()):
        return {i: plan.candidates[i].n for i in used}
    spare, whole = total - len(used), sum(rates.values())
    exact = {i: 1 + max(0, spare) * rate / whole for i, rate in rates.items()}
    shares = {i: int(share) for i, share in exact.items()}
    for i in sorted(exact, key=lambda i: (shares[i] - exact[i], i))[: total - sum(shares.values())]:
        shares[i] += 1
    return shares


def won(
    store: Store, plan: Plan, run: int, before: int, task: str = "", part: Slice | None = None
) -> tuple[dict[int, float], dict[int, int]]:
    """(wins, candidates drawn) by way over the rounds before `before`."""
    wins: dict[int, float] = {}
    drawn: dict[int, int] = {}
    for done in History(store).rounds(run):
        if done["after"] is None or done["number"] >= before:
            continue
        stats = of_task(done["stats"], task)
        indices = stats.get("ways") or [i for i, s in enumerate(plan.candidates) if s.in_round(done["number"])]
        members = [Member(*m) for m in stats.get("members", [])][: len(indices)]
        of = {(m.policy, m.source): i for m, i in zip(members, indices)}
        for member, i in zip(members, indices):
            drawn[i] = drawn.get(i, 0) + member.n * stats.get("prompts", 0)
        for i, share in _credits(store, run, done["number"], of, part):
            wins[i] = wins.get(i, 0.0) + share
    return wins, drawn


def _credits(
    store: Store, run: int, number: int, of: dict[tuple[int, int], int], part: Slice | None = None
) -> list[tuple[int, float]]:
    """(way, wins in a round): of drawn candidates that were chosen, and shares of combined ones they are parents of."""
    sql = (
        "SELECT d.policy, d.source, sum(1.0 / coalesce(json_array_length(c.parents), 1)) "
        "FROM chosen x JOIN candidates c ON c.id = x.candidate JOIN json_each(coalesce(c.parents, json_array(c.id))) j "
        "JOIN candidates d ON d.id = j.value WHERE x.run = ? AND x.round = ?"
    )
    sql += (_OF_PART if part else "") + " GROUP BY 1, 2"
    given = [run, number, *(part.where if part else ())]
    return [(of[p, s], wins) for p, s, wins in store.rows(sql, given) if (p, s) in of]
