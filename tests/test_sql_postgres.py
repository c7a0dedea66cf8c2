# ruff: noqa: E501
"""SQL on a PostgreSQL server of the test's own: verdicts, votes, and what hostile queries cannot do."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sql_attacks import tells_apart, withstands
from tao_reward_sql.consistency import Consistency
from tao_reward_sql.databases import find_database, names_of
from tao_reward_sql.engines import NoCopies
from tao_reward_sql.executes import Executes
from tao_reward_sql.match import Match
from tao_reward_sql.sandbox import Limits, Sandbox
from tao_reward_sql.schema import Schema
from tao_reward_sql.suites import schema

from tao_hub import Candidate, Group, Message, Prompt, Score

psycopg = pytest.importorskip("psycopg")

ITEMS = ["lamp", "desk", "sofa", "vase", "rug"]
TABLES = """
    CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city TEXT);
    CREATE TABLE sale (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer(id), item TEXT, price NUMERIC(9, 2),
      day DATE, paid BOOLEAN);
    INSERT INTO customer VALUES (1,'Ann','Oslo'),(2,'Bo','Rome'),(3,'Cy','Oslo'),(4,'Di',NULL),(5,'Ed','Bonn');
    CREATE VIEW dear AS SELECT * FROM sale WHERE price > 10;
    CREATE TABLE secret (word TEXT);
    CREATE ROLE reader LOGIN PASSWORD 'hidden';
    GRANT SELECT ON customer, sale, dear TO reader;
    CREATE ROLE mighty LOGIN; GRANT pg_read_server_files TO mighty;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The owner's address of a cluster with the shop in it; PostgreSQL refuses to run as root, so then as nobody."""
    programs = {name: shutil.which(name) for name in ("initdb", "pg_ctl", "setpriv")}
    root = os.getuid() == 0
    if not programs["initdb"] or not programs["pg_ctl"] or (root and not programs["setpriv"]):
        pytest.skip("needs PostgreSQL's initdb and pg_ctl (and setpriv, as root)")
    home = Path(tempfile.mkdtemp(prefix="tao-pg-"))  # a short path: sockets have short names
    user = pwd.getpwnam("nobody") if root else pwd.getpwuid(os.getuid())
    os.chown(home, user.pw_uid, user.pw_gid)
    other = [str(programs["setpriv"]), f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] if root else []

    def do(name: str, *args: str) -> subprocess.CompletedProcess[str]:
        command = [*other, str(programs[name]), "-D", str(home / "cluster"), *args]
        return subprocess.run(command, capture_output=True, text=True, cwd=home, timeout=120, check=False)

    made = do("initdb", "-A", "trust", "-U", "owner", "-E", "UTF8", "--no-locale", "--no-sync")
    settings = f"-c listen_addresses='' -c unix_socket_directories={home} -c fsync=off -c shared_buffers=16MB"
    started = do("pg_ctl", "-w", "-l", str(home / "log"), "-o", settings, "start")
    try:
        if made.returncode or started.returncode:
            pytest.skip(f"no server could be started: {made.stderr[-300:]} {started.stdout[-300:]}")
        yield f"postgresql://owner@/postgres?host={home}"
    finally:
        do("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def shop(server: str) -> str:
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(TABLES)
        rows = [(i, i % 4 + 1, ITEMS[i % 5], round(3.5 * (i % 7) + 1, 2), f"2024-{i % 12 + 1:02}-11", bool(i % 2)) for i in range(1, 41)]
        db.execute("INSERT INTO sale VALUES " + ", ".join(map(str, rows)))
    return server.replace("//owner@", "//reader:hidden@")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1, Limits(seconds=2.0)) as opened:
        yield opened


def prompt(db: str, reference: Any = None, text: str = "?") -> Prompt:
    return Prompt((Message("user", text),), reference=reference, meta={"db": db})


def match(db: str, gold: Any, *answers: str, **options: Any) -> list[Score]:
    reward = Match(Match.Options(**options))
    try:
        return list(reward.score_batch([(prompt(db, gold), Candidate("", answer)) for answer in answers]))  # type: ignore[arg-type]
    finally:
        reward.close()


# -- results --


