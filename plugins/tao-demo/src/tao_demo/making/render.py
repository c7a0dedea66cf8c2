"""Fills a shape: the message as a person would have sent it, and the record that a careful reader takes from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from . import banks, values
from .banks import Bank, Shape, phrases, problems
from .typos import hurry

MISSING = 0.13  # how often the first side of [a~b] gives way to the second
EXTRA = 0.3  # how often [?a] is there
TYPOS = 0.35  # messages with slips
LOWER = 0.1  # messages without any capital
HELD_OUT_WORDING = 0.35
ASKED = 0.6  # problems in the customer's words that are followed by what they ask for

FIELDS = ("customer", "order_id", "product", "quantity", "date", "problem")
INNERMOST = re.compile(r"\{([^{}\[\]]*)\}|\[([^{}\[\]]*)\]")
SLOT = re.compile(r"\$([a-z_]+)")
VERBS = {  # agreement tokens of problems.txt: (one, many)
    "$It": ("It", "They"), "$it": ("it", "they"), "$is": ("is", "are"), "$was": ("was", "were"),
    "$has": ("has", "have"), "$does": ("does", "do"), "$obj": ("it", "them"), "$es": ("es", ""), "$s": ("s", ""),
}  # fmt: skip
VERB = re.compile(r"\$(?:It|it|is|was|has|does|obj|es|s)(?![a-z])")
ASIDES = {"items", "other_product", "old_order", "other_date", "agent", "phone", "email", "time"}
DISTRACTORS = {"other_product", "old_order", "other_date"}


@dataclass(frozen=True)
class Made:
    """One message with its record, and what went into it."""

    text: str
    record: Mapping[str, Any]
    meta: Mapping[str, Any]


def expand(rng: Random, template: str) -> str:
    """Decide every choice of a template; only slots remain."""
    while "%" in template and (called := re.search(r"%([a-z]+)", template)):
        template = template[: called.start()] + phrases()[called.group(1)] + template[called.end() :]

    def choose(match: re.Match[str]) -> str:
        if match.group(1) is not None:
            choices: list[str] = match.group(1).split("|")
            return rng.choice(choices)
        inner: str = match.group(2)
        if inner.startswith("?"):
            return inner[1:] if rng.random() < EXTRA else ""
        first, _, second = inner.partition("~")
        return second if rng.random() < MISSING else first

    while INNERMOST.search(template):
        template = INNERMOST.sub(choose, template)
    return template


def wording(rng: Random, bank: Bank, product: values.Product, *, many: bool, test: bool) -> str:
    """One wording of the problem that suits the product, in agreement with the number of things."""
    belongs = values.product_class(product)
    tags = {"d": belongs == "devices", "w": belongs == "wear", "h": belongs != "wear", "f": belongs == "furniture"}
    while True:
        line = values.pick(rng, bank, test, HELD_OUT_WORDING)
        tag, colon, rest = line.partition(":")
        if not (colon and tag in tags):
            break
        if tags[tag]:
            line = rest
            break
    line = VERB.sub(lambda m: VERBS[m.group()][many], line)
    if "$decoy" in line:
        decoy = product.name
        while decoy == product.name:
            decoy = values.product(rng, test, "wrong_item", singular=True).name
        line = re.sub(r"\b(a )?\$decoy", lambda m: (m.group(1) or "") + decoy, line)
        line = re.sub(r"\ba (?=[aeiou])(?=" + re.escape(decoy) + ")", "an ", line)
    return line


def when(rng: Random, kind: str) -> str:
    """How the date hangs on to the order: "placed", "delivered", …, whatever the problem allows."""
    more = {"late": ("due",), "cancel": ()}.get(kind, ("delivered", "received"))
    return rng.choice(("ordered", "placed", "bought", *more))


class _Filler:
    """Values of one message; each slot is a list of (text, is it a value) pieces."""

    def __init__(self, rng: Random, template: str, kind: str, test: bool) -> None:
        self.rng, self.kind, self.test = rng, kind, test
        used = set(SLOT.findall(template))
        self.product = values.product(rng, test, kind)
        self.other = values.product(rng, test, "", singular=True)
        while self.other == self.product:
            self.other = values.product(rng, test, "", singular=True)
        self.count = values.quantity(rng) if used & {"qty", "n"} else None
        self.said_count = values.number(rng, self.count) if self.count and "qty" in used else str(self.count)
        self.first, self.last = values.person(rng, test)
        self.order, self.old_order = values.order_id(rng), values.order_id(rng)
        self.preposition, self.date = values.date(rng, relative="date" not in used)
        self.other_date = values.date(rng, relative=False)[1]
        self.minute = rng.randrange(8 * 60, 20 * 60)
        self.agent = values.pick(rng, banks.values()["agents"], test)
        self.record: dict[str, Any] = dict.fromkeys(FIELDS)
        self.record["problem"] = kind

    @property
    def many(self) -> bool:
        return self.product.plural or (self.count or 1) > 1

    def _gold(self, field: str, value: Any) -> list[tuple[str, bool]]:
        self.record[field] = value
        return [(str(value), True)]

    def slot(self, name: str) -> list[tuple[str, bool]]:
        """Pieces for one slot, noting in the record what a gold slot says."""
        before, pieces = "", [(self._aside(name), True)] if name in ASIDES else []
        if name in ("customer", "first", "reversed"):
            full = {"customer": f"{self.first} {self.last}", "reversed": f"{self.last}, {self.first}"}
            pieces = self._gold("customer", full.get(name, self.first if len(self.first) > 2 else self.last))
        elif name in ("qty", "n"):
            self.record["quantity"] = self.count
            pieces = [(self.said_count, True)]
        elif name in ("product", "sku"):
            pieces = self._gold("product", self.product.many if self.many and name == "product" else self.product.name)
            if name == "product" and self.product.plural and self.count:
                before = "pairs of " if self.count > 1 else "pair of "
        elif name == "order":
            pieces = self._gold("order_id", self.order)
        elif name in ("date", "on", "when"):
            before = {"date": "", "on": self.preposition, "when": f"{when(self.rng, self.kind)} {self.preposition}"}[
                name
            ]
            pieces = self._gold("date", self.date)
        elif name in ("problem", "note"):
            before = self._told(name)
        return [(before, False), *pieces]

    def _told(self, name: str) -> str:
        """The problem, in the customer's words and often with what they ask for, or as staff note it down."""
        manners = ["noted"] if name == "note" else ["said", "asked"] if self.rng.random() < ASKED else ["said"]
        told = [problems()[f"{self.kind} {manner}"] for manner in manners]
        return " ".join(wording(self.rng, bank, self.product, many=self.many, test=self.test) for bank in told)

    def _aside(self, name: str) -> str:
        rng = self.rng
        self.minute += rng.randrange(1, 4)
        return {
            "items": "items" if (self.count or 2) > 1 else "item",
            "other_product": self.other.name,
            "old_order": self.old_order,
            "other_date": self.other_date,
            "agent": self.agent,
            "phone": values.phone(rng),
            "email": values.email(rng),
            "time": f"{self.minute // 60:02}:{self.minute % 60:02}",
        }[name]


