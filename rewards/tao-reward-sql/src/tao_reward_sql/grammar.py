"""A grammar of queries over a schema: which queries could be asked of a database, drawn with its own values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from .tables import Column, Kind, Link, Table, Tables, quoted

LIMITS = (1, 1, 1, 3, 5, 10)
AGGREGATES = ("AVG", "SUM", "MIN", "MAX")
ASKED: tuple[Kind, ...] = ("class", "flag", "number", "date")  # kinds of columns that conditions are about
JOINED = 0.45  # how often a second table is read, where one is in reach


@dataclass(frozen=True)
class Draft:
    """A query in parts. `present` are columns that must not be NULL: sorted or grouped by, not asked for."""

    select: str
    source: str
    where: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    group: str = ""
    having: str = ""
    order: str = ""
    limit: int = 0

    def sql(self) -> str:
        conditions = [*self.where, *(f"{column} IS NOT NULL" for column in self.present)]
        return (
            f"SELECT {self.select} FROM {self.source}"
            + (f" WHERE {' AND '.join(conditions)}" if conditions else "")
            + (f" GROUP BY {self.group}" if self.group else "")
            + (f" HAVING {self.having}" if self.having else "")
            + (f" ORDER BY {self.order}" if self.order else "")
            + (f" LIMIT {self.limit}" if self.limit else "")
        )

    def weaker(self) -> Iterator[str]:
        """The query without one of its conditions, for each."""
        for i in range(len(self.where)):
            yield replace(self, where=self.where[:i] + self.where[i + 1 :]).sql()
        if self.having:
            yield replace(self, having="").sql()

    def cut(self) -> str:
        """What gives the sort keys of the last row that is taken and of the next; "" where nothing is cut off."""
        if not self.limit:
            return ""
        key = self.order.removesuffix(" DESC")
        return replace(self, select=key, limit=0).sql() + f" LIMIT 2 OFFSET {self.limit - 1}"


@dataclass(frozen=True)
class Source:
    """One table, or one with the table it refers to."""

    main: Table
    parent: Table | None = None
    link: Link | None = None

    @property
    def sql(self) -> str:
        main = quoted(self.main.name)
        if self.parent is None or self.link is None:
            return main
        parent = quoted(self.parent.name)
        return f"{main} JOIN {parent} ON {parent}.{quoted(self.link.key)} = {main}.{quoted(self.link.column)}"

    @property
    def named(self) -> Column | None:
        """What rows of the second table are called by, unless that is what joins it: the first one has it, too."""
        found = self.parent.of("name") if self.parent else []
        subject = self.parent.subject if self.parent else None
        joins = self.link is not None and subject is not None and subject.name == self.link.key
        return subject if subject in found and not joins else None

    def name(self, column: Column) -> str:
        return quoted(column.name) if self.parent is None else f"{quoted(column.table)}.{quoted(column.name)}"

    def of(self, *kinds: Kind) -> list[Column]:
        """Columns of both tables, but not those that join them."""
        both = [*self.main.of(*kinds), *(self.parent.of(*kinds) if self.parent else ())]
        joins = {(self.link.child, self.link.column), (self.link.parent, self.link.key)} if self.link else set()
        return [c for c in both if (c.table, c.name) not in joins]


class Grammar:
    """Draws queries: select and filter, count, aggregate, group, having, order and limit, joins, nested comparisons.

    Queries from a schema to be asked backwards: Zhong et al. 2020 (GAZP, arXiv 2009.07396), Wang et al. 2021 (arXiv
    2103.07434). Constants are values of the data, thresholds are round numbers among them. What is drawn need not have
    a useful result: whoever draws has to run it.
    """

    def __init__(self, tables: Tables, draw: Random) -> None:
        self.tables, self.draw = tables, draw
        self._shapes: list[tuple[float, Callable[[Source], Draft | None]]] = [
            (3, self._list), (3, self._count), (2, self._aggregate), (1, self._different), (3, self._groups),
            (3, self._having), (3, self._top), (2, self._top_group), (1, self._above), (1, self._lookup),
        ]  # fmt: skip

    def query(self) -> Draft | None:
        """One query; None where the draw led to nothing (a table without the columns that its shape needs)."""
        if not self.tables.tables:
            return None
        weights = [weight for weight, _ in self._shapes]
        shape = self.draw.choices([shape for _, shape in self._shapes], weights)[0]
        return shape(self._source())

    # -- where it reads -------------------------------------------------------------------------------------------

    def _source(self) -> Source:
        main = self.draw.choice(list(self.tables.tables.values()))
        links = [link for link in self.tables.links if link.child == main.name]
        if links and self.draw.random() < JOINED:
            link = self.draw.choice(links)
            joined = Source(main, self.tables.tables[link.parent], link)
            if joined.named or any(column.table == link.parent for column in joined.of(*ASKED)):
                return joined
        return Source(main)

    def _where(self, source: Source, most: int, least: int = 0, but: Column | None = None) -> tuple[str, ...]:
        """Conditions on different columns, none on `but`; with a second table one of them is on that."""
        wanted = self.draw.randint(least, most)
        usable = [column for column in source.of(*ASKED) if column != but]
        self.draw.shuffle(usable)
        parent = source.parent
        if parent is not None and (but is None or but.table != parent.name):  # else it would not need that table
            there = [c for c in usable if c.table == parent.name]
            named = source.named if not there or self.draw.random() < 0.3 else None
            first = [named] if named else there[:1]
            usable = [*first, *(c for c in usable if c not in first)]
            wanted = max(1, wanted)
        made = [self._condition(source, column) for column in usable[:wanted]]
        if parent is None and len(made) < most and self.draw.random() < 0.2:
            made += self._related(source.main)
        return tuple(made) if len(made) >= least else ()

    def _condition(self, source: Source, column: Column) -> str:
        name = source.name(column)
        if column.nulls and self.draw.random() < 0.1:
            return f"{name} IS {self.draw.choice(('', 'NOT '))}NULL"
        if column.kind == "number":
            sign, value = self.draw.choice("<>"), self._threshold(column.values)
            return f"{name} {sign} {value}"
        if column.kind == "date":
            return f"strftime('%Y', {name}) = '{self.draw.choice(column.values)[:4]}'"
        value = self.draw.choice(column.values)
        if column.kind == "class" and len(column.values) > 2 and self.draw.random() < 0.08:
            return f"{name} <> {constant(value)}"
        return f"{name} = {constant(value)}"

    def _threshold(self, values: Sequence[Any]) -> str:
        """A round number inside the range of the values."""
        low, high = len(values) // 10, max(len(values) // 10 + 1, len(values) * 9 // 10)
        value = self.draw.choice(values[low:high])
        digits = 1 if self.draw.random() < 0.6 else 2
        near = float(f"{float(value):.{digits - 1}e}")
        if 1900 <= value <= 2100 and isinstance(value, int):
            near = value  # a year
        return str(int(near)) if near == int(near) else repr(near)

    def _related(self, main: Table) -> list[str]:
        """A condition that rows of another table refer to the row, or that none does."""
        links = [link for link in self.tables.links if link.parent == main.name]
        if not links:
            return []
        link = self.draw.choice(links)
        child, column = self.tables.tables[link.child], quoted(link.column)
        denied = self.draw.random() < 0.5
        inner = Source(child)
        some = [self._condition(inner, c) for c in self._some(inner.of(*ASKED), 1)]
        where = [*(some if not denied or self.draw.random() < 0.3 else ()), f"{column} IS NOT NULL"]
        nested = f"SELECT {column} FROM {quoted(child.name)} WHERE {' AND '.join(where)}"
        return [f"{quoted(link.key)} {'NOT ' if denied else ''}IN ({nested})"]

    def _some(self, columns: Sequence[Column], most: int) -> list[Column]:
        return self.draw.sample(list(columns), min(most, len(columns)))

    def _one(self, columns: Sequence[Column]) -> Column | None:
        return self.draw.choice(list(columns)) if columns else None

    # -- what it asks ---------------------------------------------------------------------------------------------

    def _list(self, source: Source) -> Draft | None:
        subject, where = source.main.subject, self._where(source, 2, 1)
        if subject is None or not where:
            return None
        others = [c for c in source.main.of("class", "number", "date") if source.name(c) not in " ".join(where)]
        more = self._some(others, 1) if self.draw.random() < 0.25 else []
        return Draft(", ".join(map(source.name, [subject, *more])), source.sql, where)

    def _count(self, source: Source) -> Draft | None:
        return Draft("COUNT(*)", source.sql, self._where(source, 2, 1))

    def _aggregate(self, source: Source) -> Draft | None:
        number = self._one(source.main.of("number"))
        if number is None:
            return None
        told = f"{self.draw.choice(AGGREGATES)}({source.name(number)})"
        return Draft(told, source.sql, self._where(source, 2, but=number))

    def _different(self, source: Source) -> Draft | None:
        column = self._one(source.main.of("class"))
        if column is None:
            return None
        name = f"DISTINCT {source.name(column)}"
        counted = self.draw.random() < 0.6
        present = (source.name(column),) if column.nulls and not counted else ()
        told = f"COUNT({name})" if counted else name
        return Draft(told, source.sql, self._where(source, 2, 1, but=column), present)

    def _grouped(self, source: Source) -> tuple[Column, tuple[str, ...]] | None:
        """(what to group by, conditions): a class of the main table, or what the other table's rows are called."""
        if source.named is not None and self.draw.random() < 0.4:
            usable = [c for c in source.of(*ASKED) if c.table == source.main.name]
            some = self._some(usable, self.draw.randint(0, 1))
            return source.named, tuple(self._condition(source, c) for c in some)
        column = self._one(source.of("class"))
        return None if column is None else (column, self._where(source, 2, but=column))

    def _groups(self, source: Source) -> Draft | None:
        found = self._grouped(source)
        if found is None:
            return None
        column, where = source.name(found[0]), found[1]
        number = self._one(source.main.of("number")) if self.draw.random() < 0.5 else None
        told = f"{self.draw.choice(AGGREGATES)}({source.name(number)})" if number else "COUNT(*)"
        return Draft(f"{column}, {told}", source.sql, where, group=column)

    def _having(self, source: Source) -> Draft | None:
        found = self._grouped(source)
        if found is None:
            return None
        column, where = source.name(found[0]), found[1]
        number = self._one(source.main.of("number")) if self.draw.random() < 0.3 else None
        sign = self.draw.choice("<>>")
        if number is None:
            having = f"COUNT(*) {sign} {self.draw.choice((1, 2, 3, 5, 10, 20, 50, 100))}"
        else:
            having = f"AVG({source.name(number)}) {sign} {self._threshold(number.values)}"
        present = (column,) if found[0].nulls else ()
        return Draft(column, source.sql, where, present, group=column, having=having)

    def _top(self, source: Source) -> Draft | None:
        subject, number = source.main.subject, self._one(source.main.of("number", "date"))
        if subject is None or number is None:
            return None
        by, limit = source.name(number), self.draw.choice(LIMITS)
        down = " DESC" if self.draw.random() < 0.65 else ""
        present = (by,) if number.nulls else ()
        return Draft(source.name(subject), source.sql, self._where(source, 1), present, order=by + down, limit=limit)

    def _top_group(self, source: Source) -> Draft | None:
        found = self._grouped(source)
        if found is None:
            return None
        column, where = source.name(found[0]), found[1]
        number = self._one(source.main.of("number")) if self.draw.random() < 0.35 else None
        by = f"{self.draw.choice(('AVG', 'SUM'))}({source.name(number)})" if number else "COUNT(*)"
        down = " DESC" if self.draw.random() < 0.8 else ""
        present = (column,) if found[0].nulls else ()
        limit = self.draw.choice((1, 1, 1, 3))
        return Draft(column, source.sql, where, present, column, order=by + down, limit=limit)

    def _above(self, source: Source) -> Draft | None:
        """Rows above or below the average of all."""
        main = Source(source.main)
        subject, number = main.main.subject, self._one(main.main.of("number"))
        if subject is None or number is None:
            return None
        name = main.name(number)
        nested = f"{name} {self.draw.choice('<>>')} (SELECT AVG({name}) FROM {main.sql})"
        others = [c for c in main.of("class", "flag") if self.draw.random() < 0.5]
        where = (*(self._condition(main, c) for c in self._some(others, 1)), nested)
        told = "COUNT(*)" if self.draw.random() < 0.3 else main.name(subject)
        return Draft(told, main.sql, where)

    def _lookup(self, source: Source) -> Draft | None:
        """What is known of one row, by its name."""
        main = Source(source.main)
        names, told = main.of("name"), self._one(main.of("class", "number", "date"))
        if not names or told is None:
            return None
        return Draft(main.name(told), main.sql, (self._condition(main, names[0]),))


def constant(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
