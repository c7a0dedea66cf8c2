"""When a value of an answer occurs in the input: whole words, whole numbers, number words."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

import tao_hub

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
MAX_TRIES = 10_000  # places looked at for one text: "xxx…" in "xxxxxx…" must not take seconds

# A number as people type it, longest reading first: 1,200.50, 1.200,50, 2.5, 2,5, 1200; also 2x, x2, 12kg, 3rd. No
# piece of a code (4f3a, A12, Q7-33), a date (07/08/24) or a time (17:45). "4,2024-11-02" is a row with a comma.
_NUMBER = re.compile(
    r"(?<!\w)(?<!\w[-/])(?<!\d[.:])[x×]?"
    r"(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})+(?:,\d+)?|\d+\.\d+|\d+,\d{1,2}|\d+)"
    r"(?!\d|[.:]\d|[-/]\w)(?=[^\W\d_]{0,4}(?!\w)|[x×]\d)"
)
_DECIMALS_AFTER_COMMA = re.compile(r",\d{1,3}(?!\d|[-/:.]\d)")


class Source:
    """An input text, made ready for many questions whether a value occurs in it."""

    def __init__(self, text: str) -> None:
        self.text = tao_hub.normalise_text(text)
        self._numbers: set[Decimal] | None = None

    def share(self, value: Any, null: float) -> float:
        """The share of the value that occurs, 0–1; `null` for null. A list or an object counts item by item."""
        if value is None:
            return null
        if isinstance(value, (list, dict)):
            items = list(value.values()) if isinstance(value, dict) else value
            return sum(self.share(item, null) for item in items) / len(items) if items else null
        if isinstance(value, bool):
            return float(self.has_text(str(value)))
        return float(self.has_text(value) if isinstance(value, str) else self.has_number(value))

    def has_text(self, text: str) -> bool:
        """Whether the normalised `text` occurs from word boundary to word boundary; never for one without a word."""
        wanted = tao_hub.normalise_text(text)
        if not any(c.isalnum() for c in wanted):
            return False
        start = -1
        for _ in range(MAX_TRIES):
            start = self.text.find(wanted, start + 1)
            if start < 0 or self._stands_alone(start, start + len(wanted)):
                return start >= 0
        return False

    def has_number(self, number: float) -> bool:
        """Whether the number occurs as a whole number, in digits or (one … twelve) as a word;
        a negative one with its sign."""
        if self._numbers is None:
            self._numbers = _numbers(self.text)
        try:
            wanted = Decimal(str(number))
        except (InvalidOperation, ValueError):  # an int over the digit limit of int → str
            return False
        if wanted < 0:
            return self.has_text(f"{wanted:f}")
        if wanted in self._numbers:
            return True
        return wanted == int(wanted) and 1 <= wanted <= 12 and self.has_text(WORDS[int(wanted) - 1])

    def _stands_alone(self, start: int, end: int) -> bool:
        """Neither a piece of a longer word nor, at a digit, of a longer number (12.5), code (A-12) or date (12/05)."""
        return not (self._goes_on(start, -1) or self._goes_on(end - 1, 1))

    def _goes_on(self, edge: int, step: int) -> bool:
        """Whether the word or number whose character at `edge` is its last one in direction `step` really goes on."""
        text = self.text
        last, mark, beyond = (text[i] if 0 <= i < len(text) else " " for i in (edge, edge + step, edge + 2 * step))
        if not _word(last) or _word(mark):
            return _word(last)
        if not last.isdigit() or not _word(beyond):
            return False
        if mark in ".:" and beyond.isdigit():
            return True
        return mark in "-/" or (mark == "," and self._decimal_comma(edge + step))

    def _decimal_comma(self, comma: int) -> bool:
        """Whether the comma stands inside one number rather than between the cells of a row."""
        long = comma >= 5 and self.text[comma - 5 : comma].isdigit()
        before = self.text[comma - 1 : comma].isdigit()
        return before and not long and _DECIMALS_AFTER_COMMA.match(self.text, comma) is not None


def _word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _numbers(text: str) -> set[Decimal]:
    """Every number of the text; where it may be read in two ways ("1.200"), both."""
    found = set()
    for match in _NUMBER.finditer(text):
        token = match.group(1)
        decimal = re.search(r"[.,](?=\d+$)", token)
        if decimal and token.count(decimal.group()) == 1:
            whole = re.sub("[.,]", "", token[: decimal.start()])
            found.add(Decimal(f"{whole}.{token[decimal.end() :]}"))
        if not decimal or re.fullmatch(r"\d{1,3}(?:,\d{3})+|\d{1,3}(?:\.\d{3})+", token):
            found.add(Decimal(re.sub("[.,]", "", token)))
    return found
