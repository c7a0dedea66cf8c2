"""When a value of an answer occurs in the input: whole words, whole numbers, number words."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

import tao_hub

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]

# A number as people type it, longest reading first: 1,200.50, 1.200,50, 2.5, 2,5, 1200; also 2x, x2, 12kg, 3rd. No piece of
# a code (4f3a, A12, Q7-33), a date (07/08/24, 2024-11-02) or a time (17:45). "4,2024-11-02" is a row with a comma.
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
        start = self.text.find(wanted)
        while start >= 0:
            if self._stands_alone(start, start + len(wanted)):
                return True
            start = self.text.find(wanted, start + 1)
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
        """Neither a piece of a longer word nor, at a digit, of a longer number such as 12.5 or 1,200."""
        text = self.text
        if start and _word(text[start]) and (_word(text[start - 1]) or self._within_number(start - 1)):
            return False
        return not (end < len(text) and _word(text[end - 1]) and (_word(text[end]) or self._within_number(end)))

    def _within_number(self, mark: int) -> bool:
        """Whether a "." or "," stands inside one number; a comma also separates the cells of a row."""
        text = self.text
        if text[mark] not in ".," or not (text[mark - 1 : mark].isdigit() and text[mark + 1 : mark + 2].isdigit()):
            return False
        long = text[max(0, mark - 5) : mark].isdigit() and mark >= 5
        return text[mark] == "." or (not long and _DECIMALS_AFTER_COMMA.match(text, mark) is not None)


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
