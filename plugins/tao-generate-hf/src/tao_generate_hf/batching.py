"""Which rows are decoded together: those that share a long prompt prefix, of like length; the same context once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from .copying import Copying, Track

MIN_ROWS = 8  # fewer rows than this get no prefix of their own
MIN_GAIN = 32  # tokens by which the prefix of a part must be longer than that of the whole

Tokens = tuple[int, ...]


@dataclass(eq=False)
class Row:
    """One sample of one request on its way."""

    request: int
    sample: int
    prompt: Tokens
    limit: int  # new tokens
    draws: np.ndarray | None = None  # (limit,) uniform numbers; None for greedy
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    seconds: float = 0.0
    finish_reason: str = ""
    copying: Copying | None = None  # spans that the strings of its answer are limited to
    track: Track | None = None

    @property
    def context(self) -> Tokens:
        """The prompt and what is written already."""
        return (*self.prompt, *self.tokens)

    def restart(self) -> None:
        self.tokens, self.logprobs, self.seconds, self.finish_reason, self.track = [], [], 0.0, "", None


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading tokens two prompts share."""
    count = 0
    for x, y in zip(a, b):
        if x != y:
            break
        count += 1
    return count


def prefix_groups(rows: Sequence[Row]) -> list[tuple[Tokens, list[Row]]]:
    """Parts of `rows` with the prefix all prompts of a part share; at least one token of each prompt lies outside.

    A call may mix several kinds of prompts (another worked example, another question per part of the answer); each
    kind with enough rows gets its own prefix.
    """
    found: list[tuple[Tokens, list[Row]]] = []
    ordered = sorted(rows, key=lambda row: row.prompt)
    pending = [(ordered, 0)] if ordered else []
    while pending:
        part, floor = pending.pop()
        shared = [common_prefix(a.prompt, b.prompt) for a, b in pairwise(part)]
        length = min([*shared, *(len(row.prompt) - 1 for row in part)])
        kept: list[Row] = []
        for branch in _split(part, shared, length):
            # sorted, so the ends of a branch differ the most
            longer = common_prefix(branch[0].prompt, branch[-1].prompt) >= max(length, floor) + MIN_GAIN
            if len(branch) < len(part) and len(branch) >= MIN_ROWS and longer:
                pending.append((branch, length))
            else:
                kept += branch
        if kept:
            found.append((kept[0].prompt[:length], kept))
    return sorted(found, key=lambda group: min((row.request, row.sample) for row in group[1]))


def _split(part: Sequence[Row], shared: Sequence[int], length: int) -> Iterator[list[Row]]:
    """The branches of the tree of prompts below its common prefix of `length`."""
    branch = [part[0]]
    for row, common in zip(part[1:], shared):
        if common <= length:
            yield branch
            branch = []
        branch.append(row)
    yield branch


def batches(rows: Sequence[Row], prefix: int, tokens: int, most: int) -> Iterator[list[Row]]:
    """Cut rows, longest prompts first, into batches of at most `most` rows and about `tokens` tokens of memory.

    Rows of the same prompt stay together where they can, so that it is read once.
    """
    ordered = sorted(rows, key=lambda row: (-len(row.context), row.context, row.request, row.sample))
    batch: list[Row] = []
    for _, same in groupby(ordered, key=lambda row: row.context):
        siblings = list(same)
        first = batch[0] if batch else siblings[0]
        room = max(1, min(most, tokens // (len(first.prompt) - prefix + first.limit)))
        if batch and len(batch) + len(siblings) > room:
            yield batch
            batch = []
        batch += siblings
        while len(batch) > room:
            yield batch[:room]
            batch = batch[room:]
    if batch:
        yield batch


def contexts(batch: Sequence[Row], prefix: int) -> tuple[list[Tokens], list[list[Row]]]:
    """The different contexts of a batch in order, without their first `prefix` tokens, and the rows that have each."""
    runs = [(context, list(same)) for context, same in groupby(batch, key=lambda row: row.context)]
    return [context[prefix:] for context, _ in runs], [rows for _, rows in runs]


Node = list[Row]  # the rows with one context: what was written so far is the same, so is what may come next


def branch(nodes: Sequence[Node], apart: bool) -> tuple[list[int], list[Node]]:
    """Nodes after each row has written one token more: (for each the index of the node it goes on from, its rows).

    Rows that are finished leave; rows of a node that wrote different tokens part. A node stays at its index where it
    can, its branches take the places of what has ended; an empty node is a place where nothing is left. `apart` keeps
    each row in a node of its own.
    """
    parents, made = list(range(len(nodes))), [[row for row in node if not row.finish_reason] for node in nodes]
    free = [i for i, node in enumerate(made) if not node]
    for i in range(len(nodes)) if not apart else ():
        if len(made[i]) < 2:
            continue
        parts: dict[int, Node] = {}
        for row in made[i]:
            parts.setdefault(row.tokens[-1], []).append(row)
        made[i], *others = parts.values()
        for other in others:
            place = free.pop() if free else len(made)
            parents[place:place + 1], made[place:place + 1] = [i], [other]
    if 4 * len(free) >= len(made):  # moving what is left costs about one step
        for place in sorted(free):
            while made and not made[-1]:
                made.pop(), parents.pop()
            if place >= len(made):
                break
            parents[place], made[place] = parents.pop(), made.pop()
    return parents, made
