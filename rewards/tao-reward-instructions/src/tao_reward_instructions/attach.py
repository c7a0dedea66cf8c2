"""Verifiable instructions drawn for a task: which kinds go together, their numbers and words, and how they are told."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from .checks import CHECKS, FEW, LIMITED, MANY

Drawn = tuple[dict[str, Any], str]
"""Options of one instruction, and the sentence that tells it."""

HOW_MANY = ((1, 0.55), (2, 0.35), (3, 0.10))  # instructions of a prompt: IFEval has 1.6 on average
WORDS = tuple(
    """
    time people water world family light music paper story garden market travel river winter summer energy health school
    friend future simple strong quick quiet bright careful useful important different common open money nature history
    weather dinner kitchen window mountain morning evening question answer reason example change plan choice
    """.split()  # noqa: SIM905
)
DULL = frozenset(
    """
    about after also answer because been before come could does each example following from give given have input into
    list make many more most only other output over provide should some sentence such task text than that their them
    then there these they this those using want what when where which while will with word words would write your
    """.split()  # noqa: SIM905
)
LANGUAGES = {
    "de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese", "nl": "Dutch", "pl": "Polish",
    "ru": "Russian", "hi": "Hindi", "ko": "Korean", "ar": "Arabic", "vi": "Vietnamese",
}  # fmt: skip
ENDINGS = (
    "Is there anything else you would like to know?", "I hope this helps.", "That is all for now.",
    "Thank you for reading.", "Feel free to ask me more.",
)  # fmt: skip

# Which kinds leave room for no other kinds but these.
ALONE: dict[str, set[str]] = {
    "detectable_format:constrained_response": set(),
    "detectable_format:json_format": {"keywords:existence", "keywords:forbidden_words"},
    "combination:two_responses": {
        "keywords:existence", "keywords:forbidden_words", "punctuation:no_comma", "language:response_language",
    },
    "combination:repeat_prompt": {"keywords:existence", "detectable_format:title", "detectable_content:postscript"},
}  # fmt: skip
# Which kinds contradict each other, or would with the numbers that may be drawn.
CLASHES: dict[str, set[str]] = {
    "language:response_language": {
        "keywords:existence", "keywords:frequency", "keywords:forbidden_words", "keywords:letter_frequency",
        "startend:end_checker", "change_case:english_capital", "change_case:english_lowercase",
        "change_case:capital_word_frequency", "detectable_format:multiple_sections", "detectable_content:postscript",
        "length_constraints:nth_paragraph_first_word",
    },
    "length_constraints:number_words": {
        "length_constraints:number_sentences", "length_constraints:nth_paragraph_first_word",
        "detectable_format:multiple_sections",
    },
    "length_constraints:number_sentences": {
        "length_constraints:number_paragraphs", "length_constraints:nth_paragraph_first_word",
        "detectable_format:multiple_sections", "detectable_format:number_bullet_lists",
    },
    "length_constraints:number_paragraphs": {
        "length_constraints:nth_paragraph_first_word", "detectable_format:multiple_sections",
        "detectable_format:number_bullet_lists", "detectable_format:number_highlighted_sections",
    },
    "length_constraints:nth_paragraph_first_word": {
        "detectable_format:multiple_sections", "detectable_format:title", "detectable_content:postscript",
        "startend:quotation",
    },
    "detectable_format:number_bullet_lists": {"detectable_format:number_highlighted_sections"},
    "change_case:english_capital": {"change_case:english_lowercase", "change_case:capital_word_frequency"},
    "change_case:english_lowercase": {
        "change_case:capital_word_frequency", "detectable_content:postscript", "detectable_format:multiple_sections",
    },
    "startend:quotation": {"detectable_format:title"},
    "startend:end_checker": {"detectable_content:postscript", "startend:quotation"},
    "keywords:forbidden_words": {"keywords:existence", "keywords:frequency"},
    "keywords:existence": {"keywords:frequency"},
}  # fmt: skip


def go_together(kinds: Sequence[str]) -> bool:
    """Whether no two of the kinds contradict each other."""
    for i, one in enumerate(kinds):
        for other in kinds[:i]:
            if one == other or other in CLASHES.get(one, ()) or one in CLASHES.get(other, ()):
                return False
            if any(a in ALONE and b not in ALONE[a] for a, b in ((one, other), (other, one))):
                return False
    return True


def draw_kinds(rng: Random, allowed: Sequence[str]) -> list[str]:
    """One to three kinds that go together."""
    numbers, weights = zip(*HOW_MANY)
    wanted = min(rng.choices(numbers, weights)[0], len(allowed))
    while True:
        kinds = rng.sample(list(allowed), wanted)
        if go_together(kinds):
            return kinds
        wanted = max(1, wanted - (rng.random() < 0.1))  # a few kinds only, that never go together


def draw(kind: str, rng: Random, task: str) -> Drawn:
    """An instruction of a kind for a task's text: its options and the sentence that tells it."""
    return DRAWS[kind](rng, task)


