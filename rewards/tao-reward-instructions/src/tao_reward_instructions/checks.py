"""The 25 verifiable instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911): a check for each kind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from .text import count_capital_words, count_sentences, language_of

Check = Callable[[str, Mapping[str, Any]], bool]

LIMITED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
FEW, MANY = "less than", "at least"
_PUNCTUATION = re.compile(r"[.,?!'\"]")
_FENCE = re.compile(r"\A```(?:json|Json|JSON)?|```\Z")


def compared(found: int, relation: str, number: int) -> bool:
    """Whether a count stands in `relation` to a number. Raises ValueError for another relation."""
    if relation not in (FEW, MANY):
        raise ValueError(f"relation must be {FEW!r} or {MANY!r}, found {relation!r}")
    return found < number if relation == FEW else found >= number


def _has(text: str, word: str) -> bool:
    return re.search(re.escape(word), text, re.IGNORECASE) is not None


def _existence(text: str, o: Mapping[str, Any]) -> bool:
    return all(_has(text, word) for word in o["keywords"])


def _frequency(text: str, o: Mapping[str, Any]) -> bool:
    """As pieces of longer words, too: that is how IFEval counts."""
    found = len(re.findall(re.escape(o["keyword"].strip()), text, re.IGNORECASE))
    return compared(found, o["relation"], o["frequency"])


def _forbidden(text: str, o: Mapping[str, Any]) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in o["forbidden_words"])


def _letters(text: str, o: Mapping[str, Any]) -> bool:
    return compared(text.lower().count(o["letter"].strip().lower()), o["let_relation"], o["let_frequency"])


def _language(text: str, o: Mapping[str, Any]) -> bool:
    return language_of(text) in (o["language"], None)


def _sentences(text: str, o: Mapping[str, Any]) -> bool:
    return compared(count_sentences(text), o["relation"], o["num_sentences"])


def _words(text: str, o: Mapping[str, Any]) -> bool:
    return compared(sum(1 for _ in re.finditer(r"\w+", text)), o["relation"], o["num_words"])


def _paragraphs(text: str, o: Mapping[str, Any]) -> bool:
    """Paragraphs stand between lines of three asterisks; only before the first and after the last may be nothing."""
    parts = [part.strip() for part in text.split("***")]
    if len(parts) > 1:
        parts = parts[not parts[0] : len(parts) - (not parts[-1])]
    return all(parts) and len(parts) == o["num_paragraphs"]


def _nth_paragraph(text: str, o: Mapping[str, Any]) -> bool:
    """Paragraphs stand between empty lines. Which one is the n-th counts empty ones, how many there are does not."""
    parts = [part.strip() for part in text.split("\n\n")]
    count, wanted = sum(map(bool, parts)), o["nth_paragraph"]
    if count != o["num_paragraphs"] or wanted > count or not parts[wanted - 1]:
        return False
    word = parts[wanted - 1].split()[0].lstrip("'").lstrip('"')
    return _PUNCTUATION.split(word)[0].lower() == o["first_word"].lower()


def _placeholders(text: str, o: Mapping[str, Any]) -> bool:
    count = 0
    for line in text.split("\n"):
        start = line.find("[")
        while start >= 0 and (end := line.find("]", start)) >= 0:
            count, start = count + 1, line.find("[", end)
    return count >= int(o["num_placeholders"])


def _postscript(text: str, o: Mapping[str, Any]) -> bool:
    marker = o["postscript_marker"].strip()
    pattern = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}.get(marker, re.escape(marker.lower()))
    return re.search(pattern, text.lower()) is not None


def _bullets(text: str, o: Mapping[str, Any]) -> bool:
    """Exactly so many lines that start with - or with one asterisk."""
    lines = [line.strip() for line in text.strip().split("\n")]
    return sum(s.startswith("-") or (s.startswith("*") and s[1:2] != "*") for s in lines) == o["num_bullets"]


def _highlights(text: str, o: Mapping[str, Any]) -> bool:
    """At least so many *texts* or **texts** within a line."""
    single = re.findall(r"\*([^\n*]*)\*", text)
    double = re.findall(r"\*\*([^\n*]*)\*\*", text)
    return sum(bool(found.strip()) for found in single + double) >= o["num_highlights"]


def _sections(text: str, o: Mapping[str, Any]) -> bool:
    marked = re.findall(rf"{re.escape(o['section_spliter'].strip())}\s?\d+", text)
    return len(marked) >= int(o["num_sections"])


def _json(text: str, o: Mapping[str, Any]) -> bool:
    try:
        json.loads(_FENCE.sub("", text.strip()).strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, o: Mapping[str, Any]) -> bool:
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end - 2 and line[start:end].lstrip("<").rstrip(">").strip():
            return True
    return False


def _two_responses(text: str, o: Mapping[str, Any]) -> bool:
    """Two different answers with six asterisks between them."""
    parts = [part.strip() for part in text.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def _repeated(text: str, o: Mapping[str, Any]) -> bool:
    return text.strip().lower().startswith(o["prompt_to_repeat"].strip().lower())


def _end(text: str, o: Mapping[str, Any]) -> bool:
    return text.strip().strip('"').lower().endswith(o["end_phrase"].strip().lower())


def _quoted(text: str, o: Mapping[str, Any]) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _capital_words(text: str, o: Mapping[str, Any]) -> bool:
    return compared(count_capital_words(text), o["capital_relation"], o["capital_frequency"])


CHECKS: Mapping[str, Check] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": _language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda text, o: any(option in text for option in LIMITED),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeated,
    "startend:end_checker": _end,
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda text, o: text.isupper() and language_of(text) in ("en", None),
    "change_case:english_lowercase": lambda text, o: text.islower() and language_of(text) in ("en", None),
    "punctuation:no_comma": lambda text, o: "," not in text,
}


def follows(kind: str, text: str, options: Mapping[str, Any]) -> bool:
    """Whether a text follows one instruction; an empty one follows none.

    Raises ValueError for a kind that is none of the 25, and for options that are missing or of the wrong type.
    """
    if kind not in CHECKS:
        raise ValueError(f"no verifiable instruction {kind!r}; there are {', '.join(CHECKS)}")
    try:
        return bool(text.strip()) and CHECKS[kind](text, options)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{kind}: its kwargs do not fit: {dict(options)!r:.200} ({error!r})") from None


def loosened(text: str) -> list[str]:
    """The texts of which one has to follow: as it is, without its first line, its last, or both (an introduction, a
    farewell), and each of these four without asterisks (markdown's emphasis)."""
    lines = text.split("\n")
    cut = [text, *("\n".join(some).strip() for some in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys([*cut, *(part.replace("*", "") for part in cut)]))
