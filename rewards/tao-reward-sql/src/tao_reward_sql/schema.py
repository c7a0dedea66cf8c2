"""sql/schema: do the tables, columns and constants of the query belong to the question?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from sqlglot import exp

import tao_hub

from .databases import RunsSQL, names_of
from .engines import Place, engine_of
from .executes import honest, quoted_text, run_ahead
from .gate import parse
from .sandbox import Result

_WORD = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
PARTS = ("literals", "columns", "tables", "mentioned")
SMALL = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
         "nine": "9", "ten": "10"}  # fmt: skip


class Schema(RunsSQL):
    """How well a query's tables, columns and constants fit the words of the question; no labels.

    Schema linking (Wang et al. 2020, arXiv 1911.04942) by words without their endings. Parts, each a share:
    `literals`, constants that stand in the question or, for text, are values of the data; `columns` and `tables` of
    the query that share a word with the question (keys that only join do not count; a table counts that has such a
    column); `mentioned`, columns and tables whose whole name the question holds and the query uses. The value is the
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
        question = _stems(prompt.text)
        numbers = set(_WORD.findall(prompt.text)) | {SMALL[w] for w in prompt.text.casefold().split() if w in SMALL}
        texts = quoted_text(tree, result) if engine_of(database) == "sqlite" else []
        literals = [*_literals(tree), *texts]
        columns, tables = _shown(tree) - {text.casefold() for text in texts}, set(result.tables)
        strange = [text for text in literals if not self._known(text, prompt.text, numbers, result, database)]
        named = {c for c in columns if question & _stems(c)}
        owners = {table for table, column in result.reads if column in named}
        near = {t for t in tables if question & _stems(t) or t in owners}
        wanted = [name for name in names_of(database) if (stems := _stems(name)) and stems <= question]
        used = [name for name in wanted if name in columns or name in tables or _stems(name) <= _all(columns | tables)]
        parts = {
            "literals": _share(len(literals) - len(strange), len(literals)),
            "columns": _share(len(named), len(columns)),
            "tables": _share(len(near), len(tables)),
            "mentioned": _share(len(used), len(wanted)),
        }
        told = [f"{text!r} stands neither in the question nor in the data" for text in strange[:2]]
        told += [f"the question's {name} is not used" for name in wanted if name not in used][:2]
        return tao_hub.Score(sum(parts.values()) / len(parts), why="; ".join(told)[:500], parts=parts)

    def _known(self, text: str, question: str, numbers: set[str], result: Result, database: Place) -> bool:
        bare = text.strip("%").casefold()
        if not bare or text in numbers or re.search(rf"(?<!\w){re.escape(bare)}(?!\w)", question.casefold()):
            return True
        if _WORD.fullmatch(bare) and not bare.isalpha():  # a number
            return False
        quoted = "'" + text.strip("%").replace("'", "''") + "'"
        read = [(t.replace('"', '""'), c.replace('"', '""')) for t, c in result.reads if t in result.tables and c]
        like = '"{}" LIKE' if engine_of(database) == "sqlite" else 'CAST("{}" AS VARCHAR) ILIKE'
        asked = [(database, f'SELECT 1 FROM "{t}" WHERE {like.format(c)} {quoted} LIMIT 1') for t, c in read]
        return any(found.rows for found in self.sandbox.run_all(asked))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _stems(text: str) -> set[str]:
    """Words without case and endings, those of `camelCase` and `snake_case` apart; none of less than three letters."""
    words = (w.casefold() for w in _WORD.findall(_CAMEL.sub(" ", text)))
    return {re.sub(r"(?:ies|es|s|ing|ed|e|y)$", "", w) if len(w) > 4 else w for w in words if len(w) > 2}


def _all(names: Iterable[str]) -> set[str]:
    return set().union(*map(_stems, names))


def _shown(tree: exp.Expression) -> set[str]:
    """Names of the columns outside join conditions, in lower case."""
    return {
        c.name.casefold() for c in tree.find_all(exp.Column)
        if c.name != "*" and not any(isinstance(p, exp.Join) for p in _parents(c))
    }  # fmt: skip


def _parents(node: exp.Expression) -> Iterator[exp.Expression]:
    while (node := node.parent) is not None and not isinstance(node, exp.Subquery):
        yield node


def _literals(tree: exp.Expression) -> Iterator[str]:
    """Constants that are compared with something; those of LIMIT and of functions are no claims about the question."""
    for node in tree.find_all(exp.Literal):
        if isinstance(node.parent, (exp.Predicate, exp.In, exp.Between)):
            yield str(node.this)
