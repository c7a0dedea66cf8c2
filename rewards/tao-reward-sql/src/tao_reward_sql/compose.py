"""sql/compose and sql/lexicon: queries put together from parts of worked examples, and any query judged by them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pydantic

import tao_hub

from .backwards import Pair
from .composer import Composer
from .databases import Where, content_of, database_of, state_of
from .engines import engine_of
from .extract import extract_sql
from .linking import read
from .parts import Parts
from .tables import tables_of


class Compose(tao_hub.Strategy):
    """Generates nothing; writes queries of its own from the parts of worked examples, no labels but these.

    The examples' queries are taken apart into outlines (`SELECT … GROUP BY …`), tables, columns and conditions, and a
    lexicon learns which words speak of which part (IBM's first model, Brown et al. 1993). Of a question all sets of
    parts are weighed that its values and numbers fill, by log p(words | parts) + log p(parts), by whether examples have
    the query as a whole, and by the words before and after a value where it may fill several places. So it also writes
    what no example has as a whole, where a small policy fails (compositional generalisation: Andreas 2020, arXiv
    1904.09545, recombines examples to train on). The best few become candidates, which rewards judge. Queries are
    SQLite's, on SQLite databases; there is nothing to write for others.
    """

    class Options(Where):
        examples: list[Pair] = pydantic.Field([], description='Known pairs: [{"input": QUESTION, "output": SQL}, …]')
        n: int = pydantic.Field(8, ge=1, description="Queries of a prompt, the most probable")

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._known = Known("sql/compose", self.options.examples)

    def worked_examples(self) -> int:
        return len(self.options.examples)

    def combine(self, group: tao_hub.Group) -> Sequence[tao_hub.Candidate]:
        database = database_of(group.prompt, self.options)
        if engine_of(database) != "sqlite":
            return []
        known = {candidate.response for candidate in group.candidates}
        queries = Composer(self._known.on(Path(database))).queries(read(group.prompt.text, database))
        best = [sql for sql, _ in itertools.islice(queries, self.options.n)]
        return [tao_hub.Candidate(group.prompt.digest, sql) for sql in best if sql not in known]


class LexiconReward(tao_hub.Reward):
    """How likely the question's words are, given the parts of the query, and how likely these parts are: no labels but
    worked examples (see `sql/compose`).

    The value, in nats per word of the question, is the sum of its parts: log p(words | parts) + log p(parts) (more
    where examples have all of them together), what stands around the question's values for the places that they fill,
    and −6 for each that the query does not use. Only queries for one question compare. It knows synonyms that examples
    show, and hardly any order of words. What has no such parts (a set operation, a table twice) is explained by
    nothing, so it has little. On other engines than SQLite there is no score.
    """

    class Options(Where):
        examples: list[Pair] = pydantic.Field([], description='Known pairs: [{"input": QUESTION, "output": SQL}, …]')

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._known = Known("sql/lexicon", self.options.examples)

    def content_digest(self) -> str:
        return content_of(self.options)

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        return [self._score(prompt, extract_sql(candidate.response)) for prompt, candidate in pairs]

    def _score(self, prompt: tao_hub.Prompt, sql: str) -> tao_hub.Score:
        database = database_of(prompt, self.options)
        if engine_of(database) != "sqlite":
            return tao_hub.Score.failed("reads SQLite databases only", type="OtherEngine")
        found = self._known.on(Path(database)).likelihood(sql, read(prompt.text, database))
        return tao_hub.Score(sum(found.values()), parts=found)


class Known:
    """What examples have taught about the databases of prompts, learnt when first asked."""

    def __init__(self, who: str, examples: Sequence[Pair]) -> None:
        if not examples:
            raise tao_hub.UsageError(
                f"{who} has no examples to learn from: use a suite that brings them, or give "
                '-o examples=\'[{"input": "…", "output": "SELECT …"}]\''
            )
        self._who, self._examples = who, examples
        self._parts: dict[tuple[Path, int], Parts] = {}

    def on(self, database: Path) -> Parts:
        key = (database, state_of(database))
        if key not in self._parts:
            pairs = [(read(e.input, database), e.output) for e in self._examples]
            try:
                self._parts[key] = Parts.learnt(pairs, tables_of(database))
            except ValueError as error:
                told = f"{self._who} on {database.name}: {error}; the first is {pairs[0][1]!r}"
                raise tao_hub.UsageError(told) from error
        return self._parts[key]
