"""sql/schema: do the tables, columns and constants of the query belong to the question?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlglot import exp

import tao_hub

from .cues import unheard
from .databases import RunsSQL
from .engines import Place, engine_of
from .executes import honest, quoted_text, run_ahead
from .gate import parse
from .linking import WORD, Asked, literals_of, read, shown, stems
from .sandbox import Result

PARTS = ("literals", "columns", "tables", "mentioned", "values", "operations")


class Schema(RunsSQL):
    """How well a query's tables, columns and constants fit the words of the question; no labels.

    Schema linking (Wang et al. 2020, arXiv 1911.04942) by words without their endings. Parts, each a share:
    `literals`, constants that stand in the question or, for text, are values of the data; `columns` and `tables` of
    the query that share a word with the question (keys that only join do not count; a table counts that has such a
    column); `mentioned`, columns and tables whose whole name the question holds and the query uses; `values`, values
    of the data and numbers that the question holds and the query uses as constants; `operations`, agreement of English
    words and SQL: "average" asks for AVG, "per" for GROUP BY, a superlative for a LIMIT (`cues`). The value is the
    mean; a part about nothing is 1. A query that `sql/executes` would give 0 has 0. It ranks what executes: a wrong
    query of the right columns has full marks, so compose it with others.
    """

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        run_ahead(self, pairs)
        return [self.scored(candidate, self._score, prompt) for prompt, candidate in pairs]

    def _score(self, sql: str, prompt: tao_hub.Prompt) -> tao_hub.Score:
        database = self.database(prompt)
        result, why = honest(self.sandbox, database, sql)
        if result is None:
            return tao_hub.Score(0.0, why=why[:500], parts=dict.fromkeys(PARTS, 0.0))
        tree = parse(sql, engine_of(database))
        asked = read(prompt.text, database)
        texts = quoted_text(tree, result) if engine_of(database) == "sqlite" else []
        literals = [*literals_of(tree), *texts]
        columns, tables = shown(tree) - {text.casefold() for text in texts}, set(result.tables)
        strange = [text for text in literals if not self._known(text, asked, result, database)]
        named = {c for c in columns if asked.stems & stems(c)}
        owners = {table for table, column in result.reads if column in named}
        near = {t for t in tables if asked.stems & stems(t) or t in owners}
        unused = asked.unused(columns | tables)
        missed = asked.missed([*(str(c.this) for c in tree.find_all(exp.Literal)), *texts])
        apart, cues = unheard(prompt.text, tree)
        parts = {
            "literals": _share(len(literals) - len(strange), len(literals)),
            "columns": _share(len(named), len(columns)),
            "tables": _share(len(near), len(tables)),
            "mentioned": _share(len(asked.names) - len(unused), len(asked.names)),
            "values": _share(len(asked.said) - len(missed), len(asked.said)),
            "operations": _share(cues - len(apart), cues),
        }
        told = [f"{text!r} stands neither in the question nor in the data" for text in strange[:2]]
        told += [f"the question's {name} is not used" for name in unused][:2]
        told += [f"the question's {value!r} is not used" for value in missed][:2]
        told += [f"question and query differ in: {', '.join(apart)}"] if apart else []
        return tao_hub.Score(sum(parts.values()) / len(parts), why="; ".join(told)[:500], parts=parts)

    def _known(self, text: str, asked: Asked, result: Result, database: Place) -> bool:
        if asked.holds(text):
            return True
        bare = text.strip("%").casefold()
        if WORD.fullmatch(bare) and not bare.isalpha():  # a number
            return False
        quoted = "'" + text.strip("%").replace("'", "''") + "'"
        read = [(t.replace('"', '""'), c.replace('"', '""')) for t, c in result.reads if t in result.tables and c]
        like = '"{}" LIKE' if engine_of(database) == "sqlite" else 'CAST("{}" AS VARCHAR) ILIKE'
        tasks = [(database, f'SELECT 1 FROM "{t}" WHERE {like.format(c)} {quoted} LIMIT 1') for t, c in read]
        return any(found.rows for found in self.sandbox.run_all(tasks))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
