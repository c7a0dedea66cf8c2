"""Copy decoding: inside a JSON answer, only what stands in the input may be written.

A small model with worked examples before it often fills a record with the examples' values. With
`Prompt.meta["copy_from"]` set to a text, the strings of the answer's JSON fields are decoded as spans of that text
(what comes before and after them is free; fields named in `meta["copy_skip"]` too). `meta["copy_match"]` maps a field
to a regular expression that must match where its span starts (what an order number looks like, say), and
`meta["copy_choices"]` a field to the options it is one of. With `meta["copy_keys"]` the answer is an object of these
keys in this order and nothing else: no sample is lost to a key that is left out or to a record that does not end. The
pointer idea is that of pointer-generator networks (See et al. 2017, arXiv 1704.04368), done by masking instead of a
learnt gate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import regex

MAX_SPANS = 2000  # of one text
SPAN_TOKENS = 24
SECONDS = 1.0  # that a pattern may take on one text
NUMBER_WORDS = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
]  # fmt: skip
_WORD = re.compile(r"\w[\w.+/&@'’#-]*|#\w[\w/-]*")
_NUMBER = re.compile(
    r"(?<![\w/.:,#+-])\d{1,3}(?![\w/:-]|[.,]\d)|\b(?:" + "|".join(NUMBER_WORDS) + r")\b", re.IGNORECASE
)
_OPEN = re.compile(r'"([^"\\]{1,80})"\s*:\s*"((?:[^"\\]|\\.)*)$')  # a field whose string is not closed yet
_VALUE = re.compile(r'"([^"\\]{1,80})"\s*:(\s*[^\s",{}\[\]]*)$')  # a field whose value has begun without a string

_DONE = re.compile(r'\s*(?:"(?:[^"\\]|\\.)*"|null|true|false|[^\s",{}\[\]]+(?=[,}]))')  # a value that has ended

Tokens = tuple[int, ...]


class Ends:
    """Which tokens of a vocabulary open and close a JSON value."""

    def __init__(self, tokenizer: Any) -> None:
        self.text: list[str] = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
        self.closing = self._like('"', '",', '"}', '"}\n', '",\n')
        self.opening = self._like('"', ' "')
        self.null = self._like("null", " null")
        self.after_number = self._like(",", "}", "}\n", ",\n")
        self.ending = frozenset([*self.closing, *self.after_number])
        self.pieces: dict[str, list[int]] = {}
        self.digits = [i for i, t in enumerate(self.text) if re.fullmatch(r" ?[0-9]{0,3}", t) and t]

    def beginning(self, literal: str) -> list[int]:
        """Tokens that write the beginning of a text, or all of it."""
        if literal not in self.pieces:
            self.pieces[literal] = [i for i, t in enumerate(self.text) if t and literal.startswith(t)]
        return self.pieces[literal]

    def _like(self, *texts: str) -> list[int]:
        return [i for i, t in enumerate(self.text) if t in texts]


class Copying:
    """What the fields of one answer may hold; shared by all samples of a prompt. `wish` is the prompt's meta."""

    def __init__(self, tokenizer: Any, wish: Mapping[str, Any], ends: Ends) -> None:
        text = str(wish["copy_from"])
        self.ends = ends
        self.skip = frozenset(wish.get("copy_skip", ()))
        self.frame = _frame(wish.get("copy_keys", ()))
        free = text  # a number inside another field's value ("5" in "Dec 5") is that value's
        for pattern in wish.get("copy_match", {}).values():
            free = regex.sub(pattern, lambda m: "\n" * len(m[0]), free, timeout=SECONDS)
        found = re.finditer(_NUMBER, free)
        words = {word: i for i, word in enumerate(NUMBER_WORDS, 1)}
        values = sorted({str(words.get(m[0].casefold(), m[0])) for m in found})
        self.numbers = {field: [*values, "null"] for field in wish.get("copy_numbers", ())}
        starts = [m.start() for m in _WORD.finditer(text)][:MAX_SPANS]
        tails = [text[s : s + 6 * SPAN_TOKENS].split("\n")[0] for s in starts]
        self.spans = _encode(tokenizer, tails)
        self.starting = {
            field: [span for span, tail in zip(self.spans, tails) if regex.match(pattern, tail, timeout=SECONDS)]
            for field, pattern in wish.get("copy_start", {}).items()
        }
        self.whole = {
            field: _encode(tokenizer, [m[0] for m in regex.finditer(pattern, text, timeout=SECONDS)][:MAX_SPANS])
            for field, pattern in wish.get("copy_match", {}).items()
        }

        self.whole.update({f: _encode(tokenizer, list(some)) for f, some in wish.get("copy_choices", {}).items()})

    def allowed(self, text: str, value: Tokens) -> list[int] | None:
        """Token ids that may follow `text`, or None if all may. `value`: tokens written inside the open string."""
        rest, after = _due(text, self.frame)
        if rest:
            return self.ends.beginning(rest) or None
        follow = self._value(text, value, within=bool(after))
        if follow is None or not after:
            return follow
        return [i for i in follow if i not in self.ends.ending or self._goes_on(self.ends.text[i], after)] or follow

    def _value(self, text: str, value: Tokens, within: bool) -> list[int] | None:
        """What may follow inside a value; `within` an object whose keys are known, where a value is next."""
        if opened := _OPEN.search(text):
            return None if opened[1] in self.skip else self._inside(opened[1], value)
        begun = _VALUE.search(text)
        if begun is None:
            return None
        field, written = begun[1], begun[2].strip()
        if field in self.numbers:
            return self._number(self.numbers[field], written, spaced=begun[2][:1].isspace())
        if field in self.whole and not written:
            return self.ends.opening if self.whole[field] else self.ends.null
        if within and not written:
            return self.ends.opening + ([] if field in self.skip else self.ends.null)
        return None

    @staticmethod
    def _goes_on(piece: str, after: str) -> bool:
        """Whether a token that ends a value writes nothing after it but what the object goes on with."""
        return after.startswith(piece.removeprefix('"'))

    def _inside(self, field: str, value: Tokens) -> list[int] | None:
        count = len(value)
        spans = self.whole.get(field) or self.starting.get(field, self.spans)
        follow = {span[count] for span in spans if len(span) > count and span[:count] == value}
        # One of several whole values may go on where another ends, so both are open then.
        if value in spans if field in self.whole else count:
            follow.update(self.ends.closing)
        return sorted(follow) or None

    def _number(self, values: list[str], written: str, spaced: bool) -> list[int] | None:
        follow = [i for i in self.ends.digits if any(v.startswith(written + self.ends.text[i].strip()) for v in values)]
        if not written:
            follow = [i for i in follow if self.ends.text[i].strip() or not spaced] + self.ends.null
        if written in values:
            follow = [i for i in follow if self.ends.text[i].strip()] + self.ends.after_number
        return follow or None


