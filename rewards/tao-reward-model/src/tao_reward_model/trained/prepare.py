"""Sources → clean rows on two sides: read, refused or named, checked against the evaluation suites, split by prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tao_hub
from tao_hub import Hub, UsageError

from . import attributes, contamination, files, mixture
from .options import TrainOptions
from .rows import Problems, Ranked

NOTES = ("long response (kept)",)  # problems of rows that are used all the same


@dataclass(frozen=True)
class Loaded:
    """The rows of one source. `digest`: of the files, or of the rows that a run gave; `read`: how many there were with
    those that cannot be used."""

    name: str
    rows: list[Ranked]
    digest: str
    read: int
    weight: float = 1.0
    cap: int | None = None


@dataclass(frozen=True)
class Wishes:
    """What the user says about bad rows and evaluation suites."""

    skip_invalid: bool = False
    drop_overlap: bool = False
    against: tuple[str, ...] = ()
    used: tuple[tao_hub.Ref, ...] = ()  # suites that the workspace has measured something on
    excepted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """Both sides, where they come from, and the training rows as often as an epoch has them; `capped`: rows that were
    left of each source after its cap."""

    split: mixture.Split
    sources: list[Loaded]
    capped: dict[str, int]
    epoch: list[Ranked]
    problems: Problems
    check: contamination.Check

    @property
    def counts(self) -> dict[str, Any]:
        """What became of the rows: per source, per problem, per side."""
        sides = self.split.train, self.split.held_out
        return {
            "rows": {
                "read": sum(s.read for s in self.sources), "train": len(sides[0]), "held_out": len(sides[1]),
                "per_epoch": len(self.epoch),
                "prompts": len({r.key for side in sides for r in side}),
                "responses": sum(len(r.responses) for side in sides for r in side),
                "pairs": sum(len(part.pairs) for side in sides for r in side for part in r.trained),
                "ties": sum(len(p.scores) != len(set(p.scores)) for side in sides for r in side for p in r.trained),
            },
            "problems": self.problems.counts,
            "sources": self._sources(),
            "contamination": self.check.as_dict(),
        }  # fmt: skip

    def _sources(self) -> list[dict[str, Any]]:
        """Per source how many rows were read, left after the cap, kept (on either side), and seen in an epoch."""
        sides = self.split.train, self.split.held_out, self.epoch
        train, held_out, epoch = (Counter(row.source for row in side) for side in sides)
        return [
            {"name": s.name, "read": s.read, "cap": s.cap, "capped": self.capped[s.name],
             "kept": train[s.name] + held_out[s.name], "train": train[s.name], "held_out": held_out[s.name],
             "weight": s.weight, "per_epoch": epoch[s.name], "digest": s.digest}
            for s in self.sources
        ]  # fmt: skip


def load(data: Sequence[str], problems: Problems) -> list[Loaded]:
    """The rows of all --data files, each source with a name of its own."""
    loaded: list[Loaded] = []
    for text in data:
        source = files.parse_source(text)
        known = len(problems.found)
        rows = files.read(source, problems)
        read = len(rows) + sum(p["kind"] not in NOTES for p in problems.found[known:])
        name, number = source.name, 2
        while name in {other.name for other in loaded}:
            name, number = f"{source.name}-{number}", number + 1
        if name != source.name:
            rows = [replace(r, source=name, domain=name if r.domain == source.name else r.domain) for r in rows]
        loaded.append(Loaded(name, rows, files.digest(source), read, source.weight, source.cap))
    return loaded


def prepare(sources: list[Loaded], options: TrainOptions, wishes: Wishes, hub: Hub, problems: Problems) -> Prepared:
    """Raises UsageError for malformed rows or too few, LabelLeak for prompts that occur in an evaluation suite."""
    names = list(options.heads)
    sources = [replace(s, rows=attributes.asked(s.rows, names, problems, options.gate)) for s in sources]
    if not wishes.skip_invalid:
        problems.refuse_malformed()
    capped = {s.name: mixture.capped(s.rows, s.cap, options.seed, problems) for s in sources}
    rows = [row for some in capped.values() for row in some]
    heads = [row for row in rows if row.attributes or not names]  # the others teach the gate alone
    kept = mixture.usable(heads, options.pointwise, problems)
    if options.loss == "bce":
        _check_verdicts(kept)
    kept += mixture.usable([row for row in rows if names and not row.attributes], False, problems)
    rows = mixture.consistent(kept, problems)
    refs = contamination.suites_of(hub, wishes.against, wishes.excepted, wishes.used)
    check, found = contamination.check(rows, hub, refs, wishes.excepted)
    rows = contamination.refuse(rows, found, wishes.drop_overlap, problems)
    rows, groups = mixture.without_near_duplicates(rows, mixture.related(rows), problems)
    if len(rows) < 2:
        raise UsageError(f"{len(rows)} usable rows: {_why(problems)}")
    split = mixture.split(rows, groups, options.held_out, options.seed)
    _check_rated(split.train, options)
    left, epoch = {name: len(some) for name, some in capped.items()}, _epoch(split, sources, options)
    return Prepared(split, sources, left, epoch, problems, check)


def _epoch(split: mixture.Split, sources: Sequence[Loaded], options: TrainOptions) -> list[Ranked]:
    """The training rows as often as their source's weight says; of attributes without those that teach the gate alone.
    Raises UsageError where none is left."""
    heads = [row for row in split.train if row.attributes or not options.heads]
    rows = mixture.weighted(heads, {s.name: s.weight for s in sources}, options.seed)
    if not rows:
        raise UsageError(f"the weights leave none of {len(heads)} training rows: raise them (--data FILE,weight=W)")
    return rows


def _why(problems: Problems) -> str:
    """How many rows have which problem, with the first row of each kind."""
    first = {p["kind"]: p for p in reversed(problems.found)}
    told = [
        f"{count} {kind} ({first[kind]['where']}: {first[kind]['found']})" for kind, count in problems.counts.items()
    ]
    return ", ".join(told) or "the files are empty"


def write_problems(problems: Problems, file: Path) -> None:
    """Every problem on a line of its own."""
    lines = (tao_hub.canonical_json(problem) + "\n" for problem in problems.found)
    file.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")


def _check_verdicts(rows: Sequence[Ranked]) -> None:
    for row in rows:
        if outside := [s for part in row.trained for s in part.scores if not 0 <= s <= 1]:
            raise UsageError(f"{row.where}: a verdict for --loss bce lies in 0–1, found {outside[0]:g}; try regression")


def _check_rated(rows: Sequence[Ranked], options: TrainOptions) -> None:
    for name in options.heads:
        views = [row.of(name) for row in rows if name in row.attributes]
        if not any(view.graded if options.pointwise else view.pairs for view in views):
            raise UsageError(
                f"no training row teaches {name!r} with --loss {options.loss} ({len(views)} rate it): give such rows, "
                "or take it out of --attributes"
            )
    if options.gate and not any(row.pairs for row in rows):
        raise UsageError('--gate learns from rows that compare whole answers, too, and there are none: add "scores"')
