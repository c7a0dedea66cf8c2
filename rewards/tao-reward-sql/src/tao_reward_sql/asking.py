"""sql/values: questions with other values of the same columns, for prompt synthesis and for learning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pydantic

import tao_hub

from .databases import Where, database_of
from .engines import engine_of
from .extract import extract_sql
from .values import vary


class OtherValues(tao_hub.Strategy):
    """New questions from old ones: each value of the data that a question names, and each number in it, is exchanged.

    Nothing is asked of a model. A question that names no value gives none. In a plan's `[[vary]]` the same is done to a
    question and the query that is learnt for it: values that both hold. For SQLite databases.
    """

    class Options(Where):
        n: int = pydantic.Field(4, ge=1, description="New questions from each, at most")
        seed: int = pydantic.Field(0, description="Of the draws")

    def combine(self, group: tao_hub.Group) -> Sequence[tao_hub.Candidate]:
        database = database_of(group.prompt, self.options)
        if engine_of(database) != "sqlite":
            return []
        draw = Random(f"{self.options.seed}/{group.prompt.digest}")
        made: dict[str, None] = {}
        for _ in range(3 * self.options.n):
            varied = vary(group.prompt.text, [], Path(database), draw)
            if varied is not None:
                made[varied[0]] = None
        return [tao_hub.Candidate(group.prompt.digest, text) for text in list(made)[: self.options.n]]

    def vary(self, prompt: tao_hub.Prompt, answer: str, n: int) -> Sequence[tuple[tao_hub.Prompt, str]]:
        database = database_of(prompt, self.options)
        if engine_of(database) != "sqlite":
            return []
        draw = Random(f"{self.options.seed}/{prompt.digest}")
        made: dict[str, str] = {}
        for _ in range(n):
            found = vary(prompt.text, [extract_sql(answer)], Path(database), draw)
            if found is not None and found[0] != prompt.text:
                made.setdefault(found[0], found[1][0])
        last = prompt.messages[-1]
        return [
            (tao_hub.Prompt((*prompt.messages[:-1], tao_hub.Message(last.role, text)), meta=prompt.meta), sql)
            for text, sql in made.items()
        ]
