# ruff: noqa: E501
"""SQL on DuckDB files and on folders of Parquet and CSV files: verdicts, votes, and what hostile queries cannot do."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sql_attacks import tells_apart, withstands
from tao_reward_sql.consistency import Consistency
from tao_reward_sql.databases import find_database, names_of
from tao_reward_sql.dialects import Untranspilable
from tao_reward_sql.engines import MissingLibrary
from tao_reward_sql.executes import Executes
from tao_reward_sql.match import Match
from tao_reward_sql.perturb import copies
from tao_reward_sql.sandbox import Limits, Sandbox
from tao_reward_sql.schema import Schema
from tao_reward_sql.suites import Folder, schema

import tao_hub
from tao_hub import Candidate, Group, Message, Prompt, Ref, Score

duckdb = pytest.importorskip("duckdb")

ITEMS = ["lamp", "desk", "sofa", "vase", "rug"]
TABLES = """
    CREATE TABLE customer (id INTEGER PRIMARY KEY, name VARCHAR, city VARCHAR);
    CREATE TABLE sale (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer(id), item VARCHAR,
      price DECIMAL(9, 2), day DATE, paid BOOLEAN);
    INSERT INTO customer VALUES (1,'Ann','Oslo'),(2,'Bo','Rome'),(3,'Cy','Oslo'),(4,'Di',NULL),(5,'Ed','Bonn');
    CREATE VIEW dear AS SELECT * FROM sale WHERE price > 10;
    CREATE MACRO doubled(x) AS 2 * x;
