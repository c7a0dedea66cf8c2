"""What can be asked about the company: a meaning is drawn first, then written as SQL and, apart from it, in words."""

from __future__ import annotations

import re
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
    ("most common", 2), ("having", 1), ("fact", 4), ("above average", 1), ("distinct", 1), ("without", 2), ("busiest", 2),
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


def _make(rng: Random, operation: str, entity: Entity, filters: list[Chosen]) -> Question | None:
    many = _nouns(rng, entity, filters)
    one = rng.choice(entity.singular)
    source = _source(entity, filters)
    where = _where(filters)
    joined = any(c.link for c in filters)
    shown = f"{entity.table}.{entity.shown}" if joined else entity.shown
    shape = [operation, entity.table, *sorted(c.kind for c in filters)]

    def full(column: str) -> str:
        return f"{entity.table}.{column}" if joined else column

    if operation == "count":
        return _question(rng, w.COUNT, f"SELECT COUNT(*) FROM {source}{where}", shape, many=many)
    if operation == "list":
        return _question(rng, w.LIST, f"SELECT {shown} FROM {source}{where}", shape, many=many)
    if operation == "without" and entity.children:
        child, key, words = rng.choice(entity.children)
        outer = full("id")
        refused = f"{outer} NOT IN (SELECT {key} FROM {child} WHERE {key} IS NOT NULL)"
        where = f"{where} AND {refused}" if where else f" WHERE {refused}"
        many = f"{many} {rng.choice(words)}"
        shape.append(child)
        if rng.random() < 0.5:
            return _question(rng, w.COUNT, f"SELECT COUNT(*) FROM {source}{where}", [*shape, "count"], many=many)
        return _question(rng, w.LIST, f"SELECT {shown} FROM {source}{where}", shape, many=many)
    if operation == "busiest" and entity.children and entity.shown == "name":
        child, key, _ = rng.choice(entity.children)
        if child not in ("orders", "tickets"):
            return None
        children = rng.choice(w.BY_TABLE[child].plural)
        ranked = f"SELECT COUNT(*) FROM {child} WHERE {key} IS NOT NULL GROUP BY {key} ORDER BY COUNT(*) DESC"
        sql = (
            f"SELECT {entity.table}.name FROM {entity.table} JOIN {child} ON {child}.{key} = {entity.table}.id "
            f"GROUP BY {entity.table}.id ORDER BY COUNT(*) DESC LIMIT 1"
        )
        return _question(rng, w.BUSIEST, sql, [*shape, child], ranked, 1, one=one, children=children)
    if operation == "fact" and entity.facts:
        column, words = rng.choice(entity.facts)
        name = rng.choice(entity.named)
        sql = f"SELECT {column} FROM {entity.table} WHERE name = '{name}'"
        return _question(rng, w.FACT, sql, [*shape, column], what=rng.choice(words), name=name)
    if operation in ("total", "most", "least", "top", "above average", "total per") and entity.numbers:
        column, words = rng.choice(entity.numbers)
        what = rng.choice(words)
        if operation == "total":
            function = rng.choice(tuple(w.TOTAL))
            sql = f"SELECT {function}({full(column)}) FROM {source}{where}"
            return _question(rng, w.TOTAL[function], sql, [*shape, function, column], many=many, what=what)
        if operation == "above average":
            mean = f"SELECT AVG({column}) FROM {entity.table}"
            sql = f"SELECT {shown} FROM {source} WHERE {column} > ({mean})"
            return _question(rng, w.ABOVE_AVERAGE, sql, [*shape, column], many=many, what=what)
        if operation == "total per":
            if not entity.groups:
                return None
            function = rng.choice(tuple(w.TOTAL_PER))
            group, groups = rng.choice(entity.groups)
            if _bound(filters, entity, group):
                return None
            sql = f"SELECT {full(group)}, {function}({full(column)}) FROM {source}{where} GROUP BY {full(group)}"
            shape += [function, column, group]
            return _question(rng, w.TOTAL_PER[function], sql, shape, many=many, what=what, group=rng.choice(groups))
        taken = rng.choice((3, 5, 10)) if operation == "top" else 1
        down = "" if operation == "least" else " DESC"
        there = f"{full(column)} IS NOT NULL"
        where = f"{where} AND {there}" if where else f" WHERE {there}"
        ranked = f"SELECT {full(column)} FROM {source}{where} ORDER BY 1{down}"
        sql = f"SELECT {shown} FROM {source}{where} ORDER BY {full(column)}{down} LIMIT {taken}"
        texts = {"most": w.MOST, "least": w.LEAST, "top": w.TOP}[operation]
        single = _nouns(rng, entity, filters, singular=True)
        return _question(
            rng, texts, sql, [*shape, column], ranked, taken, many=many, one=single, what=what, k=str(taken)
        )
    if operation in ("per", "most common", "having", "distinct") and entity.groups:
        group, groups = rng.choice(entity.groups)
        if _bound(filters, entity, group):
            return None
        column = full(group)
        shape.append(group)
        named = {"many": many, "group": rng.choice(groups)}
        if operation == "per":
            sql = f"SELECT {column}, COUNT(*) FROM {source}{where} GROUP BY {column}"
            return _question(rng, w.PER, sql, shape, **named)
        if operation == "distinct":
            return _question(rng, w.DISTINCT, f"SELECT COUNT(DISTINCT {column}) FROM {source}{where}", shape, **named)
        there = f"{where} AND {column} IS NOT NULL" if where else f" WHERE {column} IS NOT NULL"
        if operation == "having":
            least = rng.choice((5, 10, 20, 50, 100, 200))
            sql = f"SELECT {column} FROM {source}{there} GROUP BY {column} HAVING COUNT(*) > {least}"
            return _question(rng, w.HAVING, sql, shape, k=str(least), **named)
        ranked = f"SELECT COUNT(*) FROM {source}{there} GROUP BY {column} ORDER BY 1 DESC"
        sql = f"SELECT {column} FROM {source}{there} GROUP BY {column} ORDER BY COUNT(*) DESC LIMIT 1"
        return _question(rng, w.MOST_COMMON, sql, shape, ranked, 1, **named)
    return None


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
