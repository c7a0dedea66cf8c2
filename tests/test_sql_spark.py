# ruff: noqa: E501
"""Spark's functions give on SQLite and on DuckDB what Spark's documentation says; what is not sure is refused."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tao_reward_sql.dialects import Untranspilable, to_engine
from tao_reward_sql.match import Match
from tao_reward_sql.sandbox import Limits, Sandbox

from tao_hub import Candidate, Message, Prompt, Score

duckdb = pytest.importorskip("duckdb")

ENGINES = ("sqlite", "duckdb")
MOMENTS = [
    "2024-05-01", "2024-02-29", "2023-12-31", "2024-05-01 10:20:30", "2024-05-01T01:02:03.456", "2024-5-1",
    "2024-05-01 3:4", "2024", "2024-05", "2024/05/01", "x", "", "2024-13-01", "2024-02-30", "2024-05-01 25:00:00", None,
    " 2024-05-01 ", "2024-01-31", "2023-02-28", "2024-05-01 12:00:00", "2024-05-01 00:00:00Z", "2024-05-01 00:00:00+00",
    "2024-05-01 10:20:30 x", "2024-05-01 12:30:00+00:00", "2024-05-01 12:30:00+02", "20240501", "1999-12-31 23:59:59",
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same table on both engines, of texts only."""
    folder = tmp_path_factory.mktemp("data")
    found = {engine: folder / f"t.{engine}" for engine in ENGINES}
    rows = [(i, moment, text) for i, (moment, text) in enumerate(zip(MOMENTS, itertools.cycle(["a,b", "hELLO wORLD"])))]
    with closing(sqlite3.connect(found["sqlite"])) as db, duckdb.connect(str(found["duckdb"])) as other:
        db.execute("CREATE TABLE t (i INTEGER, d TEXT, s TEXT)")
        other.execute("CREATE TABLE t (i INTEGER, d VARCHAR, s VARCHAR)")
        db.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        other.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        db.commit()
    return found


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1, Limits(seconds=10.0)) as opened:
        yield opened


def asked(sandbox: Sandbox, files: dict[str, Path], engine: str, sql: str, dialect: str = "databricks") -> Any:
    result = sandbox.run(files[engine], to_engine(sql, dialect, engine))  # type: ignore[arg-type]
    assert result.ok, (engine, sql, result.error)
    return result.rows