"""  # fmt: skip


@pytest.fixture(autouse=True)
def cached(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "shop.duckdb"
    with duckdb.connect(str(file)) as db:
        db.execute(TABLES)
        rows = [(i, i % 4 + 1, ITEMS[i % 5], round(3.5 * (i % 7) + 1, 2), f"2024-{i % 12 + 1:02}-11", i % 2) for i in range(1, 41)]
        db.execute("INSERT INTO sale VALUES " + ", ".join(map(str, rows)))
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> Path:
    """The shop as files/shop/sale.parquet and customer.csv."""
    files = tmp_path_factory.mktemp("files") / "shop"
    files.mkdir()
    with duckdb.connect(str(shop), read_only=True) as db:
        db.execute(f"COPY sale TO '{files}/sale.parquet'")
        db.execute(f"COPY customer TO '{files}/customer.csv'")
    return files


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1, Limits(seconds=2.0)) as opened:
        yield opened


def prompt(db: object, reference: Any = None, text: str = "?") -> Prompt:
    return Prompt((Message("user", text),), reference=reference, meta={"db": str(db)})


def match(db: object, gold: Any, *answers: str, **options: Any) -> list[Score]:
    reward = Match(Match.Options(**options))
    try:
        return list(reward.score_batch([(prompt(db, gold), Candidate("", answer)) for answer in answers]))  # type: ignore[arg-type]
    finally:
        reward.close()


# -- results --


def test_results_are_those_of_duckdb_with_plain_values(shop: Path, sandbox: Sandbox) -> None:
    for sql in [
        "SELECT name, city FROM customer ORDER BY id", "SELECT city, count(*) FROM customer GROUP BY ALL ORDER BY ALL",
        "SELECT item, sum(price)::DOUBLE FROM sale GROUP BY item HAVING sum(price) > 50 ORDER BY 2 DESC",
        "WITH x AS (SELECT customer_id c, max(price) p FROM sale GROUP BY 1) SELECT name, p::DOUBLE FROM x JOIN customer ON id = c ORDER BY 1",
        "SELECT item FROM sale QUALIFY row_number() OVER (PARTITION BY customer_id ORDER BY price DESC, id) = 1 ORDER BY 1",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n)::INT FROM t",
        "FROM customer SELECT upper(name) WHERE city ILIKE 'o%' ORDER BY ALL", "SELECT count(*) FILTER (WHERE paid) FROM dear",
        "SELECT * EXCLUDE (price, day) FROM sale ORDER BY id LIMIT 3", "SELECT doubled(id) FROM customer ORDER BY 1",
    ]:  # fmt: skip
        with duckdb.connect(str(shop), read_only=True) as db:
            expected = tuple(db.execute(sql).fetchall())
        found = sandbox.run(shop, sql)
        assert (found.kind, found.error) == ("", ""), sql
        assert found.rows == expected, sql
    (row,) = sandbox.run(
        shop, "SELECT 1.50::DECIMAL(9, 2), 2::DECIMAL(9, 0), DATE '2024-02-29', TIMESTAMP '2024-02-29 10:00:00', true, "
        "'x'::BLOB, [1, 2], {'a': 1}, INTERVAL 2 MONTH, TIMESTAMPTZ '2024-01-01 00:00:00+02', NULL, 'nan'::DOUBLE::VARCHAR",
    ).rows  # fmt: skip
    assert row == (
        1.5, 2, "2024-02-29", "2024-02-29 10:00:00", True, b"x", "[1, 2]", "{'a': 1}", "2 months",
        "2023-12-31 22:00:00+00", None, "nan",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "tables", "reads"),
    [
        ("SELECT Name FROM Customer WHERE city = 'x'", {"customer"}, {("customer", "name"), ("customer", "city")}),
        ("SELECT c.* FROM customer c, sale", {"customer", "sale"}, {("customer", "id"), ("customer", "name"), ("customer", "city"), ("sale", "")}),
        ("SELECT c.name, s.item FROM customer c JOIN sale s ON s.customer_id = c.id", {"customer", "sale"},
         {("customer", "name"), ("customer", "id"), ("sale", "item"), ("sale", "customer_id")}),
        ("WITH sale AS (SELECT name FROM customer) SELECT * FROM sale", {"customer"}, {("customer", n) for n in ("id", "name", "city")}),
        ("WITH unused AS (SELECT * FROM customer) SELECT 1 AS a", set(), set()),
        ("SELECT price FROM dear WHERE id IN (SELECT id FROM customer)", {"dear", "customer"},
         {("dear", "price"), ("dear", "id"), ("customer", "id")}),
    ],
)  # fmt: skip
def test_the_tables_and_columns_that_a_query_reads_are_told(shop: Path, sandbox: Sandbox, sql: str, tables: set[str], reads: set[tuple[str, str]]) -> None:
    result = sandbox.run(shop, sql)
    assert set(result.tables) == tables
    assert set(result.reads) == reads


def test_a_folder_of_parquet_and_csv_files_is_a_database_with_a_table_each(folder: Path, shop: Path, sandbox: Sandbox) -> None:
    database = find_database(str(folder))
    assert database == find_database("shop", str(folder.parent))
    assert {"customer", "sale", "price", "city"} <= set(names_of(database))
    asked = "SELECT c.name, sum(price) FROM customer c JOIN sale s ON s.customer_id = c.id GROUP BY 1 ORDER BY 1"
    assert sandbox.run(database, asked).rows == sandbox.run(shop, asked).rows != ()
    assert sandbox.run(database, asked).tables == ("customer", "sale")
    assert sandbox.run(database, f"SELECT * FROM read_parquet('{folder}/sale.parquet')").kind == "forbidden"
    stamp = Path(database).stat().st_mtime_ns
    assert Path(find_database(str(folder))).stat().st_mtime_ns == stamp


def test_files_that_cannot_be_tables_are_told_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no database file"):
        find_database(str(tmp_path))
    (tmp_path / "sale.parquet").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"sale\.parquet: "):
        find_database(str(tmp_path))
    (tmp_path / "sale.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="two files make a table 'sale'"):
        find_database(str(tmp_path))


def test_odd_names_of_folders_and_files_are_taken_as_they_are(tmp_path: Path, sandbox: Sandbox) -> None:
    odd = tmp_path / "of [1] year=2024 *"
    odd.mkdir()
    (odd / "it's.csv").write_text("a,b\n1,x\n")
    (odd / "other?.CSV").write_text("a\n2\n3\n")
    database = find_database(str(odd))
    assert sandbox.run(database, """SELECT *, (SELECT count(*) FROM "other?") FROM "it's\"""").rows == ((1, "x", 2),)


