"""Score rows of a JSONL file with one reward, no store needed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice, tee
from pathlib import Path
from typing import Any, cast

from .components import GroupReward, Progress, Reward
from .errors import NoRound, UsageError
from .partial import FAILED, SCORED, SKIPPED, Partial
from .plugins import Hub
from .scoring import score_group, score_pairs
from .types import Candidate, Group, Message, Prompt, Ref, Score, digest

BATCH = 64
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Row:
    """One input row: {"id", "prompt": str | messages, "response": str, "reference"?, "group"?, "meta"?}."""

    id: Any
    prompt: Prompt
    response: str
    group: str


Numbered = list[tuple[int, "Row | Score"]]  # rows with their numbers in the file, from 0


def score_rows(
    reward: Ref,
    source: Path,
    target: Path,
    *,
    hub: Hub | None = None,
    workers: int = 1,
    timeout: float = 300.0,
    skip_invalid: bool = False,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write one row per input row to `target`, in the same order.

    Returns counts {"rows", "scored", "errors", "skipped"}.

    Output: {"id", "value": float|null, "error": null|{"type","message"}, "why", "parts"}. Raises UsageError for a
    malformed line (file, line, what was found) before anything is written; with `skip_invalid` such a line gets an
    error row instead. `target` appears at once when all is done, so it is never half-written; what is scored until then
    lies beside it, and the same call, after an interruption, goes on from there and asks for failed rows again.
    """
    hub, progress = hub or Hub(), progress or Progress()
    reward = hub.resolve("reward", reward)
    loaded = cast("type[Reward]", hub.find("reward", reward.name).load())
    if loaded.learns:
        raise NoRound(reward.name)
    whole = issubclass(loaded, GroupReward)
    built = hub.reward(reward)  # bad options are told before the file is read
    if source.exists() and not source.is_file():
        raise UsageError(f"{source} is no file: rows are read twice, so put what a pipe gives into one first")
    inputs: dict[str, Prompt] = {}
    total = 0
    for row in read_rows(source, skip_invalid):
        total += 1
        if loaded.reads_inputs and isinstance(row, Row):
            inputs.setdefault(row.prompt.digest, row.prompt.without_reference())
    rows = read_rows(source, skip_invalid)
    key = digest([hub.identity("reward", reward), built.content_digest(), _content(source), skip_invalid])
    kept = Partial(target, key, total)
    engine = hub.engine(Ref("core/local", {"workers": workers}))
    make = functools.partial(scorer, reward, timeout, None if workers > 1 else hub, list(inputs.values()),
                             None if workers > 1 else built)  # fmt: skip
    try:
        if len(kept):
            progress.note(f"{len(kept)} of {total} rows are scored already")
        progress.start(f"score · {reward.name}", total - len(kept), "rows")
        # The engine answers in order, so the batches it was given are kept in a second stream.
        first, second = tee(_grouped(rows, kept) if whole else _batched(rows, kept))
        asked = ([row for _, row in batch] for batch in first)
        for batch, result in zip(second, engine.map(make, asked, timeout), strict=False):
            scores = [Score.failed(result)] * len(batch) if isinstance(result, Exception) else result
            kept.add((number, _ended(row, score), _output(row, score)) for (number, row), score in zip(batch, scores))
            progress.advance(len(batch))
        progress.finish()
        return kept.finish()
    finally:
        kept.close()
        engine.close()
        built.close()


def _content(file: Path) -> str:
    """Digest of a file's bytes."""
    whole = blake2b(digest_size=16)
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            whole.update(piece)
    return whole.hexdigest()


def _ended(row: Row | Score, score: Score) -> bytes:
    return SKIPPED if isinstance(row, Score) else FAILED if score.value is None else SCORED


