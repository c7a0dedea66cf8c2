"""The nouns of TAO Hub: frozen values, standard library only."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

VARIED_FROM = "varied_from"  # in a prompt's meta: whose variation it is


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces, so that equal values have equal text.

    Raises ValueError for NaN and infinities, TypeError for values JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the content digest of a JSON value: 32 hex digits (128 bits) of BLAKE2b over its canonical JSON."""
    return hashlib.blake2b(canonical_json(value).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Ref:
    """How any component is rebuilt: a plugin name and its options (JSON values)."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest([self.name, dict(self.options)])

    def __str__(self) -> str:
        return self.name + "".join(f" -o {k}={canonical_json(v)}" for k, v in sorted(self.options.items()))


@dataclass(frozen=True)
class Message:
    """One turn of a chat; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """Chat messages that ask for one answer.

    `reference` is the gold answer. The loop strips it (`without_reference`) before a prompt reaches a generator,
    a strategy, or a reward that does not declare `uses_reference`. `meta` is what the prompt is about beside its text
    (`db`: the database of a question) and reaches all of them: no answer belongs there.
    """

    messages: tuple[Message, ...]
    id: str = ""
    reference: Any = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Identity by content: messages and meta, so a prompt with and without its reference is the same prompt."""
        messages = [[m.role, m.content] for m in self.messages]
        return digest([messages, dict(self.meta)] if self.meta else messages)

    @property
    def text(self) -> str:
        """The input itself: the content of the last user message ("" if there is none)."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def varied_from(self) -> str:
        """Digest of the prompt that this one is a variation of (`Strategy.vary`); "" if it is none."""
        return str(self.meta.get(VARIED_FROM, ""))

    def without_reference(self) -> Prompt:
        return self if self.reference is None else replace(self, reference=None)


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn. `temperature` 0 is greedy; then `seed` and `top_p` have no effect."""

    temperature: float = 0.0
    max_tokens: int = 256
    top_p: float = 1.0
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """JSON form; greedy sampling is the same sampling whatever its seed and top_p."""
        greedy = self.temperature == 0
        return {
            "temperature": float(self.temperature),
            "max_tokens": self.max_tokens,
            "top_p": 1.0 if greedy else float(self.top_p),
            "seed": 0 if greedy else self.seed,
        }


@dataclass(frozen=True)
class Request:
    """What a generator is asked for: `n` completions of one prompt, whose draws are fixed by `seed`.

    `top_logprobs`: how many alternatives per output token are wanted beside the sampled one; a generator that has none
    leaves `Completion.top_logprobs` None.
    """

    prompt: Prompt
    n: int = 1
    seed: int = 0
    top_logprobs: int = 0


@dataclass(frozen=True)
class Completion:
    """What a generator returns for one sample.

    `logprobs` are natural-log probabilities of the sampled tokens under the policy at temperature 1, one per output
    token, None where the generator has none. `seconds` is this completion's share of the wall time of its batch.
    `top_logprobs`, where they were asked for: per output token its most likely texts with their log-probabilities, the
    sampled one first.
    """

    text: str
    finish_reason: str = "stop"  # "stop" | "length"
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    logprobs: tuple[float, ...] | None = None
    seconds: float | None = None
    top_logprobs: tuple[Mapping[str, float], ...] | None = None

    def __post_init__(self) -> None:
        """Numbers of other libraries become Python's: a store would keep them as bytes."""
        for name, kind in (("prompt_tokens", int), ("output_tokens", int), ("seconds", float)):
            value = getattr(self, name)
            if value is not None and type(value) is not kind:
                object.__setattr__(self, name, kind(value))


@dataclass(frozen=True)
class Candidate:
    """One response in one slot (prompt, policy digest, source, index).

    `raw` is what the model wrote, `response` the final answer the strategy took from it (this is scored and trained).
    A candidate whose generation failed has `error` and an empty response; it is never scored, never chosen.
    `parents` are the slots a combined candidate was made from; it has no `raw` of its own.
    """

    prompt: str  # digest of the plain prompt
    response: str
    raw: str = ""
    policy: str = ""  # digest of the policy
    strategy: str = ""  # qualified name
    index: int = 0
    finish_reason: str = "stop"
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    logprobs: tuple[float, ...] | None = None
    seconds: float | None = None
    parents: tuple[int, ...] = ()
    error: str | None = None
    id: int | None = None  # row in the store

    @property
    def truncated(self) -> bool:
        return self.finish_reason == "length"

    @property
    def response_digest(self) -> str:
        return digest(self.response)


@dataclass(frozen=True)
class Score:
    """Exactly one of `value` (a finite float) or `error`; plus `why` and named `parts`. A failure is never 0.0.

    `error` is {"type", "message"}. Raises ValueError/TypeError on anything else, so a bad score cannot exist.
    """

    value: float | None = None
    error: Mapping[str, str] | None = None
    why: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.value is None) == (self.error is None):
            raise ValueError("a Score holds exactly one of value and error")
        for name, number in [("value", self.value), *self.parts.items()]:
            if number is None:
                continue
            if isinstance(number, (str, complex)) or not hasattr(number, "__float__"):
                raise TypeError(f"score {name!r} must be a number, found {type(number).__name__} {number!r:.80}")
            if not math.isfinite(number):
                raise ValueError(f"score {name!r} must be finite, found {number!r}")
        if self.value is not None:
            object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "parts", {str(k): float(v) for k, v in self.parts.items()})

    @classmethod
    def failed(cls, error: BaseException | str, type: str = "") -> Score:
        """A score that could not be made, with the reason."""
        kind = type or (error.__class__.__name__ if isinstance(error, BaseException) else "Error")
        return cls(error={"type": kind, "message": str(error)[:2000]})


@dataclass(frozen=True)
class Group:
    """One prompt, its candidates and their scores: the unit of preference learning and of RL.

    `scores[i]` maps a reward's label to the Score of `candidates[i]`; `totals[i]` is the composed score (None where
    any component failed or nothing is composed yet); `rejected[i]` says which gate refused it ("" if none did).
    """

    prompt: Prompt
    candidates: tuple[Candidate, ...]
    scores: tuple[Mapping[str, Score], ...] = ()
    totals: tuple[Score | None, ...] = ()
    rejected: tuple[str, ...] = ()

    def best(self) -> int | None:
        """Index of the candidate to learn from: highest total among finished, accepted, scored ones; first on ties."""
        best: int | None = None
        top = -math.inf
        for i, (candidate, total) in enumerate(zip(self.candidates, self.totals)):
            if candidate.truncated or candidate.error or total is None or total.value is None or self.rejected[i]:
                continue
            if total.value > top:
                best, top = i, total.value
        return best


@dataclass(frozen=True)
class Delta:
    """A metric before and after on identical items, with what chance alone would give (see `tao_hub.stats`)."""

    metric: str
    suite: str
    before: float
    after: float
    n: int
    delta: float
    low: float
    high: float
    p: float
    gains: int
    losses: int
    mde: float
    verdict: str  # "improved" | "regressed" | "inconclusive"
    errors: int = 0
    alpha: float = 0.05
    note: str = ""


@dataclass(frozen=True)
class Round:
    """Policy before → policy after, with the plan that made it and what was seen on the way."""

    number: int
    before: Ref
    after: Ref
    plan: Mapping[str, Any]
    stats: Mapping[str, Any] = field(default_factory=dict)
    deltas: tuple[Delta, ...] = ()


@dataclass(frozen=True)
class Report:
    """All that a run's report shows, recomputed from the store."""

    run: str
    title: str
    data: Mapping[str, Any]


Pairs = Sequence[tuple[Prompt, Candidate]]
