"""Judged candidates as preference data, with what a verifier knows beside them: the gold query, and other values.

Used by reward_model.py beside it.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

import base
from tao_demo import make_backoffice
from tao_demo.office.grammar import Question
from tao_demo.office.suite import HERE, Backoffice, database
from tao_reward_sql.values import vary

from tao_hub import Candidate, Group, Hub, Prompt, Ref, Reward, Score
from tao_hub.overlap import Known

CONSTANT = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
MOST_WRONG = 4  # of a question's candidates


class Asked:
    """What the suite asks, in all its splits, to know its repetitions: equal words, nearly equal ones, equal queries.

    The prompts' queries are not shipped; the grammar writes them again.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        suite = Backoffice()
        splits = [[p.text for p in suite.prompts(split)] for split in suite.splits()] + [list(more)]
        self._near = [Known((text, text) for text in texts) for texts in splits]  # each by itself
        self._words = {make_backoffice.normalised(text) for texts in splits for text in texts}
        self._queries = {row["query"] for rows in make_backoffice.make(database()).values() for row in rows}
        self._queries |= {query for p in suite.prompts("human") for query in p.reference}

    def repeats(self, text: str, sql: str) -> bool:
        if make_backoffice.normalised(text) in self._words or sql in self._queries:
            return True
        return any(known.find(text) for known in self._near)

    def add(self, text: str) -> None:
        self._words.add(make_backoffice.normalised(text))
        self._near[-1].add(text, text)


def write(
    file: Path, groups: Sequence[Group], golds: Mapping[str, str], held: Iterable[str], copies: int, seed: int = 0
) -> int:
    """Rows {"prompt", "responses", "scores"}: each question with its gold query and wrong candidates, then `copies` of
    it with other values put into question, gold and candidates alike, judged anew. Copies that repeat a question of the
    suite or one that is `held` are left out. Returns how many rows there are."""
    asked_elsewhere, db = Asked(held), database()
    rng, rows = Random(seed), []
    here = {"db": str(db), "workers": 2}
    hub = Hub()
    judge = hub.reward(Ref("sql/match", {**here, "semantics": "strict"}))
    runs = hub.reward(Ref("sql/executes", here))
    asked = []
    for group in groups:
        wrong = _wrong(group, runs, rng)
        some = _with_copies(group.prompt, golds[group.prompt.text], wrong, db, copies, rng)
        asked += [one for one in some if not asked_elsewhere.repeats(one[0].text, one[1][0])]
    pairs = [(prompt, Candidate(prompt.digest, sql)) for prompt, queries in asked for sql in queries]
    verdicts = iter(judge.score_batch(pairs))
    for prompt, queries in asked:
        found = {sql: _value(v) for sql, v in zip(queries, verdicts)}
        told = {sql: v for sql, v in found.items() if v is not None}
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        rows.append({"prompt": messages, "responses": list(told), "scores": list(told.values())})
    judge.close()
    runs.close()
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


def _wrong(group: Group, runs: Reward, rng: Random) -> list[str]:
    """Different wrong candidates, those that run first: what does not is found without a model."""
    found = {c.response: c for c, s in zip(group.candidates, group.scores) if s["right"].value == 0.0}
    some = rng.sample(list(found.values()), len(found))
    plain = Prompt(group.prompt.messages)  # without the name of a database: the reward has its file
    able = {c.response: _value(v) or 0.0 for c, v in zip(some, runs.score_batch([(plain, c) for c in some]))}
    return sorted(able, key=lambda sql: -able[sql])[:MOST_WRONG]


def _with_copies(
    prompt: Prompt, gold: str, wrong: Sequence[str], db: Path, copies: int, rng: Random
) -> Iterator[tuple[Prompt, list[str]]]:
    """(question with its gold as the reference, gold and wrong candidates), as it is and with other values."""
    yield _asked(prompt, prompt.text, gold), [gold, *wrong]
    for _ in range(copies):
        made = vary(prompt.text, [gold], db, rng)
        if made is not None:
            text, (other,) = made
            exchanged = dict(zip(CONSTANT.findall(gold), CONSTANT.findall(other)))
            yield _asked(prompt, text, other), [
                other, *(CONSTANT.sub(lambda m, to=exchanged: to.get(m.group(), m.group()), sql) for sql in wrong)
            ]  # fmt: skip


def _value(score: float | Score) -> float | None:
    return score.value if isinstance(score, Score) else float(score)


def _asked(prompt: Prompt, text: str, gold: str) -> Prompt:
    changed = base.with_text(prompt, text)
    return Prompt(changed.messages, reference=gold)


def by_composition(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """The test's groups whose compositions the labelled questions may have, and those whose they must not."""
    lines = gzip.decompress((HERE / "test.jsonl.gz").read_bytes()).splitlines()
    rows = map(json.loads, lines)
    shape = {row["question"]: Question(row["question"], row["query"], row["composition"]) for row in rows}
    found: dict[str, list[Group]] = {"test, labelled compositions": [], "test, other compositions": []}
    for group in groups:
        found[list(found)[make_backoffice.unseen(shape[group.prompt.text])]].append(group)
    return found