def _frame(keys: Sequence[str]) -> list[str]:
    """What stands before the first value of an object of these keys, between its values, and after the last."""
    names = [f"{json.dumps(key, ensure_ascii=False)}:" for key in keys]
    return ["{" + names[0], *(", " + name for name in names[1:]), "}"] if names else []


def _due(text: str, frame: Sequence[str]) -> tuple[str, str]:
    """(what of the frame must be written next, "" inside a value; what of it comes after that value).

    Both are "" where there is no frame, where all of it is written, and where the text has left it.
    """
    at = 0
    for place, piece in enumerate(frame):
        if len(text) - at < len(piece):
            return (piece[len(text) - at :], "") if piece.startswith(text[at:]) else ("", "")
        if not text.startswith(piece, at):
            return "", ""
        at += len(piece)
        if place + 1 < len(frame):
            done = _DONE.match(text, at)
            if done is None:
                return "", frame[place + 1]
            at = done.end()
    return "", ""


def _encode(tokenizer: Any, texts: list[str]) -> list[Tokens]:
    distinct = list(dict.fromkeys(texts))
    encoded = tokenizer(distinct, add_special_tokens=False)["input_ids"] if distinct else []
    return [tuple(ids[:SPAN_TOKENS]) for ids in encoded]


class Track:
    """Where one sample is in its answer: the text so far, and the tokens of the string that is open."""

    def __init__(self, copying: Copying) -> None:
        self.copying = copying
        self.text = ""
        self.value: Tokens = ()

    def push(self, token: int) -> None:
        piece = self.copying.ends.text[token] if token < len(self.copying.ends.text) else ""
        inside = _OPEN.search(self.text) is not None
        self.text = (self.text + piece)[-4000:]
        still = _OPEN.search(self.text) is not None
        self.value = (*self.value, token) if inside and still and '"' not in piece else ()

    def allowed(self) -> list[int] | None:
        return self.copying.allowed(self.text, self.value)