def _tidy(text: str) -> str:
    """Remove what a dropped part leaves behind: doubled blanks and commas, blank line ends."""
    text = text.replace("«", "[").replace("»", "]")
    text = re.sub(r" +([,.;:!?)])(?=\s|$)", r"\1", text)
    text = re.sub(r"([,:]) *(?=[,.])", "", text) if ";" not in text and "|" not in text else text
    text = re.sub(r"\( *\)|\( *, *", lambda m: "" if ")" in m.group() else "(", text)
    text = re.sub(r"(?<![.])([.?!])\.(?=\s|$|\")", r"\1", text)
    text = re.sub(r"([.?!]),(?=\s)", r"\1", text)
    text = re.sub(r"(?<=\S) {2,}", " ", text)
    text = re.sub(r"[ \t]*,?[ ]+\n|,\n(?=$)", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip(" \n,")


def render(rng: Random, shape: Shape, kind: str, test: bool) -> Made:
    """A message of `shape` about a problem of `kind`; `test` allows held-out values and wordings."""
    template = expand(rng, shape.template)
    filler = _Filler(rng, template, kind, test)
    pieces: list[tuple[str, bool]] = []
    at = 0
    for match in SLOT.finditer(template):
        pieces.append((template[at : match.start()], False))
        pieces.extend(filler.slot(match.group(1)))
        at = match.end()
    pieces.append((template[at:], False))
    typos, lower = rng.random() < TYPOS, rng.random() < LOWER
    if typos:
        rate = rng.choice((0.08, 0.12, 0.2))
        pieces = [(text if is_value else hurry(rng, text, rate), is_value) for text, is_value in pieces]
    text = _tidy("".join(text for text, _ in pieces))
    record = dict(filler.record)
    if lower:
        text = text.lower()
        record = {k: v.lower() if isinstance(v, str) else v for k, v in record.items()}
    distractor = bool(DISTRACTORS & set(SLOT.findall(template)))
    meta = {"shape": shape.name, "family": shape.family, "typos": typos, "distractor": distractor}
    return Made(text, record, meta)
