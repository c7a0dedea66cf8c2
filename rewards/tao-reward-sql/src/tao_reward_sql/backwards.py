"""sql/backwards: new questions for queries that a grammar draws from the schema, for prompt synthesis."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pydantic
from sqlglot import exp

import tao_hub
from tao_hub import Message, Prompt

from .cues import CUES, unheard
from .databases import Where, database_of
from .engines import TITLES, Place, engine_of
from .executes import honest
from .gate import parse
from .grammar import Draft, Grammar
from .linking import literals_of, read
from .sandbox import Limits, Result, Sandbox
from .tables import tables_of

ASK = "Write the question that this SQL query answers, as a person would ask it. Reply with the question only."
TRIES = 40  # draws for each query that is wanted, at most
DENIAL = next(cue.asks for cue in CUES if cue.name == "denial")
GROUPS = re.compile(r"\b(?:each|every|per|by|different|respective)\b", re.IGNORECASE)
_QUOTES = "\"'`“”"
_TOKEN = re.compile(r"\w+|[<>=*]+")
_LABEL = re.compile(r"^(?:the )?question\s*:\s*", re.IGNORECASE)


class Pair(tao_hub.Options):
    """A worked example."""

    input: str = pydantic.Field(description="The question")
    output: str = pydantic.Field(description="The query that answers it")


class Backwards(tao_hub.Strategy):
    """Draws queries from the schema by a grammar and asks which question each one answers: back-translation (Sennrich
    et al. 2016, arXiv 1511.06709; for queries GAZP, Zhong et al. 2020, arXiv 2009.07396).

    A query is kept if it runs in the sandbox, gives some rows but not very many, not only NULL or 0, if each of its
    conditions changes what it gives, if no tie stands where it cuts off, and if no other one has its canonical form. A
    question is taken if it names the query's constants and no others, and its words ask for the query's operations
    (English; see `sql/schema`). For SQLite databases. The policy is any model that can tell from worked examples or by
    itself, or one that has learnt the way back.
    """

    class Options(Where):
        examples: list[Pair] = pydantic.Field(
            [], description='Worked examples, shown the other way round: [{"input": question, "output": query}]'
        )
        k: int = pydantic.Field(8, ge=0, description="Examples that are shown: those whose queries are most alike")
        trained: bool = pydantic.Field(
            False, description="The policy has learnt the way back (`tao-hub train-backward`): it sees the query alone"
        )
        ask: str = pydantic.Field(ASK, description="What is asked of a policy that is not `trained`")
        rows: int = pydantic.Field(200, ge=1, description="Rows that a query may give, at most")
        fit: bool = pydantic.Field(True, description="Refuse questions whose words or constants are not the query's")
        seed: int = pydantic.Field(0, description="Of the drawn queries")

    def proposals(self, source: Sequence[Prompt], n: int) -> Sequence[Prompt]:
        """About n prompts whose text is a query, as many for each database (and system message) of the source."""
        settings = list({setting.digest: setting for setting in map(_setting, source)}.values())
        each = -(-n // len(settings))
        with Sandbox(limits=Limits(rows=self.options.rows)) as sandbox:
            drawn = [list(self._drawn(setting, each, sandbox)) for setting in settings]
        return [queries[i] for i in range(each) for queries in drawn if i < len(queries)]

    def variants(self, prompt: Prompt, n: int) -> Sequence[Prompt]:
        if self.options.trained:
            return [Prompt((Message("user", prompt.text),))] * n
        shown = self._alike(prompt.text)
        turns = [Message(r, t) for e in shown for r, t in (("user", e.output), ("assistant", e.input))]
        return [Prompt((Message("system", self.options.ask), *turns, Message("user", prompt.text)))] * n

    def answer(self, prompt: Prompt, raw: str) -> str:
        """The question. Raises ValueError where it cannot be the query's."""
        lines = [line.strip() for line in raw.splitlines() if line.strip()]
        question = _LABEL.sub("", lines[0]).strip(_QUOTES + " ") if lines else ""
        if question and self.options.fit and (why := unfit(question, prompt.text, database_of(prompt, self.options))):
            raise ValueError(why)
        return question

    def worked_examples(self) -> int:
        return 0 if self.options.trained else len({(e.input, e.output) for e in self.options.examples})

    def _alike(self, sql: str) -> list[Pair]:
        """The k examples whose queries share most tokens with this one (Jaccard similarity), the most alike last."""
        own = _tokens(sql)

        def alike(example: Pair) -> float:
            other = _tokens(example.output)
            return len(own & other) / len(own | other)

        ranked = sorted(self.options.examples, key=alike)
        return ranked[max(0, len(ranked) - self.options.k) :]

    def _drawn(self, setting: Prompt, n: int, sandbox: Sandbox) -> Iterator[Prompt]:
        """At most n prompts; the first ones are the same for a larger n."""
        database = database_of(setting, self.options)
        if engine_of(database) != "sqlite":
            raise tao_hub.UsageError(f"sql/backwards draws for SQLite databases, found {TITLES[engine_of(database)]}'s")
        known = {canonical(example.output) for example in self.options.examples}
        draw = Random(f"{self.options.seed}/{setting.digest}")
        grammar = Grammar(tables_of(Path(database)), draw)
        for _ in range(TRIES * n):
            draft = grammar.query()
            if draft is None or (form := canonical(draft.sql())) in known:
                continue
            known.add(form)
            if not useful(draft, database, sandbox):
                continue
            yield _with_text(setting, draft.sql())
            n -= 1
            if not n:
                return


