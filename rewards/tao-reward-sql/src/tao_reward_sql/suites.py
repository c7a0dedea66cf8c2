"""Suites of questions about databases: Spider, BIRD, Defog as downloaded, and a folder of one's own."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import pydantic

import tao_hub

from . import duckdb_files, postgres
from .databases import ENDINGS, find_database, read_only
from .engines import TITLES, Place, engine_of, is_server

SYSTEM = "Write one SQLite query that answers the question. Reply with the query only."
MOST_COMBINATIONS = 64  # accepted queries that one of Defog's is expanded to
MOST_SCHEMA = 20_000  # characters


class QuestionOptions(tao_hub.Options):
    """Options of every suite here."""

    path: str = pydantic.Field(description="The folder with the questions and the databases")
    system: str = pydantic.Field(SYSTEM, description="The system message")
    rows: int = pydantic.Field(0, ge=0, le=20, description="Rows of each table that the prompt shows")
    semantics: str = pydantic.Field("strict", description="How answers are compared with gold: see sql/match")


class Questions(tao_hub.Suite):
    """Questions with gold SQL; the system message holds the database's CREATE statements, `meta.db` is its name."""

    metric_name = "execution accuracy"
    Options: Any = QuestionOptions
    databases: Sequence[str] = ("database",)
    """Folders with NAME/NAME.sqlite or NAME.sqlite, the first that exists."""
    cure = ""
    """What to download, and where it goes."""

    @property
    def metric(self) -> tao_hub.Ref:  # type: ignore[override]
        return tao_hub.Ref("sql/match", {"semantics": self.options.semantics})

    @property
    def folder(self) -> Path:
        return Path(self.options.path).expanduser()

    def files(self) -> Mapping[str, Path]:
        """Split → file, of the files that are there."""
        raise NotImplementedError

    def read(self, file: Path) -> Iterable[tuple[str, str, list[str], str, str]]:
        """(id, question, accepted queries, database, hint) of each question of a file."""
        raise NotImplementedError

    def splits(self) -> Sequence[str]:
        return tuple(self.files())

    def prompts(self, split: str) -> Iterator[tao_hub.Prompt]:
        files = self.files()
        if not files:
            raise FileNotFoundError(f"no questions in {self.folder}. {self.cure}")
        if split not in files:
            raise ValueError(f"no split {split!r} in {self.folder}: {', '.join(files)}")
        databases = self._databases()
        for name, question, golds, database, hint in self.read(files[split]):
            try:
                file = find_database(database, str(databases))
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{error}. {self.cure}") from None
            system = self.options.system
            if system == SYSTEM:
                system = SYSTEM.replace("SQLite", TITLES[engine_of(file)])
            told = f"{system}\n\n{schema(file, self.options.rows)}"
            messages = (tao_hub.Message("system", told), tao_hub.Message("user", f"{hint}\n{question}".strip()))
            gold = golds[0] if len(golds) == 1 else golds or None
            yield tao_hub.Prompt(messages, id=name, reference=gold, meta={"db": database})

    def options_for(self, component: str) -> Mapping[str, Any]:
        return {"databases": str(self._databases())} if component.startswith("sql/") else {}

    def _databases(self) -> Path:
        found = [self.folder / name for name in self.databases if (self.folder / name).is_dir()]
        return (found or [self.folder])[0].resolve()


class Spider(Questions):
    """Spider (Yu et al. 2018) as downloaded: dev.json, train_spider.json, test.json, database/NAME/NAME.sqlite."""

    cure = (
        "Download spider_data.zip from https://yale-lily.github.io/spider, unpack it, and give its folder "
        "(with dev.json and database/) as path"
    )
    names: Mapping[str, Sequence[str]] = {
        "train": ("train_spider.json",), "dev": ("dev.json",), "test": ("test.json",),
    }  # fmt: skip

    def files(self) -> Mapping[str, Path]:
        found = {}
        for split, names in self.names.items():
            there = [f for n in names for f in (self.folder / n, self.folder / f"{n}.gz") if f.is_file()]
            if there:
                found[split] = there[0]
        return found

    def read(self, file: Path) -> Iterator[tuple[str, str, list[str], str, str]]:
        for number, row in enumerate(_json_list(file)):
            sql = row.get("query") or row.get("SQL")
            name = str(row.get("question_id", number))
            yield name, str(row["question"]), [sql] if sql else [], str(row["db_id"]), str(row.get("evidence") or "")


class Bird(Spider):
    """BIRD (Li et al. 2023) as downloaded: dev.json or mini_dev_sqlite.json with dev_databases/, train.json with
    train_databases/ in a folder of its own. The evidence stands before the question."""

    databases = ("dev_databases", "train_databases", "database")
    cure = (
        "Download BIRD's dev set from https://bird-bench.github.io, unpack it with its databases, and give the folder "
        "(with dev.json and dev_databases/) as path"
    )
    names = {"train": ("train.json",), "dev": ("dev.json", "mini_dev_sqlite.json", "bird_mini_dev_sqlite.json")}


