"""Reads the word lists and shapes that messages are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
TEST = "-- test"

KINDS = ("late", "damaged", "wrong_item", "missing_part", "not_working", "billing", "return", "cancel")
CLASSES = ("devices", "furniture", "wear", "ware")
CLASSES_OF_KIND = {"not_working": ("devices",), "missing_part": ("devices", "furniture")}  # a pillow has no switch


@dataclass(frozen=True)
class Bank:
    """Entries every split may use, and entries of the test split only."""

    shared: tuple[str, ...]
    test: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shape:
    """A message template; `test` marks one that only the test split uses."""

    name: str
    template: str
    test: bool

    @property
    def family(self) -> str:
        return self.name.partition("-")[0]


def _lines(name: str) -> Iterator[str]:
    text = (HERE / name).read_text(encoding="utf-8")
    return (line for line in text.split("\n") if not line.startswith("# "))


def _sections(name: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    for line in _lines(name):
        if line.startswith("== "):
            sections[line[3:].strip()] = []
        elif line.strip() and sections:
            sections[next(reversed(sections))].append(line.strip())
    return sections


def _bank(lines: Sequence[str]) -> Bank:
    cut = lines.index(TEST) if TEST in lines else len(lines)
    return Bank(tuple(lines[:cut]), tuple(lines[cut + 1 :]))


@cache
def values() -> Mapping[str, Bank]:
    """Names and products by list name ("first names", "surnames", the product classes, "agents")."""
    banks = {}
    for name, lines in _sections("values.txt").items():
        separator = None if "names" in name else ","
        entries = [e.strip() for line in lines for e in ([line] if line == TEST else line.split(separator))]
        banks[name] = _bank(entries)
    return banks


@cache
def problems() -> Mapping[str, Bank]:
    """Wordings of a problem by "KIND said" and "KIND noted"."""
    return {name: _bank(lines) for name, lines in _sections("problems.txt").items()}


@cache
def phrases() -> Mapping[str, str]:
    """Named pieces of shapes."""
    return dict(line.split(": ", 1) for line in _lines("phrases.txt") if line.strip())


@cache
def shapes() -> tuple[Shape, ...]:
    """All message shapes, in file order."""
    found: list[tuple[str, list[str]]] = []
    for line in _lines("shapes.txt"):
        if line.startswith("=== "):
            found.append((line[4:].strip(), []))
        elif found:
            found[-1][1].append(line)
    return tuple(Shape(head.split()[0], "\n".join(body).strip("\n"), head.endswith(" test")) for head, body in found)
