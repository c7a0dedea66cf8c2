"""Which pairs of answers a reward is least sure of: what a person should judge next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import tao_hub
from tao_hub import Candidate, Message, Prompt, Score

LEAST = 1e-6  # of a spread, for rewards that tell none


@dataclass(frozen=True)
class Pair:
    """Two answers to a prompt and how sure the reward is of which is the better one: 0.5 is not at all, 1 wholly."""

    prompt: tuple[Message, ...]
    answers: tuple[str, str]
    scores: tuple[float, float]
    sureness: float

    @property
    def key(self) -> str:
        """Identity of the prompt and both answers, in either order."""
        return tao_hub.digest([[[m.role, m.content] for m in self.prompt], sorted(self.answers)])


def least_sure(
    reward: tao_hub.Reward, asked: Iterable[tuple[Prompt, Sequence[str]]], timeout: float = 300.0
) -> list[Pair]:
    """One pair for each prompt with two scored answers or more, the least sure first.

    With the part `std` of an ensemble: Φ(|a − b| / √(σa² + σb²)), how often its members would agree on the better one
    if their scores were normal. Without it: σ(|a − b|), the Bradley–Terry probability of the better one. Answers that
    could not be scored have no pair.
    """
    found = []
    for prompt, answers in asked:
        pairs = [(prompt, Candidate(prompt.digest, answer)) for answer in dict.fromkeys(answers) if answer.strip()]
        scores = tao_hub.score_pairs(reward, pairs, timeout) if len(pairs) > 1 else []
        known = [(c.response, s) for (_, c), s in zip(pairs, scores) if s.value is not None]
        made = [_pair(prompt, a, b) for a, b in combinations(known, 2)]
        if made:
            found.append(min(made, key=lambda pair: pair.sureness))
    return sorted(found, key=lambda pair: pair.sureness)


def _pair(prompt: Prompt, first: tuple[str, Score], second: tuple[str, Score]) -> Pair:
    (one, a), (other, b) = first, second
    apart = abs((a.value or 0.0) - (b.value or 0.0))
    if "std" in a.parts and "std" in b.parts:
        spread = max(LEAST, math.hypot(a.parts["std"], b.parts["std"]))
        sureness = 0.5 * (1 + math.erf(apart / spread / math.sqrt(2)))
    else:
        sureness = 1 / (1 + math.exp(-min(apart, 700.0)))
    return Pair(prompt.messages, (one, other), (a.value or 0.0, b.value or 0.0), sureness)
