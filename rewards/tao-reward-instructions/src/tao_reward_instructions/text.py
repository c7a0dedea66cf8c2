"""What the checks count in a text: sentences, words in capitals, and its language."""

from __future__ import annotations

import functools
import re
from typing import Any

SAMPLE = 20_000  # characters that the language is told from

# Whose period ends no sentence, without it; next to names of months and titles that stand before other words.
ABBREVIATIONS = frozenset(
    """
    adm al approx apr assn assoc aug ave blvd bros capt cf co col corp dec dept dr e.g ed eds est et feb fig gen gov hon
    i.e inc jan jr lt ltd maj mr mrs ms mt no nov oct p prof ph.d rep rev sen sep sept sr st univ v vol vs
    """.split()  # noqa: SIM905
)
# Words that begin a sentence where they are written large, also after an abbreviation.
STARTERS = frozenset(
    """
    a after all although an and another are as at because before but by do each every finally first for from he her here
    his how however i if in is it its many most my next no not now of on once one or other our overall please second she
    since so some such that the their then there these they third this those to we what when where which while who why
    with would you your
    """.split()  # noqa: SIM905
)
# The lookbehind keeps it linear: a long run of marks is tried from its start only.
_END = re.compile(r"(?<![.?!])(?P<marks>[.?!]+)(?P<closing>[\"'’”)\]}*_:;,]*)(?=\s+(?P<next>\S{1,40}))")
_INITIALS = re.compile(r"(?!p\.(?:p\.)?s)[^\W\d_](?:\.[^\W\d_])*")  # of a name, or U.S., but no postscript
_BEFORE = re.compile(r"\S*$")
_BETWEEN_WORDS = re.compile(r"[\s;@#$%&?!\"“”‘()\[\]{}<>…]+|--+|[,:](?!\d)|``|''")
_CONTRACTION = re.compile(r"(?i)(?<=[^\s'])(n't|'(?:s|m|d|ll|re|ve))(?!\w)")


def count_sentences(text: str) -> int:
    """How many sentences there are.

    A sentence ends at . ? or ! before a blank, after closing quotes and brackets; a period of an abbreviation, of an
    initial, of a number before a small letter, and dots between words end none, unless a word that begins sentences
    follows. A line end is a blank. IFEval counts with NLTK's trained Punkt model (Kiss & Strunk 2006), which needs a
    download; docs/instructions.md says how often both agree.
    """
    return len(sentences_of(text))


def sentences_of(text: str) -> list[str]:
    """The sentences that `count_sentences` counts, each with what stands between it and the next."""
    text = text.strip()
    places = [match.end() for match in _END.finditer(text) if _ends(text, match)]
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)])] if text else []


def _ends(text: str, match: re.Match[str]) -> bool:
    following = match["next"].lstrip("\"'“‘([{*_#-")
    if match["marks"].strip("."):  # a question or an exclamation mark is among them
        return True
    start = max(0, match.start() - 40)
    found = _BEFORE.search(text[start : match.start()])
    word = (found.group() if found else "").lstrip("\"'“‘([{*_").casefold()
    begins = following[:1].isupper() and re.sub(r"\W.*", "", following).casefold() in STARTERS
    if len(match["marks"]) > 1:  # dots that trail off
        return begins
    if match["closing"].startswith((",", ";", ":")):
        return False
    if word in ABBREVIATIONS or _INITIALS.fullmatch(word):
        return begins
    return not (word.isdecimal() and following[:1].islower())


def count_capital_words(text: str) -> int:
    """How many words are written in capitals only, one letter or more; words as the Penn Treebank divides them (what
    follows an apostrophe in "IT'S" is a word, a hyphen divides none)."""
    divided = _CONTRACTION.sub(r" \1", text)
    return sum(word.isupper() for word in _BETWEEN_WORDS.split(divided) if word)


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of the language (zh-cn, zh-tw), None where there is nothing to tell it from.

    langdetect draws at random; with a fixed seed the same text has the same language.
    """
    from langdetect.lang_detect_exception import LangDetectException

    detector = _detectors().create()
    detector.append(text[:SAMPLE])
    try:
        return str(detector.detect())
    except LangDetectException:
        return None


@functools.lru_cache(maxsize=1)
def _detectors() -> Any:
    """langdetect's profiles, in a factory of our own: its module-wide one has a seed that others may set."""
    from langdetect import detector_factory

    factory = detector_factory.DetectorFactory()
    factory.seed = 0
    factory.load_profile(detector_factory.PROFILES_DIRECTORY)
    return factory