def test_results_are_those_of_the_server_with_plain_values(shop: str, server: str, sandbox: Sandbox) -> None:
    for sql in [
        "SELECT name, city FROM customer ORDER BY id", "SELECT city, count(*) FROM customer GROUP BY 1 ORDER BY 1",
        "SELECT item, sum(price)::float8 FROM sale GROUP BY item HAVING sum(price) > 50 ORDER BY 2 DESC",
        "WITH x(c, p) AS (SELECT customer_id, max(price)::float8 FROM sale GROUP BY 1) SELECT name, p FROM x JOIN customer ON id = c ORDER BY 1",
        "SELECT DISTINCT ON (customer_id) customer_id, item FROM sale ORDER BY customer_id, price DESC, id",
        "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n)::int FROM t",
        "SELECT count(*) FILTER (WHERE paid) FROM dear", "SELECT upper(left(name, 1)) || '%' FROM customer WHERE city ILIKE 'o%' ORDER BY 1",
        "SELECT extract(month FROM day)::int, row_number() OVER (PARTITION BY item ORDER BY id) FROM sale ORDER BY id",
        "SELECT to_char(day, 'YYYY-MM') FROM sale WHERE day BETWEEN date '2024-02-01' AND '2024-03-31' ORDER BY 1",
        "SELECT x.a, y FROM (VALUES (1, 'a'), (2, 'b')) AS x(a, b), generate_series(1, 2) AS y ORDER BY 1, 2", "SELECT '--' /* /* ; */ */ FROM customer",
    ]:  # fmt: skip
        with psycopg.connect(server) as db:
            expected = tuple(db.execute(sql).fetchall())
        found = sandbox.run(shop, sql)
        assert (found.kind, found.error) == ("", ""), sql
        assert found.rows == expected, sql
    (row,) = sandbox.run(
        shop, "SELECT 1.50::numeric(9, 2), 2::numeric, date '2024-02-29', timestamp '2024-02-29 10:00:00', true, '\\x78'::bytea, array[1, 2], "
        "'{\"a\": 1}'::jsonb, interval '2 months', timestamptz '2024-01-01 00:00:00+02', NULL, 'infinity'::date",
    ).rows  # fmt: skip
    assert row == (
        1.5, 2, "2024-02-29", "2024-02-29 10:00:00", True, b"x", "{1,2}", '{"a": 1}', "2 mons", "2023-12-31 22:00:00+00", None, "infinity",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "tables", "reads"),
    [
        ("SELECT Name FROM Customer WHERE city = 'x'", {"customer"}, {("customer", "name"), ("customer", "city")}),
        ("SELECT c.name, s.item FROM customer c JOIN sale s ON s.customer_id = c.id", {"customer", "sale"},
         {("customer", "name"), ("customer", "id"), ("sale", "item"), ("sale", "customer_id")}),
        ("SELECT c.*, count(*) FROM public.customer c, sale GROUP BY c.id", {"customer", "sale"},
         {("customer", "id"), ("customer", "name"), ("customer", "city"), ("sale", "")}),
        ("WITH sale AS (SELECT name FROM customer) SELECT name FROM sale", {"customer"}, {("customer", "name")}),
        ("WITH unused AS (SELECT * FROM customer) SELECT 1 AS a", set(), set()),
    ],
)  # fmt: skip
def test_the_tables_and_columns_that_a_query_reads_are_told(shop: str, sandbox: Sandbox, sql: str, tables: set[str], reads: set[tuple[str, str]]) -> None:
    result = sandbox.run(shop, sql)
    assert result.ok, result
    assert set(result.tables) == tables
    assert set(result.reads) == reads


def test_a_server_or_a_role_that_will_not_do_is_told_without_its_password(shop: str, server: str, sandbox: Sandbox) -> None:
    for address, problem in [
        (server, "the role owner may read or write the server's files"), (server.replace("owner", "mighty"), "the role mighty may"),
        (shop.replace("/postgres", "/absent"), 'database "absent" does not exist'), ("postgresql://a:hidden@localhost:1/x", "localhost"),
    ]:  # fmt: skip
        result = sandbox.run(address, "SELECT 1")
        assert result.kind == "database"
        assert problem in result.error
        assert "hidden" not in result.error


