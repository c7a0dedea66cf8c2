"""SQL a model wrote, run in the sandbox: verdicts, votes, and what hostile queries cannot do."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from spider import Spider
from sql_attacks import attacks, tells_apart, withstands
from tao_reward_sql.consistency import Consistency
from tao_reward_sql.executes import Executes
from tao_reward_sql.extract import extract_sql
from tao_reward_sql.gate import NotAQuery, order_of, parse
from tao_reward_sql.match import Match
from tao_reward_sql.perturb import copies
from tao_reward_sql.sandbox import Limits, Sandbox

import tao_hub
from tao_hub import Candidate, Group, Message, Prompt, Ref, Score


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "shop.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.executescript(
            """
            CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city TEXT);
            CREATE TABLE sale (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer(id), item TEXT,
              price REAL);
            INSERT INTO customer VALUES (1,'Ann','Oslo'),(2,'Bo','Rome'),(3,'Cy','Oslo'),(4,'Di',NULL),(5,'Ed','Bonn');
            """
        )
        items = ["lamp", "desk", "sofa", "vase", "rug"]
        rows = [(i, i % 4 + 1, items[i % 5], round(3.5 * (i % 7) + 1, 2)) for i in range(1, 41)]
        db.executemany("INSERT INTO sale VALUES (?, ?, ?, ?)", rows)
        db.commit()
    return file


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1, Limits(seconds=2.0)) as opened:
        yield opened


def prompt(db: Path, reference: Any = None) -> Prompt:
    return Prompt((Message("user", "?"),), reference=reference, meta={"db": str(db)})


def match(db: Path, gold: Any, *answers: str, **options: Any) -> list[Score]:
    reward = Match(Match.Options(**options))
    try:
        return list(reward.score_batch([(prompt(db, gold), Candidate("", answer)) for answer in answers]))  # type: ignore[arg-type]
    finally:
        reward.close()


# -- sql/match --


def test_a_prediction_matches_by_what_it_returns(shop: Path) -> None:
    right, other, fewer, broken = match(
        shop, "SELECT name, city FROM customer WHERE city = 'Oslo'",
        "```sql\nSELECT c.city, c.name FROM customer AS c WHERE c.city LIKE 'oslo'\n```",
        "SELECT name, city FROM customer WHERE city = 'Rome'", "SELECT name FROM customer", "SELECT nam FROM customer",
    )  # fmt: skip
    assert (right.value, right.why) == (1.0, "match")
    assert (other.value, fewer.value, broken.value) == (0.0, 0.0, 0.0)
    assert other.why == "mismatch: 1 rows, gold has 2"
    assert fewer.why == "mismatch: 1 columns, gold has 2"
    assert broken.why.startswith("pred_error: OperationalError: no such column")


def test_order_counts_where_gold_asks_for_it_and_ties_may_permute(shop: Path) -> None:
    gold = "SELECT name FROM customer ORDER BY city"
    tied = "SELECT name FROM customer ORDER BY city, name DESC"
    backwards = "SELECT name FROM customer ORDER BY city DESC"
    same, wrong = match(shop, gold, tied, backwards)
    assert (same.value, wrong.value) == (1.0, 0.0)
    assert wrong.why.startswith("mismatch: order: rows 1 to 1")
    assert match(shop, "SELECT name FROM customer", backwards)[0].value == 1.0


def test_a_limit_in_the_middle_of_a_tie_accepts_any_of_the_tied(shop: Path) -> None:
    gold = "SELECT name FROM customer WHERE city IS NOT NULL ORDER BY city LIMIT 2"  # Bonn, then one of two in Oslo
    first, second, third = match(
        shop, gold, "SELECT name FROM customer WHERE city IS NOT NULL ORDER BY city, name LIMIT 2",
        "SELECT name FROM customer WHERE city IS NOT NULL ORDER BY city, name DESC LIMIT 2",
        "SELECT name FROM customer WHERE name IN ('Ed', 'Bo') ORDER BY city",
    )  # fmt: skip
    assert (first.value, second.value, third.value) == (1.0, 1.0, 0.0)


def test_any_of_several_golds_is_accepted_and_a_broken_one_is_no_zero(shop: Path) -> None:
    golds = ["SELECT name FROM customer WHERE id = 1", "SELECT name, city FROM customer WHERE id = 1"]
    assert [s.value for s in match(shop, golds, *golds, "SELECT 1")] == [1.0, 1.0, 0.0]
    (failed,) = match(shop, "SELECT nope FROM customer", golds[0])
    assert failed.value is None
    assert failed.error is not None
    assert failed.error["type"] == "GoldError"
    assert match(shop, ["SELECT nope FROM customer", golds[0]], golds[0])[0].value == 1.0


def test_other_semantics_stand_beside_the_strict_one(shop: Path) -> None:
    gold = "SELECT item FROM sale"
    (score,) = match(shop, gold, "SELECT DISTINCT item FROM sale", also=["bird_ex", "spider_ts", "bird_soft_f1"])
    assert score.value == 0.0
    assert score.parts["bird_ex"] == 1.0  # sets: repeats do not count
    assert score.parts["spider_ts"] == 1.0  # it strips DISTINCT


def test_a_prompt_without_a_database_or_gold_says_what_to_do(shop: Path, tmp_path: Path) -> None:
    reward = Match(Match.Options(databases=str(tmp_path)))
    no_db = Prompt((Message("user", "?"),), reference="SELECT 1")
    with pytest.raises(ValueError, match="names no database"):
        reward.score_batch([(no_db, Candidate("", "SELECT 1"))])
    for name, problem in (("nope", "no database 'nope'"), ("../shop", "plain name"), ("/etc/passwd", "plain name")):
        asked = Prompt((Message("user", "?"),), reference="SELECT 1", meta={"db": name})
        with pytest.raises((ValueError, FileNotFoundError), match=problem):
            reward.score_batch([(asked, Candidate("", "SELECT 1"))])
    with pytest.raises(ValueError, match="gold query or a list"):
        match(shop, None, "SELECT 1")


def test_the_score_command_finds_databases_by_name(shop: Path, tmp_path: Path) -> None:
    rows = [
        {"id": i, "prompt": "who?", "response": sql, "reference": "SELECT name FROM customer", "meta": {"db": "shop"}}
        for i, sql in enumerate(["SELECT name FROM customer", "DELETE FROM customer", "hello"])
    ]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    tao_hub.score_rows(Ref("sql/match", {"databases": str(shop.parent), "also": "bird_ex"}), source, target)
    found = [json.loads(line) for line in target.read_text().splitlines()]
    assert [f["value"] for f in found] == [1.0, 0.0, 0.0]
    assert [f["parts"]["bird_ex"] for f in found] == [1.0, 0.0, 0.0]
    assert found[1]["why"].startswith("forbidden")


# -- sql/executes, sql/consistency --


HACKS = [
    "SELECT 1", "SELECT 'Oslo' AS city", "EXPLAIN SELECT name FROM customer", "EXPLAIN QUERY PLAN SELECT 1",
    "SELECT name FROM sqlite_master", "SELECT sql FROM sqlite_schema", "VALUES (1)", 'SELECT "nam" FROM customer',
    "SELECT * FROM (SELECT 1 AS name)", "WITH x AS (SELECT 'Ann' AS name) SELECT name FROM x",
    "PRAGMA table_info(customer)",
    "SELECT 1; SELECT name FROM customer", "DELETE FROM customer", "SELECT value FROM json_each('[1,2]')", "error", "",
]  # fmt: skip


@pytest.mark.parametrize("hack", HACKS)
def test_hacks_that_execute_and_return_rows_earn_nothing(shop: Path, hack: str) -> None:
    reward = Executes()
    (score,) = reward.score_batch([(prompt(shop), Candidate("", hack))])
    reward.close()
    assert isinstance(score, Score)
    assert score.value == 0.0
    assert score.why


def test_a_query_that_reads_a_table_executes_and_an_empty_result_earns_less(shop: Path) -> None:
    reward = Executes()
    texts = ['SELECT "name" FROM customer', "SELECT count(*) FROM sale", "SELECT name FROM customer WHERE id = 99"]
    found = list(reward.score_batch([(prompt(shop), Candidate("", text)) for text in texts]))
    reward.close()
    assert [s.value for s in found if isinstance(s, Score)] == [1.0, 1.0, 0.5]


@pytest.fixture
def votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consistency]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    reward = Consistency()
    yield reward
    reward.close()


def test_candidates_with_the_same_results_share_their_votes(shop: Path, votes: Consistency) -> None:
    answers = [
        "SELECT count(*) FROM sale WHERE price > 10", "SELECT COUNT(id) AS n FROM sale WHERE NOT price <= 10",
        "SELECT count(*) FROM sale", "SELEC nothing",
    ]  # fmt: skip
    found = votes.score_group(Group(prompt(shop), tuple(Candidate("", a, index=i) for i, a in enumerate(answers))))
    assert [s.value for s in found] == [0.5, 0.5, 0.25, 0.0]
    assert "expected a query" in found[3].why


def test_no_hack_wins_a_group_however_often_it_is_said(shop: Path, votes: Consistency) -> None:
    honest = "SELECT name FROM customer WHERE city = 'Oslo'"
    constant = "SELECT 7 FROM customer WHERE id IS NOT NULL LIMIT 1"
    for hack in [*HACKS, constant]:
        answers = [hack, hack, hack, honest]
        found = votes.score_group(Group(prompt(shop), tuple(Candidate("", a, index=i) for i, a in enumerate(answers))))
        assert [s.value for s in found] == [0.0, 0.0, 0.0, 0.25], hack


def test_agreement_by_chance_breaks_on_perturbed_copies(shop: Path, votes: Consistency) -> None:
    by_chance = ["SELECT count(*) FROM sale WHERE item = 'rug'", "SELECT count(*) FROM sale WHERE id % 5 = 4"]  # 8
    found = votes.score_group(Group(prompt(shop), tuple(Candidate("", a, index=i) for i, a in enumerate(by_chance))))
    assert [s.value for s in found] == [0.5, 0.5]


def test_one_voter_alone_has_no_score(shop: Path, votes: Consistency) -> None:
    alone = Group(prompt(shop), (Candidate("", "SELECT name FROM customer"),))
    (score,) = votes.score_group(alone)
    assert score.value is None
    assert score.error is not None
    assert score.error["type"] == "TooFewVoters"


def test_perturbed_copies_keep_schema_and_keys_and_are_made_once(shop: Path, tmp_path: Path) -> None:
    first = copies(shop, 3, tmp_path)
    stamps = [file.stat().st_mtime_ns for file in first]
    assert copies(shop, 3, tmp_path) == first
    assert [file.stat().st_mtime_ns for file in first] == stamps
    original = dump(shop)
    for file in first:
        with closing(sqlite3.connect(file)) as db:
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        copied = dump(file)
        assert [line for line in copied if line.startswith("CREATE")] == [x for x in original if x.startswith("CREATE")]
        assert copied != original
    assert len({tuple(dump(file)) for file in first}) == 3


def dump(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as db:
        return list(db.iterdump())


# -- the gate --


def test_only_one_query_passes_the_gate() -> None:
    long = "SELECT " + "x" * 30_000
    for text in ("DROP TABLE t", "SELECT 1; SELECT 2", "error", "", "INSERT INTO t VALUES (1)", "(" * 5000, long):
        with pytest.raises(NotAQuery):
            parse(text)
    assert parse("(SELECT 1 AS a) UNION SELECT 2")


def test_the_top_level_order_alone_counts() -> None:
    assert order_of("SELECT a FROM (SELECT a FROM t ORDER BY b)") is None
    keyed = order_of("SELECT a FROM t ORDER BY b DESC, 1 LIMIT 3")
    assert keyed is not None
    assert keyed.keys == (1, 0)
    assert "LIMIT" in keyed.keyed
    assert "LIMIT" not in keyed.unlimited


# -- hostile queries --


def test_no_attack_writes_escapes_or_hangs_and_honest_queries_go_on(shop: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.db"
    strings = attacks(outside)
    assert len(strings) >= 120
    before = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in shop.parent.iterdir()}
    withstands(shop, strings)
    assert {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in shop.parent.iterdir()} == before
    assert not outside.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_must_not_run_is_told_apart_from_what_fails(shop: Path, sandbox: Sandbox) -> None:
    tells_apart(sandbox, shop, [
        ("DELETE FROM sale", "forbidden"), ("SELECT name FROM sqlite_master", "forbidden"),
        ("SELECT random()", "forbidden"),
        ("SELECT nope FROM sale", "error"), ("SELECT 1; SELECT 2", "forbidden"),
        ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM t) SELECT count(*) FROM t", "timeout"),
    ])  # fmt: skip
    assert sandbox.run("/no/such.db", "SELECT 1").kind == "database"


def test_text_that_is_no_utf8_is_kept_and_results_are_cut_by_bytes(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "odd.sqlite")) as db:
        db.execute("CREATE TABLE t (id INTEGER, name TEXT)")
        db.execute("INSERT INTO t VALUES (1, CAST(x'4AE9' AS TEXT)), (2, 'Zoë')")
        db.executemany("INSERT INTO t VALUES (?, ?)", [(i, "x" * 5000) for i in range(3, 1003)])
        db.commit()
    file = tmp_path / "odd.sqlite"
    with Sandbox(1, Limits(bytes=1_000_000)) as sandbox:
        assert sandbox.run(file, "SELECT name FROM t WHERE id = 2").rows == (("Zoë",),)
        assert sandbox.run(file, "SELECT name FROM t WHERE id < 3").rows == (("J\udce9",), ("Zoë",))
        flood = sandbox.run(file, "SELECT name FROM t WHERE id > 2")
        assert flood.truncated
        assert 200 <= len(flood.rows) <= 400
        wide = sandbox.run(file, "SELECT id, name FROM t WHERE id > 2 LIMIT 150")
        assert (wide.truncated, len(wide.rows)) == (False, 150)


def test_a_killed_worker_costs_one_query(shop: Path) -> None:
    with Sandbox(2, Limits(seconds=2.0)) as sandbox:
        sandbox.run_all([(shop, f"SELECT {i} FROM sale LIMIT 1") for i in range(4)])
        for worker in sandbox._workers:
            if worker._process is not None:
                worker._process.kill()
        results = sandbox.run_all([(shop, f"SELECT {i} + 10 FROM sale LIMIT 1") for i in range(6)])
        assert sum(r.kind == "crash" for r in results) <= 2
        again = sandbox.run_all([(shop, f"SELECT {i} + 10 FROM sale LIMIT 1") for i in range(6)])
        assert [r.rows for r in again] == [((i + 10,),) for i in range(6)]


# -- published predictions --


SPIDER_DEV = {"strict": 394, "bird_ex": 377, "spider_ts": 395}  # right of 459


def test_verdicts_on_spider_dev_agree_with_plain_sqlite(spider: Spider) -> None:
    """The published Graphix-T5 predictions: BIRD's rule by our sandbox against the same rule written out here."""
    predicted, files = spider.predictions(), spider.files
    reward = Match(Match.Options(also=["bird_ex", "spider_ts"]))
    scores = reward.score_batch([(spider.prompt(row), Candidate("", sql)) for row, sql in predicted])
    reward.close()
    found = [score for score in scores if isinstance(score, Score)]
    assert len(found) == len(predicted) == 459
    assert all(score.error is None for score in found)
    by_hand = [plain(files[r["db_id"]], r["query"]) == plain(files[r["db_id"]], sql) for r, sql in predicted]
    assert [score.parts["bird_ex"] for score in found] == by_hand
    right = {name: sum(score.parts[name] for score in found) for name in ("bird_ex", "spider_ts")}
    assert {"strict": sum(score.value or 0 for score in found), **right} == SPIDER_DEV


def plain(file: Path, sql: str) -> set[Any] | str:
    with closing(sqlite3.connect(file)) as db:
        db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        try:
            return set(db.execute(sql).fetchall())
        except sqlite3.Error as error:
            return f"{error}"


def test_a_database_that_cannot_be_read_is_a_failure_not_a_bad_query(tmp_path: Path) -> None:
    (tmp_path / "broken.sqlite").write_bytes(b"no database at all" * 100)
    reward = Executes(Executes.Options())
    (found,) = reward.score_batch([(prompt(tmp_path / "broken.sqlite"), Candidate("", "SELECT name FROM customer"))])
    reward.close()
    assert isinstance(found, Score)
    assert found.value is None
    assert "file is not a database" in str(found.error)


def test_a_fence_with_many_blanks_takes_no_time() -> None:
    started = time.process_time()
    assert extract_sql("```" + " " * 90_000 + "SELECT 1") == "```" + " " * 90_000 + "SELECT 1"
    assert time.process_time() - started < 2
