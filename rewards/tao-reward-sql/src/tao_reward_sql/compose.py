"""sql/compose: candidates put together from parts of worked examples, as the words of the question ask for them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic

import tao_hub

from .backwards import Pair
from .databases import Where, columns_of, database_of
from .engines import engine_of
from .linking import read
from .parts import Parts


class Compose(tao_hub.Strategy):
    """Generates nothing; writes queries of its own from the parts of worked examples, no labels but these.

    The examples' queries are taken apart into outlines (`SELECT … GROUP BY …`), tables, columns and conditions, and a
    lexicon learns which words speak of which part (IBM's first model, Brown et al. 1993). Of a question all sets of
    parts are weighed that its values and numbers fill, by log p(words | parts) + log p(parts). So it also writes what
    no example has as a whole, where a small policy fails (compositional generalisation: Andreas 2020, arXiv
    1904.09545, recombines examples to train on). The best few become candidates, which rewards judge. Queries are
    SQLite's, on SQLite databases; there is nothing to write for others.
    """

    class Options(Where):
        examples: list[Pair] = pydantic.Field([], description='Known pairs: [{"input": QUESTION, "output": SQL}, …]')
        n: int = pydantic.Field(8, ge=1, description="Queries of a prompt, the most probable")

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        if not self.options.examples:
            raise tao_hub.UsageError(
                "sql/compose has no examples to learn from: use a suite that brings them, or give "
                '-o examples=\'[{"input": "…", "output": "SELECT …"}]\''
            )
        self._known: dict[Path, Parts] = {}

    def worked_examples(self) -> int:
        return len(self.options.examples)

    def combine(self, group: tao_hub.Group) -> Sequence[tao_hub.Candidate]:
        database = database_of(group.prompt, self.options)
        if engine_of(database) != "sqlite":
            return []
        known = {candidate.response for candidate in group.candidates}
        queries = self._parts(Path(database)).queries(read(group.prompt.text, database))
        best = [sql for sql, _ in itertools.islice(queries, self.options.n)]
        return [tao_hub.Candidate(group.prompt.digest, sql) for sql in best if sql not in known]

    def _parts(self, database: Path) -> Parts:
        if database not in self._known:
            tables = {t.casefold(): tuple(map(str.casefold, c)) for t, c in columns_of(database).items()}
            pairs = [(read(e.input, database), e.output) for e in self.options.examples]
            self._known[database] = Parts.learnt(pairs, tables)
        return self._known[database]