def test_an_address_is_a_database_with_names_and_a_schema(shop: str) -> None:
    assert find_database(shop, "/some/folder") == shop
    assert {"customer", "sale", "price", "dear"} <= set(names_of(shop))
    assert "secret" not in names_of(shop)
    assert "CREATE TABLE customer (id integer, name text, city text);\n-- 1, Ann, Oslo" in schema(shop, 1)


# -- rewards --


def test_a_prediction_matches_by_what_it_returns(shop: str) -> None:
    right, other, broken, hostile, secret = match(
        shop, "SELECT name, city FROM customer WHERE city = 'Oslo'",
        "```sql\nSELECT city, name FROM customer WHERE city ~* '^oslo$'\n```", "SELECT name, city FROM customer WHERE city = 'Rome'",
        "SELECT nam FROM customer", "DROP TABLE customer", "SELECT word, word FROM secret", also="bird_ex,spider_ts,bird_soft_f1,wikisql_ex",
    )  # fmt: skip
    assert (right.value, right.why) == (1.0, "match")
    assert right.parts["spider_ts"] == 1.0
    assert (other.value, broken.value, hostile.value, secret.value) == (0.0, 0.0, 0.0, 0.0)
    assert other.why == "mismatch: 1 rows, gold has 2"
    assert broken.why.startswith("pred_error: UndefinedColumn")
    assert hostile.why.startswith("forbidden")
    assert secret.why.startswith("forbidden: InsufficientPrivilege")
    gold = "SELECT item, price FROM sale ORDER BY price DESC LIMIT 7"
    tied, backwards = match(shop, gold, "SELECT item, price FROM sale ORDER BY price DESC, id DESC LIMIT 7", "SELECT item, price FROM sale ORDER BY price LIMIT 7")
    assert (tied.value, backwards.value) == (1.0, 0.0)


def test_only_what_reads_a_table_executes(shop: str) -> None:
    hacks = ["SELECT 1", "SELECT 7 FROM customer", "VALUES (1)", "SHOW ALL", "SELECT x FROM generate_series(1, 5) t(x)", "SELECT tablename FROM pg_tables",
             "WITH x AS (SELECT * FROM customer) SELECT a FROM (SELECT 1 AS a) z", 'SELECT "nmae" FROM customer', "hello", ""]  # fmt: skip
    honest = ['SELECT "name" FROM customer', "SELECT max(price) FROM sale", "SELECT name FROM customer WHERE id = 99"]
    reward = Executes()
    found = list(reward.score_batch([(prompt(shop), Candidate("", sql)) for sql in [*hacks, *honest]]))
    reward.close()
    assert [s.value for s in found if isinstance(s, Score)] == [0.0] * len(hacks) + [1.0, 1.0, 0.5]


def test_candidates_vote_on_the_one_database_and_copies_of_a_server_are_refused(shop: str) -> None:
    answers = ["SELECT count(*) FROM sale WHERE price > 10", "SELECT count(id) FROM sale WHERE NOT price <= 10", "SELECT count(*) FROM sale", "SELECT 40"]
    group = Group(prompt(shop), tuple(Candidate("", a, index=i) for i, a in enumerate(answers)))
    reward = Consistency(Consistency.Options(perturbed=0))
    assert [s.value for s in reward.score_group(group)] == [0.5, 0.5, 0.25, 0.0]
    reward.close()
    reward = Consistency()
    with pytest.raises(NoCopies, match="perturbed=0"):
        reward.score_group(group)
    reward.close()


def test_a_query_that_fits_the_question_scores_above_one_that_does_not(shop: str) -> None:
    reward = Schema()
    asked = prompt(shop, text="Which customer names are in the city of Oslo?")
    good, bad = reward.score_batch([(asked, Candidate("", sql)) for sql in ("SELECT name FROM customer WHERE city = 'Oslo'", "SELECT item FROM sale WHERE item = 'zorn'")])
    reward.close()
    assert isinstance(good, Score)
    assert isinstance(bad, Score)
    assert (good.parts["literals"], bad.parts["literals"]) == (1.0, 0.0)


def test_another_dialect_is_refused_by_name(shop: str) -> None:
    (score,) = match(shop, "SELECT name FROM customer", "SELECT name FROM customer", dialect="spark")
    assert score.error is not None
    assert score.error["type"] == "Untranspilable"
    assert match(shop, "SELECT name FROM customer", "SELECT name FROM customer", dialect="postgres")[0].value == 1.0


