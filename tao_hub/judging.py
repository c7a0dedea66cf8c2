"""The plan's rewards as one function, for trainers that draw candidates themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from .components import GroupReward
from .compose import compose
from .config import RewardUse
from .scoring import score_group, score_pairs
from .session import OpenReward, Session
from .store import Slice
from .types import Group, Score


def judged_by(
    session: Session,
    part: Slice,
    uses: Sequence[RewardUse],
    rewards: Mapping[str, OpenReward],
    min_total: float | None = None,
) -> Callable[[Group], Group]:
    """A function that gives a group its scores, totals and rejections, exactly as the loop scores stored candidates.

    `rewards` are those of the round, which have read the inputs of `part`. Nothing is written to the store.
    """
    seeing = any(rewards[use.key].reward.uses_reference for use in uses)
    for use in uses:
        rewards[use.key].ready()
    golds = _golds(session, part) if seeing else {}

    def judge(group: Group) -> Group:
        prompt = replace(group.prompt, reference=golds.get(group.prompt.digest))
        scores: list[dict[str, Score]] = [{} for _ in group.candidates]
        alive = [i for i, candidate in enumerate(group.candidates) if candidate.error is None]
        for use in uses:
            opened = rewards[use.key]
            candidates = tuple(group.candidates[i] for i in alive)
            with session.timed("score"):
                if opened.whole_groups:
                    whole = cast("GroupReward", opened.reward)
                    found = score_group(whole, Group(prompt, candidates), session.timeout, opened.who)
                else:
                    pairs = [(prompt, candidate) for candidate in candidates]
                    found = score_pairs(opened.reward, pairs, session.timeout, opened.who)
            for i, score in zip(alive, found):
                scores[i][use.key] = score
        return compose(replace(group, scores=tuple(scores)), uses, min_total)

    return judge


def _golds(session: Session, part: Slice) -> dict[str, Any]:
    """Digest of a prompt → its reference, for the items of `part` that have one."""
    sql = (
        "SELECT p.digest, i.reference FROM items i JOIN prompts p ON p.id = i.prompt WHERE i.suite = ? AND "
        "i.split = ? AND i.position < ? AND i.reference IS NOT NULL"
    )
    return {digest: json.loads(reference) for digest, reference in session.store.rows(sql, part.where)}