def scorer(
    reward: Ref, timeout: float, hub: Hub | None = None, inputs: Sequence[Prompt] = (), built: Reward | None = None
) -> Callable[[list[Row | Score]], list[Score]]:
    """A function that scores a batch of rows; the reward is built once in each worker."""
    hub = hub or Hub()
    built = built or hub.reward(reward)
    if built.reads_inputs:
        built.read(inputs)
    who = f"{reward.name} ({hub.find('reward', reward.name).plugin.label})"

    def run(batch: list[Row | Score]) -> list[Score]:
        rows = [r for r in batch if isinstance(r, Row)]
        candidates = [Candidate(r.prompt.digest, r.response) for r in rows]
        if isinstance(built, GroupReward):
            groups: dict[str, list[int]] = {}
            for i, row in enumerate(rows):
                groups.setdefault(row.group, []).append(i)
            found: dict[int, Score] = {}
            for members in groups.values():
                group = Group(rows[members[0]].prompt, tuple(candidates[i] for i in members))
                found.update(zip(members, score_group(built, group, timeout, who)))
            scores = [found[i] for i in range(len(rows))]
        else:
            pairs = [(r.prompt, c) for r, c in zip(rows, candidates)]
            scores = score_pairs(built, pairs, timeout, who) if pairs else []
        answered = iter(scores)
        return [r if isinstance(r, Score) else next(answered) for r in batch]

    return run


def read_rows(source: Path, skip_invalid: bool = False) -> Iterator[Row | Score]:
    """Rows of a JSONL file, lazily. A malformed line raises UsageError, or is a failed Score with `skip_invalid`."""
    try:
        with source.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield _parse(line)
                except ValueError as error:
                    if not skip_invalid:
                        cure = "mend the line, or pass --skip-invalid to give it an error row"
                        raise UsageError(f"{source}, line {number}: {error}; {cure}") from error
                    yield Score.failed(f"line {number}: {error}", "InvalidRow")
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror or error}") from error


def _parse(line: bytes) -> Row:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error}); found {line[:60].decode('utf-8', 'replace').strip()!r}") from None
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, found {type(row).__name__}")
    for key in ("id", "prompt", "response"):
        if key not in row:
            raise ValueError(f"{key!r} is missing; found keys {sorted(map(str, row))}")
    unknown = set(row) - {"id", "prompt", "response", "reference", "group", "meta"}
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}; put extra data into 'meta'")
    if not isinstance(row["response"], str):
        raise ValueError(f"'response' must be a string, found {type(row['response']).__name__}")
    if not isinstance(row.get("group", ""), (str, type(None))):
        raise ValueError(f"'group' must be a string, found {type(row['group']).__name__}")
    if not isinstance(row.get("meta") or {}, dict):
        raise ValueError(f"'meta' must be an object, found {type(row['meta']).__name__}")
    messages = parse_messages(row["prompt"])
    prompt = Prompt(messages, id=str(row["id"]), reference=row.get("reference"), meta=row.get("meta") or {})
    return Row(row["id"], prompt, row["response"], row.get("group") or prompt.digest)


def parse_messages(value: Any) -> tuple[Message, ...]:
    """A string (one user message) or a list of {"role", "content"}. Raises ValueError saying what was found."""
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, list) or not value:
        raise ValueError(f"'prompt' must be a string or a list of messages, found {json.dumps(value)[:60]}")
    for m in value:
        fine = isinstance(m, Mapping) and m.get("role") in ROLES and isinstance(m.get("content"), str)
        if not fine:
            raise ValueError(f"a message is {{'role': one of {ROLES}, 'content': str}}, found {json.dumps(m)[:80]}")
    return tuple(Message(m["role"], m["content"]) for m in value)


def _batched(rows: Iterable[Row | Score], done: Container[int]) -> Iterator[Numbered]:
    owed = ((number, row) for number, row in enumerate(rows) if number not in done)
    while batch := list(islice(owed, BATCH)):
        yield batch


def _grouped(rows: Iterable[Row | Score], done: Container[int]) -> Iterator[Numbered]:
    """Whole groups, of which some row is owed; a group's rows may lie anywhere in the file."""
    groups: dict[str | int, Numbered] = {}
    for number, row in enumerate(rows):
        groups.setdefault(row.group if isinstance(row, Row) else number, []).append((number, row))
    batch: Numbered = []
    for group in groups.values():
        if all(number in done for number, _ in group):
            continue
        batch += group
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _output(row: Row | Score, score: Score) -> dict[str, Any]:
    return {
        "id": None if isinstance(row, Score) else row.id,
        "value": score.value,
        "error": dict(score.error) if score.error else None,
        "why": score.why,
        "parts": dict(score.parts),
    }