# -- hostile queries --


ATTACKS = [
    "SELECT pg_read_file('/etc/passwd')", "SELECT pg_catalog.pg_read_file('/etc/passwd')", "SELECT pg_ls_dir('/')", "SELECT pg_read_binary_file('/etc/passwd')", "SELECT pg_stat_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')", "SELECT lo_export(1, '/tmp/x')", "SELECT lo_create(0)", "SELECT lo_from_bytea(0, 'x')", "SELECT dblink('host=x', 'SELECT 1')", "SELECT pg_sleep(60)", "SELECT \"pg_sleep\"(60)",
    "SELECT U&\"\\0070g_sleep\"(60)", "SELECT pg_terminate_backend(1)", "SELECT pg_cancel_backend(pid) FROM pg_stat_activity", "SELECT pg_advisory_lock(1)", "SELECT pg_reload_conf()", "SELECT pg_notify('a', 'b')",
    "SELECT set_config('statement_timeout', '0', false)", "SELECT current_setting('data_directory')", "SELECT query_to_xml('SELECT 1', true, true, '')", "SELECT table_to_xml('sale', true, true, '')", "SELECT database_to_xml(true, true, '')",
    "SELECT ts_stat('SELECT 1')", "SELECT * FROM sale AS ts_stat, ts_stat('SELECT 1') x", "SELECT random()", "SELECT * FROM sale AS random WHERE random() > 0.5", "SELECT gen_random_uuid()", "SELECT now()", "SELECT clock_timestamp()",
    "SELECT current_date", "SELECT current_user", "SELECT user", "SELECT version()", "SELECT inet_server_addr()", "SELECT nextval('s')", "SELECT txid_current()", "SELECT setseed(0.5)",
    "SELECT * FROM pg_class", "SELECT * FROM pg_catalog.pg_user", "SELECT * FROM information_schema.tables", "SELECT 'pg_class'::regclass", "SELECT 'customer'::regclass::oid", "SELECT usename FROM pg_shadow", "TABLE customer", "SHOW data_directory",
    "COPY customer TO '/tmp/x'", "COPY (SELECT 1) TO PROGRAM 'touch /tmp/x'", "COPY customer FROM '/etc/passwd'", "COPY customer TO STDOUT", "SET statement_timeout = 0", "SET ROLE owner", "RESET ALL", "SET TRANSACTION READ WRITE",
    "BEGIN", "COMMIT", "ROLLBACK", "START TRANSACTION READ WRITE", "SAVEPOINT x", "LOCK TABLE sale", "DELETE FROM sale", "UPDATE sale SET price = 0", "INSERT INTO customer VALUES (9, 'x', 'y')", "TRUNCATE sale", "DROP TABLE sale",
    "CREATE TABLE x (a int)", "CREATE TEMP TABLE x (a int)", "CREATE TEMP VIEW customer AS SELECT 1", "CREATE FUNCTION f() RETURNS int AS 'SELECT 1' LANGUAGE sql", "CREATE EXTENSION dblink", "ALTER TABLE sale ADD z int", "GRANT ALL ON sale TO reader",
    "DO $$ BEGIN PERFORM 1; END $$", "LISTEN x", "NOTIFY x", "VACUUM", "ANALYZE", "CHECKPOINT", "CLUSTER", "PREPARE x AS SELECT 1", "EXECUTE x", "DECLARE c CURSOR FOR SELECT 1", "EXPLAIN ANALYZE SELECT 1", "EXPLAIN SELECT 1", "LOAD 'x'",
    "CALL f()", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE customer", "SELECT 1 -- x\n; DELETE FROM sale", "/* x */ DELETE FROM sale", "SELECT 1; COMMIT; DELETE FROM sale", "SELECT $$ $$ || pg_sleep(60)", "SELECT E'\\'' || pg_sleep(60) || ''",
    "SELECT 1 /*", "SELECT '", "SELECT $1", "SELECT %s", "", ";", "\x00", "SELECT '\ud800'", "SELECT 1 INTO x", "SELECT * INTO TEMP x FROM sale", "SELECT * FROM sale FOR UPDATE", "WITH x AS (DELETE FROM sale RETURNING *) SELECT * FROM x",
    "WITH x AS (INSERT INTO customer VALUES (9, 'x', 'y') RETURNING *) SELECT * FROM x", "SELECT * FROM sale TABLESAMPLE SYSTEM (10)", "SELECT * FROM secret", "SELECT repeat('x', 1000000000)", "SELECT lpad('x', 1000000000, 'y')", "SELECT format('%1000000000s', 'x')",
    "SELECT string_agg(x::text, '') FROM generate_series(1, 1000000000) x", "SELECT array_agg(x) FROM generate_series(1, 1000000000) x", "SELECT x FROM generate_series(1, 1000000000) x", "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
    "SELECT a FROM generate_series(1, 100000) a, generate_series(1, 100000) b ORDER BY md5((a * b)::text)", "SELECT DISTINCT a * b FROM generate_series(1, 100000) a, generate_series(1, 100000) b", "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t", "SELECT count(*) FROM sale a, sale b, sale c, sale d, sale e, sale f, sale g WHERE a.id + b.id + c.id = d.id * e.id * f.id * g.id", "SELECT a.id FROM sale a, sale b, sale c, sale d",
    "SELECT power(9999999999::numeric, 99999)", "SELECT factorial(30000)", "SELECT regexp_replace(string_agg('a', ''), '(a|aa)+(a|aa)+(a|aa)+$', 'b') FROM generate_series(1, 30000)", "SELECT '" + "a" * 5000 + "' ~ '(a*)*b'", "SELECT array_agg(array_agg(1)) FROM sale",
    "SELECT " + "(" * 3000 + "1" + ")" * 3000, "SELECT " + "+".join(["1"] * 5000), " UNION ALL ".join(["SELECT 1"] * 1200), "SELECT * FROM " + ", ".join(f"sale s{i}" for i in range(70)), "SELECT '" + "x" * 200_000 + "'", "SELECT " + "-" + "1" * 15_000,
]  # fmt: skip


