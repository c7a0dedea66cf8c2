"""Preferences from a run of the workspace: candidates that verifiers, judges or people scored."""

from __future__ import annotations

import math
from pathlib import Path

import tao_hub
from tao_hub import Candidate, Group, Hub, Score, UsageError

from .prepare import Loaded
from .rows import Problems, Ranked


def recycled(store: Path, run: str, by: str, hub: Hub, problems: Problems) -> Loaded:
    """The scored groups of a run as rows, judged by the reward with the label `by` (or the plan's totals).

    Failed, truncated and unscored candidates are left out and named. Rounds that met a prompt again add to its group.
    Raises UsageError for a run or a label that is not there.
    """
    with tao_hub.Session(store, hub) as session:
        groups = list(tao_hub.run_groups(session, run))
    labels = sorted({label for group in groups for scores in group.scores for label in scores})
    if by and by not in labels:
        raise UsageError(f"run {run!r} has no scores of {by!r}; there are {', '.join(labels) or 'none'}")
    name = f"{run}/{by or 'total'}"
    prompts: dict[str, tuple[Group, dict[str, float]]] = {}
    for group in groups:
        kept = prompts.setdefault(group.prompt.digest, (group, {}))[1]
        for i, candidate in enumerate(group.candidates):
            score = group.scores[i].get(by) if by else group.totals[i]
            where = f"{name}:{group.prompt.id or group.prompt.digest[:8]}"
            if told := _unusable(candidate, score):
                problems.add(told, where, candidate.error or candidate.response[:80])
                continue
            value = score.value if score is not None and score.value is not None else math.nan
            if kept.setdefault(candidate.response, value) != value:
                problems.add("rescored", where, f"{kept[candidate.response]:g} is kept, {value:g} came later")
    rows = [
        Ranked(group.prompt.messages, tuple(kept), tuple(kept.values()), True, None, name, name,
               f"{name}:{group.prompt.id or group.prompt.digest[:8]}")
        for group, kept in prompts.values() if kept
    ]  # fmt: skip
    digest = tao_hub.digest([[r.key, list(r.responses), list(r.scores)] for r in rows])
    return Loaded(name, rows, digest, len(prompts))


def _unusable(candidate: Candidate, score: Score | None) -> str:
    """Why a candidate teaches nothing, or ""."""
    if candidate.error:
        return "failed candidate"
    if candidate.truncated:
        return "truncated candidate"
    if not candidate.response.strip():
        return "empty response"
    return "not scored" if score is None or score.value is None else ""
