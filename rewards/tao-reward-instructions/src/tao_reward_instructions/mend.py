"""instructions/mend: answers edited so that they follow the verifiable instructions of their prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pydantic

import tao_hub

from .checks import LIMITED, MANY, follows
from .followed import instructions_of
from .text import sentences_of

Asked = Sequence[tuple[str, Mapping[str, Any]]]  # (kind, options) of each instruction
Edit = Callable[[str, Mapping[str, Any]], str]
ITEM = re.compile(r"^[ \t]*(?:[*•-]+|\d+\.)[ \t]+", re.MULTILINE)  # how a list's item begins
_TAIL = " \n*-"


class Mend(tao_hub.Strategy):
    """Generates nothing; edits the best candidates of a group that follow not all instructions, no labels.

    For each instruction that is not followed there is an edit: a title put before, a postscript after, sentences cut
    off or set as list items, sections or paragraphs, words added or left out, case changed. Where a candidate follows
    all of them, or no edit helps (more sentences or words, another language), nothing is made. The rewards judge what
    comes of it. An answer that was cut off is mended up to its last whole sentence. Where a prompt has no instructions,
    or some that cannot be checked, nothing is mended: `instructions/followed` has its error.
    """

    class Options(tao_hub.Options):
        best: int = pydantic.Field(2, ge=1, description="Candidates of a prompt that are edited: the best totals")

    def combine(self, group: tao_hub.Group) -> Sequence[tao_hub.Candidate]:
        try:
            return self._mended(group, instructions_of(group.prompt))
        except ValueError:
            return []

    def _mended(self, group: tao_hub.Group, asked: Asked) -> list[tao_hub.Candidate]:
        alive = [i for i, c in enumerate(group.candidates) if not c.error and not c.parents and c.response.strip()]
        if any(not group.candidates[i].truncated and _all(group.candidates[i].response, asked) for i in alive):
            return []
        totals = [group.totals[i] if group.totals else None for i in range(len(group.candidates))]
        alive.sort(key=lambda i: -(t.value if (t := totals[i]) is not None and t.value is not None else -1e9))
        made: dict[str, tao_hub.Candidate] = {}
        for i in alive[: self.options.best]:
            one = group.candidates[i]
            text = _whole(one.response) if one.truncated else one.response
            others = [group.candidates[k].response for k in alive if group.candidates[k].response != one.response]
            mended = mend(text, asked, others[0] if others else "")
            if mended is not None and mended != one.response:
                parents = () if one.id is None else (one.id,)
                made.setdefault(mended, tao_hub.Candidate(one.prompt, mended, parents=parents))
        return list(made.values())


def mend(text: str, asked: Asked, other: str = "") -> str | None:
    """The text edited until it follows all of the (kind, options), or None. `other` is another answer to the prompt,
    for instructions that want two."""
    wanted = dict(asked)
    if len(wanted) == len(asked):
        for _ in range(2):  # an edit may undo what an earlier one did
            for kind in EDITS:
                if kind in wanted and not follows(kind, text, wanted[kind]):
                    text = EDITS[kind](text, {**wanted[kind], "other": other})
            if _all(text, asked):
                return text
    return None


def _all(text: str, asked: Asked) -> bool:
    return all(follows(kind, text, options) for kind, options in asked)


def _whole(text: str) -> str:
    """Up to the last whole sentence or line."""
    some = sentences_of(text)
    return "".join(some[:-1]).rstrip(_TAIL) if len(some) > 1 else text.rpartition("\n")[0] or text


def _chunks(text: str, count: int) -> list[str]:
    """The text in so many parts of like numbers of lines, of sentences where there are fewer lines, or of words."""
    plain = ITEM.sub("", text.replace("***", "\n")).replace("*", "").replace("•", "\n")
    for pieces in (plain.split("\n"), sentences_of(plain), plain.split()):
        some = [piece.strip() for piece in pieces if piece.strip()]
        if len(some) >= count:
            places = [round(i * len(some) / count) for i in range(count + 1)]
            return [" ".join(some[start:end]) for start, end in pairwise(places)]
    return [plain.strip()] * count


def _words(text: str, o: Mapping[str, Any]) -> str:
    if o["relation"] == MANY:
        return text
    some = sentences_of(text)
    while len(some) > 1 and len(re.findall(r"\w+", "".join(some))) >= o["num_words"]:
        some.pop()
    return "".join(some).rstrip(_TAIL)


def _sentences(text: str, o: Mapping[str, Any]) -> str:
    some = sentences_of(text)
    return text if o["relation"] == MANY else "".join(some[: max(1, o["num_sentences"] - 1)]).rstrip(_TAIL)


def _nth_paragraph(text: str, o: Mapping[str, Any]) -> str:
    parts = _chunks(text, o["num_paragraphs"])
    at = o["nth_paragraph"] - 1
    parts[at] = f"{o['first_word'].capitalize()}, {parts[at]}"
    return "\n\n".join(parts)


def _bullets(text: str, o: Mapping[str, Any]) -> str:
    return "\n".join(f"* {part}" for part in _chunks(text, o["num_bullets"]))


def _highlights(text: str, o: Mapping[str, Any]) -> str:
    parts = _chunks(text, o["num_highlights"])
    return "\n".join(re.sub(r"^(\S+(?: \S+){0,2})", r"*\1*", part, count=1) for part in parts)


def _sections(text: str, o: Mapping[str, Any]) -> str:
    parts, name = _chunks(text, int(o["num_sections"])), o["section_spliter"].strip()
    return "\n\n".join(f"{name} {i}\n{part}" for i, part in enumerate(parts, 1))


def _placeholders(text: str, o: Mapping[str, Any]) -> str:
    names = ("name", "date", "address", "email", "phone", "place", "time", "number")
    some = [f"[{names[i % len(names)]}]" for i in range(int(o["num_placeholders"]))]
    return f"{text}\n\nDetails: {' '.join(some)}"


def _existence(text: str, o: Mapping[str, Any]) -> str:
    missing = [w for w in o["keywords"] if w.lower() not in text.lower()]
    return f"{text} This is also about {' and '.join(missing)}."


def _frequency(text: str, o: Mapping[str, Any]) -> str:
    word = o["keyword"].strip()
    found = len(re.findall(re.escape(word), text, re.IGNORECASE))
    if o["relation"] == MANY:
        return f"{text} To sum up: {' and '.join([word] * (o['frequency'] - found))}."
    places = list(re.finditer(rf"\s*{re.escape(word)}", text, re.IGNORECASE))[max(0, o["frequency"] - 1) :]
    for match in reversed(places):
        text = text[: match.start()] + text[match.end() :]
    return text


def _forbidden(text: str, o: Mapping[str, Any]) -> str:
    pattern = "|".join(re.escape(word) for word in o["forbidden_words"])
    kept = [some for some in sentences_of(text) if not re.search(rf"\b(?:{pattern})\b", some, re.IGNORECASE)]
    return "".join(kept).strip() or re.sub(rf"\s*\b(?:{pattern})\b", "", text, flags=re.IGNORECASE)


def _title(text: str, o: Mapping[str, Any]) -> str:
    words = re.findall(r"\w[\w'-]*", text)[:5]
    return f"<<{' '.join(words).title()}>>\n\n{text}"


def _two(text: str, o: Mapping[str, Any]) -> str:
    return f"{text.replace('******', '')}\n\n******\n\n{o['other'].replace('******', '')}" if o["other"] else text


def _limited(text: str, o: Mapping[str, Any]) -> str:
    first = re.findall(r"[a-z]+", text.lower())[:1]
    return LIMITED[{"yes": 0, "no": 1}.get(first[0] if first else "", 2)]


def _capitals(text: str, o: Mapping[str, Any]) -> str:
    words = re.split(r"(\s+)", text)
    if o["capital_relation"] == MANY:
        wanted = [i for i, word in enumerate(words) if word.isalpha() and not word.isupper()]
        for i in sorted(wanted, key=lambda i: -len(words[i]))[: o["capital_frequency"]]:
            words[i] = words[i].upper()
        return "".join(words)
    return "".join(word.capitalize() if word.isupper() else word for word in words)


# In the order in which they are made: what is said, how it is set, what stands around it, and its letters.
EDITS: Mapping[str, Edit] = {
    "detectable_format:constrained_response": _limited,
    "keywords:forbidden_words": _forbidden,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_words": _words,
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "length_constraints:number_paragraphs": lambda text, o: "\n\n***\n\n".join(_chunks(text, o["num_paragraphs"])),
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_format:title": _title,
    "combination:two_responses": _two,
    "combination:repeat_prompt": lambda text, o: f"{o['prompt_to_repeat'].strip()}\n\n{text}",
    "detectable_content:postscript": lambda text, o: f"{text}\n\n{o['postscript_marker'].strip()} Thank you.",
    "startend:end_checker": lambda text, o: f"{text}\n\n{o['end_phrase'].strip()}",
    "startend:quotation": lambda text, o: '"' + text.strip().strip('"') + '"',
    "change_case:capital_word_frequency": _capitals,
    "punctuation:no_comma": lambda text, o: text.replace(",", ""),
    "change_case:english_capital": lambda text, o: text.upper(),
    "change_case:english_lowercase": lambda text, o: text.lower(),
    "detectable_format:json_format": lambda text, o: json.dumps({"answer": text.strip()}, indent=2, ensure_ascii=False),
}  # fmt: skip