# The examples of the functions in Spark's SQL reference, and its rules for ends of months, NULL and what is no date.
DOCUMENTED: list[tuple[str, Any]] = [
    ("date_format('2016-04-08', 'y')", "2016"), ("date_format('2024-05-03 14:07:09', 'yyyy/MM/dd HH:mm:ss')", "2024/05/03 14:07:09"),
    ("date_format('2024-05-03 14:07:09', 'd MMM yy, h:mm a')", "3 May 24, 2:07 PM"), ("date_format('2024-05-03', 'EEEE E MMMM')", "Friday Fri May"),
    ("date_format('2024-05-03 00:00:00', 'hh a')", "12 AM"), ("date_format(NULL, 'yyyy')", None), ("date_format('soon', 'yyyy')", None),
    ("datediff('2009-07-31', '2009-07-30')", 1), ("datediff('2009-07-30', '2009-07-31')", -1), ("datediff('2024-03-01 00:00:01', '2024-02-28 23:59:59')", 2),
    ("date_add('2016-07-30', 1)", "2016-07-31"), ("date_sub('2016-07-30', 1)", "2016-07-29"), ("date_add('2024-02-28 10:00:00', 2)", "2024-03-01"),
    ("add_months('2016-08-31', 1)", "2016-09-30"), ("add_months('2019-02-28', 1)", "2019-03-28"), ("add_months('2024-01-15', -13)", "2022-12-15"),
    ("months_between('1997-02-28 10:30:00', '1996-10-30')", 3.94959677), ("months_between('2024-03-31', '2024-02-29')", 1.0), ("months_between('2024-03-15', '2024-01-15 12:00:00')", 2.0),
    ("last_day('2009-01-12')", "2009-01-31"), ("last_day('2024-02-01')", "2024-02-29"), ("to_date('2009-07-30 04:17:52')", "2009-07-30"), ("CAST('2024-5-1' AS DATE)", "2024-05-01"),
    ("quarter('2016-08-31')", 3), ("dayofweek('2009-07-30')", 5), ("weekday('2009-07-30')", 3), ("dayofyear('2016-04-09')", 100), ("weekofyear('2008-02-20')", 8),
    ("year('2016-07-30')", 2016), ("month('2016-07-30')", 7), ("dayofmonth('2009-07-30')", 30), ("hour('2009-07-30 12:58:59')", 12), ("minute('2009-07-30 12:58:59')", 58), ("second('2009-07-30 12:58:59')", 59),
    ("nvl(NULL, 'x')", "x"), ("nvl2(NULL, 2, 1)", 1), ("nvl2(3, 2, 1)", 2), ("ifnull(NULL, 'x')", "x"), ("concat('Spark', 'SQL')", "SparkSQL"), ("concat('Spark', NULL)", None),
    ("concat_ws(' ', 'Spark', 'SQL')", "Spark SQL"), ("concat_ws('/', 'foo', NULL, 'bar')", "foo/bar"), ("concat_ws(NULL, 'a', 'b')", None), ("concat_ws('-', 1, 'x', 2.5)", "1-x-2.5"),
    ("substring_index('www.apache.org', '.', 2)", "www.apache"), ("substring_index('www.apache.org', '.', -2)", "apache.org"), ("substring_index('www.apache.org', '.', 9)", "www.apache.org"),
    ("split('a,b,c', ',')[0]", "a"), ("split('a,b,c', ',')[2]", "c"), ("split('a,b,c', ',')[3]", None), ("split('a|b', '[|]')[1]", "b"), ("split(',a', ',')[0]", ""),
    ("split_part('11.12.13', '.', 3)", "13"), ("split_part('11.12.13', '.', -3)", "11"), ("split_part('11.12.13', '.', 5)", ""), ("initcap('sPark sql-x')", "Spark Sql-x"),
    ("instr('SparkSQL', 'SQL')", 6), ("instr('SparkSQL', 'zz')", 0), ("locate('bar', 'foobarbar')", 4), ("substring('Spark SQL', 0, 3)", "Spa"), ("substring('Spark SQL', -3, 2)", "SQ"),
    ("greatest(10, 9)", 10), ("greatest(NULL, 9)", 9), ("least(NULL, 9)", 9), ("DATE '2024-05-01' < '2024-05-02'", True), ("'a' LIKE 'A'", False), ("7 / 2", 3.5), ("1 / (1 - 1)", None),
]  # fmt: skip
ON_DUCKDB: list[tuple[str, Any]] = [
    ("CAST('12.7' AS INT)", 12), ("CAST(-12.7 AS INT)", -12), ("CAST('x' AS INT)", None), ("CAST(2.5 AS BIGINT)", 2), ("try_cast('7' AS INT)", 7), ("CAST(1.005 AS DECIMAL(9, 2)) * 1", 1.01),
    ("regexp_extract('100-200', '(\\\\d+)-(\\\\d+)', 1)", "100"), ("regexp_extract('100-200', '([0-9]+)-([0-9]+)')", "100"), ("regexp_extract('x', '([0-9])', 1)", ""),
    ("'Spark' RLIKE '^S[a-p]+r'", True), ("'Spark' RLIKE 's'", False), ("reverse('abc')", "cba"), ("NULL <=> NULL", True), ("CAST('2024-05-01 10:20' AS TIMESTAMP) > '2024-05-01'", True),
]  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_functions_give_what_spark_documents(sandbox: Sandbox, files: dict[str, Path], engine: str) -> None:
    for dialect in ("databricks", "spark"):
        for call, expected in DOCUMENTED + (ON_DUCKDB if engine == "duckdb" else []):
            ((found,),) = asked(sandbox, files, engine, f"SELECT {call} AS x FROM t WHERE i = 0", dialect)
            assert found == pytest.approx(expected, abs=1e-8) if isinstance(expected, float) else found == expected, (
                call
            )


@pytest.mark.parametrize(
    "call",
    ["to_date(d)", "day(d)", "quarter(d)", "dayofweek(d)", "weekday(d)", "dayofyear(d)", "weekofyear(d)", "hour(d)",
     "minute(d)", "second(d)", "last_day(d)", "date_format(d, 'yyyy yy M dd H hh mm s a E MMMM')", "date_add(d, i - 9)",
     "add_months(d, i - 9)", "initcap(s)", "split(s, ',')[1]", "substring_index(s, ' ', i - 9)", "concat_ws('-', d, s, i)"],
)  # fmt: skip
def test_both_engines_agree_on_dates_and_on_what_is_none(sandbox: Sandbox, files: dict[str, Path], call: str) -> None:
    one, two = (asked(sandbox, files, engine, f"SELECT i, {call} FROM t ORDER BY i") for engine in ENGINES)
    assert one == two
    assert len({value for _, value in one}) > 1


def test_both_engines_agree_on_differences_of_all_pairs(sandbox: Sandbox, files: dict[str, Path]) -> None:
    sql = "SELECT a.i, b.i, datediff(a.d, b.d), months_between(a.d, b.d) FROM t a CROSS JOIN t b ORDER BY a.i, b.i"
    one, two = (asked(sandbox, files, engine, sql) for engine in ENGINES)
    assert len(one) == len(two) == len(MOMENTS) ** 2
    for ours, theirs in zip(one, two):
        assert ours[:3] == theirs[:3]
        assert ours[3] == (None if theirs[3] is None else pytest.approx(theirs[3], abs=1e-8))


def test_lists_of_a_group_are_sorted_because_spark_leaves_their_order_open(
    sandbox: Sandbox, files: dict[str, Path]
) -> None:
    sql = "SELECT collect_list(s), collect_set(s), collect_list(nullif(i, i)) FROM t WHERE i < 4"
    ((all_of, different, nothing),) = asked(sandbox, files, "duckdb", sql)
    assert all_of == "['a,b', 'a,b', hELLO wORLD, hELLO wORLD]"
    assert (different, nothing) == ("['a,b', hELLO wORLD]", "[]")


