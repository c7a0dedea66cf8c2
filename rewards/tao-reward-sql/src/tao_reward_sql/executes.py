"""sql/executes: is the answer one query that runs, reads a real table, and means what it says?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

import pydantic
from sqlglot import exp

import tao_hub

from .databases import DatabaseOptions, RunsSQL
from .dialects import Untranspilable
from .engines import Place, engine_of
from .gate import NotAQuery, parse
from .sandbox import Result, Sandbox


def honest(sandbox: Sandbox, database: Place, sql: str) -> tuple[Result | None, str]:
    """The query's result, or None and why it earns nothing: it is no query, fails, reads no real table, or has a
    misspelt "column" that SQLite would take for text (text in double quotes beside a real column is let pass)."""
    tree, why = gated(sql, engine_of(database))
    if tree is None:
        return None, why
    result = sandbox.run(database, sql)
    if not result.ok:
        return None, f"{result.kind}: {result.error}"
    if not result.tables:
        return None, "reads no table of the database"
    if engine_of(database) != "sqlite":  # a misspelt column has failed
        return result, ""
    known = _known(tree, result)
    for column in tree.find_all(exp.Column):
        if _is_text(column, known) and not _compared(column, known):
            return None, f'"{column.name}" is no column, so it would be text'
    return result, ""


def _constant(tree: exp.Query) -> bool:
    """Whether no selected expression looks at the data, as in SELECT 1 FROM t."""
    selects = [tree] if isinstance(tree, exp.Select) else list(tree.find_all(exp.Select))[:1]
    looks = (exp.Column, exp.Star, exp.AggFunc, exp.Select, exp.Window)
    return bool(selects) and not any(e.find(*looks) for e in selects[0].expressions)


def _made_up(tree: exp.Query) -> bool:
    """Whether rows come from constants, as in FROM (VALUES (1), (2)), FROM range(3), WITH t AS (SELECT 1 AS x)."""
    if tree.find(exp.Values, exp.Unnest, exp.GenerateSeries) is not None:
        return True
    if any(isinstance(table.this, exp.Func) for table in tree.find_all(exp.Table)):
        return True
    for select in tree.find_all(exp.Select):
        outer = select.parent
        while isinstance(outer, exp.SetOperation):
            outer = outer.parent
        source = isinstance(outer, exp.CTE) or (
            isinstance(outer, exp.Subquery) and isinstance(outer.parent, (exp.From, exp.Join))
        )
        if source and not any(e.find(exp.Column, exp.Star, exp.AggFunc, exp.Window) for e in select.expressions):
            return True
    return False


def gated(sql: str, dialect: str = "sqlite") -> tuple[exp.Query | None, str]:
    """The query's tree, or None and why it need not be run."""
    try:
        tree = parse(sql, dialect)
    except NotAQuery as error:
        return None, str(error)
    if tree.find(exp.Table) is None or _constant(tree):
        return None, "selects constants only: it reads no table"
    if _made_up(tree):
        return None, "makes up a table of constants"
    return tree, ""


def quoted_text(tree: exp.Expression, result: Result) -> list[str]:
    """What stands in double quotes and is no column: SQLite takes it for text."""
    known = _known(tree, result)
    return [column.name for column in tree.find_all(exp.Column) if _is_text(column, known)]


def _known(tree: exp.Expression, result: Result) -> set[str]:
    """Names, in lower case, that a quoted identifier can mean: what the query read, and what it names itself."""
    read = {column for _, column in result.reads} | {table for table, _ in result.reads}
    aliases = {e.alias.casefold() for e in tree.find_all(exp.Alias)} | {
        e.alias.casefold() for e in tree.find_all(exp.TableAlias) if e.name
    }
    return read | aliases | _columns(tree)


def _is_text(column: exp.Column, known: set[str]) -> bool:
    identifier = column.this
    quoted = isinstance(identifier, exp.Identifier) and identifier.quoted and not column.table
    return bool(quoted) and identifier.name.casefold() not in known


def _compared(column: exp.Column, known: set[str]) -> bool:
    """Whether a double-quoted text is compared with a real column, as `city = "Oslo"`: bad style, but honest."""
    parent = column.parent
    if not isinstance(parent, (exp.Predicate, exp.In, exp.Between)):
        return False
    others = [c for c in parent.find_all(exp.Column) if c is not column]
    return any(not _is_text(other, known) for other in others)


def _columns(tree: exp.Expression) -> set[str]:
    """Names that common table expressions give to columns."""
    return {i.name.casefold() for a in tree.find_all(exp.TableAlias) for i in a.args.get("columns") or ()}


def run_ahead(reward: RunsSQL, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> None:
    """Run what passes the gate over all workers, so that `honest` finds the results known."""
    tasks: list[tuple[Place, str]] = []
    for prompt, candidate in pairs:
        database = reward.database(prompt)
        with contextlib.suppress(Untranspilable):
            sql = reward.query(candidate.response, database)
            if gated(sql, engine_of(database))[0] is not None:
                tasks.append((database, sql))
    reward.sandbox.run_all(tasks)


class Executes(RunsSQL):
    """1.0 where the answer is one query that runs within its limits and reads a real table, else 0.0 with the reason.

    `SELECT 1`, EXPLAIN, reading sqlite_master and a misspelt "column" that SQLite turns into text earn nothing.
    """

    class Options(DatabaseOptions):
        empty: float = pydantic.Field(0.5, ge=0, le=1, description="What a query without any row earns")

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        run_ahead(self, pairs)
        return [self.scored(candidate, self._score, prompt) for prompt, candidate in pairs]

    def _score(self, sql: str, prompt: tao_hub.Prompt) -> tao_hub.Score:
        result, why = honest(self.sandbox, self.database(prompt), sql)
        if result is None and why.startswith("database: "):  # which is not the query's fault
            return tao_hub.Score.failed(why[:500], type="DatabaseError")
        if result is None:
            return tao_hub.Score(0.0, why=why[:500])
        if all(value is None for row in result.rows for value in row):
            return tao_hub.Score(self.options.empty, why="no rows" if not result.rows else "nothing but NULL")
        return tao_hub.Score(1.0, why=f"{len(result.rows)} rows")
