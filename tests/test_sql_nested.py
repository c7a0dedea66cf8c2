"""sql/compose takes queries with queries inside apart, and asks of other rows what examples ask of theirs."""

from __future__ import annotations

import itertools
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from spider import Spider
from tao_reward_sql.chances import LOOKED, RARE, Chances
from tao_reward_sql.composer import Composer
from tao_reward_sql.conditions import MOST, looked_up, taken_apart, widened
from tao_reward_sql.databases import columns_of
from tao_reward_sql.linking import read
from tao_reward_sql.nested import AMONG, Lookup, Tail, alike, lookup_of
from tao_reward_sql.parts import Parts
from tao_reward_sql.sketch import Condition, Sketch, Slot, query_of, sketch_of
from tao_reward_sql.tables import tables_of

BORDER = "(SELECT border FROM border_info WHERE state_name = 'texas')"
EXAMPLES = [
    ("what is the largest city in texas",
     "SELECT city_name FROM city WHERE state_name = 'texas' AND "
     "population = (SELECT MAX(population) FROM city WHERE state_name = 'texas')"),
    ("what is the smallest city in ohio",
     "SELECT city_name FROM city WHERE state_name = 'ohio' AND "
     "population = (SELECT MIN(population) FROM city WHERE state_name = 'ohio')"),
    ("which cities are in ohio", "SELECT city_name FROM city WHERE state_name = 'ohio'"),
    ("what is the longest river", "SELECT river_name FROM river WHERE length = (SELECT MAX(length) FROM river)"),
    ("which rivers run through ohio", "SELECT river_name FROM river WHERE traverse = 'ohio'"),
    ("which rivers run through states that border texas",
     f"SELECT river_name FROM river WHERE traverse IN {BORDER}"),
    ("how many rivers are in ohio", "SELECT COUNT(river_name) FROM river WHERE traverse = 'ohio'"),
    ("which states border texas", "SELECT border FROM border_info WHERE state_name = 'texas'"),
    ("what is the population of states that border the largest state",
     "SELECT population FROM state WHERE state_name IN (SELECT border FROM border_info WHERE state_name IN "
     "(SELECT state_name FROM state WHERE area = (SELECT MAX(area) FROM state)))"),
]  # fmt: skip


@pytest.fixture
def land(tmp_path: Path) -> Path:
    file = tmp_path / "land.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE state (state_name TEXT, population INTEGER, area REAL)")
        db.execute("CREATE TABLE city (city_name TEXT, state_name TEXT, population INTEGER)")
        db.execute("CREATE TABLE border_info (state_name TEXT, border TEXT)")
        db.execute("CREATE TABLE river (river_name TEXT, length INTEGER, traverse TEXT)")
        db.executemany("INSERT INTO state VALUES (?, ?, ?)", [("texas", 14, 267), ("ohio", 10, 41), ("utah", 1, 85)])
        db.executemany("INSERT INTO city VALUES (?, ?, ?)", [("houston", "texas", 5), ("akron", "ohio", 2)])
        db.executemany("INSERT INTO border_info VALUES (?, ?)", [("texas", "ohio"), ("ohio", "texas"), ("utah", "x")])
        db.executemany("INSERT INTO river VALUES (?, ?, ?)", [("red", 9, "texas"), ("ohio", 7, "ohio")])
        db.commit()
    return file


def names(file: Path) -> dict[str, tuple[str, ...]]:
    return {t.casefold(): tuple(map(str.casefold, c)) for t, c in columns_of(file).items()}


def taken(file: Path, question: str, sql: str) -> Sketch:
    found = sketch_of(sql, read(question, file), names(file))
    assert found is not None
    return found[0]


def asked(file: Path, question: str, n: int = 8) -> list[str]:
    parts = Parts.learnt([(read(q, file), sql) for q, sql in EXAMPLES], tables_of(file))
    return [sql for sql, _ in itertools.islice(Composer(parts).queries(read(question, file)), n)]


def test_what_is_taken_apart_is_put_together_again(land: Path) -> None:
    for question, sql in EXAMPLES:
        found = sketch_of(sql, read(question, land), names(land))
        assert found is not None
        assert query_of(*found) == sql