def useful(draft: Draft, database: Place, sandbox: Sandbox) -> bool:
    """Whether a query runs and its result is worth a question: see `Backwards`."""
    result, _ = honest(sandbox, database, draft.sql())
    if result is None or result.truncated or all(value in (None, 0) for row in result.rows for value in row):
        return False
    if draft.group and not draft.having and not draft.limit and len(result.rows) < 2:
        return False
    if any(_table(sandbox.run(database, sql)) == _table(result) for sql in draft.weaker()):
        return False
    if not draft.limit:
        return True
    last = sandbox.run(database, draft.cut()).rows
    return len(last) == 2 and last[0] != last[1]


def _table(result: Result) -> object:
    """What a result holds, whatever the order of its rows; one that is cut off or failed equals no other."""
    return sorted(map(repr, result.rows)) if result.ok and not result.truncated else object()


def canonical(sql: str) -> str:
    """The query with names in lower case and the parts of conjunctions in one order."""
    tree = parse(sql).copy()
    for name in tree.find_all(exp.Identifier):
        name.set("this", name.name.casefold())
        name.set("quoted", False)
    for where in tree.find_all(exp.Where):
        parts = sorted(where.this.flatten(), key=repr) if isinstance(where.this, exp.And) else [where.this]
        where.set("this", exp.and_(*parts, copy=False))
    return tree.sql(dialect="sqlite")


def unfit(question: str, sql: str, database: Place) -> str:
    """Why a question cannot be the query's, by its words; "" if it can."""
    if re.match(r"(?:select|with)\b", question, re.IGNORECASE):
        return "wrote a query, not a question"
    tree = parse(sql)
    asked = read(question, database)
    limits = [str(node.expression.this) for node in tree.find_all(exp.Limit)]
    constants = [text for text in literals_of(tree) if text not in ("0", "1")]  # 1 of a flag is no number that is said
    if not all(asked.holds(text) for text in [*constants, *(text for text in limits if text != "1")]):
        return "the question does not name the query's values"
    others = asked.missed([str(node.this) for node in tree.find_all(exp.Literal)])
    if any(text in question and not text[0].islower() for text in others):  # "open" may be a word, "Oslo" is a value
        return "the question names values that the query has not"
    if unheard(question, tree)[0] or _unasked(question, tree):
        return "the question asks for other operations than the query's"
    return ""


def _unasked(question: str, tree: exp.Query) -> bool:
    """Whether the query excludes, or lists groups, and no word asks for that: a sign of an answer to another question
    only here, where it is known that the query is right."""
    excludes = tree.find(exp.NEQ) or any(isinstance(node.this, exp.In) for node in tree.find_all(exp.Not))
    lists = tree.args.get("group") and any(e.find(exp.AggFunc) for e in tree.selects)
    return bool((excludes and not DENIAL.search(question)) or (lists and not GROUPS.search(question)))


def _tokens(sql: str) -> frozenset[str]:
    return frozenset(_TOKEN.findall(sql.casefold()))


def _setting(prompt: Prompt) -> Prompt:
    """What a prompt is about beside its input: its other messages and its meta."""
    return _with_text(replace(prompt, id="", reference=None), "")


def _with_text(prompt: Prompt, text: str) -> Prompt:
    last = max((i for i, m in enumerate(prompt.messages) if m.role == "user"), default=-1)
    return replace(prompt, messages=tuple(replace(m, content=text) if i == last else m
                                          for i, m in enumerate(prompt.messages)))  # fmt: skip
