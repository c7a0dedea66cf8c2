"""The base classes a plugin subclasses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pydantic

from .types import Candidate, Completion, Group, Prompt, Ref, Request, Sampling, Score


class Options(pydantic.BaseModel):
    """Validated options of a component. Give every field a `description`: it becomes help text."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False)


class Component:
    """What every plugin object is: built from validated `Options`, failing by plain Python exceptions."""

    Options: ClassVar[type[Options]] = Options
    kind: ClassVar[str] = ""

    def __init__(self, options: Any = None) -> None:
        self.options: Any = self.Options() if options is None else options

    def close(self) -> None:
        """Free what the component holds (models, processes). Called once by whoever built it."""


class Suite(Component):
    """Where prompts and the name of their metric come from."""

    kind = "suite"
    metric: Ref
    """The reward that judges an answer; it may see the reference."""
    metric_name: str = "score"
    """What the metric's value is called in reports ("exact", "accuracy")."""
    metric_parts: Sequence[str] = ()
    """Parts of the metric that reports show beside it."""

    def splits(self) -> Sequence[str]:
        """Names of the splits, in reading order."""
        raise NotImplementedError

    def prompts(self, split: str) -> Iterable[Prompt]:
        """The prompts of a split, lazily, always in the same order. References only where the split has gold.

        Raises ValueError for an unknown split, FileNotFoundError (saying what to fetch) for missing data.
        """
        raise NotImplementedError

    def texts(self, split: str) -> Iterable[str]:
        """`Prompt.text` of each prompt of a split, in order: all that a comparison with other data needs.

        To override where `prompts` is slow: it asks a model what to show, say. Raises as `prompts` does.
        """
        return (prompt.text for prompt in self.prompts(split))

    def options_for(self, component: str) -> Mapping[str, Any]:
        """Option defaults this suite brings for a component by qualified name (worked examples, a schema, …)."""
        return {}


class Strategy(Component):
    """Prompt → what is really asked; raw text → the final answer. The trained prompt stays the plain one."""

    kind = "strategy"

    def variants(self, prompt: Prompt, n: int) -> Sequence[Prompt]:
        """The prompts to ask for `n` candidates of `prompt`: n of them, or n·`steps` for strategies in parts.

        The candidate with index i is made from variants i·steps … i·steps + steps − 1.
        """
        return [prompt] * n

    steps: int = 1
    """How many completions make one candidate (`decompose`: one per part)."""

    def follow(self, prompt: Prompt, raws: Sequence[str]) -> Prompt | None:
        """What is asked next, given what was written so far for one candidate; None: that is all.

        With it a candidate takes as many completions in turn as it asks for, and `variants` gives n first questions;
        `steps` stays 1, and `assemble` gets all raw texts.
        """
        return None

    def answer(self, prompt: Prompt, raw: str) -> str:
        """The final answer in the raw text of one completion (`steps` == 1)."""
        return raw.strip()

    def assemble(self, prompt: Prompt, raws: Sequence[str]) -> str:
        """The final answer from the raw texts of the `steps` completions of one candidate, in order."""
        return self.answer(prompt, raws[0])

    def combine(self, group: Group) -> Sequence[Candidate]:
        """New candidates from scored old ones (a vote per field, say). Name their `parents` by `Candidate.id`."""
        return []

    def vary(self, prompt: Prompt, answer: str, n: int) -> Sequence[tuple[Prompt, str]]:
        """For learning: up to `n` more inputs with their answers, made from an input and the answer that is learnt for
        it; right where that one is (other values in both, say). The same for the same arguments."""
        return []

    def proposals(self, source: Sequence[Prompt], n: int) -> Sequence[Prompt]:
        """For prompt synthesis, where new inputs are not made from old ones: about `n` prompts to ask about instead of
        the suite's. The text of each is what its new input is written for (a query, say); the new input has its other
        messages and its meta. The same for the same source, and the first ones do not change with n."""
        return source

    def worked_examples(self) -> int:
        """How many worked examples (input with answer) its prompts hold, or it learns from; every report prints it."""
        return 0


