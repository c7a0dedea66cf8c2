"""Which training prompts occur in an evaluation suite: equal words, or 13 words in a row in common."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tao_hub
from tao_hub import Hub, Ref, UsageError

from .near import grams, words
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
    done = Check(left_out=list(excepted))
    whole: dict[tuple[str, ...], str] = {}
    index: dict[int, str] = {}
    for ref in refs:
        try:
            for split, texts in _splits(hub, ref):
                place = f"{ref.name}:{split}"
                done.suites.setdefault(place, 0)  # files of one name in two folders are one place
                for text in texts:
                    done.suites[place] += 1
                    tokens = words(text)
                    whole[tokens] = place
                    index.update(dict.fromkeys(grams(tokens, GRAM), place))
        except Exception as error:
            done.unread[ref.name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else (
                type(error).__name__
            )  # fmt: skip
    done.unread.update({r.name: "no data here" for r in refs if not _seen(r, done)})
    found = {}
    for i, row in enumerate(rows):
        place = next((p for m in row.prompt if m.role == "user" if (p := _occurs(m.content, whole, index))), None)
        if place:
            found[i] = place
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


def _occurs(text: str, whole: Mapping[tuple[str, ...], str], index: Mapping[int, str]) -> str | None:
    tokens = words(text)
    if not tokens:
        return None
    if tokens in whole:
        return whole[tokens]
    return next((place for gram in grams(tokens, GRAM) if (place := index.get(gram))), None)
