"""What can be asked about the company: a meaning is drawn first, then written as SQL and, apart from it, in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from . import wordings as w
from .wordings import Entity, Filter, Link


@dataclass(frozen=True)
class Question:
    """A question and its query; `composition` is its shape: operation, table, and kinds of filters."""

    text: str
    sql: str
    composition: str
    ranked: str = ""  # a query of all that was ranked, where the answer is the first `taken` of them
    taken: int = 0


@dataclass(frozen=True)
class Chosen:
    """A filter with its value, on the entity itself or, by `link`, on a parent of it."""

    filter: Filter
    value: str
    link: Link | None = None

    @property
    def kind(self) -> str:
        return f"{self.link.table}.{self.filter.kind}" if self.link else self.filter.kind

    @property
    def sql(self) -> str:
        return self.filter.sql.replace("{v}", self.value)


OPERATIONS = (
    ("count", 5), ("list", 4), ("total", 4), ("most", 2), ("least", 2), ("top", 2), ("per", 2), ("total per", 2),
    ("most common", 2), ("having", 1), ("fact", 4), ("above average", 1), ("distinct", 1), ("without", 2),
    ("busiest", 2),
)  # fmt: skip
ASKED_OF = {  # tables that an operation is asked about; all others about any
    "most": ("employees", "products", "invoices"), "least": ("employees", "products"), "top": ("employees", "products"),
    "above average": ("employees", "products"), "distinct": ("customers", "orders", "tickets"),
    "having": ("customers", "orders", "tickets"), "total per": ("employees", "products", "shipments"),
    "list": ("customers", "employees", "products", "orders", "invoices"),
}  # fmt: skip
FILTERS = {"fact": 0, "above average": 0, "busiest": 0}  # at most; else 2
FILTERED = (0.35, 0.57, 0.08)  # chances of none, one, two


def draw(rng: Random) -> Question:
    """A random question."""
    while True:
        operation = rng.choices([name for name, _ in OPERATIONS], [weight for _, weight in OPERATIONS])[0]
        entity = w.BY_TABLE[rng.choice(ASKED_OF.get(operation, tuple(w.BY_TABLE)))]
        filters = _filters(rng, entity, FILTERS.get(operation, 2), needed=operation == "list")
        made = _make(rng, operation, entity, filters)
        if made is not None:
            return made


def _filters(rng: Random, entity: Entity, most: int, needed: bool) -> list[Chosen]:
    count = min(most, rng.choices((0, 1, 2), FILTERED)[0])
    chosen: list[Chosen] = []
    for _ in range(max(count, needed)):
        link = rng.choice(entity.links) if entity.links and rng.random() < 0.25 else None
        if any(c.link for c in chosen):
            link = None  # one join is enough
        pool = w.BY_TABLE[link.table].filters if link else entity.filters
        picked = rng.choice(pool)
        if not _clash(picked, [c.filter for c in chosen if c.link is link]):
            chosen.append(Chosen(picked, rng.choice(picked.values), link))
    return chosen


def _clash(one: Filter, others: list[Filter]) -> bool:
    """Whether two filters speak of the same column."""
    column = one.sql.split()[0]
    return any(other.sql.split()[0] == column or other.kind == one.kind for other in others)


@dataclass
class Draft:
    """What is drawn for a question before its operation writes it."""

    rng: Random
    entity: Entity
    filters: list[Chosen]
    shape: list[str]
    many: str = ""
    one: str = ""

    def __post_init__(self) -> None:
        self.many = _nouns(self.rng, self.entity, self.filters)
        self.one = self.rng.choice(self.entity.singular)
        self.joined = any(c.link for c in self.filters)
        self.source = _source(self.entity, self.filters)
        self.where = _where(self.filters)
        self.shown = self.full(self.entity.shown)

    def full(self, column: str) -> str:
        """The column's name as the query needs it."""
        return f"{self.entity.table}.{column}" if self.joined else column

    def and_where(self, condition: str) -> str:
        return f"{self.where} AND {condition}" if self.where else f" WHERE {condition}"

    def asked(
        self, texts: tuple[str, ...], sql: str, shape: Sequence[str] = (), ranked: str = "", taken: int = 0,
        **slots: str,
    ) -> Question:  # fmt: skip
        return _question(self.rng, texts, sql, [*self.shape, *shape], ranked, taken, **{"many": self.many, **slots})


