"""Queries of other dialects: translated where the meaning is sure, refused by name where it is not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tao_reward_sql.dialects import DIALECTS, Untranspilable, to_sqlite
from tao_reward_sql.executes import Executes
from tao_reward_sql.match import Match

import tao_hub
from tao_hub import Candidate, Message, Prompt, Score


@pytest.mark.parametrize(
    ("dialect", "given", "expected"),
    [
        ("databricks", "SELECT year(d), a / b FROM main.sales.t",
         "SELECT SPARK_YEAR(d), CAST(a AS REAL) / b FROM t"),
        ("mysql", "SELECT year(d) FROM t", "SELECT CAST(STRFTIME('%Y', d) AS INTEGER) FROM t"),
        ("spark", "SELECT `a b` FROM t WHERE x LIKE 'A_%*'", """SELECT "a b" FROM t WHERE x GLOB 'A?*[*]'"""),
        ("spark", "SELECT concat(a, '-', b) FROM t", "SELECT (a || '-' || b) FROM t"),
        ("postgres", "SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY a DESC NULLS FIRST"),
        ("postgres", "SELECT x::float FROM t WHERE a ILIKE 'b%'",
         "SELECT CAST(x AS REAL) FROM t WHERE LOWER(a) LIKE LOWER('b%')"),
        ("tsql", "SELECT TOP 5 [a b], ISNULL(x, 0) FROM t WHERE c = 'Oslo'",
         """SELECT "a b", COALESCE(x, 0) FROM t WHERE c = 'Oslo' COLLATE NOCASE LIMIT 5"""),
        ("mysql", "SELECT IFNULL(a, 0) FROM t LIMIT 2, 3", "SELECT COALESCE(a, 0) FROM t LIMIT 3 OFFSET 2"),
        ("mysql", "SELECT a FROM t WHERE c IN ('x', 'y')", "SELECT a FROM t WHERE c COLLATE NOCASE IN ('x', 'y')"),
        ("bigquery", "SELECT COUNTIF(x > 1) FROM `p.d.t`", """SELECT SUM(IIF(x > 1, 1, 0)) FROM "t\""""),
        ("snowflake", "SELECT IFF(a > 1, 1, 0), LEFT(b, 3) FROM t",
         "SELECT IIF(a > 1, 1, 0), SUBSTRING(b, 1, 3) FROM t"),
        ("duckdb", "SELECT greatest(a, b) FROM t", "SELECT MAX(COALESCE(a, b), COALESCE(b, a)) FROM t"),
        ("bigquery", "SELECT greatest(a, b) FROM t", "SELECT MAX(a, b) FROM t"),
        ("databricks", "SELECT date_format(d, 'yyyy-MM'), datediff(a, b) FROM t",
         "SELECT SPARK_DATE_FORMAT(d, '%Y-%m'), SPARK_DATEDIFF(a, b) FROM t"),
        ("spark", "SELECT upper(concat(initcap(a), '-', b)) FROM t",
         "SELECT UPPER((SPARK_INITCAP(a) || '-' || b)) FROM t"),
    ],
)  # fmt: skip
def test_what_is_known_is_translated(dialect: str, given: str, expected: str) -> None:
    assert to_sqlite(given, dialect) == expected