def test_an_extreme_among_other_conditions_is_the_same_as_one_alone(land: Path) -> None:
    among = taken(land, *EXAMPLES[0]).conditions
    sql = "SELECT city_name FROM city WHERE population = (SELECT MAX(population) FROM city)"
    alone = taken(land, "what is the largest city", sql).conditions
    assert among[0] == Condition("city", "city.state_name = 'constant_0_'", (Slot("city", "state_name"),))
    assert among[1:] == alone
    assert AMONG in alone[0].sql


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT city_name FROM city WHERE state_name = 'texas' AND population = (SELECT MAX(population) FROM city)",
        "SELECT city_name FROM city WHERE state_name = 'texas' AND "
        "population = (SELECT MAX(population) FROM city WHERE state_name = 'ohio')",
        "SELECT city_name FROM city WHERE population = (SELECT MAX(population) FROM state)",
        "SELECT city_name FROM city WHERE population > (SELECT MAX(population) FROM city)",
        "SELECT city_name FROM city WHERE population = (SELECT MAX(population) FROM city GROUP BY state_name)",
        "SELECT city_name, (SELECT population FROM state WHERE area = (SELECT MAX(area) FROM state)) FROM city",
    ],
)
def test_an_extreme_among_other_rows_is_no_such_part_and_stays_as_it_is(land: Path, sql: str) -> None:
    question = "what is the largest city in texas or ohio"
    found = sketch_of(sql, read(question, land), names(land))
    assert found is not None
    assert not any(AMONG in condition.sql for condition in found[0].conditions)
    assert query_of(*found) == sql


def test_a_lookup_is_known_whether_it_says_in_or_equals(land: Path) -> None:
    told = [taken(land, "rivers by texas", f"SELECT river_name FROM river WHERE traverse {way} {BORDER}")
            for way in ("IN", "=")]  # fmt: skip
    assert told[0] == told[1]
    [condition] = told[0].conditions
    inside = looked_up(condition, tables_of(land))
    assert inside is not None
    lookup, inner = inside
    assert lookup == Lookup(("river", "traverse"), Tail(True, "border", "border_info"), inner.sql)
    assert inner == Condition("border_info", "border_info.state_name = 'constant_0_'", condition.slots)
    parts = taken_apart(condition, tables_of(land)).parts
    assert parts == (condition, lookup.tail, *taken_apart(inner, tables_of(land)).parts)


@pytest.mark.parametrize(
    "sql",
    [
        "river.traverse IN (SELECT border FROM border_info)",
        "river.traverse IN (SELECT border FROM border_info WHERE state_name = 'a' AND border = 'b')",
        "river.traverse IN (SELECT border FROM border_info WHERE state_name = 'a') OR river.traverse IN (SELECT 1)",
        "river.traverse IN (SELECT border FROM border_info WHERE UPPER(state_name) = 'A')",
        "river.traverse IN (SELECT border FROM nowhere WHERE state_name = 'a')",
        "river.traverse > (SELECT border FROM border_info WHERE state_name = 'a')",
        "river.traverse IN (SELECT border FROM border_info WHERE state_name = 'a' LIMIT 1)",
    ],
)
def test_what_is_no_lookup_around_one_condition_is_none(land: Path, sql: str) -> None:
    assert lookup_of(sql, names(land)) is None


def test_brackets_and_words_in_constants_are_no_brackets_and_words_of_sql(land: Path) -> None:
    sql = "river.traverse IN (SELECT border FROM border_info WHERE state_name = ') AND (''x''')"
    found = lookup_of(sql, names(land))
    assert found is not None
    assert found.inner == "border_info.state_name = ') AND (''x'''"
    assert found.sql == sql


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("what is the largest city in ohio",
         "SELECT city_name FROM city WHERE state_name = 'ohio' AND "
         "population = (SELECT MAX(population) FROM city WHERE state_name = 'ohio')"),
        ("what is the longest river in texas",
         "SELECT river_name FROM river WHERE length = (SELECT MAX(length) FROM river WHERE traverse = 'texas') "
         "AND traverse = 'texas'"),
        ("which rivers run through states that border the largest state",
         "SELECT river_name FROM river WHERE traverse IN (SELECT border FROM border_info WHERE state_name IN "
         "(SELECT state_name FROM state WHERE area = (SELECT MAX(area) FROM state)))"),
        ("which cities are in states that border texas", f"SELECT city_name FROM city WHERE state_name IN {BORDER}"),
    ],
)  # fmt: skip
def test_extremes_and_lookups_are_put_where_no_example_has_them(land: Path, question: str, wanted: str) -> None:
    queries = asked(land, question)
    assert wanted in queries
    with closing(sqlite3.connect(land)) as db:
        for sql in queries:
            db.execute(sql)


