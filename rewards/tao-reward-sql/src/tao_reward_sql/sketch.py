"""A query taken apart into what words speak of: its outline, tables, columns and conditions; and put together again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from .gate import NotAQuery, parse
from .linking import Asked
from .nested import mark_extremes, put_alike, spelt_out
from .repair import written
from .tables import quoted

Tables = Mapping[str, tuple[str, ...]]  # columns by table, in lower case
MARK = re.compile(r"\b(column|constant)_(\d+)_\b")  # plain names, which nothing quotes


@dataclass(frozen=True)
class Slot:
    """A place for a constant of the question: a number, or a text of `column`."""

    table: str = ""
    column: str = ""

    @property
    def number(self) -> bool:
        return not self.column


@dataclass(frozen=True)
class Condition:
    """A part of WHERE that stands for itself: columns by their full names, constant_0_ … for what is said."""

    table: str
    sql: str
    slots: tuple[Slot, ...] = ()


@dataclass(frozen=True)
class Outline:
    """All of a query but its tables, columns (column_0_, …), numbers of the question (constant_0_, …) and conditions.
    `where`: the parts of WHERE that belong to it all the same (a ranked column is not NULL)."""

    select: str
    after: str  # GROUP BY … LIMIT
    where: tuple[str, ...]
    tables: int
    owners: tuple[int, ...]  # of each column: the number of its table
    roles: tuple[str, ...]  # of each column: where it stands
    numbers: int


@dataclass(frozen=True)
class Sketch:
    """A query in parts. `constants`: what fills the outline's numbers, then each condition's slots."""

    outline: Outline
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    conditions: tuple[Condition, ...]
    constants: tuple[str, ...]


Joins = Mapping[frozenset[str], str]


def sketch_of(sql: str, asked: Asked, tables: Tables) -> tuple[Sketch, dict[frozenset[str], str]] | None:
    """The query's parts and its join conditions by pair of tables; None for what has no such parts (set operations,
    a table twice, queries in FROM)."""
    try:
        tree = parse(sql).copy()  # what is parsed is kept for others, and this is taken apart in place
    except NotAQuery:
        return None
    if not isinstance(tree, exp.Select) or tree.args.get("with_") is not None:
        return None
    joined = _tables_of(tree, tables)
    if joined is None or not _qualify(tree, list(joined), tables):
        return None
    names = list(joined)
    kept, apart = _parts_of_where(tree, names)
    mark_extremes(tree, apart)
    conditions = [_condition(part, asked, sql, tables) for part in apart]
    outside = {c.table for c in _own_columns(tree) if not _inside(c, exp.Where, tree)}
    outside |= {c.table for part in kept for c in part.find_all(exp.Column)}
    implied = {c.table for c, _ in conditions} - outside - {names[0]}
    slots = [name for name in names if name not in implied]
    outline, columns, numbers = _outline(tree, kept, slots, asked)
    joins = {frozenset((names[0], name)): on for name, on in joined.items() if on}
    constants = (*numbers, *(text for _, texts in conditions for text in texts))
    return Sketch(outline, tuple(slots), columns, tuple(c for c, _ in conditions), constants), joins


def _tables_of(tree: exp.Select, tables: Tables) -> dict[str, str] | None:
    """The tables in FROM, each with the condition that joins it ("" for the first)."""
    sources = tree.args.get("from_")
    if sources is None:
        return None
    found: dict[str, str] = {}
    aliases: dict[str, str] = {}
    joins = tree.args.get("joins") or ()
    if any(join.side for join in joins):  # LEFT JOIN keeps rows that JOIN does not
        return None
    for source, on in [(sources.this, None), *((j.this, j.args.get("on")) for j in joins)]:
        if not isinstance(source, exp.Table) or source.name.casefold() not in tables:
            return None
        name = source.name.casefold()
        if name in found or (found and not isinstance(on, exp.EQ)):
            return None
        aliases[source.alias_or_name.casefold()] = name
        found[name] = ""
        if isinstance(on, exp.EQ):
            for column in on.find_all(exp.Column):
                column.set("table", exp.to_identifier(aliases.get(column.table.casefold(), column.table)))
            found[name] = written(on)
    for column in _own_columns(tree):
        if column.table:
            column.set("table", exp.to_identifier(aliases.get(column.table.casefold(), column.table.casefold())))
    return found


def _own_columns(tree: exp.Expression) -> Iterator[exp.Column]:
    """Columns of the query itself, not of queries inside it."""
    for column in list(tree.find_all(exp.Column)):
        if column.parent_select is tree and not _inside(column, exp.Join, tree):
            yield column


def _inside(node: exp.Expression, kind: type[exp.Expression], top: exp.Expression) -> bool:
    while (node := node.parent) is not None and node is not top:  # type: ignore[assignment]
        if isinstance(node, kind):
            return True
    return False


def _qualify(tree: exp.Select, names: Sequence[str], tables: Tables) -> bool:
    """Gives each column its table; False where one has none, as an alias has."""
    for column in _own_columns(tree):
        name = column.name.casefold()
        owner = column.table.casefold() or next((t for t in names if name in tables[t]), "")
        if owner not in names or name not in tables[owner]:
            return False
        column.set("table", _identifier(owner))
        column.set("this", _identifier(name))
    return True


def _identifier(name: str) -> exp.Identifier:
    return exp.Identifier(this=name, quoted=quoted(name) != name)


def _parts_of_where(tree: exp.Select, names: Sequence[str]) -> tuple[list[exp.Expression], list[exp.Expression]]:
    """(what belongs to the outline, what stands for itself) of the conjuncts of WHERE."""
    where = tree.args.get("where")
    if where is None:
        return [], []
    shown = {(c.table, c.name) for c in _own_columns(tree) if not _inside(c, exp.Where, tree)}
    kept: list[exp.Expression] = []
    apart: list[exp.Expression] = []
    for part in where.this.flatten() if isinstance(where.this, exp.And) else [where.this]:
        bare = part.unnest()
        null = bare.this if isinstance(bare, exp.Not) else bare
        own = {(c.table, c.name) for c in bare.find_all(exp.Column) if c.parent_select is tree}
        (kept if isinstance(null, exp.Is) and own <= shown else apart).append(bare)
    return kept, apart


def _condition(part: exp.Expression, asked: Asked, sql: str, tables: Tables) -> tuple[Condition, list[str]]:
    """The condition with marks for the constants that stand in the question, and these."""
    owner = next((c.table for c in part.find_all(exp.Column) if c.table), "")
    copy, slots, texts = part.copy(), list[Slot](), list[str]()
    said = {m.value.casefold(): m for m in asked.mentions}
    for literal in list(copy.find_all(exp.Literal)):
        text = str(literal.this)
        mention = said.get(text.casefold())
        if mention is None and text not in asked.counted:
            continue
        beside = literal.parent.find(exp.Column) if literal.parent is not None else None
        slot = Slot()
        if mention is not None and beside is not None:
            held = next((t for t, c in mention.columns if c.casefold() == beside.name.casefold()), "")
            slot = Slot((beside.table or _only_table(beside) or held).casefold(), beside.name.casefold())
        mark = f"constant_{len(slots)}_"
        slots.append(slot)
        texts.append(text)
        literal.replace(exp.Literal.string(mark) if literal.is_string else exp.column(mark))
    return Condition(owner, put_alike(written(copy, sql), tables), tuple(slots)), texts


def _only_table(column: exp.Column) -> str:
    """The table of a query with one."""
    select = column.parent_select
    source = select.args.get("from_") if select is not None and not select.args.get("joins") else None
    return source.this.name.casefold() if source is not None else ""


def _outline(
    tree: exp.Select, kept: Sequence[exp.Expression], slots: Sequence[str], asked: Asked
) -> tuple[Outline, tuple[str, ...], list[str]]:
    """The outline of what is left of the query, its columns and its numbers; takes the query apart."""
    for name in ("from_", "joins"):
        tree.set(name, None)
    tree.set("where", exp.Where(this=exp.and_(*kept, copy=False)) if kept else None)
    places: dict[tuple[str, str], int] = {}
    roles: dict[int, set[str]] = {}
    for column in list(tree.find_all(exp.Column)):
        if column.parent_select is not tree:
            continue
        number = places.setdefault((column.table, column.name), len(places))
        if not _inside(column, exp.Where, tree):
            inner = next((p for p in (exp.AggFunc, exp.Group, exp.Order) if _inside(column, p, tree)), exp.Select)
            roles.setdefault(number, set()).add(inner.__name__)
        column.replace(exp.column(f"column_{number}_"))
    numbers: list[str] = []
    for literal in list(tree.find_all(exp.Literal)):
        if str(literal.this) in asked.counted:
            literal.replace(exp.column(f"constant_{len(numbers)}_"))
            numbers.append(str(literal.this))
    conditions = tuple(written(part) for part in _conjuncts(tree.args.get("where")))
    tree.set("where", None)
    whole = written(tree)
    for name in ("group", "having", "order", "limit", "offset"):
        tree.set(name, None)
    select = written(tree)
    after = whole[len(select):].strip()
    owners = tuple(slots.index(table) for table, _ in places)
    told = tuple("+".join(sorted(roles.get(i, ()))) for i in range(len(places)))
    outline = Outline(select, after, conditions, len(slots), owners, told, len(numbers))
    return outline, tuple(name for _, name in places), numbers


def _conjuncts(where: exp.Expression | None) -> list[exp.Expression]:
    if where is None:
        return []
    return list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]


def query_of(sketch: Sketch, joins: Joins) -> str | None:
    """The query of the parts; None where tables have no known join."""
    first, *others = sketch.tables
    more = [c.table for c in sketch.conditions if c.table not in sketch.tables]
    froms = [quoted(first)]
    for table in dict.fromkeys([*others, *more]):
        on = joins.get(frozenset((first, table)))
        if on is None:
            return None
        froms.append(f"JOIN {quoted(table)} ON {on}")
    single = len(froms) == 1
    constants = iter(sketch.constants)
    numbers = [next(constants) for _ in range(sketch.outline.numbers)]

    def put(text: str, given: Sequence[str]) -> str:
        def mark(found: re.Match[str]) -> str:
            kind, place = found[1], int(found[2])
            if kind == "constant":
                return given[place].replace("'", "''")
            owner, name = sketch.tables[sketch.outline.owners[place]], quoted(sketch.columns[place])
            return name if single else f"{quoted(owner)}.{name}"
        return MARK.sub(mark, text)

    texts = [put(c.sql, [next(constants) for _ in c.slots]) for c in sketch.conditions]
    where = []
    for condition, text in zip(sketch.conditions, spelt_out([(c.table, t) for c, t in zip(sketch.conditions, texts)])):
        own = rf"(?<![\w.'\"]){re.escape(quoted(condition.table))}\.(?=[\w\"])"
        where.append(re.sub(own, "", text) if single else text)
    where += [put(text, numbers) for text in sketch.outline.where]
    told = f"{put(sketch.outline.select, numbers)} FROM {' '.join(froms)}"
    if where:
        told += f" WHERE {' AND '.join(where)}"
    return f"{told} {put(sketch.outline.after, numbers)}".strip()