class Defog(Questions):
    """Defog's sql-eval: questions_gen_sqlite.csv with several accepted queries per question, and the databases."""

    databases = ("databases", "database")
    cure = (
        "Take data/questions_gen_sqlite.csv from https://github.com/defog-ai/sql-eval and the databases from "
        "https://github.com/defog-ai/defog-data as databases/NAME.sqlite, and give the folder as path"
    )

    def files(self) -> Mapping[str, Path]:
        file = self.folder / "questions_gen_sqlite.csv"
        return {"test": file} if file.is_file() else {}

    def read(self, file: Path) -> Iterator[tuple[str, str, list[str], str, str]]:
        with file.open(encoding="utf-8", newline="") as source:
            for number, row in enumerate(csv.DictReader(source)):
                golds = alternatives(row["query"])
                yield str(number), row["question"], golds, row["db_name"], row.get("instructions") or ""


class Folder(Questions):
    """Any folder: QUESTIONS.jsonl, one split each, beside SQLite or DuckDB files.

    Rows are {"question", "query"?: SQL or a list of accepted ones, "db"?, "hint"?, "id"?}; `db` may be left out where
    there is one database only.
    """

    databases = ("databases", "database", ".")
    cure = (
        'Put JSONL files of {"question": …, "query": …, "db": NAME} there, and NAME.sqlite or NAME.duckdb beside them'
    )

    def files(self) -> Mapping[str, Path]:
        return {file.stem: file for file in sorted(self.folder.glob("*.jsonl"))}

    def read(self, file: Path) -> Iterator[tuple[str, str, list[str], str, str]]:
        only = [f for f in sorted(self._databases().iterdir()) if f.suffix in ENDINGS]
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                question, sql = row["question"], row.get("query", row.get("sql", []))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                told = f"{type(error).__name__}: {error}"
                raise ValueError(f'{file}, line {number}: no {{"question", "query", "db"}} ({told})') from None
            database = row.get("db") or (only[0].stem if len(only) == 1 else "")
            if not database:
                raise ValueError(f"{file}, line {number}: no db, and {len(only)} databases in {self._databases()}")
            golds = [sql] if isinstance(sql, str) else list(sql or [])
            yield str(row.get("id", number)), str(question), golds, str(database), str(row.get("hint") or "")


def alternatives(query: str) -> list[str]:
    """Defog's accepted queries: parts between semicolons; `{a, b}` stands for any of its columns or several, and `{}`
    after it for the same ones."""
    found: list[str] = []
    for part in filter(None, (p.strip() for p in query.split(";"))):
        braces = re.search(r"\{([^{}]+)\}", part)
        if braces is None:
            found.append(part)
            continue
        columns = [c.strip() for c in braces.group(1).split(",")]
        chosen = itertools.chain.from_iterable(
            itertools.combinations(columns, size) for size in range(1, len(columns) + 1)
        )
        for some in itertools.islice(chosen, MOST_COMBINATIONS):
            text = ", ".join(some)
            found.append(part.replace(braces.group(0), text, 1).replace("{}", text))
    return found


@lru_cache(maxsize=256)
def schema(file: Place, rows: int = 0) -> str:
    """The CREATE statements of a database in the order of their names, with its first `rows` rows as comments."""
    if engine_of(file) == "duckdb":
        return "\n".join(duckdb_files.statements(Path(file), rows))[:MOST_SCHEMA]
    if is_server(file):
        return "\n".join(postgres.statements(str(file), rows))[:MOST_SCHEMA]
    with closing(read_only(Path(file))) as db:
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        told = []
        made = "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND sql IS NOT NULL ORDER BY name"
        for name, sql in db.execute(made).fetchall():
            if name.startswith("sqlite_"):
                continue
            told.append(re.sub(r"\s+", " ", sql) + ";")
            quoted = name.replace('"', '""')
            for row in db.execute(f'SELECT * FROM "{quoted}" LIMIT {int(rows)}').fetchall() if rows else ():
                told.append("-- " + ", ".join(str(value)[:40] for value in row))
    return "\n".join(told)[:MOST_SCHEMA]


def _json_list(file: Path) -> list[dict[str, Any]]:
    data = file.read_bytes()
    try:
        found = json.loads(gzip.decompress(data) if file.suffix == ".gz" else data)
    except (ValueError, OSError) as error:
        raise ValueError(f"{file}: no JSON ({error})") from None
    needed = {"question", "db_id"}
    if not isinstance(found, list) or not all(isinstance(row, dict) and needed <= set(row) for row in found):
        raise ValueError(f"{file}: not a list of objects with question and db_id")
    return found
