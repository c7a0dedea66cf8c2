"""New unlabelled inputs for a suite: its own reworded, more of the kind, with other values, or made for queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .components import Strategy
from .errors import UsageError
from .overlap import Known
from .records import dump_record
from .session import Policy, Session
from .stages import generate
from .types import Candidate, Group, Message, Prompt, Ref, Sampling

SHORTEST, LONGEST = 0.3, 3.0  # of the length of the input it was made from: beyond, it is something else
SHOWN = 200  # inputs of the suite that core/more draws from


@dataclass(frozen=True)
class Synthesis:
    """How many new inputs are wanted, by which strategy, from which split, asked of whom."""

    suite: Ref
    split: str
    strategy: Ref
    n: int
    policy: str = ""
    temperature: float = 0.9
    max_tokens: int = 200
    seed: int = 0
    apart: tuple[str, ...] = ()
    """Splits that no new input may repeat; empty: all others of the suite."""
    pairs: Path | None = None
    """Also write there what each new input was written for, where the strategy proposes that (`Strategy.proposals`)."""


def synthesize(session: Session, wanted: Synthesis, out: Path) -> dict[str, Any]:
    """Write new inputs to `out` as rows of a jsonl suite; returns how many, and why others were left out.

    A new input equals or nearly equals no input of its split, no other new one, and none of the splits to keep apart.
    It has the system message and meta of the prompt it was made from, and no reference; what it was written for goes to
    `wanted.pairs` only, which no suite, generator or reward reads. Candidates that were drawn are kept in the store:
    the same call goes on where it was stopped, and writes the same file. Raises UsageError where nothing new came, and
    writes no file then.
    """
    for file in (out, wanted.pairs):
        if file is not None and file.exists():
            raise UsageError(f"{file} exists; remove it or choose another file")
    source = [p.without_reference() for p in session.prompts(wanted.suite, wanted.split)]
    if not source:
        raise UsageError(f"suite {wanted.suite.name}, split {wanted.split!r}: no inputs to start from")
    asked, way = _asked(session, wanted, source)
    if wanted.pairs is not None and not _proposes(asked):
        raise UsageError(f"{way.name} makes inputs from inputs: there is nothing to write to {wanted.pairs}")
    known = _known(session, wanted, source)
    start = list(asked.proposals(source, _drawn(wanted.n)))
    left: Counter[str] = Counter()
    rows: list[str] = []
    pairs: list[str] = []
    for prompt, text, failed in _made(session, wanted, asked, way, start) if start else ():
        why = failed or _fault(prompt, text, known, _proposes(asked))
        if why:
            left[why] += 1
            continue
        name = f"new-{len(rows):05d}"
        known.add(name, text)
        rows.append(_row(name, prompt, text))
        pairs.append(dump_record({"id": name, "prompt": text, "response": prompt.text}))
        if len(rows) == wanted.n:
            break
    if not rows:
        why = ", ".join(f"{count} left out: {reason}" for reason, count in left.most_common()) or "none was made"
        raise UsageError(f"no new input from {len(start)} ({why}): try another --way, --temperature or --seed")
    _write({out: rows, **({wanted.pairs: pairs} if wanted.pairs else {})})
    return {
        "written": len(rows), "wanted": wanted.n, "from": len(start), "left_out": dict(left), "file": str(out),
        "worked_examples": asked.worked_examples(),
    }  # fmt: skip


def _asked(session: Session, wanted: Synthesis, source: Sequence[Prompt]) -> tuple[Strategy, Ref]:
    given = dict(wanted.strategy.options)
    if session.hub.find("strategy", wanted.strategy.name).name == "core/more" and "inputs" not in given:
        given["inputs"] = [p.text for p in source[:SHOWN]]
    return session.strategy(Ref(wanted.strategy.name, given), wanted.suite)


def _known(session: Session, wanted: Synthesis, source: Sequence[Prompt]) -> Known:
    """What no new input may repeat: the split itself, and those to keep apart."""
    splits = session.suite(wanted.suite)[0].splits()
    apart = wanted.apart or [split for split in splits if split != wanted.split]
    known = Known((f"{split}:{i}", text) for split in apart for i, text in
                  enumerate(session.texts(wanted.suite, split)))  # fmt: skip
    for i, prompt in enumerate(source):
        known.add(f"{wanted.split}:{i}", prompt.text)
    return known


def _proposes(asked: Strategy) -> bool:
    return type(asked).proposals is not Strategy.proposals


def _drawn(n: int) -> int:
    """Half as many again as wanted: some will be left out."""
    return -(-3 * n // 2)


def _made(
    session: Session, wanted: Synthesis, asked: Strategy, way: Ref, start: Sequence[Prompt]
) -> Iterator[tuple[Prompt, str, str]]:
    """(prompt it was made from, text, why there is none), round by round over all, so that they are used alike."""
    if type(asked).combine is not Strategy.combine:
        groups = [list(asked.combine(Group(prompt, ()))) for prompt in start]
        for i in range(max(map(len, groups), default=0)):
            yield from ((p, made[i].response, "") for p, made in zip(start, groups) if i < len(made))
        return
    policy: Policy = session.policy(wanted.policy)
    each = -(-_drawn(wanted.n) // len(start))
    count = min(len(start), -(-_drawn(wanted.n) // each))
    if _proposes(asked):
        row = session.suite(wanted.suite)[1]
        part = session.store.add_items(row, f"{wanted.split} by {way.name}", start, count)
    else:
        part = session.slice(wanted.suite, wanted.split, count)
    sampling = Sampling(wanted.temperature, wanted.max_tokens, 1.0, wanted.seed)
    member = generate(session, part, policy, way, sampling, each, wanted.suite)
    drawn = [group for _, group in session.store.groups(part, [member], {})]
    for i in range(each):
        yield from ((group.prompt, *_text(group.candidates[i])) for group in drawn)


def _text(candidate: Candidate) -> tuple[str, str]:
    """(text, why it cannot be taken): the strategy may have refused it, in words of its own."""
    if candidate.error:
        return "", candidate.error.partition(": ")[2][:100] or candidate.error[:100]
    return ("", "") if candidate.truncated else (candidate.response, "")


def _fault(prompt: Prompt, text: str, known: Known, proposed: bool) -> str:
    """Why a text is not taken as a new input ("" if it is)."""
    if not text.strip():
        return "nothing was written, or it was cut off"
    if not proposed and not SHORTEST * len(prompt.text) <= len(text) <= LONGEST * len(prompt.text):
        return "much shorter or longer than what it was made from"
    other = known.find(text)
    if not other:
        return ""
    return "repeats a new one" if other.startswith("new-") else f"repeats {other.partition(':')[0]}"


def _row(name: str, prompt: Prompt, text: str) -> str:
    last = max(i for i, m in enumerate(prompt.messages) if m.role == "user")
    messages = [replace(m, content=text) if i == last else m for i, m in enumerate(prompt.messages)]
    shown = text if messages == [Message("user", text)] else [{"role": m.role, "content": m.content} for m in messages]
    row = {"id": name, "prompt": shown, **({"meta": dict(prompt.meta)} if prompt.meta else {})}
    return dump_record(row)


def _write(files: dict[Path, list[str]]) -> None:
    """All files whole, or none of them."""
    for file, rows in files.items():
        temporary = file.with_name(f".{file.name}.partial")
        temporary.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    for file in files:
        file.with_name(f".{file.name}.partial").replace(file)
