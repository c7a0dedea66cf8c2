"""Writes the suite *backoffice* from a seed: `python -m tao_demo.make_backoffice --seed 7 --out DIR [--gold DIR]`."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from .making.overlap import Seen
from .office.database import SCHEMA, build
from .office.grammar import Question, draw
from .office.wordings import OPENINGS

SEED = 7
SIZES = {"test": 500, "dev": 300, "seed": 200, "prompts": 2000}  # test first: what it asks, nothing else asks
NEAR = 0.55  # Jaccard similarity of word 5-grams from which two questions are too alike for two splits
UNSEEN = 0.25  # of the compositions: only in test and prompts
MOST_ROWS = 200
HUMAN = Path(__file__).parent / "backoffice" / "human.jsonl"

Row = dict[str, Any]


def normalised(question: str) -> str:
    """A question without case, signs and greetings."""
    for opening in filter(None, OPENINGS):
        question = question.removeprefix(opening)
    return " ".join(re.findall(r"[a-z0-9]+", question.casefold()))


def unseen(question: Question) -> bool:
    """Whether the seed pairs (and dev) must not hold questions of this composition; those without filters may."""
    if question.composition.count("|") < 2:
        return False
    drawn = hashlib.blake2b(question.composition.encode(), digest_size=4).digest()
    return int.from_bytes(drawn, "big") < UNSEEN * 2**32


def answerable(db: sqlite3.Connection, question: Question) -> bool:
    """Whether the answer is something: rows, not too many, no NULL or zero alone, and no tie where ranks are cut."""
    rows = db.execute(question.sql).fetchmany(MOST_ROWS + 1)
    if not 0 < len(rows) <= MOST_ROWS or rows == [(0,)] or all(value is None for row in rows for value in row):
        return False
    if question.ranked:
        ranks = db.execute(question.ranked).fetchall()
        return len(ranks) > question.taken and ranks[question.taken - 1] != ranks[question.taken]
    return True


def make(database: Path, seed: int = SEED) -> Mapping[str, list[Row]]:
    """Rows by split: {"id", "question", "query", "composition"}; no question and no query is in two splits."""
    human = [json.loads(line) for line in HUMAN.read_text(encoding="utf-8").splitlines()]
    asked = {normalised(row["question"]) for row in human}
    seen = Seen(asked, n=5)
    queries = {query for row in human for query in row["query"]}
    splits: dict[str, list[Row]] = {}
    with closing(sqlite3.connect(database)) as db:
        for split, size in SIZES.items():
            rng = Random(f"{seed}/{split}")
            own: set[str] = set()
            rows: list[Row] = []
            while len(rows) < size:
                made = draw(rng)
                text = normalised(made.text)
                if text in asked or made.sql in queries or not answerable(db, made):
                    continue
                if split in ("seed", "dev") and unseen(made):
                    continue
                if split in ("test", "dev") and made.sql in own:
                    continue
                if max(map(seen.nearest, (text, made.text))) >= NEAR:
                    continue
                asked.add(text)
                own.add(made.sql)
                row = {"question": made.text, "query": made.sql, "composition": made.composition}
                rows.append({"id": f"{split}-{len(rows):04}", **row})
            queries |= own
            for row in rows:
                seen.add(row["question"])  # the greeting makes it longer, so likeness to others less
                seen.add(normalised(row["question"]))
            splits[split] = rows
    return splits


def outline() -> str:
    """The tables as prompts show them: names of columns, and what refers to what."""
    told = []
    for table, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\);", SCHEMA, re.DOTALL):
        columns = [" ".join(c.split()) for c in re.split(r",(?![^(]*\))", body)]
        refers = [f"{c.split()[0]} = {m[1]}.id" for c in columns if (m := re.search(r"REFERENCES (\w+)", c))]
        told.append(f"{table}({', '.join(c.split()[0] for c in columns)})" + "".join(f"; {r}" for r in refers))
    return "\n".join(told) + "\n"


def encode(rows: list[Row]) -> bytes:
    """Rows as compressed JSON lines, the same bytes each time."""
    return gzip.compress("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(), mtime=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, required=True, help="folder for the database and the splits")
    parser.add_argument("--gold", type=Path, help="folder, outside the package, for the gold queries of the prompts")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "backoffice.sqlite"
        build(database, options.seed)
        (options.out / "backoffice.sqlite.gz").write_bytes(gzip.compress(database.read_bytes(), mtime=0))
        splits = make(database, options.seed)
    (options.out / "schema.txt").write_text(outline(), encoding="utf-8")
    if options.gold is not None:
        options.gold.mkdir(parents=True, exist_ok=True)
        (options.gold / "prompts.jsonl.gz").write_bytes(encode(splits["prompts"]))
    for split, rows in splits.items():
        hidden = {"query", "composition"} if split == "prompts" else set()
        shown = [{key: value for key, value in row.items() if key not in hidden} for row in rows]
        (options.out / f"{split}.jsonl.gz").write_bytes(encode(shown))


if __name__ == "__main__":
    main()
