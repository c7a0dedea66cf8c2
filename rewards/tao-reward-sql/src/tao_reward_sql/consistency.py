"""sql/consistency: which candidates of a prompt give the same result, on the database and on perturbed copies of it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

import pydantic

import tao_hub

from .compare import canonical
from .databases import DatabaseOptions, RunsSQL
from .dialects import Untranspilable
from .engines import Place, engine_of, is_server
from .executes import gated, honest
from .perturb import copies, sparse
from .sandbox import Result


class Consistency(RunsSQL, tao_hub.GroupReward):
    """The share of a prompt's candidates whose SQL gives the same results; no labels.

    Self-consistency by execution (Wang et al. 2022, arXiv 2203.11171; Shi et al. 2022, arXiv 2204.11454), compared on
    the database and `perturbed` copies with other data, where chance agreement is rare. Gates, each a 0 with its
    reason: no single query, fails, reads no real table, a misspelt "column" that SQLite takes for text, results that
    never change over the copies, empty everywhere. The share is of candidates that were drawn, also of those that fail;
    `ceiling` keeps a lone opinion below certainty. Parts: "votes", and "weight" of the class.
    """

    class Options(DatabaseOptions):
        perturbed: int = pydantic.Field(3, ge=0, le=50, description="Perturbed copies of the database")
        weigh: bool = pydantic.Field(False, description="Votes weigh the mean token probability, where there is one")
        ceiling: float = pydantic.Field(0.95, gt=0, le=1, description="The most that agreement alone earns")
        min_voters: int = pydantic.Field(2, ge=1, description="With fewer finished candidates there is no score")

    def score_group(self, group: tao_hub.Group) -> Sequence[float | tao_hub.Score]:
        database = self.database(group.prompt)
        files = [database, *copies(database, self.options.perturbed)]
        few = None if is_server(database) else sparse(database)
        voters = [c for c in group.candidates if not c.parents and not c.truncated and c.error is None]
        if len(voters) < self.options.min_voters:
            failed = tao_hub.Score.failed(
                f"{len(voters)} candidates that can vote, at least {self.options.min_voters} are needed (raise n)",
                type="TooFewVoters",
            )
            return [failed] * len(group.candidates)
        queries = [self._query(c.response, database) for c in group.candidates]
        dialect = engine_of(database)
        worth = {sql for sql in queries if isinstance(sql, str) and gated(sql, dialect)[0] is not None}
        everywhere = [*files, few] if few else files
        self.sandbox.run_all([(file, sql) for file in everywhere for sql in sorted(worth)])
        prints = [self._print(files, few, sql) for sql in queries]
        weights: dict[Hashable, float] = defaultdict(float)
        total = 0.0
        for candidate, (fingerprint, _) in zip(group.candidates, prints):
            if candidate in voters:
                weight = self._weight(candidate)
                total += weight
                if fingerprint is not None:
                    weights[fingerprint] += weight
        scores = []
        for query, (fingerprint, why) in zip(queries, prints):
            if isinstance(query, Untranspilable):
                scores.append(tao_hub.Score.failed(str(query), type="Untranspilable"))
                continue
            if fingerprint is None:
                scores.append(tao_hub.Score(0.0, why=why[:500]))
                continue
            share = weights[fingerprint] / total if total else 0.0
            told = f"{share:.2f} of the votes give this result on {len(files)} databases"
            scores.append(tao_hub.Score(min(share, self.options.ceiling), why=told, parts={"votes": share}))
        return scores

    def _weight(self, candidate: tao_hub.Candidate) -> float:
        if not self.options.weigh or not candidate.logprobs:
            return 1.0
        return math.exp(sum(candidate.logprobs) / len(candidate.logprobs))

    def _query(self, response: str, database: Place) -> str | Untranspilable:
        try:
            return self.query(response, database)
        except Untranspilable as error:
            return error

    def _print(
        self, files: Sequence[Place], few: Place | None, sql: str | Untranspilable
    ) -> tuple[Hashable | None, str]:
        """What the query gives on all databases, or None and why it has no vote. `few`: a copy with few rows, or None
        where there are no copies and nothing is known of other data."""
        if isinstance(sql, Untranspilable):
            return None, str(sql)
        first, why = honest(self.sandbox, files[0], sql)
        if first is None:
            return None, why
        results = [first, *(self.sandbox.run(file, sql) for file in files[1:])]
        if any(not r.ok or r.truncated for r in results):
            return None, next((f"{r.kind}: {r.error}" for r in results if not r.ok), "too many rows")
        tables = [_table(result) for result in results]
        if not any(result.rows for result in results):
            return None, "no rows on any database"
        seen = [*results, *([self.sandbox.run(few, sql)] if few else [])]
        told = {_table(result) for result in seen if not _nulls(result)}  # an aggregate of nothing is NULL
        rows = {tuple(map(canonical, row)) for result in seen for row in result.rows}
        if few and (len(told) < 2 or (len(rows) == 1 and len(first.rows) > 1)):
            return None, "the same result whatever the data: it does not look at them"
        return tuple(tables), ""


def _nulls(result: Result) -> bool:
    return bool(result.rows) and all(value is None for row in result.rows for value in row)


def _table(result: Result) -> Hashable:
    """A result without the order of its rows and columns: alike results have equal ones."""
    columns = [tuple(canonical(row[c]) for row in result.rows) for c in range(result.columns)]
    order = sorted(range(result.columns), key=lambda c: sorted(map(repr, columns[c])))
    rows = sorted(repr(tuple(columns[c][r] for c in order)) for r in range(len(result.rows)))
    return (result.columns, tuple(rows))
