"""Slips of people who type in a hurry."""

from __future__ import annotations

import re
from random import Random

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
WORD = re.compile(r"\b[A-Za-z]{4,}\b(?! *[:=])")  # labels ("Order:") come from machines, they have no slips


def neighbour(rng: Random, letter: str) -> str:
    """A key beside `letter` on a QWERTY keyboard."""
    row = next((r for r in ROWS if letter.lower() in r), None)
    if row is None:
        return letter
    at = row.index(letter.lower())
    return row[max(0, at - 1)] if (at and rng.random() < 0.5) or at == len(row) - 1 else row[at + 1]


def misspell(rng: Random, word: str) -> str:
    """`word` with one slip after its first letter: swapped, dropped, doubled or neighbouring letter."""
    at = rng.randrange(1, len(word) - 1)
    slip = rng.randrange(4)
    if slip == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if slip == 1:
        return word[:at] + word[at + 1 :]
    if slip == 2:
        return word[: at + 1] + word[at:]
    return word[:at] + neighbour(rng, word[at]) + word[at + 1 :]


def hurry(rng: Random, text: str, rate: float) -> str:
    """Free text with about `rate` of its longer words misspelt, and now and then a mark left out."""
    text = WORD.sub(lambda m: misspell(rng, m.group()) if rng.random() < rate else m.group(), text)
    return re.sub(r"['’,]", lambda m: "" if rng.random() < 0.5 else m.group(), text)