def contents(server: str) -> list[Any]:
    with psycopg.connect(server) as db:
        relations = "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
        objects = "SELECT count(*) FROM pg_largeobject_metadata"
        return [db.execute(q).fetchall() for q in (relations, objects, "SELECT * FROM customer ORDER BY 1", "SELECT * FROM sale ORDER BY 1")]


def test_no_attack_writes_escapes_or_hangs_and_honest_queries_go_on(shop: str, server: str) -> None:
    assert len(ATTACKS) >= 100
    before = contents(server)
    withstands(shop, ATTACKS)
    assert contents(server) == before
    with psycopg.connect(server, autocommit=True) as db:  # nothing goes on after its process
        for _ in range(300):  # a busy server takes its time to end them
            (running,) = db.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader' AND state = 'active'").fetchone()
            if not running:
                break
            time.sleep(0.2)
        assert running == 0


def test_what_must_not_run_is_told_apart_from_what_fails(shop: str, sandbox: Sandbox) -> None:
    tells_apart(sandbox, shop, [
        ("SELECT pg_read_file('/etc/passwd')", "forbidden"), ("DELETE FROM sale", "forbidden"), ("SELECT * FROM pg_class", "forbidden"),
        ("SELECT random()", "forbidden"), ("SELECT 1; SELECT 2", "forbidden"), ("SELECT * FROM secret", "forbidden"),
        ("SELECT nope FROM sale", "error"), ("SELECT FROM WHERE", "error"), ("SELECT 1 / 0 FROM sale", "error"),
        ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t", "timeout"),
        ("SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b", "timeout"),
    ])  # fmt: skip


def test_a_lost_connection_and_a_killed_worker_cost_one_query(shop: str, server: str) -> None:
    with Sandbox(1, Limits(seconds=5.0)) as sandbox:
        assert sandbox.run(shop, "SELECT 1 FROM sale LIMIT 1").ok
        with psycopg.connect(server, autocommit=True) as db:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'")
        results = [sandbox.run(shop, f"SELECT {i} + 2 FROM sale LIMIT 1") for i in range(2)]
        assert (results[0].kind, results[1].rows) == ("crash", ((3,),))
        for worker in sandbox._workers:
            assert worker._process is not None
            worker._process.kill()
        results = [sandbox.run(shop, f"SELECT {i} + 10 FROM sale LIMIT 1") for i in range(2)]
        assert (results[0].kind, results[1].rows) == ("crash", ((11,),))