def _own_words(rng: Random, task: str, number: int, foreign: float = 0.5) -> list[str]:
    """Words of the task, or, with the probability `foreign` or where it has too few, common ones that it lacks."""
    found = {w.lower() for w in re.findall(r"[A-Za-z]{4,12}", task)} - DULL
    own, common = sorted(found), [w for w in WORDS if w not in task.lower()]
    chosen: list[str] = []
    while len(chosen) < number:
        source = own if own and rng.random() > foreign else common
        word = rng.choice(source)
        if word not in chosen:
            chosen.append(word)
        elif source is own:
            own.remove(word)
    return chosen


def _say(rng: Random, *sentences: str) -> str:
    return rng.choice(sentences)


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _relation(rng: Random) -> str:
    return rng.choice((FEW, MANY))


def _existence(rng: Random, task: str) -> Drawn:
    words = _own_words(rng, task, rng.randint(1, 3))
    told = _listed(words)
    return {"keywords": words}, _say(rng, f"Use these words: {told}.", f"Your answer has to contain {told}.")


def _frequency(rng: Random, task: str) -> Drawn:
    (word,), relation = _own_words(rng, task, 1), _relation(rng)
    number = rng.randint(2, 4)
    options = {"keyword": word, "relation": relation, "frequency": number}
    return options, _say(
        rng,
        f'Use the word "{word}" {relation} {number} times.',
        f"The word {word} should occur {relation} {number} times.",
    )


def _forbidden(rng: Random, task: str) -> Drawn:
    words = _own_words(rng, task, rng.randint(1, 3), foreign=0.2)
    told = _listed(words)
    return {"forbidden_words": words}, _say(rng, f"Do not use the words {told}.", f"Leave out these words: {told}.")


def _letters(rng: Random, task: str) -> Drawn:
    letter, relation = rng.choice("abcdefghilmnoprstuvw"), _relation(rng)
    number = rng.randint(3, 20)
    options = {"letter": letter, "let_relation": relation, "let_frequency": number}
    return options, f"The letter {letter} should appear {relation} {number} times."


def _language(rng: Random, task: str) -> Drawn:
    code = rng.choice(list(LANGUAGES))
    name = LANGUAGES[code]
    return {"language": code}, _say(rng, f"Answer in {name} only.", f"The whole answer has to be in {name}.")


def _sentences(rng: Random, task: str) -> Drawn:
    relation = _relation(rng)
    number = rng.randint(2, 8) if relation == FEW else rng.randint(2, 12)
    return {"relation": relation, "num_sentences": number}, _say(
        rng, f"Answer in {relation} {number} sentences.", f"There should be {relation} {number} sentences in it."
    )


def _words(rng: Random, task: str) -> Drawn:
    relation = _relation(rng)
    number = 10 * rng.randint(2, 15)
    return {"relation": relation, "num_words": number}, _say(
        rng, f"Write {relation} {number} words.", f"The answer should have {relation} {number} words."
    )


def _paragraphs(rng: Random, task: str) -> Drawn:
    number = rng.randint(2, 4)
    return {"num_paragraphs": number}, _say(
        rng, f"Write exactly {number} paragraphs, with *** between them.",
        f"There should be {number} paragraphs. Separate them with the markdown divider: ***",
    )  # fmt: skip


