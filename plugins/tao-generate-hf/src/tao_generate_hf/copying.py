"""Copy decoding: inside a string of a JSON answer, only words that stand in the input may be written.

A small model with worked examples before it often fills a record with the examples' values. With
`Prompt.meta["copy_from"]` set to a text, the strings of the answer's JSON fields are decoded as spans of that text
(what comes before and after them is free; fields named in `meta["copy_skip"]` too). `meta["copy_match"]` maps a field to
a regular expression that must match where its span starts (what an order number looks like, say). The pointer idea is that of
pointer-generator networks (See et al. 2017, arXiv 1704.04368), done by masking instead of a learnt gate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import regex

MAX_WORDS = 2000  # starts of a span in one text
SPAN_TOKENS = 40
_WORD = re.compile(r"\w[\w.+/&@'’#-]*|#\w[\w/-]*")
_OPEN = re.compile(r'"([^"\\]{1,80})"\s*:\s*"((?:[^"\\]|\\.)*)$')  # a field whose string is not closed yet


class Copying:
    """The spans of one text, as token sequences; shared by all samples of a prompt."""

    def __init__(self, tokenizer: Any, text: str, skip: Iterable[str], match: Mapping[str, str], ends: Ends) -> None:
        self.skip = frozenset(skip)
        self.ends = ends
        starts = [m.start() for m in _WORD.finditer(text)][:MAX_WORDS]
        tails = [text[s : s + 6 * SPAN_TOKENS].split("\n")[0] for s in dict.fromkeys(starts)]
        encoded = tokenizer(tails, add_special_tokens=False)["input_ids"] if tails else []
        self.spans = [tuple(ids[:SPAN_TOKENS]) for ids in encoded]
        self.matching = {
            field: [span for span, tail in zip(self.spans, tails) if regex.match(pattern, tail, timeout=1.0)]
            for field, pattern in match.items()
        }

    def allowed(self, text: str, value: tuple[int, ...]) -> list[int] | None:
        """Token ids that may follow, or None if all may. `value`: the tokens written inside the open string."""
        opened = _OPEN.search(text)
        if opened is None or opened[1] in self.skip:
            return None
        count = len(value)
        spans = self.matching.get(opened[1], self.spans)
        follow = {span[count] for span in spans if len(span) > count and span[:count] == value}
        if count:
            follow.update(self.ends.closing)
        return sorted(follow) or None


class Ends:
    """Which tokens of a vocabulary open and close a JSON string."""

    def __init__(self, tokenizer: Any) -> None:
        size = len(tokenizer)
        texts = tokenizer.batch_decode([[i] for i in range(size)])
        self.closing = [i for i, t in enumerate(texts) if t in ('"', '",', '"}', '"}\n', '",\n')]
        self.text = texts


class Track:
    """Where one sample is in its answer: the text so far, and the tokens of the string that is open."""

    def __init__(self, copying: Copying) -> None:
        self.copying = copying
        self.text = ""
        self.value: tuple[int, ...] = ()

    def push(self, token: int) -> None:
        piece = self.copying.ends.text[token] if token < len(self.copying.ends.text) else ""
        inside = _OPEN.search(self.text) is not None
        self.text = (self.text + piece)[-4000:]
        still = _OPEN.search(self.text) is not None
        self.value = (*self.value, token) if inside and still and '"' not in piece else ()

    def allowed(self) -> list[int] | None:
        return self.copying.allowed(self.text, self.value)
