"""core/assemble: a new record from the fields that win the vote among the candidates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

import pydantic

from .. import components
from ..components import Strategy
from ..records import dump_record, parse_record, value_key
from ..types import Candidate, Group, Prompt, Score

MAX_COMBINATIONS = 64


@dataclass(frozen=True)
class Voter:
    """A candidate that votes: finished, generated, and a record."""

    candidate: Candidate
    record: Mapping[str, Any]
    scores: Mapping[str, Score]  # by label


@dataclass
class Tally:
    """The votes for one value of one field; `value` is how its heaviest vote writes it."""

    weight: float = 0.0
    heaviest: float = -1.0
    value: Any = None
    parents: list[int] = field(default_factory=list)

    def add(self, weight: float, value: Any, parent: int | None) -> None:
        self.weight += weight
        if weight > self.heaviest:
            self.heaviest, self.value = weight, value
        if parent is not None:
            self.parents.append(parent)


class Assemble(Strategy):
    """Generates nothing; combines the candidates of a group into the record of the winning fields.

    For each field, every candidate's vote for its value weighs the product of that field's parts over the rewards that
    judge by field (so a value that does not occur in the input, part 0, has no vote), times the weight of the strategy
    it came from. Where no value has a vote, or none as heavy as `null_floor`, null wins. Fields with `choices` are not
    voted on: a candidate is made for every option, and the rewards decide. Candidates that failed, were cut off, were
    combined, or are no record have no vote; nor has one that a reward by field could not score, for that field.
    """

    class Options(components.Options):
        null_weight: float = pydantic.Field(1.0, ge=0, description="What a vote for null weighs beside one for a value")
        null_floor: float = pydantic.Field(
            0.0, ge=0, description="A standing vote for null in each field: no value wins whose votes weigh less"
        )
        choices: dict[str, list[str | None]] = pydantic.Field(
            {}, description="Field → all its options; each is proposed in a candidate of its own"
        )
        keys: list[str] = pydantic.Field(
            [], description="The record's keys in order; empty: those of the first record, and what most records hold"
        )
        source_weights: dict[str, pydantic.NonNegativeFloat] = pydantic.Field(
            {}, description="Qualified strategy name → weight of its candidates' votes (default 1)"
        )
        uncounted: list[str] = pydantic.Field(
            ["consistency"], description="Rewards whose parts weigh no vote: their label, or a piece of it"
        )

        @pydantic.field_validator("choices")
        @classmethod
        def _few(cls, choices: dict[str, list[str | None]]) -> dict[str, list[str | None]]:
            if not all(choices.values()):
                raise ValueError("a field of choices has no option")
            if (count := prod(len(options) for options in choices.values())) > MAX_COMBINATIONS:
                raise ValueError(f"choices give {count} combinations, at most {MAX_COMBINATIONS} are proposed")
            return choices

    def variants(self, prompt: Prompt, n: int) -> Sequence[Prompt]:
        return []

    def combine(self, group: Group) -> Sequence[Candidate]:
        voters = _voters(group)
        if not voters:
            return []
        names = self._keys(voters)
        tallies = {name: self._tally(voters, name) for name in names}
        proposals = [self._proposals(name, tallies[name]) for name in names]
        made: list[Candidate] = []
        for chosen in product(*proposals):
            record = {name: value for name, (value, _) in zip(names, chosen)}
            parents = sorted({parent for _, some in chosen for parent in some})
            made.append(
                Candidate(
                    prompt=group.prompt.digest,
                    response=dump_record(record),
                    policy=voters[0].candidate.policy,
                    strategy="core/assemble",
                    index=len(made),
                    parents=tuple(parents),
                )
            )
        return made

    def _keys(self, voters: Sequence[Voter]) -> list[str]:
        if self.options.keys:
            return list(self.options.keys)
        first = list(voters[0].record)
        seen = dict.fromkeys([*first, *(name for voter in voters for name in voter.record)])
        common = [n for n in seen if 2 * sum(n in voter.record for voter in voters) >= len(voters)]
        return list(dict.fromkeys([*common, *self.options.choices]))

    def _tally(self, voters: Sequence[Voter], name: str) -> dict[Hashable, Tally]:
        judges = sorted({x for v in voters for x, s in v.scores.items() if name in s.parts and self._counts(x)})
        tallies: dict[Hashable, Tally] = {}
        for voter in voters:
            if name not in voter.record:
                continue
            value = voter.record[name]
            weight: float = self.options.source_weights.get(voter.candidate.strategy, 1.0)
            weight *= self.options.null_weight if value is None else 1.0
            for label in judges:
                score = voter.scores.get(label)
                weight *= max(0.0, score.parts.get(name, 0.0)) if score is not None else 0.0
            tallies.setdefault(value_key(value), Tally()).add(weight, value, voter.candidate.id)
        return tallies

    def _counts(self, label: str) -> bool:
        return not any(piece in label for piece in self.options.uncounted)

    def _proposals(self, name: str, tallies: Mapping[Hashable, Tally]) -> list[tuple[Any, list[int]]]:
        """(value, parents) of each value that the record may get: the winner, or every option."""
        if name in self.options.choices:
            held = {option: tallies.get(value_key(option)) for option in self.options.choices[name]}
            return [(option, tally.parents if tally else []) for option, tally in held.items()]
        winner = max(tallies.values(), key=lambda tally: tally.weight, default=None)  # the first of equals
        if winner is None or winner.weight <= 0 or winner.weight < self.options.null_floor:
            nulls = tallies.get(value_key(None))
            return [(None, nulls.parents if nulls else [])]
        return [(winner.value, winner.parents)]


def _voters(group: Group) -> list[Voter]:
    voters = []
    for i, candidate in enumerate(group.candidates):
        if candidate.error or candidate.truncated or candidate.parents:
            continue
        try:
            record = parse_record(candidate.response)
        except ValueError:
            continue
        voters.append(Voter(candidate, record, group.scores[i] if i < len(group.scores) else {}))
    return voters