def _nth_paragraph(rng: Random, task: str) -> Drawn:
    number = rng.randint(2, 4)
    place, word = rng.randint(1, number), rng.choice(WORDS)
    options = {"num_paragraphs": number, "nth_paragraph": place, "first_word": word}
    return options, (
        f"Write {number} paragraphs, with an empty line between them and nowhere else. Paragraph {place} must start "
        f"with the word {word}."
    )


def _placeholders(rng: Random, task: str) -> Drawn:
    number = rng.randint(1, 5)
    return {"num_placeholders": number}, _say(
        rng, f"Put at least {number} placeholders in square brackets into it, such as [name].",
        f"Include {number} or more placeholders like [address] or [date].",
    )  # fmt: skip


def _postscript(rng: Random, task: str) -> Drawn:
    marker = rng.choice(("P.S.", "P.P.S"))
    return {"postscript_marker": marker}, f"Add a postscript at the end that starts with {marker}"


def _bullets(rng: Random, task: str) -> Drawn:
    number = rng.randint(2, 6)
    return {"num_bullets": number}, _say(
        rng, f"Answer with exactly {number} bullet points in markdown, such as:\n* This is a point.",
        f"There must be exactly {number} markdown bullet points (lines that start with *).",
    )  # fmt: skip


def _limited(rng: Random, task: str) -> Drawn:
    return {}, f"Your answer has to be one of these: {_listed(LIMITED)}"


def _highlights(rng: Random, task: str) -> Drawn:
    number = rng.randint(1, 4)
    return {"num_highlights": number}, _say(
        rng, f"Highlight at least {number} parts of the answer in markdown, as in *highlighted part*.",
        f"Emphasise {number} or more phrases with asterisks, like *this*.",
    )  # fmt: skip


def _sections(rng: Random, task: str) -> Drawn:
    number, name = rng.randint(2, 4), rng.choice(("Section", "SECTION", "Part", "Step"))
    return {"section_spliter": name, "num_sections": number}, (
        f"Divide the answer into {number} sections. Mark each with {name} X, such as:\n{name} 1"
    )


def _json(rng: Random, task: str) -> Drawn:
    return {}, _say(rng, "The whole output has to be JSON.", "Wrap the entire answer in JSON, ``` around it is fine.")


def _title(rng: Random, task: str) -> Drawn:
    return {}, _say(rng, "Give it a title in double angular brackets, as in <<title>>.", "Add a title like <<this>>.")


def _two(rng: Random, task: str) -> Drawn:
    return {}, "Give two different answers, and nothing but six asterisks (******) between them."


def _repeated(rng: Random, task: str) -> Drawn:
    return {"prompt_to_repeat": task}, (
        "First repeat the request above word for word, then answer it. Say nothing before you repeat it."
    )


def _end(rng: Random, task: str) -> Drawn:
    phrase = rng.choice(ENDINGS)
    return {"end_phrase": phrase}, _say(rng, f'End with exactly this: "{phrase}"', f"The last words must be: {phrase}")


def _quoted(rng: Random, task: str) -> Drawn:
    return {}, _say(rng, "Put the whole answer in double quotation marks.", "Wrap your entire answer in double quotes.")


def _capital_words(rng: Random, task: str) -> Drawn:
    relation = _relation(rng)
    number = rng.randint(2, 8)
    return {"capital_relation": relation, "capital_frequency": number}, (
        f"Use {relation} {number} words in capital letters only."
    )


def _capital(rng: Random, task: str) -> Drawn:
    return {}, _say(rng, "Answer in English, in capital letters only.", "The whole answer must be in ALL CAPS English.")


def _lowercase(rng: Random, task: str) -> Drawn:
    return {}, _say(rng, "Answer in English and use no capital letters.", "All letters must be lowercase, in English.")


def _no_comma(rng: Random, task: str) -> Drawn:
    return {}, _say(rng, "Use no commas.", "Do not use any commas in your answer.")


DRAWS: dict[str, Callable[[Random, str], Drawn]] = dict(zip(CHECKS, (
    _existence, _frequency, _forbidden, _letters, _language, _sentences, _paragraphs, _words, _nth_paragraph,
    _placeholders, _postscript, _bullets, _limited, _highlights, _sections, _json, _title, _two, _repeated, _end,
    _quoted, _capital_words, _capital, _lowercase, _no_comma,
)))  # fmt: skip