def test_columns_of_dates_and_moments_work_as_texts_do(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "typed.duckdb"
    with duckdb.connect(str(file)) as db:
        db.execute("CREATE TABLE t (d DATE, m TIMESTAMP, z TIMESTAMPTZ)")
        db.execute("SET TimeZone = 'UTC'")
        db.execute("INSERT INTO t VALUES ('2024-05-31', '2024-05-31 10:20:30', '2024-05-31 10:20:30.5')")
    for column, hour in (("d", 0), ("m", 10), ("z", 10)):
        sql = f"SELECT year({column}), hour({column}), add_months({column}, 1), date_format({column}, 'dd.MM.') FROM t"
        assert asked(sandbox, {"duckdb": file}, "duckdb", sql) == ((2024, hour, "2024-06-30", "31.05."),)


@pytest.mark.parametrize(
    ("dialect", "sql", "named"),
    [
        ("sqlite", "SELECT a FROM t", "queries of SQLite"),
        ("databricks", "SELECT date_format(d, 'YYYY') FROM t", "the pattern 'YYYY'"),
        ("databricks", "SELECT datediff(MONTH, a, b) FROM t", "DATEDIFF with a unit"),
        ("databricks", "SELECT a RLIKE 'x(?=y)' FROM t", "REGEXPLIKE"), ("databricks", "SELECT a RLIKE 'x$' FROM t", "REGEXPLIKE"),
        ("databricks", "SELECT current_date() FROM t", "CURRENTDATE"), ("databricks", "SELECT my_own(a) FROM t", "the function my_own"),
        ("databricks", "SELECT * FROM t PIVOT (sum(a) FOR b IN (1, 2))", "PIVOT"), ("databricks", "SELECT CAST(a AS DECIMAL) FROM t", "CAST to DECIMAL"),
        ("spark", "SELECT explode(a) FROM t", "EXPLODE"), ("postgres", "SELECT a / b FROM t", "/ of what may be integers"),
        ("mysql", "SELECT greatest(a, b) FROM t", "GREATEST"), ("bigquery", "SELECT DATE_DIFF(a, b, MONTH) FROM t", "DATEDIFF"),
    ],
)  # fmt: skip
def test_what_is_not_sure_on_duckdb_is_refused_by_name(dialect: str, sql: str, named: str) -> None:
    with pytest.raises(Untranspilable, match="^" + re.escape(named)):
        to_engine(sql, dialect, "duckdb")


def test_answers_in_databricks_sql_are_judged_on_either_engine(files: dict[str, Path]) -> None:
    gold = "SELECT date_format(d, 'yyyy-MM') AS m, count(*) FROM main.shop.t WHERE year(d) = 2024 GROUP BY 1"
    answers = ["SELECT count(1), substring(cast(to_date(d) AS STRING), 0, 7) FROM t WHERE to_date(d) >= '2024-01-01' GROUP BY 2",
               "SELECT date_format(d, 'yyyy-MM'), count(*) FROM t GROUP BY ALL", "SELECT d, 1 FROM t WHERE year(d) = 2024"]  # fmt: skip
    for engine in ENGINES:
        prompt = Prompt((Message("user", "?"),), reference=gold, meta={"db": str(files[engine])})
        reward = Match(Match.Options(dialect="databricks"))
        right, refused, wrong = reward.score_batch([(prompt, Candidate("", a)) for a in answers])
        reward.close()
        assert isinstance(right, Score)
        assert isinstance(refused, Score)
        assert isinstance(wrong, Score)
        assert (right.value, wrong.value) == (1.0, 0.0), (engine, right, wrong)
        assert refused.error is not None
        assert "GROUP BY ALL" in refused.error["message"]


def test_hostile_calls_of_the_functions_cost_their_query_only(files: dict[str, Path]) -> None:
    long = "'" + "a " * 9_000 + "'"
    with Sandbox(1, Limits(seconds=2.0)) as sandbox:
        for engine, call in itertools.product(ENGINES, [
            "spark_add_months('2024-01-01', 9223372036854775807)", "spark_date_add('9999-12-31', 1000000000)", "spark_date_format('2024-01-01', '%Q')",
            f"spark_date_format('2024-01-01', {long})", f"spark_to_date({long})", f"spark_initcap({long})", f"spark_substring_index({long}, ' ', -9000)",
            f"spark_split_part({long}, 'a', 0)", "spark_concat_ws(x'ff', 1)", "spark_to_date(x'ff')", "spark_to_date(5)", "spark_date_add(d, 'x')", "spark_unknown(d)", "spark_year()",
            f"length(spark_concat_ws({', '.join([long[:900] + chr(39)] * 20)}))", "spark_months_between('9999-12-31', '0001-01-01')",
        ]):  # fmt: skip
            result = sandbox.run(files[engine], f"SELECT {call} FROM t")
            assert result.kind in ("", "error", "forbidden", "memory"), (engine, call, result)
            assert sandbox.run(files[engine], f"SELECT count(*) + {len(call)} FROM t").rows == (
                (len(MOMENTS) + len(call),),
            )