def test_columns_are_of_one_kind_where_one_is_looked_up_in_the_other() -> None:
    def lookup(own: tuple[str, str], table: str, column: str) -> Lookup:
        return Lookup(own, Tail(True, column, table), "")

    same = alike([lookup(("a", "x"), "b", "y"), lookup(("c", "z"), "d", "w"), lookup(("d", "w"), "b", "y")])
    assert same[("a", "x")] == {("a", "x"), ("b", "y"), ("c", "z"), ("d", "w")}
    assert len(alike([lookup(("a", "x"), "b", "y"), lookup(("c", "z"), "d", "w")])[("c", "z")]) == 2


def test_a_lookup_that_no_example_has_is_as_probable_as_its_parts(land: Path) -> None:
    conditions = [c for question, sql in EXAMPLES for c in taken(land, question, sql).conditions]
    chances = Chances(conditions, tables_of(land))
    texas = Condition("border_info", "border_info.state_name = 'constant_0_'", (Slot("border_info", "state_name"),))
    of_border = chances.of_table["border_info"]
    assert math.exp(chances.log(texas)) == pytest.approx((chances.seen[texas] + RARE) / (of_border + 1))
    new = Condition("city", f"city.state_name IN {BORDER.replace('texas', 'constant_0_')}", texas.slots)
    way = (0.5 * 0 + 0.5 * 2 + RARE) / (3 + 1)  # three lookups, two of them along borders, none from a city
    wanted = LOOKED * way * math.exp(chances.log(texas)) / (chances.of_table["city"] + 1)
    assert math.exp(chances.log(new)) == pytest.approx(wanted)


def test_lookups_are_thought_of_within_bounds(tmp_path: Path) -> None:
    """Twelve tables that look one another up: of lookups in lookups there are more than anyone wants."""
    file = tmp_path / "many.sqlite"
    with closing(sqlite3.connect(file)) as db:
        for t in "abcdefghijkl":
            db.execute(f"CREATE TABLE {t}{t} (name TEXT, other TEXT, {', '.join(f'size_{c} REAL' for c in 'abcdef')})")
            db.execute(f"INSERT INTO {t}{t} VALUES ('x', 'y', 1.5, 1.5, 1.5, 1.5, 1.5, 1.5)")
        db.commit()
    conditions = [Condition(f"{a}{a}", f"{a}{a}.other IN (SELECT name FROM {b}{b} WHERE size_a = 3)")
                  for a in "abcdefghijkl" for b in "abcdefghijkl" if a != b]  # fmt: skip
    assert len(widened(conditions, tables_of(file))) == MOST


def test_a_value_that_examples_leave_unused_asks_less_to_be_used(land: Path) -> None:
    examples = [*EXAMPLES, ("how many cities are there in utah", "SELECT COUNT(city_name) FROM city"),
                ("what are the cities in utah", "SELECT city_name FROM city")]  # fmt: skip
    parts = Parts.learnt([(read(q, land), sql) for q, sql in examples], tables_of(land))
    told = read("how many rivers are there in utah", land)
    with_it, without = (parts.likelihood(sql, told)["unsaid"] for sql in (
        "SELECT COUNT(river_name) FROM river WHERE traverse = 'utah'", "SELECT COUNT(river_name) FROM river",
    ))  # fmt: skip
    assert with_it == 0
    never = parts.likelihood("SELECT COUNT(river_name) FROM river", read("how many rivers are there in texas", land))
    assert 0 > without > never["unsaid"]


def test_the_last_word_of_a_name_may_only_say_what_it_is(land: Path) -> None:
    with closing(sqlite3.connect(land)) as db:
        db.execute("INSERT INTO city VALUES ('ohio river', 'texas', 1), ('red lake', 'texas', 1)")
        db.commit()
    [mention] = read("how long is the ohio river", land).mentions
    assert mention.value == "ohio"
    assert ("river", "river_name") in mention.columns
    [mention] = read("where is red lake", land).mentions  # there is no table of lakes
    assert mention.value == "red lake"


def test_spiders_queries_give_the_same_rows_when_put_together_again(spider: Spider) -> None:
    taken_apart_at_all = 0
    for row in spider.rows():
        file = spider.files.get(row["db_id"])
        found = file and sketch_of(row["query"], read(row["question"], file), names(file))
        if not file or not found:
            continue
        taken_apart_at_all += 1
        again = query_of(*found)
        assert again is not None
        with closing(sqlite3.connect(file)) as db:
            db.text_factory = bytes
            wanted, got = (sorted(map(repr, db.execute(sql))) for sql in (row["query"], again))
        assert got == wanted, (row["query"], again)
    assert taken_apart_at_all == 326
