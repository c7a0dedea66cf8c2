"""How prompts, candidates and scores stand in the store: columns, texts and keys."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, TypeVar

from .types import Candidate, Message, Prompt, digest

# a candidate's columns: those that a draw fills, and what a group is read by
DRAWN = ("response", "response_digest", "raw", "finish_reason", "prompt_tokens", "output_tokens", "logprobs",
          "seconds", "parents", "error")  # fmt: skip
CANDIDATE = (
    "c.id, c.prompt, (SELECT digest FROM policies WHERE id = c.policy), "
    "(SELECT k.name FROM sources o JOIN components k ON k.id = o.strategy WHERE o.id = c.source), "
    "c.slot, c.response, c.raw, c.finish_reason, c.prompt_tokens, "
    "c.output_tokens, c.logprobs, c.seconds, c.parents, c.error"
)


def candidate_of(row: Sequence[Any]) -> Candidate:
    """The candidate of a row of the columns `CANDIDATE`."""
    logprobs = array("f", row[10]) if row[10] is not None else None
    return Candidate(
        prompt=str(row[1]), response=row[5], raw=row[6], policy=row[2], strategy=row[3], index=row[4],
        finish_reason=row[7], prompt_tokens=row[8], output_tokens=row[9],
        logprobs=tuple(logprobs) if logprobs is not None else None, seconds=row[11],
        parents=tuple(json.loads(row[12])) if row[12] else (), error=row[13], id=row[0],
    )  # fmt: skip


def candidate_row(c: Candidate) -> tuple[Any, ...]:
    """A candidate's slot and the columns `DRAWN`."""
    logprobs = array("f", c.logprobs).tobytes() if c.logprobs is not None else None
    parents = json.dumps(list(c.parents)) if c.parents else None
    response = storable(c.response)
    return (c.index, response, response_key(replace(c, response=response)), storable(c.raw), c.finish_reason,
            c.prompt_tokens, c.output_tokens, logprobs, c.seconds, parents, storable(c.error))  # fmt: skip


Text = TypeVar("Text", str, "str | None")


def storable(text: Text) -> Text:
    """A text as SQLite takes it: half a surrogate pair, which models write as an escape, becomes a question mark."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


def response_key(candidate: Candidate) -> bytes:
    """Digest of a response, 16 bytes: what its scores are kept under."""
    return blake2b(candidate.response.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def group_context(candidates: Sequence[Candidate]) -> bytes:
    """Digest of all that a group reward can see of a group, 16 bytes; the order of candidates does not matter."""
    total = blake2b(digest_size=16)
    for key in sorted((response_key(c), c.truncated, bool(c.parents), bool(c.error)) for c in candidates):
        total.update(key[0] + bytes(key[1:]))
    return total.digest()


def reference_digest(reference: Any) -> bytes:
    """Digest of a reference, 16 bytes; none has none."""
    return b"" if reference is None else bytes.fromhex(digest(reference))


def dump_prompt(prompt: Prompt) -> str:
    """The messages; with meta, an object of both."""
    messages = [[m.role, m.content] for m in prompt.messages]
    whole = {"messages": messages, "meta": dict(prompt.meta)} if prompt.meta else messages
    return json.dumps(whole, ensure_ascii=False)


def load_prompt(stored: str, item: str = "", reference: str | None = None) -> Prompt:
    """The prompt of the column `messages` in `prompts`."""
    found = json.loads(stored)
    messages, meta = (found["messages"], found["meta"]) if isinstance(found, dict) else (found, {})
    turns = tuple(Message(role, content) for role, content in messages)
    return Prompt(turns, id=item, reference=None if reference is None else json.loads(reference), meta=meta)
