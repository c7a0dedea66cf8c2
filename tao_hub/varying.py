"""More of what a round learns: its chosen answers with other values in input and answer, none that is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from .config import Plan
from .guards import held_out
from .overlap import Known
from .session import Session
from .types import VARIED_FROM, Candidate, Group


def varied(session: Session, plan: Plan, groups: Iterable[tuple[int, Group]]) -> Iterator[tuple[int, Group]]:
    """Each group, then groups of one candidate: variations of its best one, with its total (`Strategy.vary`).

    The prompt of a variation tells whose it is (`Prompt.varied_from`, the digest of that group's prompt): trainers
    count it with its answer. A variation that repeats a prompt of a split that is measured, exactly or nearly, is left
    out; so is one that repeats an input that was there already.
    """
    strategies = [(session.strategy(use.ref, plan.suite_ref)[0], use.n) for use in plan.vary]
    known = Known(held_out(session, plan)) if strategies else Known()
    seen: set[str] = set()
    made = dropped = 0
    for row, group in groups:
        yield row, group
        best = group.best()
        if best is None:
            continue
        seen.add(group.prompt.text)
        for strategy, n in strategies:
            for prompt, answer in strategy.vary(group.prompt, group.candidates[best].response, n):
                if prompt.text in seen:
                    continue
                seen.add(prompt.text)
                if known.find(prompt.text):
                    dropped += 1
                    continue
                made += 1
                asked = replace(prompt.without_reference(), meta={**prompt.meta, VARIED_FROM: group.prompt.digest})
                one = Candidate(asked.digest, answer)
                yield row, Group(asked, (one,), ({},), (group.totals[best],), ("",))
    if strategies:
        told = f"{made} variations are learnt, too; {dropped} that repeat what is measured are not"
        session.progress.note(f"update · {told}")
