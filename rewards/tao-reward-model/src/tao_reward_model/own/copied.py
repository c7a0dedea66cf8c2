"""A field whose value is copied from the input: which of several values, by the words around them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tao_hub

from ..kinds import NUMBERS

MAX_CHARS = 20_000  # of an input that are read
MAX_PLACES = 20  # of a value in one input
AROUND = 8  # words on either side that are looked at
NULL = tao_hub.value_key(None)
Values = Mapping[Hashable, Any]  # `tao_hub.value_key` of a value → how an answer writes it
Described = dict[tuple[str, Hashable], list[dict[str, float]]]  # (input, key of a value) → its places' features
_WORD = re.compile(r"\d+(?:[./-]\d+)*|[^\W\d_]+(?:['’-][^\W\d_]+)*|[^\w\s]")


@dataclass(frozen=True)
class Told:
    """An input, the values that candidates hold for a field, and the right one's key (None: not known)."""

    text: str
    values: Values
    right: Hashable | None = None


class Copied:
    """P(value) over the values that candidates hold, and null: logistic regression over places, normalised per input.

    A place is described by the words before and after it, where its line stands, and the value's own words and shape;
    null by the words of the input. A value counts with its best place; one that stands nowhere in the input has 0.
    Models that are given the same `described` describe each place once.
    """

    def __init__(self, strength: float, described: Described | None = None) -> None:
        self._strength = strength
        self._known = described

    @staticmethod
    def learnable(told: Sequence[Told]) -> bool:
        """Whether there are right values, and wrong ones beside them."""
        return any(t.right != NULL for t in told) and any(len({*t.values, NULL}) > 1 for t in told)

    def fit(self, told: Sequence[Told]) -> Copied:
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.linear_model import LogisticRegression

        rows, right = [], []
        for t in told:
            for key in {**t.values, NULL: None}:
                described = self._described(t, key)
                rows += described
                right += [key == t.right] * len(described)
        self._columns = DictVectorizer(dtype=np.float32)
        columns = self._columns.fit_transform(rows)
        self._model = LogisticRegression(C=self._strength, max_iter=2000).fit(columns, right)
        return self

    def judge(self, told: Sequence[Told]) -> list[dict[Hashable, float]]:
        """The probability of each value of each input, and of null; they add up to 1."""
        rows: list[dict[str, float]] = []
        owners: list[tuple[int, Hashable]] = []
        for i, t in enumerate(told):
            for key in {**t.values, NULL: None}:
                described = self._described(t, key)
                rows += described
                owners += [(i, key)] * len(described)
        odds = self._model.decision_function(self._columns.transform(rows)) if rows else []
        best: list[dict[Hashable, float]] = [{} for _ in told]
        for (i, key), value in zip(owners, odds):
            best[i][key] = max(float(value), best[i].get(key, -np.inf))
        return [_shares(t, found) for t, found in zip(told, best)]

    def forget(self) -> None:
        """Keep no descriptions any more: what is judged from now on is judged once."""
        self._known = None

    def _described(self, told: Told, key: Hashable) -> list[dict[str, float]]:
        if self._known is None or (told.text, key) not in self._known:
            found = [_whole(told)] if key == NULL else places(told.text, told.values[key])
            if self._known is None:
                return found
            self._known[told.text, key] = found
        return self._known[told.text, key]


def _shares(told: Told, odds: Mapping[Hashable, float]) -> dict[Hashable, float]:
    top = max(odds.values())
    shares = {key: float(np.exp(value - top)) for key, value in odds.items()}
    total = sum(shares.values())
    return {key: shares.get(key, 0.0) / total for key in {**told.values, NULL: None}}


def places(text: str, value: Any) -> list[dict[str, float]]:
    """What each place of a value in a text looks like, as features; [] where it stands nowhere."""
    text, found = text[:MAX_CHARS], []
    for form in _forms(value):
        for match in re.finditer(rf"(?<!\w){re.escape(form)}(?!\w)", text, re.IGNORECASE):
            found.append(_place(text, *match.span()))
            if len(found) == MAX_PLACES:
                return found
    return found


def _forms(value: Any) -> list[str]:
    if isinstance(value, (bool, list, dict)) or not str(value).strip():
        return []
    named = isinstance(value, int) and 1 <= value <= len(NUMBERS)
    return [str(value).strip(), *([NUMBERS[value - 1]] if named else [])]


def _place(text: str, start: int, end: int) -> dict[str, float]:
    line = text.rfind("\n", 0, start) + 1
    stop = text.find("\n", end)
    stop = len(text) if stop < 0 else stop
    left, right = _words(text[line:start]), _words(text[end:stop])
    above, own = _words(text[: max(0, line - 1)].rpartition("\n")[2]), _WORD.findall(text[start:end])
    before, after = ["<", "<", *left], [*right, ">", ">"]
    number, lines = text[:start].count("\n"), text.count("\n")
    names = [
        f"-1 {before[-1]}", f"-2 {before[-2]}", f"-2-1 {before[-2]} {before[-1]}",
        f"+1 {after[0]}", f"+2 {after[1]}", f"+1+2 {after[0]} {after[1]}", f"-1+1 {before[-1]} {after[0]}",
        *(f"left {word}" for word in left[-AROUND:]), *(f"right {word}" for word in right[:AROUND]),
        f"line {min(number, 3)}", f"line from the end {min(lines - number, 3)}", f"lines {min(lines, 4)}",
        f"above ends {above[-1] if above else ''}", f"above starts {above[0] if above else ''}",
        f"words {min(len(own), 4)}", f"shape {' '.join(map(_shape, own[:4]))}",
        *(f"holds {word.casefold()}" for word in own), *([f"ends {own[-1].casefold()[-3:]}"] if own else []),
        *(["whole line"] if (start, end) == (line, stop) else []), *(["starts line"] if start == line else []),
    ]  # fmt: skip
    return dict.fromkeys(names, 1.0)


def _whole(told: Told) -> dict[str, float]:
    """What an input that does not say the value looks like."""
    text = told.text[:MAX_CHARS]
    names = ["null", f"null lines {min(text.count(chr(10)), 4)}", f"null beside {min(len(told.values), 5)}"]
    return dict.fromkeys([*names, *(f"null {word}" for word in _words(text))], 1.0)


def _words(text: str) -> list[str]:
    return ["#" if word[0].isdigit() else word.casefold() for word in _WORD.findall(text)]


def _shape(word: str) -> str:
    if word.isdigit():
        return "9" * min(len(word), 4)
    if any(c.isdigit() for c in word):
        return "9x"
    return "XX" if len(word) > 1 and word.isupper() else "Xx" if word[:1].isupper() else "x"
