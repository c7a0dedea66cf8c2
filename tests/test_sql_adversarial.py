"""Hundreds of groups in which hacks outnumber the honest queries, and queries put together at random."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tao_reward_sql.consistency import Consistency
from tao_reward_sql.executes import honest
from tao_reward_sql.gate import NotAQuery, order_of, parse, without_distinct
from tao_reward_sql.sandbox import Limits, Sandbox

from tao_hub import Candidate, Group, Message, Prompt

HONEST = [
    "SELECT name FROM customer WHERE city = 'Oslo'", "SELECT count(*) FROM customer", "SELECT city FROM customer",
    "SELECT count(DISTINCT city) FROM customer", "SELECT avg(price) FROM sale", "SELECT item FROM sale WHERE price > 9",
    "SELECT city, count(*) FROM customer GROUP BY city", "SELECT max(price), min(price) FROM sale",
    "SELECT c.name, sum(s.price) FROM customer c JOIN sale s ON s.customer_id = c.id GROUP BY c.id",
    "SELECT name FROM customer ORDER BY name LIMIT 3", "SELECT DISTINCT item FROM sale WHERE price < 20",
    "SELECT name FROM customer WHERE id NOT IN (SELECT customer_id FROM sale)", "SELECT sum(price) FROM sale",
    "SELECT item, price FROM sale ORDER BY price DESC LIMIT 5", "SELECT * FROM sale WHERE item = 'rug'",
    "SELECT name FROM customer WHERE city IS NULL OR city = 'Rome'", "SELECT count(*) FROM sale WHERE price > 10",
    "SELECT item FROM sale GROUP BY item HAVING count(*) > 6", "SELECT upper(name) FROM customer",
    "SELECT total(price) / count(*) FROM sale WHERE item <> 'sofa'",
]  # fmt: skip
HACKS = [
    "SELECT 1", "SELECT 'yes'", "VALUES (1)", "SELECT NULL", "SELECT 1 FROM customer", "SELECT 1 FROM customer LIMIT 1",
    "SELECT 'x' FROM sale", "SELECT 7 FROM customer WHERE id IS NOT NULL LIMIT 1", "SELECT * FROM sqlite_master",
    "SELECT name FROM sqlite_master", "SELECT count(*) FROM sqlite_schema", "SELECT name FROM pragma_table_list",
    "EXPLAIN SELECT name FROM customer", "EXPLAIN QUERY PLAN SELECT * FROM sale", "PRAGMA table_info(customer)",
    'SELECT "nmae" FROM customer', 'SELECT "ctiy", "nmae" FROM customer LIMIT 1', 'SELECT count("nmae") FROM customer',
    "WITH v(x) AS (VALUES (1), (2), (3)) SELECT x FROM v, customer LIMIT 3",
    "SELECT x FROM (SELECT 1 AS x UNION ALL SELECT 2), customer LIMIT 2",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r, sale LIMIT 3",
    "SELECT value FROM json_each('[1, 2]'), customer LIMIT 2",
    "SELECT max(1) FROM customer", "SELECT 0 * count(*) FROM customer", "SELECT count(*) > 0 FROM customer",
    "SELECT name IS NOT NULL FROM customer", "SELECT typeof(name) FROM customer", "SELECT min(id) * 0 FROM sale",
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM customer)", "SELECT 1 UNION SELECT 1 FROM customer WHERE 0",
    "WITH x AS (SELECT 1 AS a) SELECT a FROM x", "SELECT a FROM (SELECT 1 AS a)", "SELECT (SELECT 1)",
    "SELECT name FROM customer WHERE 1 = 0", "SELECT * FROM sale WHERE price < 0", "SELECT random() FROM customer",
    "SELECT name FROM customer; SELECT 1", "DELETE FROM sale", "DROP TABLE sale", "SELECT sqlite_version()",
    "SELECT length('abc') FROM customer", "SELECT coalesce(NULL, 5) FROM sale", "SELECT count(*) - count(*) FROM sale",
    "I cannot answer", "", "SELECT", "SELECT nope FROM customer", "SELECT CASE WHEN 1 THEN 'a' END FROM customer",
]  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "shop.sqlite"
    draw = random.Random(5)
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city TEXT)")
        db.execute(
            "CREATE TABLE sale (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer(id), item TEXT, "
            "price REAL)"
        )
        cities = ["Oslo", "Rome", "Bonn", "Bari", None]
        db.executemany("INSERT INTO customer VALUES (?, ?, ?)", [(i, f"N{i}", cities[i % 5]) for i in range(1, 31)])
        items = ["lamp", "desk", "sofa", "vase", "rug"]
        rows = [(i, draw.randint(1, 22), draw.choice(items), round(draw.uniform(1, 40), 2)) for i in range(1, 61)]
        db.executemany("INSERT INTO sale VALUES (?, ?, ?, ?)", rows)
        db.commit()
    return file


@pytest.fixture(scope="module")
def votes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consistency]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        reward = Consistency(Consistency.Options(perturbed=4))
        yield reward
        reward.close()


def test_no_hack_wins_any_of_400_groups(shop: Path, votes: Consistency) -> None:
    draw = random.Random(0)
    prompt = Prompt((Message("user", "?"),), meta={"db": str(shop)})
    for number in range(400):
        right, hack = draw.choice(HONEST), HACKS[number % len(HACKS)]
        answers = [right, *[hack] * draw.randint(2, 6), *draw.sample(HACKS, 2)]
        draw.shuffle(answers)
        group = Group(prompt, tuple(Candidate("", answer, index=i) for i, answer in enumerate(answers)))
        values = {answer: score.value for answer, score in zip(answers, votes.score_group(group))}
        assert values[right], (right, hack)
        assert {a: v for a, v in values.items() if a != right and v} == {}


PIECES = st.sampled_from(
    """SELECT FROM WHERE GROUP BY ORDER HAVING LIMIT UNION ALL EXCEPT WITH RECURSIVE AS DISTINCT JOIN ON IN ( ( ) ) ,
    * . ; = < > || -- /* */ 'a' "b" `c` [d] 1 0.5 NULL x'00' customer sale name city price id t count( max( CASE WHEN
    THEN END EXISTS NOT BETWEEN AND LIKE sqlite_master PRAGMA ATTACH DELETE randomblob( zeroblob( OVER ( PARTITION
    VALUES EXPLAIN CAST( COLLATE NOCASE ? :a @b $c \\ \x00 \ud800 ｓｅｌｅｃｔ""".split()  # noqa: SIM905
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=25))
def test_random_queries_are_judged_without_a_fault(shop: Path, fuzzed: Sandbox, pieces: list[str]) -> None:
    sql = " ".join(pieces)
    for read in (parse, order_of, without_distinct):
        try:
            read(sql)
        except NotAQuery:
            continue
    result, why = honest(fuzzed, shop, sql)
    assert (result is None) == bool(why)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
def test_random_text_is_judged_without_a_fault(shop: Path, fuzzed: Sandbox, text: str) -> None:
    result, why = honest(fuzzed, shop, text)
    assert (result is None) == bool(why)


@pytest.fixture(scope="module")
def fuzzed(shop: Path) -> Iterator[Sandbox]:
    """A sandbox that must leave the database as it is, to the byte."""
    before = hashlib.sha256(shop.read_bytes()).hexdigest()
    with Sandbox(1, Limits(seconds=1.0, rows=500)) as opened:
        yield opened
    assert hashlib.sha256(shop.read_bytes()).hexdigest() == before
    assert sorted(file.name for file in shop.parent.iterdir()) == ["shop.sqlite"]
