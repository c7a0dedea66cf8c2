"""rules/consistency: a vote, how many candidates of the group say the same."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import exp, fsum
from typing import Any, Literal

import pydantic
import regex

import tao_hub

LONGEST = 20_000  # characters of a text that are searched for its final answer
SECONDS = 1.0  # that searching one text may take


class Consistency(tao_hub.GroupReward):
    """The share of voters that agree with a candidate, 0–1 (self-consistency, Wang et al. 2022, arXiv 2203.11171).

    By fields: a part per field is the share of voters that hold the same value there; the value is the mean of the
    parts, over the candidate's fields and those it lacks though at least half of the voters hold them. Whole: the share
    that gives the same answer. Voters are candidates that were generated (not combined from others), without error,
    finished, and that parse. Values are the same up to case, blanks and typography. With `weigh` a vote weighs the
    voter's mean token probability (the normalised weighted sum of Wang et al.), and shares are of that weight.
    """

    class Options(tao_hub.Options):
        mode: Literal["fields", "whole"] = pydantic.Field(
            "fields", description="Vote per field, or on the whole answer"
        )
        ignore: list[str] = pydantic.Field([], description="Fields without a vote")
        unheard: list[str] = pydantic.Field(
            [], description="Qualified names of strategies whose candidates have no vote (they propose, say)"
        )
        answer: str = pydantic.Field(
            "", description="Whole: pattern of the final answer in a text; its last match (or group 1) is voted on"
        )
        min_voters: int = pydantic.Field(2, ge=1, description="With fewer voters there is no score")
        weigh: bool = pydantic.Field(
            False,
            description="Votes weigh the mean token probability; one without it has the mean weight of those with it",
        )

        @pydantic.field_validator("answer")
        @classmethod
        def _compiles(cls, pattern: str) -> str:
            try:
                regex.compile(pattern)
            except regex.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
            return pattern

    def score_group(self, group: tao_hub.Group) -> Sequence[float | tao_hub.Score]:
        ballots = [self._ballot(candidate) for candidate in group.candidates]
        heard = [(b, c) for b, c in zip(ballots, group.candidates) if isinstance(b, dict) and self._votes(c)]
        weights = _weights([c for _, c in heard]) if self.options.weigh else [1.0] * len(heard)
        pooled = _pooled([ballot for ballot, _ in heard], weights)
        return [self._score(c, b, pooled, fsum(weights), len(heard)) for c, b in zip(group.candidates, ballots)]

    def _score(
        self,
        candidate: tao_hub.Candidate,
        ballot: dict[str, Hashable] | str,
        pooled: Mapping[str, Mapping[Hashable, float]],
        whole: float,
        voters: int,
    ) -> tao_hub.Score:
        if candidate.error:
            return tao_hub.Score.failed(f"the candidate failed: {candidate.error}", type="FailedCandidate")
        if isinstance(ballot, str):
            return tao_hub.Score(0.0, why=ballot)
        if voters < self.options.min_voters:
            return tao_hub.Score.failed(
                f"{voters} candidates that can vote, at least {self.options.min_voters} are needed (raise n)",
                type="TooFewVoters",
            )
        held = {name: pooled.get(name, {}).get(value, 0.0) / whole for name, value in ballot.items()}
        others = {name: fsum(values.values()) for name, values in pooled.items() if name not in ballot}
        lacking = {name: max(0.0, 1 - weight / whole) for name, weight in others.items() if weight * 2 >= whole}
        parts = {**held, **lacking}
        if not parts:
            return tao_hub.Score(0.0, why="no field to vote on in the answer")
        why = f"{voters} voters; " + ", ".join(f"{name} {part:.2f}" for name, part in parts.items())
        return tao_hub.Score(fsum(parts.values()) / len(parts), why=why[:300], parts=parts)

    def _votes(self, candidate: tao_hub.Candidate) -> bool:
        heard = candidate.strategy not in self.options.unheard
        return heard and not (candidate.parents or candidate.error or candidate.truncated)

    def _ballot(self, candidate: tao_hub.Candidate) -> dict[str, Hashable] | str:
        """What the candidate holds by field, normalised; or why it holds nothing."""
        try:
            record: dict[str, Any] = tao_hub.parse_record(candidate.response)
        except ValueError as error:
            if self.options.mode == "fields":
                return f"{error} (mode = \"whole\" votes on texts)"
            return self._text(candidate.response)
        if self.options.mode == "whole" and self.options.answer:
            return self._text(candidate.response)
        if self.options.mode == "whole":
            return {"answer": tao_hub.value_key({n: v for n, v in record.items() if n not in self.options.ignore})}
        return {n: tao_hub.value_key(v) for n, v in record.items() if n not in self.options.ignore}

    def _text(self, response: str) -> dict[str, Hashable] | str:
        """The text that is voted on: all of it, or its final answer."""
        if self.options.answer:
            pattern = regex.compile(self.options.answer)
            matches = pattern.finditer(response[:LONGEST], timeout=SECONDS)
            found = [m[1] if pattern.groups else m[0] for m in matches]
            if not found or found[-1] is None:
                return "no final answer in the text"
            response = found[-1]
        text = tao_hub.normalise_text(response)
        return {"answer": ("text", text)} if text else "empty answer"


def _weights(voters: Sequence[tao_hub.Candidate]) -> list[float]:
    """What each vote weighs, up to a common factor: exp(mean log-probability of its tokens), and the mean of these
    where there is none. All are divided by the largest before they are pooled (the log-sum-exp trick): answers that are
    all very unlikely do not vanish together."""
    known = [fsum(c.logprobs) / len(c.logprobs) if c.logprobs else None for c in voters]
    there = [mean for mean in known if mean is not None]
    if not there:
        return [1.0] * len(voters)
    most = max(there)
    usual = fsum(exp(mean - most) for mean in there) / len(there)
    return [usual if mean is None else exp(mean - most) for mean in known]


def _pooled(votes: Sequence[Mapping[str, Hashable]], weights: Sequence[float]) -> dict[str, dict[Hashable, float]]:
    """Field → value → the weight of all votes that hold it."""
    held: dict[str, dict[Hashable, list[float]]] = {}
    for vote, weight in zip(votes, weights):
        for name, value in vote.items():
            held.setdefault(name, {}).setdefault(value, []).append(weight)
    return {name: {value: fsum(some) for value, some in values.items()} for name, values in held.items()}