class Generator(Component):
    """Prompts → completions. A policy *is* a generator Ref."""

    kind = "generator"

    def policy_digest(self) -> str:
        """Identity of the policy by content: weights + adapter + tokenizer + chat template, 32 hex digits."""
        raise NotImplementedError

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        """Yield (index of the request, its n completions) as they finish, in any order, each index once.

        The same requests, in the same order, with the same sampling give the same completions on one machine.
        """
        raise NotImplementedError


class Reward(Component):
    """Candidates → scores, each on its own."""

    kind = "reward"
    uses_reference: ClassVar[bool] = False
    """True: sees `Prompt.reference`; refused by `tune` unless labels are explicitly allowed."""
    reads_inputs: ClassVar[bool] = False
    """True: judges a value against what all inputs say; `read` is called before anything is scored."""

    def read(self, inputs: Iterable[Prompt]) -> None:
        """All inputs of the split (at most 20,000, without references), also those whose candidates are not scored.
        A score is kept with them: over other inputs it is another score."""

    learns: ClassVar[bool] = False
    """True: learns from a round's own candidates; `learn` is called before anything is scored. Such a reward can only
    be used in a plan."""

    def learn(self, groups: Iterable[Group]) -> None:
        """All groups of the round in the suite's order, with the scores of the plan's rewards that do not learn, and
        their totals and rejections; no references. Scores are kept with what they were learnt from."""

    def content_digest(self) -> str:
        """Digest of what the scores depend on beside plugin and options: a judge's weights, a file. "" for nothing.
        A score is kept with it, so another model under the same name makes other scores."""
        return ""

    def score_batch(self, pairs: Sequence[tuple[Prompt, Candidate]]) -> Iterable[float | Score]:
        """One float (finite) or Score per pair, in order. Raise for a batch that cannot be scored: the loop retries
        it pair by pair and keeps the error of each pair that fails."""
        raise NotImplementedError


class GroupReward(Reward):
    """Scores that need all candidates of a prompt: consistency, tournament, pairwise."""

    def score_group(self, group: Group) -> Sequence[float | Score]:
        """One float or Score per candidate of the group, in order."""
        raise NotImplementedError

    def score_batch(self, pairs: Sequence[tuple[Prompt, Candidate]]) -> Iterable[float | Score]:
        raise TypeError(f"{type(self).__name__} scores whole groups: rows need a 'group' (or the same prompt)")


class Trainer(Component):
    """Scored groups → a new Ref: a tuned policy, or a trained reward model."""

    kind = "trainer"
    resumes: ClassVar[bool] = False
    """True: called again after it was killed, `update` goes on from what it left in or beside `out`."""
    online: bool = False
    """True (it may depend on the options): draws candidates itself while it trains. The loop sets `judge` first."""
    judge: Callable[[Group], Group] | None = None
    """Scores new candidates by the plan's rewards: the group comes back with scores, totals and rejections."""

    def update(self, groups: Iterable[Group], start: Ref, out: Path, progress: Progress | None = None) -> Ref:
        """Write the new model under `out` (a fresh folder) and return how it is rebuilt.

        `groups` carry totals and rejections; `start` is the policy to start from. Same groups, start and options
        give the same weights on one machine. Raises ValueError if no group has anything to learn from.
        """
        raise NotImplementedError


Task = Callable[[Any], Any]


class Engine(Component):
    """Where scoring runs: this process, local worker processes, a cluster."""

    kind = "engine"

    def map(self, make: Callable[[], Task], items: Iterable[Any], timeout: float) -> Iterator[Any | Exception]:
        """Apply `make()` (built once per worker) to each item; yield results in order, an exception as a value.

        An item that takes more than `timeout` seconds yields TimeoutError; the others go on.
        """
        raise NotImplementedError


class Progress:
    """What long work reports to; the command line draws it, the default stays silent."""

    def start(self, stage: str, total: int | None, unit: str = "") -> None:
        """A stage begins; `total` in units, None if unknown."""

    def advance(self, count: float = 1, sample: str = "", **numbers: float) -> None:
        """`count` units are done; `sample` is something the model says now, `numbers` (loss=…) are shown beside."""

    def finish(self) -> None:
        """The stage is over."""

    def note(self, text: str) -> None:
        """Something to be told at once, between stages."""