@pytest.mark.parametrize(
    ("dialect", "given", "named"),
    [
        ("databricks", "SELECT date_format(d, 'yyyy-QQ') FROM t", "TIMETOSTR"),
        ("databricks", "SELECT date_format(d, 'YYYY-MM') FROM t", "YYYY-MM"),
        ("databricks", "SELECT datediff(day, a, b) FROM t", "DATEDIFF with a unit"),
        ("databricks", "SELECT months_between(a, b, false) FROM t", "MONTHSBETWEEN"),
        ("databricks", "SELECT date_trunc('month', a) FROM t", "TIMESTAMPTRUNC"),
        ("databricks", "SELECT split(a, 'a.b')[0] FROM t", "BRACKET"),
        ("databricks", "SELECT a + INTERVAL 1 DAY FROM t", "INTERVAL"),
        ("spark", "SELECT regexp_extract(a, '(x)', 1) FROM t", "REGEXPEXTRACT"),
        ("spark", "SELECT count(DISTINCT a, b) FROM t", "COUNT of several columns"),
        ("snowflake", "SELECT nvl2(a, b, c), initcap(a) FROM t", "NVL2"),
        ("databricks", "SELECT try_cast(x AS INT) FROM t", "TRYCAST to INT"),
        ("databricks", "SELECT rand() FROM t", "RAND"),
        ("spark", "SELECT * FROM t PIVOT (sum(a) FOR b IN (1, 2))", "PIVOT"),
        ("spark", "SELECT a, sum(b) FROM t GROUP BY ALL", "GROUP BY ALL"),
        ("spark", "SELECT a FROM t LEFT SEMI JOIN u ON t.id = u.id", "SEMI"),
        ("spark", "SELECT my_own(a) FROM t", "function my_own"),
        ("postgres", "SELECT x::int FROM t", "CAST to INT"),
        ("postgres", "SELECT DISTINCT ON (a) a, b FROM t", "DISTINCT ON"),
        ("postgres", "SELECT a FROM t WHERE d > now() - interval '1 day'", "CURRENTTIMESTAMP"),
        ("tsql", "SELECT a + 'x' FROM t", "+ with text"),
        ("tsql", "SELECT AVG(a) FROM t", "AVG"),
        ("mysql", "SELECT a FROM t WHERE b RLIKE 'x'", "REGEXPLIKE"),
        ("bigquery", "SELECT ARRAY_AGG(a) FROM t", "ARRAYAGG"),
        ("duckdb", "SELECT median(y) FROM t", "MEDIAN"),
    ],
)
def test_what_is_not_sure_is_refused_by_name(dialect: str, given: str, named: str) -> None:
    with pytest.raises(Untranspilable, match=named.replace("+", r"\+")):
        to_sqlite(given, dialect)


def test_every_dialect_translates_plain_sql_to_itself() -> None:
    plain = "SELECT a, COUNT(*) FROM t JOIN u ON t.id = u.id WHERE b > 3 GROUP BY a HAVING COUNT(*) > 1"
    assert {to_sqlite(plain, dialect) for dialect in DIALECTS} == {plain}


def test_a_refused_query_is_an_error_and_never_a_zero(tmp_path: Path) -> None:
    file = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE sale (item TEXT, day TEXT)")
        db.execute("INSERT INTO sale VALUES ('lamp', '2024-05-01'), ('desk', '2023-01-01')")
        db.commit()
    gold = "SELECT item FROM main.shop.sale WHERE year(day) = 2024"
    prompt = Prompt((Message("user", "?"),), reference=gold, meta={"db": str(file)})
    answers = ["SELECT item FROM sale WHERE item LIKE 'l%'",
               "SELECT item FROM sale WHERE months_between(day, day, false) = 0",
               "SELECT item FROM sale WHERE item LIKE 'L%'", "hello"]  # fmt: skip
    for reward in (Match(Match.Options(dialect="databricks")), Executes(Executes.Options(dialect="databricks"))):
        first, refused, other_case, nonsense = reward.score_batch([(prompt, Candidate("", a)) for a in answers])
        reward.close()
        assert isinstance(first, Score)
        assert isinstance(refused, Score)
        assert isinstance(nonsense, Score)
        assert (first.value, nonsense.value) == (1.0, 0.0)
        assert refused.value is None
        assert refused.error is not None
        assert refused.error["type"] == "Untranspilable"
        assert "MONTHSBETWEEN" in refused.error["message"]
        assert isinstance(other_case, tao_hub.Score)
        assert other_case.value == (0.0 if isinstance(reward, Match) else 0.5)  # Spark's LIKE minds case: no rows