def _make(rng: Random, operation: str, entity: Entity, filters: list[Chosen]) -> Question | None:
    shape = [operation, entity.table, *sorted(c.kind for c in filters)]
    return WRITERS[operation](Draft(rng, entity, filters, shape), operation)


def _count(d: Draft, _: str) -> Question:
    return d.asked(w.COUNT, f"SELECT COUNT(*) FROM {d.source}{d.where}")


def _list(d: Draft, _: str) -> Question:
    return d.asked(w.LIST, f"SELECT {d.shown} FROM {d.source}{d.where}")


def _childless(d: Draft, _: str) -> Question | None:
    if not d.entity.children:
        return None
    child, key, words = d.rng.choice(d.entity.children)
    where = d.and_where(f"{d.full('id')} NOT IN (SELECT {key} FROM {child} WHERE {key} IS NOT NULL)")
    many = f"{d.many} {d.rng.choice(words)}"
    if d.rng.random() < 0.5:
        return d.asked(w.COUNT, f"SELECT COUNT(*) FROM {d.source}{where}", [child, "count"], many=many)
    return d.asked(w.LIST, f"SELECT {d.shown} FROM {d.source}{where}", [child], many=many)


def _busiest(d: Draft, _: str) -> Question | None:
    if not d.entity.children or d.entity.shown != "name":
        return None
    child, key, _words = d.rng.choice(d.entity.children)
    if child not in ("orders", "tickets"):
        return None
    children = d.rng.choice(w.BY_TABLE[child].plural)
    table = d.entity.table
    ranked = f"SELECT COUNT(*) FROM {child} WHERE {key} IS NOT NULL GROUP BY {key} ORDER BY COUNT(*) DESC"
    sql = (
        f"SELECT {table}.name FROM {table} JOIN {child} ON {child}.{key} = {table}.id "
        f"GROUP BY {table}.id ORDER BY COUNT(*) DESC LIMIT 1"
    )
    return d.asked(w.BUSIEST, sql, [child], ranked, 1, one=d.one, children=children)


def _fact(d: Draft, _: str) -> Question | None:
    if not d.entity.facts:
        return None
    column, words = d.rng.choice(d.entity.facts)
    name = d.rng.choice(d.entity.named)
    sql = f"SELECT {column} FROM {d.entity.table} WHERE name = '{name}'"
    return d.asked(w.FACT, sql, [column], what=d.rng.choice(words), name=name)


def _total(d: Draft, operation: str) -> Question | None:
    if not d.entity.numbers:
        return None
    column, words = d.rng.choice(d.entity.numbers)
    what = d.rng.choice(words)
    if operation == "total":
        function = d.rng.choice(tuple(w.TOTAL))
        sql = f"SELECT {function}({d.full(column)}) FROM {d.source}{d.where}"
        return d.asked(w.TOTAL[function], sql, [function, column], what=what)
    if operation == "above average":
        mean = f"SELECT AVG({column}) FROM {d.entity.table}"
        return d.asked(
            w.ABOVE_AVERAGE, f"SELECT {d.shown} FROM {d.source} WHERE {column} > ({mean})", [column], what=what
        )
    return _total_per(d, column, what) if operation == "total per" else _ranked(d, operation, column, what)


def _total_per(d: Draft, column: str, what: str) -> Question | None:
    if not d.entity.groups:
        return None
    function = d.rng.choice(tuple(w.TOTAL_PER))
    group, groups = d.rng.choice(d.entity.groups)
    if _bound(d.filters, d.entity, group):
        return None
    by = d.full(group)
    sql = f"SELECT {by}, {function}({d.full(column)}) FROM {d.source}{d.where} GROUP BY {by}"
    named = d.rng.choice(groups)
    return d.asked(w.TOTAL_PER[function], sql, [function, column, group], what=what, group=named)


