"""sql/match: does the prediction's result equal the gold query's?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pydantic

import tao_hub

from .databases import DatabaseOptions, RunsSQL
from .dialects import Untranspilable
from .engines import Place
from .perturb import copies
from .verdict import SEMANTICS, Semantics, Verdict, judge_all, run_ahead


class Match(RunsSQL):
    """1.0 where the SQL in the answer gives the result of the gold SQL, else 0.0; `why` is the verdict and the first
    difference. The reference is a gold query or a list of accepted ones.

    `strict` compares multisets of rows under the best matching of columns, order only where gold's top-level ORDER BY
    asks for it (rows that it leaves tied may stand in any order, also at a LIMIT), numbers within a relative 1e-6, and
    NULL, '', 0 and bytes as different things. The others decide as published benchmarks do, with their known faults:
    `bird_ex` (sets of rows, column order counts), `bird_soft_f1`, `bird_rves` (speed beside gold's, if right),
    `spider_ts` (DISTINCT stripped, ordered where the text says "order by"), `wikisql_ex` (the first column as a list).
    Parts hold those named in `also`.
    With `perturbed` a match must hold on that many copies of the database with other data, too.
    Queries of another `dialect` are translated; what has no sure translation is an error that names it, and no 0.
    A gold query that fails, or a gold result beyond `rows`, is an error and never a 0.
    """

    uses_reference = True

    class Options(DatabaseOptions):
        semantics: Semantics = pydantic.Field("strict", description="What counts as the same result")
        perturbed: int = pydantic.Field(0, ge=0, le=50, description="Copies with other data where it must match, too")
        also: list[Semantics] | str = pydantic.Field([], description="Further semantics to tell in parts (a list)")

        @pydantic.field_validator("also")
        @classmethod
        def _names(cls, also: list[str] | str) -> list[str]:
            names = [n.strip() for n in also.split(",") if n.strip()] if isinstance(also, str) else also
            if unknown := [name for name in names if name not in SEMANTICS]:
                raise ValueError(f"no semantics {unknown[0]!r}: {', '.join(SEMANTICS)}")
            return list(names)

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        asked = [self._asked(prompt, candidate.response) for prompt, candidate in pairs]
        known = [(file, gold, sql) for file, golds, sql in (a for a in asked if isinstance(a, tuple)) for gold in golds]
        run_ahead(self.sandbox, known, [self.options.semantics, *self.options.also])
        return [self._score(*a) if isinstance(a, tuple) else a for a in asked]

    def _asked(self, prompt: tao_hub.Prompt, response: str) -> tuple[Place, list[str], str] | tao_hub.Score:
        """The database, the accepted queries and the predicted one; an error where one has no sure translation."""
        golds, database = _golds(prompt.reference), self.database(prompt)
        try:
            return database, [self.query(gold, database) for gold in golds], self.query(response, database)
        except Untranspilable as error:
            return tao_hub.Score.failed(str(error), type="Untranspilable")

    def _score(self, database: Place, golds: Sequence[str], predicted: str) -> tao_hub.Score:
        databases = [database, *copies(database, self.options.perturbed)]
        best = self._best(databases, golds, predicted, self.options.semantics)
        if best.fault:
            return tao_hub.Score.failed(best.why, type="GoldError" if best.name == "gold_error" else "Truncated")
        others = {name: self._best(databases[:1], golds, predicted, name) for name in self.options.also}
        parts = {name: verdict.value for name, verdict in others.items() if not verdict.fault}
        return tao_hub.Score(best.value, why=f"{best.name}: {best.why}".rstrip(": ")[:500], parts=parts)

    def _best(self, databases: Sequence[Place], golds: Sequence[str], predicted: str, semantics: str) -> Verdict:
        """The best verdict over the accepted golds; one that fails counts only if all do."""
        verdicts = []
        for gold in golds:
            verdicts.append(judge_all(self.sandbox, databases, gold, predicted, semantics))
            if verdicts[-1].value >= 1:
                break
        return max(verdicts, key=lambda v: (v.value, not v.fault))


def _golds(reference: Any) -> list[str]:
    golds = [reference] if isinstance(reference, str) else reference
    if not isinstance(golds, (list, tuple)) or not golds or not all(isinstance(g, str) and g.strip() for g in golds):
        raise ValueError(f"the reference must be a gold query or a list of some, found {type(reference).__name__}")
    return [gold.strip().rstrip(";") for gold in golds]
