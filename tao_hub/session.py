"""What a run holds open: the hub, the store, components built once, one policy in memory at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from .components import Generator, GroupReward, Progress, Reward, Strategy, Suite
from .errors import NoRound, PluginError, UsageError
from .plugins import Hub
from .store import Slice, Store
from .types import Group, Prompt, Ref, Sampling, digest

T = TypeVar("T")

MOST_INPUTS = 20_000  # that a reward reads: enough to tell what is common


@dataclass(frozen=True)
class Policy:
    """A policy by content: `digest` covers weights, adapter, tokenizer and chat template; `row` is its row id."""

    ref: Ref
    digest: str
    row: int


@dataclass(frozen=True)
class OpenReward:
    """A reward built from its Ref, with the row id its scores are kept under and who made it."""

    ref: Ref
    row: int
    reward: Reward
    who: str  # "rules/grounded (tao-reward-rules 0.1.0)"
    learn: Callable[[], None] | None = None  # lets a reward that learns from a round do so, once

    def ready(self) -> Reward:
        """The reward, after it has learnt what it scores by. Raises UsageError where there is nothing to learn from."""
        if self.learn is not None:
            self.learn()
        elif self.reward.learns:
            raise NoRound(self.who)
        return self.reward

    @property
    def whole_groups(self) -> bool:
        return isinstance(self.reward, GroupReward)


class Session:
    """Opens components by Ref and times what they compute. Close it, or use it as a context manager.

    `clock` holds the seconds spent inside components per stage (generate, score, update); the rest is overhead.
    """

    def __init__(
        self,
        store: Store | str | Path = "tao-hub.db",
        hub: Hub | None = None,
        progress: Progress | None = None,
        timeout: float = 300.0,
        deterministic: bool = False,
        retry_errors: bool = False,
    ) -> None:
        self.store = store if isinstance(store, Store) else Store(store)
        self.hub = hub or Hub()
        self.progress = progress or Progress()
        self.timeout = timeout
        self.deterministic = deterministic
        self.retry_errors = retry_errors
        self._retried: set[tuple[Any, ...]] = set()
        self.clock: dict[str, float] = {}
        self._suites: dict[str, tuple[Suite, int]] = {}
        self._rewards: dict[str, OpenReward] = {}
        self._policies: dict[str, Policy] = {}
        self._generator: tuple[str, Generator] | None = None

    def close(self) -> None:
        """Close all that it opened, also where something fails to; then that is raised."""
        with ExitStack() as last:
            last.callback(self.store.close)
            for suite, _ in self._suites.values():
                last.callback(suite.close)
            for opened in self._rewards.values():
                last.callback(opened.reward.close)
            last.callback(self.free_generator)
            self._suites, self._rewards = {}, {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except PluginError as error:
            if kind is None:
                raise
            self.progress.note(str(error))  # what ended the work is the error to be told

    def retries(self, *of: Any) -> bool:
        """Whether what failed of `of` (a stage and its rows) is to be tried again: once, where the session retries."""
        if not self.retry_errors or of in self._retried:
            return False
        self._retried.add(of)
        return True

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.clock[stage] = self.clock.get(stage, 0.0) + time.perf_counter() - start

    def suite(self, ref: Ref) -> tuple[Suite, int]:
        """The suite and its row id."""
        ref = self.hub.resolve("suite", ref)
        if ref.digest not in self._suites:
            self._suites[ref.digest] = (self.hub.suite(ref), self.store.component(self.hub.identity("suite", ref)))
        return self._suites[ref.digest]

    def slice(self, ref: Ref, split: str, limit: int | None = None) -> Slice:
        """Bring a split into the store and return the part of it that a stage covers. Raises UsageError where the split
        holds no prompt."""
        part = self.store.add_items(self.suite(ref)[1], split, self.prompts(ref, split), limit)
        if not part.count:
            raise UsageError(f"suite {ref.name}, split {split!r}: it holds no prompt (an empty file, say)")
        return part

    def prompts(self, ref: Ref, split: str) -> Iterator[Prompt]:
        """The prompts of a suite's split, lazily. Raises UsageError where the suite has no such split or no data."""
        return self._read(ref, split, lambda suite: suite.prompts(split))

    def texts(self, ref: Ref, split: str) -> Iterator[str]:
        """`Prompt.text` of each prompt of a suite's split, lazily. Raises as `prompts` does."""
        return self._read(ref, split, lambda suite: suite.texts(split))

    def _read(self, ref: Ref, split: str, read: Callable[[Suite], Iterable[T]]) -> Iterator[T]:
        suite, _ = self.suite(ref)
        try:
            yield from read(suite)
        except (ValueError, OSError) as error:
            label = self.hub.find("suite", ref.name).plugin.label
            raise UsageError(f"suite {ref.name} ({label}), split {split!r}: {error}") from error

    def policy(self, policy: Ref | str) -> Policy:
        """The policy by content. Raises UsageError or PluginError if it cannot be found."""
        ref = self.hub.policy(policy)
        if ref.digest not in self._policies:
            digest = self._open_generator(ref).policy_digest()
            self._policies[ref.digest] = Policy(ref, digest, self.store.policy(digest, ref))
        return self._policies[ref.digest]

    def generator(self, policy: Policy) -> Generator:
        return self._open_generator(policy.ref)

    def _open_generator(self, ref: Ref) -> Generator:
        if self._generator is None or self._generator[0] != ref.digest:
            self.free_generator()
            self._generator = (ref.digest, self.hub.generator(ref))
        return self._generator[1]

    def free_generator(self) -> None:
        """Give back the policy's memory, before training say."""
        if self._generator is not None:
            (_, generator), self._generator = self._generator, None
            generator.close()

    def strategy(self, ref: Ref, suite: Ref | None = None) -> tuple[Strategy, Ref]:
        """The strategy, and its Ref with the options that the suite brings."""
        ref = self.hub.resolve("strategy", ref, self.suite(suite)[0] if suite else None)
        return self.hub.strategy(ref), ref

    def reward(self, ref: Ref, suite: Ref | None = None) -> OpenReward:
        ref = self.hub.resolve("reward", ref, self.suite(suite)[0] if suite else None)
        if ref.digest not in self._rewards:
            entry = self.hub.find("reward", ref.name)
            reward = self.hub.reward(ref)
            row = self.store.component(self._identity(ref, reward))
            who = f"{entry.name} ({entry.plugin.label})"
            self._rewards[ref.digest] = OpenReward(ref, row, reward, who)
        return self._rewards[ref.digest]

    def _identity(self, ref: Ref, reward: Reward) -> dict[str, Any]:
        """What a score is kept under: the plugin, its options, and what else the reward says it depends on."""
        content = reward.content_digest()
        return {**self.hub.identity("reward", ref), **({"content": content} if content else {})}

    def informed(self, opened: OpenReward, part: Slice) -> OpenReward:
        """The reward after it read the split of `part`, if it judges by all inputs: its scores belong to them."""
        if not opened.reward.reads_inputs:
            return opened
        inputs = list(islice(self._inputs(part), MOST_INPUTS))
        who = digest([opened.ref.digest, [prompt.digest for prompt in inputs]])
        if who not in self._rewards:
            reward = self.hub.reward(opened.ref)
            reward.read(inputs)
            identity = {**self._identity(opened.ref, reward), "inputs": who}
            self._rewards[who] = OpenReward(opened.ref, self.store.component(identity), reward, opened.who)
        return self._rewards[who]

    def taught(self, opened: OpenReward, lesson: Any, groups: Callable[[], Iterable[Group]]) -> OpenReward:
        """A reward that learns, with the groups it will learn from when something is to be scored: `lesson` (JSON)
        says what these are, and its scores belong to it."""
        who = digest([opened.ref.digest, lesson])
        if who not in self._rewards:
            reward = self.hub.reward(opened.ref)
            row = self.store.component({**self._identity(opened.ref, reward), "learnt": who})

            @cache
            def learn() -> None:
                with self.timed("score"):
                    try:
                        reward.learn(groups())
                    except ValueError as error:
                        raise UsageError(f"{opened.who} cannot learn from this round: {error}") from error

            self._rewards[who] = OpenReward(opened.ref, row, reward, opened.who, learn)
        return self._rewards[who]

    def _inputs(self, part: Slice) -> Iterator[Prompt]:
        """All inputs of the split that a slice is of: those not tuned on tell as much about what is common."""
        for suite, row in self._suites.values():
            if row == part.suite and part.split in suite.splits():
                return (prompt.without_reference() for prompt in suite.prompts(part.split))
        return (prompt for _, prompt in self.store.prompts(part))

    def source(self, strategy: Ref, policy: Policy, sampling: Sampling | None, **inputs: Any) -> int:
        """Row id of a way to draw candidates; `inputs` name what combined candidates were made from."""
        strategy_identity = self.hub.identity("strategy", strategy)
        generator_identity = {**self.hub.identity("generator", policy.ref), **inputs}
        return self.store.source(strategy_identity, generator_identity, sampling)