def test_a_file_that_is_no_database_costs_its_query(tmp_path: Path, sandbox: Sandbox) -> None:
    (tmp_path / "broken.duckdb").write_bytes(b"nonsense")
    for file in (tmp_path / "broken.duckdb", tmp_path / "absent.duckdb"):
        assert sandbox.run(file, "SELECT 1").kind == "database"
    assert not (tmp_path / "absent.duckdb").exists()


def test_a_missing_library_is_told_with_its_cure(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for ask in (lambda: find_database(str(shop)), lambda: Sandbox().run(shop, "SELECT 1")):
        with pytest.raises(MissingLibrary, match=r"pip install 'tao-reward-sql\[duckdb\]'"):
            ask()


# -- rewards --


def test_a_prediction_matches_by_what_it_returns(shop: Path, folder: Path) -> None:
    for database in (shop, folder):
        right, other, fewer, broken, hostile = match(
            database, "SELECT name, city FROM customer WHERE city = 'Oslo'",
            "```sql\nFROM customer SELECT city, name WHERE city ILIKE 'oslo'\n```",
            "SELECT name, city FROM customer WHERE city = 'Rome'", "SELECT name FROM customer", "SELECT nam FROM customer",
            "COPY customer TO 'x.csv'",
        )  # fmt: skip
        assert (right.value, right.why) == (1.0, "match")
        assert (other.value, fewer.value, broken.value, hostile.value) == (0.0, 0.0, 0.0, 0.0)
        assert other.why == "mismatch: 1 rows, gold has 2"
        assert broken.why.startswith("pred_error: BinderException")
        assert hostile.why.startswith("forbidden")


def test_order_counts_where_gold_asks_for_it_and_ties_may_permute(shop: Path) -> None:
    gold = "SELECT item, price FROM sale ORDER BY price DESC NULLS LAST LIMIT 7"
    tied, other = match(
        shop, gold, "SELECT item, price FROM sale ORDER BY price DESC, id DESC LIMIT 7", "SELECT item, price FROM sale ORDER BY price LIMIT 7"
    )
    assert (tied.value, other.value) == (1.0, 0.0)
    gold = "SELECT city, count(*) n FROM customer GROUP BY ALL ORDER BY n DESC, city"
    right, backwards = match(shop, gold, "SELECT city, count(*) FROM customer GROUP BY 1 ORDER BY 2 DESC, 1",
                             "SELECT city, count(*) FROM customer GROUP BY 1 ORDER BY 2, 1")  # fmt: skip
    assert (right.value, backwards.value) == (1.0, 0.0)
    assert backwards.why.startswith("mismatch: order")


def test_all_semantics_and_perturbed_copies_work(shop: Path) -> None:
    also = ["bird_ex", "bird_soft_f1", "bird_rves", "spider_ts", "wikisql_ex"]
    score, chance = match(
        shop, "SELECT count(*) FROM sale WHERE item = 'rug'", "SELECT count(id) FROM sale WHERE item LIKE 'rug'",
        "SELECT count(*) FROM sale WHERE id % 5 = 4", also=also, perturbed=4,
    )  # fmt: skip
    assert score.value == 1.0
    assert {name: score.parts[name] for name in also if name != "bird_rves"} == {n: 1.0 for n in also if n != "bird_rves"}
    assert score.parts["bird_rves"] > 0
    assert chance.value == 0.0
    assert chance.why.startswith("mismatch: with other data")


def test_only_what_reads_a_table_executes(shop: Path) -> None:
    reward = Executes()
    hacks = ["SELECT 1", "SELECT 7 FROM customer", "DESCRIBE customer", "SHOW TABLES", "SUMMARIZE sale", "VALUES (1)", "SELECT * FROM duckdb_tables()",
             "SELECT x FROM range(5) t(x)", "WITH x AS (SELECT * FROM customer) SELECT a FROM (SELECT 1 AS a)", "SELECT now() FROM customer",
             'SELECT "nmae" FROM customer', "SELECT table_name FROM information_schema.tables", "hello", ""]  # fmt: skip
    found = list(reward.score_batch([(prompt(shop), Candidate("", sql)) for sql in hacks]))
    honest = ['SELECT "name" FROM customer', "FROM sale SELECT max(price)", "SELECT name FROM customer WHERE id = 99"]
    fine = list(reward.score_batch([(prompt(shop), Candidate("", sql)) for sql in honest]))
    reward.close()
    assert {h: s.value for h, s in zip(hacks, found) if isinstance(s, Score)} == dict.fromkeys(hacks, 0.0)
    assert [s.value for s in fine if isinstance(s, Score)] == [1.0, 1.0, 0.5]


def test_candidates_with_the_same_results_share_their_votes(shop: Path, folder: Path) -> None:
    answers = [
        "SELECT count(*) FROM sale WHERE price > 10", "FROM sale SELECT count(id) WHERE NOT price <= 10", "SELECT count(*) FROM sale",
        "SELECT 40", "SELECT 7 FROM sale LIMIT 1", "SELECT count(*) * 0 FROM sale",
    ]  # fmt: skip
    for database in (shop, folder):
        reward = Consistency()
        found = reward.score_group(Group(prompt(database), tuple(Candidate("", a, index=i) for i, a in enumerate(answers))))
        reward.close()
        assert [s.value for s in found] == pytest.approx([2 / 6, 2 / 6, 1 / 6, 0, 0, 0])


def test_a_query_that_fits_the_question_scores_above_one_that_does_not(shop: Path) -> None:
    reward = Schema()
    asked = prompt(shop, text="Which customer names are in the city of Oslo?")
    pairs = [(asked, Candidate("", sql)) for sql in ("SELECT name FROM customer WHERE city = 'oslo'", "SELECT item FROM sale WHERE item = 'zorn'")]
    good, bad = reward.score_batch(pairs)
    reward.close()
    assert isinstance(good, Score)
    assert isinstance(bad, Score)
    assert good.parts["literals"] == 1.0
    assert bad.parts["literals"] == 0.0
    assert good.value > bad.value  # type: ignore[operator]


def test_perturbed_copies_keep_tables_and_references_and_are_made_once(shop: Path, folder: Path, tmp_path: Path) -> None:
    for source in (shop, Path(find_database(str(folder)))):
        first = copies(source, 3, tmp_path)
        stamps = [file.stat().st_mtime_ns for file in first]
        assert copies(source, 3, tmp_path) == first
        assert [file.stat().st_mtime_ns for file in first] == stamps
        seen = set()
        for file in first:
            with duckdb.connect(str(file), read_only=True) as db, duckdb.connect(str(source), read_only=True) as original:
                columns = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"
                assert db.execute(columns).fetchall() == original.execute(columns).fetchall()
                lost = "SELECT count(*) FROM sale WHERE customer_id NOT IN (SELECT id FROM customer)"
                assert db.execute(lost).fetchone() == (0,)
                assert db.execute("SELECT count(*) = count(DISTINCT id) FROM sale").fetchone() == (True,)
                seen.add(str(db.execute("FROM sale ORDER BY ALL").fetchall()))
                assert str(original.execute("FROM sale ORDER BY ALL").fetchall()) not in seen
        assert len(seen) == 3


def test_another_dialect_is_refused_by_name_or_translated(shop: Path) -> None:
    assert match(shop, "SELECT name FROM customer", "SELECT name FROM customer", dialect="duckdb")[0].value == 1.0
    (score,) = match(shop, "SELECT name FROM customer", "SELECT my_own(name) FROM customer", dialect="databricks")
    assert score.error is not None
    assert score.error["type"] == Untranspilable.__name__


def test_the_score_command_and_a_suite_take_duckdb_files_by_name(shop: Path, tmp_path: Path) -> None:
    rows = [{"id": 1, "prompt": "who?", "response": sql, "reference": "SELECT name FROM customer", "meta": {"db": "shop"}}
            for sql in ("FROM customer SELECT name", "INSTALL httpfs")]  # fmt: skip
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    tao_hub.score_rows(Ref("sql/match", {"databases": str(shop.parent)}), source, target)
    assert [json.loads(line)["value"] for line in target.read_text().splitlines()] == [1.0, 0.0]
    questions = tmp_path / "questions"
    questions.mkdir()
    (questions / "shop.duckdb").write_bytes(shop.read_bytes())
    (questions / "test.jsonl").write_text('{"question": "How many?", "query": "SELECT count(*) FROM sale"}\n')
    (asked,) = Folder(Folder.Options(path=str(questions), rows=1)).prompts("test")
    assert "Write one DuckDB query" in asked.messages[0].content
    assert "CREATE TABLE customer" in schema(shop, 1)
    assert "-- 1, Ann, Oslo" in asked.messages[0].content


# -- hostile queries --


def attacks(outside: Path) -> list[str]:
    """`outside` is a file that must never come to be."""
    forever = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT {} FROM t"
    return [
        "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_csv_auto('/etc/passwd')", "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/*')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM glob('/*')", "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM read_json('/etc/passwd')", "SELECT * FROM parquet_scan('/x.parquet')", "SELECT * FROM parquet_metadata('/x.parquet')",
        "SELECT * FROM 'https://example.org/x.parquet'", "SELECT * FROM query('SELECT 1')", "SELECT * FROM query_table('customer')",
        "SELECT * FROM json_execute_serialized_sql('{}')", "SELECT * FROM python_map_function()", "SELECT getenv('PATH')", "SELECT current_setting('threads')",
        "SELECT * FROM duckdb_settings()", "SELECT * FROM duckdb_secrets()", "SELECT * FROM pg_settings", "SELECT * FROM sqlite_master", "SELECT * FROM duckdb_columns",
        "SELECT * FROM information_schema.columns", "SELECT * FROM pg_catalog.pg_class", "SELECT * FROM system.main.duckdb_tables", "SELECT getvariable('x')",
        f"COPY customer TO '{outside}'", f"COPY (SELECT 1) TO '{outside}' (FORMAT parquet)", f"EXPORT DATABASE '{outside}'", "IMPORT DATABASE '/tmp'",
        f"ATTACH '{outside}' AS x", f"ATTACH '{outside}' AS x (TYPE sqlite)", "DETACH shop", "USE memory", "INSTALL httpfs", "LOAD httpfs", "FORCE INSTALL spatial",
        "SET threads = 64", "SET enable_external_access = true", "SET memory_limit = '100GB'", "RESET lock_configuration", "SET VARIABLE x = 1",
        "PRAGMA enable_profiling", "PRAGMA database_list", "PRAGMA temp_directory='/tmp'", "CALL pragma_version()", "CHECKPOINT", "VACUUM", "ANALYZE",
        "DELETE FROM sale", "UPDATE sale SET price = 0", "INSERT INTO customer VALUES (9, 'x', 'y')", "DROP TABLE sale", "CREATE TABLE x (a INT)",
        "CREATE TEMP TABLE customer AS SELECT 1 AS name", "CREATE TEMP VIEW sale AS SELECT 1", "CREATE OR REPLACE TEMP MACRO count(x) AS 1", "CREATE SECRET x (TYPE s3)",
        "ALTER TABLE sale ADD z INT", "BEGIN", "COMMIT", "PREPARE x AS SELECT 1", "EXECUTE x", "EXPLAIN ANALYZE SELECT 1", "EXPLAIN SELECT 1", "DESCRIBE sale", "SHOW TABLES",
        "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE customer", "SELECT 1 -- x\n; DELETE FROM customer", "/* x */ DELETE FROM sale", "SELECT 1 /*", "SELECT '", "SELECT $1", "SELECT ?",
        "PIVOT sale ON item USING count(*)", "SELECT * INTO x FROM sale", "WITH x AS (DELETE FROM sale RETURNING *) SELECT * FROM x", "SELECT 1 FOR UPDATE", "", ";", "\x00", "SELECT '\ud800'",
        "SELECT random()", "SELECT uuid()", "SELECT now()", "SELECT current_date", "SELECT current_user", "SELECT nextval('s')", "SELECT * FROM sale USING SAMPLE 3", "SELECT pg_sleep(60)", "SELECT sleep_ms(60000)",
        "SELECT error('x')", "SELECT setseed(0.5)", "SELECT write_log('x')", "SELECT repeat('x', 2000000000)", "SELECT length(repeat('x', 900000000))", "SELECT list(i) FROM range(1000000000) t(i)", "SELECT range(1000000000)",
        "SELECT string_agg(i::VARCHAR, ',') FROM range(10000000000) t(i)", "SELECT lpad('x', 2000000000, 'y')", "SELECT printf('%2000000000d', 1)", "SELECT format('{:>2000000000}', 'x')", "SELECT list_resize([1], 2000000000)",
        "SELECT " + ", ".join(f"repeat('x', 100000000) AS a{i}" for i in range(40)), "SELECT DISTINCT a.i * b.i FROM range(1000000) a(i), range(1000000) b(i)", "SELECT median(a.i * b.i) FROM range(1000000) a(i), range(1000000) b(i)",
        "SELECT a.i FROM range(100000000) a(i), range(10000000) b(i) ORDER BY hash(a.i * b.i)", forever.format("count(*)"), forever.format("list(n)"), forever.format("string_agg(n::VARCHAR, '')"),
        "SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000000) c", "SELECT count(*) FROM sale a, sale b, sale c, sale d, sale e, sale f, sale g WHERE a.id + b.id + c.id = d.id * e.id * f.id * g.id",
        "SELECT levenshtein(repeat('a', 100000), repeat('b', 100000))", "SELECT " + "(" * 3000 + "1" + ")" * 3000, "SELECT " + "+".join(["1"] * 5000), " UNION ALL ".join(["SELECT 1"] * 1200), "SELECT " + "[" * 400 + "]" * 400,
        "SELECT * FROM " + ", ".join(f"sale s{i}" for i in range(70)), "SELECT '" + "x" * 200_000 + "'", "SELECT a.id FROM sale a, sale b, sale c, sale d", "SELECT * FROM range(100000000000)",
    ]  # fmt: skip


def test_no_attack_writes_escapes_or_hangs_and_honest_queries_go_on(shop: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.db"
    strings = attacks(outside)
    assert len(strings) >= 100
    before = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in shop.parent.iterdir()}
    withstands(shop, strings)
    assert {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in shop.parent.iterdir()} == before
    assert list(tmp_path.iterdir()) == []


def test_what_must_not_run_is_told_apart_from_what_fails(shop: Path, sandbox: Sandbox) -> None:
    tells_apart(sandbox, shop, [
        ("SELECT * FROM read_csv('/etc/passwd')", "forbidden"), ("INSTALL httpfs", "forbidden"), ("SET threads = 4", "forbidden"),
        ("SELECT random()", "forbidden"), ("SELECT nope FROM sale", "error"), ("SELECT 1; SELECT 2", "forbidden"), ("SELEC", "error"),
        ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t", "timeout"),
        ("SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))", "timeout"),
    ])  # fmt: skip
    with Sandbox(1, Limits(seconds=60.0)) as patient:  # a busy machine takes seconds to fill the memory that is allowed
        tells_apart(patient, shop, [
            ("SELECT list(i) FROM range(1000000000) t(i)", "memory"), ("SELECT range(1000000000)", "memory"),
        ])  # fmt: skip


def test_a_killed_worker_costs_one_query_and_engines_stand_side_by_side(shop: Path, tmp_path: Path) -> None:
    other = tmp_path / "shop.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (a)")
    with Sandbox(2, Limits(seconds=2.0)) as sandbox:
        tasks = [(file, f"SELECT {i} FROM {table} LIMIT 1") for i in range(4) for file, table in ((shop, "sale"), (other, "sqlite_schema"))]
        first = sandbox.run_all(tasks)
        assert [r.kind for r in first] == ["", "forbidden"] * 4
        for worker in sandbox._workers:
            if worker._process is not None:
                worker._process.kill()
        results = sandbox.run_all([(shop, f"SELECT {i} + 10 FROM sale LIMIT 1") for i in range(6)])
        assert sum(r.kind == "crash" for r in results) <= 2
        again = sandbox.run_all([(shop, f"SELECT {i} + 10 FROM sale LIMIT 1") for i in range(6)])
        assert [r.rows for r in again] == [((i + 10,),) for i in range(6)]
