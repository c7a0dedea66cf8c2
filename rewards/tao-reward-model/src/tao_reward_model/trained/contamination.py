"""Which training prompts occur in an evaluation suite: equal words, or 13 words in a row in common.

A template of the suite does not count: prompts of its training split have it, too.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tao_hub
from tao_hub import Hub, Ref, UsageError

from .near import grams, templates, without, words
from .rows import Problems, Ranked

GRAM = 13  # words (Brown et al. 2020, arXiv 2005.14165, appendix C)
TUNING = ("prompts", "train")  # splits that are there to be trained on
SHOWN = 10


@dataclass
class Check:
    """What was compared with what. `unread`: suites that could not be read here, with the reason."""

    suites: dict[str, int] = field(default_factory=dict)  # "suite:split" → prompts
    unread: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # by the user's wish
    refused: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {"suites": self.suites, "unread": self.unread, "not_checked": self.left_out, "refused": self.refused}


@dataclass
class Known:
    """Texts of suites to compare with: `whole` ones, and runs of `GRAM` words, each with the place it is from. Of a
    split with a template (`near.templates`) what stands beside it is compared: `rests`, and runs of their words."""

    whole: dict[tuple[str, ...], str] = field(default_factory=dict)
    index: dict[int, str] = field(default_factory=dict)
    templated: list[Templated] = field(default_factory=list)

    def add(self, place: str, texts: Sequence[str]) -> None:
        common = templates((words(text) for text in texts), GRAM)
        own = Templated(common)
        self.templated += [own] if common else []
        for text in texts:
            tokens = words(text)
            self.whole[tokens] = place
            rest = without(tokens, common, GRAM)
            if len(rest) < len(tokens):
                own.rests[rest] = place
            (own.index if common else self.index).update(dict.fromkeys(grams(rest, GRAM), place))

    def find(self, text: str) -> str | None:
        """Where the text occurs, None if nowhere."""
        tokens = words(text)
        if not tokens or tokens in self.whole:
            return self.whole[tokens] if tokens else None
        beside = (part.find(tokens) for part in self.templated)
        return _first(tokens, self.index) or next(filter(None, beside), None)


@dataclass
class Templated:
    """One split with a template of the runs `common`: the rests of its texts, and their runs."""

    common: set[int]
    rests: dict[tuple[str, ...], str] = field(default_factory=dict)
    index: dict[int, str] = field(default_factory=dict)

    def find(self, tokens: tuple[str, ...]) -> str | None:
        rest = without(tokens, self.common, GRAM)
        same = self.rests.get(rest) if rest and len(rest) < len(tokens) else None
        return same or _first(rest, self.index)


def suites_of(hub: Hub, against: Sequence[str], excepted: Sequence[str], used: Sequence[Ref] = ()) -> list[Ref]:
    """All registered suites with their default options; those of `against` ("NAME key=value …") and `used` with theirs.

    Suites of one name and other options are other suites.
    """
    known = {e.name for e in hub.entries("suite")} - set(excepted)
    refs = [Ref(name) for name in sorted(known)]
    for ref in used:
        if ref.name in known:
            refs = [r for r in refs if r != ref and (r.name != ref.name or r.options)] + [ref]
    for text in against:
        name, *pairs = shlex.split(text)
        if wrong := [p for p in pairs if "=" not in p]:
            raise UsageError(f"--against {text!r}: expected NAME key=value …, found {wrong[0]!r}")
        given = Ref(hub.find("suite", name).name, dict(p.split("=", 1) for p in pairs))
        refs = [r for r in refs if r.name != given.name or r.options] + [given]
    return refs


def check(
    rows: Sequence[Ranked], hub: Hub, refs: Sequence[Ref], excepted: Sequence[str]
) -> tuple[Check, dict[int, str]]:
    """The check, and per contaminated row (its place in `rows`) where its prompt occurs."""
    done, known = Check(left_out=list(excepted)), Known()
    for ref in refs:
        try:
            for split, texts in _splits(hub, ref):
                place = f"{ref.name}:{split}"
                read = list(texts)
                known.add(place, read)
                # files of one name in two folders are one place
                done.suites[place] = done.suites.get(place, 0) + len(read)
        except Exception as error:
            done.unread[ref.name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else (
                type(error).__name__
            )  # fmt: skip
    done.unread.update({r.name: "no data here" for r in refs if not _seen(r, done)})
    found = {}
    for i, row in enumerate(rows):
        said = [m for m in row.prompt if m.role == "user"] or row.prompt
        if where := next(filter(None, (known.find(m.content) for m in said)), None):
            found[i] = where
    done.refused = len(found)
    return done, found


def refuse(rows: Sequence[Ranked], found: Mapping[int, str], drop: bool, problems: Problems) -> list[Ranked]:
    """Rows that occur in no suite. Raises LabelLeak listing the others, unless they are to be dropped."""
    if found and not drop:
        listed = "\n".join(f"  {rows[i].where} ~ {place}" for i, place in list(found.items())[:SHOWN])
        more = f"\n  … and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise tao_hub.LabelLeak(
            f"{len(found)} training prompts also occur in an evaluation suite:\n{listed}{more}\nLeave them out with "
            "--drop-overlap, or a suite that is no evaluation of yours with --except-suite NAME (the card will say so)"
        )
    for i, place in found.items():
        problems.add("in an evaluation suite", rows[i].where, f"its prompt occurs in {place}")
    return [row for i, row in enumerate(rows) if i not in found]


def _splits(hub: Hub, ref: Ref) -> Iterator[tuple[str, Iterable[str]]]:
    suite = hub.suite(ref)
    try:
        for split in suite.splits():
            if split not in TUNING:
                yield split, suite.texts(split)
    finally:
        suite.close()


def _seen(ref: Ref, done: Check) -> bool:
    return ref.name in done.unread or any(place.rsplit(":", 1)[0] == ref.name for place in done.suites)


def _first(tokens: Sequence[str], index: Mapping[int, str]) -> str | None:
    return next((place for gram in grams(tokens, GRAM) if (place := index.get(gram))), None)
