"""Score items with one reward that is built once; failures are kept as such, finished scores in a file if asked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import tao_hub
from tao_hub.errors import NoRound

from .items import Item, Judged

BATCH = 64
MOST_INPUTS = 20_000  # that a reward which reads all inputs gets, as in the loop


class Kept:
    """Scores by key in a JSONL file of {"key", "value"}: what is there is not computed again.

    A line that was cut off by a kill is passed over. Errors are not kept: they are tried again.
    """

    def __init__(self, file: Path | None) -> None:
        self.file, self.values = file, dict[str, float]()
        if file is not None and file.exists():
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                    self.values[row["key"]] = float(row["value"])
                except (ValueError, KeyError, TypeError):
                    continue

    def add(self, rows: Sequence[tuple[str, float]]) -> None:
        self.values.update(rows)
        if self.file is None or not rows:
            return
        try:
            with self.file.open("a", encoding="utf-8") as out:
                out.write("".join("\n" + json.dumps({"key": k, "value": v}) for k, v in rows) + "\n")
        except OSError as error:
            raise tao_hub.UsageError(f"--scores {self.file}: {error.strerror or error}") from error


class Scorer:
    """A reward and what it cost: `computed` responses in `seconds`, and how many of each error message.

    Use it as a context manager: it frees the reward.
    """

    def __init__(
        self, hub: tao_hub.Hub, ref: tao_hub.Ref, kept: Kept, timeout: float, progress: tao_hub.Progress
    ) -> None:
        self.hub, self.ref = hub, hub.resolve("reward", ref)
        self.reward = hub.reward(self.ref)
        if self.reward.learns:
            raise NoRound(ref.name)
        self.who = f"{self.ref.name} ({hub.find('reward', self.ref.name).plugin.label})"
        self.identity = self.own = tao_hub.digest(
            [hub.identity("reward", self.ref), self.reward.content_digest()]
        )
        self.kept, self.timeout, self.progress = kept, timeout, progress
        self.computed, self.seconds = 0, 0.0
        self.errors: dict[str, int] = {}

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.reward.close()

    def judge(self, items: Sequence[Item], stage: str = "") -> list[Judged]:
        """The items with their scores, in order; None where the reward failed."""
        self._read(items)
        self.progress.start(f"{stage or 'score'} · {self.ref.name}", sum(len(i.responses) for i in items), "responses")
        reward = self.reward
        found = list(self._groups(reward, items) if isinstance(reward, tao_hub.GroupReward) else self._pairs(items))
        self.progress.finish()
        return found

    def _read(self, items: Sequence[Item]) -> None:
        """A reward that judges by all inputs is built anew for these: its scores belong to them."""
        if self.reward.reads_inputs:
            inputs = {item.cluster: item.prompt.without_reference() for item in items}
            self.reward.close()
            self.reward = self.hub.reward(self.ref)
            self.reward.read(list(islice(inputs.values(), MOST_INPUTS)))
            self.identity = tao_hub.digest([self.own, sorted(inputs)])

    def _key(self, item: Item, *said: str) -> str:
        """What a score is kept under: the reward, and all that it sees."""
        reference = item.prompt.reference if self.reward.uses_reference else None
        return tao_hub.digest([self.identity, item.cluster, reference, list(said)])

    def _pairs(self, items: Sequence[Item]) -> Iterator[Judged]:
        found: dict[str, float | None] = {}
        owed: dict[str, tuple[tao_hub.Prompt, tao_hub.Candidate]] = {}
        for item in items:
            for response in item.responses:
                key = self._key(item, response)
                if key not in self.kept.values:
                    owed.setdefault(key, (item.prompt, tao_hub.Candidate(item.cluster, response)))
        self.progress.advance(sum(len(i.responses) for i in items) - len(owed))
        for batch in _batched(owed.items()):
            start = time.perf_counter()
            scores = tao_hub.score_pairs(self.reward, [pair for _, pair in batch], self.timeout, self.who)
            self._took(start, scores)
            found.update(zip((key for key, _ in batch), (score.value for score in scores)))
            self.kept.add([(key, s.value) for (key, _), s in zip(batch, scores) if s.value is not None])
        for item in items:
            keys = [self._key(item, response) for response in item.responses]
            yield Judged(item, tuple(self.kept.values.get(key, found.get(key)) for key in keys))

    def _groups(self, reward: tao_hub.GroupReward, items: Iterable[Item]) -> Iterator[Judged]:
        """Whole groups, one item at a time: a score depends on its siblings."""
        for item in items:
            keys = [self._key(item, *item.responses, str(i)) for i in range(len(item.responses))]
            if all(key in self.kept.values for key in keys):
                self.progress.advance(len(keys))
                yield Judged(item, tuple(self.kept.values[key] for key in keys))
                continue
            group = tao_hub.Group(item.prompt, tuple(tao_hub.Candidate(item.cluster, r) for r in item.responses))
            start = time.perf_counter()
            scores = tao_hub.score_group(reward, group, self.timeout, self.who)
            self._took(start, scores)
            if all(s.value is not None for s in scores):
                self.kept.add([(key, s.value) for key, s in zip(keys, scores) if s.value is not None])
            yield Judged(item, tuple(s.value for s in scores))

    def _took(self, start: float, scores: Sequence[tao_hub.Score]) -> None:
        self.seconds += time.perf_counter() - start
        self.computed += len(scores)
        self.progress.advance(len(scores))
        for score in scores:
            if score.error is not None:
                message = f"{score.error.get('type', 'Error')}: {score.error.get('message', '')}"
                self.errors[message] = self.errors.get(message, 0) + 1


def _batched(rows: Iterable[tuple[str, tuple[tao_hub.Prompt, tao_hub.Candidate]]]) -> Iterator[
    list[tuple[str, tuple[tao_hub.Prompt, tao_hub.Candidate]]]
]:
    going = iter(rows)
    while batch := list(islice(going, BATCH)):
        yield batch