def _ranked(d: Draft, operation: str, column: str, what: str) -> Question:
    taken = d.rng.choice((3, 5, 10)) if operation == "top" else 1
    down = "" if operation == "least" else " DESC"
    by = d.full(column)
    where = d.and_where(f"{by} IS NOT NULL")
    ranked = f"SELECT {by} FROM {d.source}{where} ORDER BY 1{down}"
    sql = f"SELECT {d.shown} FROM {d.source}{where} ORDER BY {by}{down} LIMIT {taken}"
    texts = {"most": w.MOST, "least": w.LEAST, "top": w.TOP}[operation]
    one = _nouns(d.rng, d.entity, d.filters, singular=True)
    return d.asked(texts, sql, [column], ranked, taken, one=one, what=what, k=str(taken))


def _grouped(d: Draft, operation: str) -> Question | None:
    if not d.entity.groups:
        return None
    group, groups = d.rng.choice(d.entity.groups)
    if _bound(d.filters, d.entity, group):
        return None
    column, named = d.full(group), d.rng.choice(groups)
    if operation == "per":
        sql = f"SELECT {column}, COUNT(*) FROM {d.source}{d.where} GROUP BY {column}"
        return d.asked(w.PER, sql, [group], group=named)
    if operation == "distinct":
        return d.asked(w.DISTINCT, f"SELECT COUNT(DISTINCT {column}) FROM {d.source}{d.where}", [group], group=named)
    by = f"SELECT {column} FROM {d.source}{d.and_where(f'{column} IS NOT NULL')} GROUP BY {column}"
    if operation == "having":
        least = d.rng.choice((5, 10, 20, 50, 100, 200))
        return d.asked(w.HAVING, f"{by} HAVING COUNT(*) > {least}", [group], k=str(least), group=named)
    ranked = f"{by.replace(column, 'COUNT(*)', 1)} ORDER BY 1 DESC"
    return d.asked(w.MOST_COMMON, f"{by} ORDER BY COUNT(*) DESC LIMIT 1", [group], ranked, 1, group=named)


WRITERS: dict[str, Callable[[Draft, str], Question | None]] = {
    "count": _count, "list": _list, "without": _childless, "busiest": _busiest, "fact": _fact,
    **dict.fromkeys(("total", "above average", "total per", "most", "least", "top"), _total),
    **dict.fromkeys(("per", "distinct", "having", "most common"), _grouped),
}  # fmt: skip


def _bound(filters: list[Chosen], entity: Entity, group: str) -> bool:
    """Whether a filter already says what the group is."""
    return any(c.filter.sql.startswith(f"{entity.table}.{group} ") for c in filters)


def _source(entity: Entity, filters: list[Chosen]) -> str:
    joins = {c.link.table: c.link.on for c in filters if c.link}
    return entity.table + "".join(f" JOIN {table} ON {on}" for table, on in joins.items())


def _where(filters: list[Chosen]) -> str:
    joined = any(c.link for c in filters)
    parts = [c.sql if joined else re.sub(r"\b[a-z_]+\.(?=[a-z_]+\b)", "", c.sql, count=1) for c in filters]
    return " WHERE " + " AND ".join(parts) if parts else ""


def _nouns(rng: Random, entity: Entity, filters: list[Chosen], singular: bool = False) -> str:
    """The noun with its filters around it: "unpaid invoices over 500 euros for orders placed in 2022"."""
    before, after, last = "", "", ""
    for chosen in filters:
        wording = rng.choice(chosen.filter.wordings).replace("{v}", chosen.value)
        if chosen.link:
            words = rng.choice(chosen.link.words)
            if wording.startswith("="):  # "of customers" → "of retail customers"
                head, noun = words.rsplit(" ", 1)
                last = f" {head} {wording[1:]} {noun}"
            else:
                last = f" {words} {wording}"
        elif wording.startswith("="):
            before += f"{wording[1:]} "
        else:
            after += f" and {wording}" if after else f" {wording}"
    return before + rng.choice(entity.singular if singular else entity.plural) + after + last


def _question(
    rng: Random, texts: tuple[str, ...], sql: str, shape: list[str], ranked: str = "", taken: int = 0, **slots: str
) -> Question:
    text = rng.choice(texts).format(**slots)
    opening = rng.choice(w.OPENINGS)
    if opening and not opening.endswith((". ", "! ")) and not text.startswith(tuple(slots.get("name", "\0"))):
        text = text[0].lower() + text[1:]
    if rng.random() < 0.12:
        text = text.rstrip("?.")
    return Question(opening + text, sql, " | ".join(shape), ranked, taken)
