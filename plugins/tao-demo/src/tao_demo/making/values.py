"""Draws the values a message speaks of: people, order numbers, products, quantities, dates."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .banks import CLASSES, CLASSES_OF_KIND, Bank, values

HELD_OUT_SHARE = 0.4  # how often the test split takes a value that no other split knows

ORDER_FORMATS = (
    "NNNNN", "NNNNNN", "ORD-NNNNN", "LNLN-NNNN", "2024-NNNNNN", "TX/NNNNN", "SO00NNNNN", "NNN-NNNNNNN-NNNNNNN",
    "K-NNNN-L", "WNNNNNNNN", "LLNNNNNN", "NNNNN/24", "LL.NNNN.NN", "DE-NNNN-NNNN", "NNNNNNNNN",
)  # fmt: skip
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DATE_FORMATS = (
    "{d} {month}", "{d} {month} {y}", "{month} {d}", "{month} {d}, {y}", "{month} {nth}", "{nth} of {month}",
    "{nth} {mon}", "{y}-{m:02}-{d:02}", "{d:02}/{m:02}/{yy:02}", "{d:02}/{m:02}/{y}", "{d}/{m}", "{d:02}.{m:02}.{y}",
    "{d}.{m}.{yy:02}", "{d}-{mon}-{yy:02}", "{mon} {d}", "{day} {d} {mon}", "{dy}, {d} {mon}", "{y}{m:02}{d:02}",
    "{d:02}-{m:02}-{y}", "{mon} {d} {y}",
)  # fmt: skip
RELATIVE = ("yesterday", "last {day}", "two days ago", "a week ago", "last weekend", "three weeks ago", "this {day}",
            "last month", "the day before yesterday", "10 days ago")  # fmt: skip
IRREGULAR = {"shelf": "shelves", "scarf": "scarves", "mouse": "mice"}
HANDLES = ("blue.heron77", "office", "shop4me", "purchasing", "k9lover", "the.old.mill", "info", "mailbox12")


@dataclass(frozen=True)
class Product:
    """A product name; `plural` forms like "hiking boots" are counted in pairs."""

    name: str
    plural: bool

    @property
    def many(self) -> str:
        if self.plural:
            return self.name
        for ending, plural in IRREGULAR.items():
            if self.name.endswith(ending):
                return self.name[: -len(ending)] + plural
        if " of " in self.name:
            head, _, tail = self.name.partition(" of ")
            return f"{head}s of {tail}"
        if self.name.endswith(("s", "x", "ch", "sh")):
            return self.name + "es"
        if self.name.endswith("y") and self.name[-2] not in "aeiou":
            return self.name[:-1] + "ies"
        return self.name + "s"


def pick(rng: Random, bank: Bank, test: bool, share: float = HELD_OUT_SHARE) -> str:
    """One entry; with `test`, a held-out entry in `share` of the draws."""
    held_out = test and bank.test and rng.random() < share
    return rng.choice(bank.test if held_out else bank.shared)


def product(rng: Random, test: bool, kind: str, singular: bool = False) -> Product:
    """A product that the problem kind makes sense for."""
    while True:
        name = pick(rng, values()[rng.choice(CLASSES_OF_KIND.get(kind, CLASSES))], test)
        if not (singular and name.endswith("!")):
            return Product(name.rstrip("!"), name.endswith("!"))


def product_class(product: Product) -> str:
    """The list a product comes from."""
    names = (product.name, product.name + "!")
    return next(c for c in CLASSES if any(n in values()[c].shared + values()[c].test for n in names))


def person(rng: Random, test: bool) -> tuple[str, str]:
    """First name and surname."""
    first, last = (pick(rng, values()[bank], test) for bank in ("first names", "surnames"))
    return (first[0] + "." if rng.random() < 0.06 else first), last


def order_id(rng: Random) -> str:
    """An order number in one of the formats shops use."""
    letters = {"N": "0123456789", "L": "ABCEGHJKMPRTVX"}
    pattern = rng.choice(ORDER_FORMATS)
    # only runs of N and L are placeholders; the fixed letters of a pattern are neither
    text = "".join(rng.choice(letters[c]) if c in letters else c for c in pattern)
    return "4" + text[1:] if text[0] == "0" else text


def quantity(rng: Random) -> int:
    """Mostly one to three, sometimes a dozen, rarely dozens."""
    roll = rng.random()
    if roll < 0.3:
        return 1
    if roll < 0.75:
        return rng.randrange(2, 5)
    return rng.randrange(5, 13) if roll < 0.93 else rng.randrange(13, 61)


def number(rng: Random, count: int) -> str:
    """A quantity as digits or, up to twelve, as a word."""
    return WORDS[count - 1] if count <= 12 and rng.random() < 0.45 else str(count)


def _nth(day: int) -> str:
    ending = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def date(rng: Random, relative: bool) -> tuple[str, str]:
    """(preposition with blank, or ""; the date as written). `relative` allows "last Tuesday" and the like."""
    day = rng.choice(DAYS)
    if relative and rng.random() < 0.22:
        return "", rng.choice(RELATIVE).format(day=day)
    d, m, y = rng.randrange(1, 29), rng.randrange(1, 13), rng.choice((2023, 2024, 2024, 2025))
    month = MONTHS[m - 1]
    text = rng.choice(DATE_FORMATS).format(
        d=d, m=m, y=y, yy=y % 100, month=month, mon=month[:3], nth=_nth(d), day=day, dy=day[:3]
    )
    return "on ", text


def phone(rng: Random) -> str:
    """A number from ranges kept for fiction."""
    return rng.choice(("0171 555 0{}", "+44 20 5550 {}", "555-0{}", "(0)30 5550 {}")).format(rng.randrange(100, 1000))


def email(rng: Random) -> str:
    """An address that does not give a name away."""
    return f"{rng.choice(HANDLES)}@example.{rng.choice(('com', 'org', 'net'))}"
