"""Sources → clean rows on two sides: read, refused or named, checked against the evaluation suites, split by prompt."""

from __future__ import annotations

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
    """The rows of one source. `digest`: of the files, or of the rows that a run gave."""

    name: str
    rows: list[Ranked]
    digest: str
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
    split: mixture.Split
    sources: list[Loaded]
    problems: Problems
    check: contamination.Check

    @property
    def counts(self) -> dict[str, Any]:
        """What became of the rows: per source, per problem, per side."""
        sides = self.split.train, self.split.held_out
        return {
            "rows": {
                "read": sum(len(s.rows) for s in self.sources), "train": len(sides[0]), "held_out": len(sides[1]),
                "prompts": len({r.key for side in sides for r in side}),
                "responses": sum(len(r.responses) for side in sides for r in side),
                "pairs": sum(len(part.pairs) for side in sides for r in side for part in r.trained),
                "ties": sum(len(p.scores) != len(set(p.scores)) for side in sides for r in side for p in r.trained),
            },
            "problems": self.problems.counts,
            "sources": [
                {"name": s.name, "rows": len(s.rows), "weight": s.weight, "digest": s.digest} for s in self.sources
            ],
            "contamination": self.check.as_dict(),
        }  # fmt: skip


def load(data: Sequence[str], problems: Problems) -> list[Loaded]:
    """The rows of all --data files, each source with a name of its own."""
    loaded: list[Loaded] = []
    for text in data:
        source = files.parse_source(text)
        rows = files.read(source, problems)
        name, number = source.name, 2
        while name in {other.name for other in loaded}:
            name, number = f"{source.name}-{number}", number + 1
        if name != source.name:
            rows = [replace(r, source=name, domain=name if r.domain == source.name else r.domain) for r in rows]
        loaded.append(Loaded(name, rows, files.digest(source), source.weight, source.cap))
    return loaded


def prepare(sources: list[Loaded], options: TrainOptions, wishes: Wishes, hub: Hub, problems: Problems) -> Prepared:
    """Raises UsageError for malformed rows or too few, LabelLeak for prompts that occur in an evaluation suite."""
    names = list(options.heads)
    sources = [replace(s, rows=attributes.asked(s.rows, names, problems, options.gate)) for s in sources]
    if not wishes.skip_invalid:
        problems.refuse_malformed()
    rows = [r for s in sources for r in mixture.capped(s.rows, s.cap, options.seed, problems)]
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
        told = ", ".join(f"{count} {kind}" for kind, count in problems.counts.items()) or "the files are empty"
        raise UsageError(f"{len(rows)} usable rows: {told}")
    split = mixture.split(rows, groups, options.held_out, options.seed)
    _check_rated(split.train, options)
    return Prepared(split, sources, problems, check)


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
