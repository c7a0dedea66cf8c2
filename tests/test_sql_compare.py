"""When two results are the same: strictly, and as published benchmarks decide it."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tao_reward_sql.compare import (
    bird_ex,
    bird_soft_f1,
    canonical,
    match_columns,
    same_rows,
    spider_ts,
    strict,
    wikisql_ex,
)
from tao_reward_sql.extract import extract_sql

VALUES = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from(["", "a", "1", 0.5, 1.0, b"a"]))
TABLES = st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[VALUES] * width), max_size=6))


def test_values_keep_their_kind_and_numbers_their_worth() -> None:
    assert canonical(1) == canonical(1.0) == canonical(True)
    assert len({canonical(v) for v in (None, "", 0, b"", "0")}) == 5
    assert same_rows([(0.1 + 0.2,)], [(0.3,)])
    assert same_rows([(1_000_000.4,)], [(1_000_000.9,)])  # a relative 5e-7
    assert not same_rows([(1.0,)], [(1.001,)])
    assert not same_rows([("1",)], [(1,)])
    assert canonical(float("inf")) != canonical(float("-inf"))


def test_rows_are_counted_and_may_stand_in_any_order() -> None:
    assert strict([(1,), (1,), (2,)], [(2,), (1,), (1,)]) == ""
    assert strict([(1,), (1,), (2,)], [(1,), (2,), (2,)]) == "gold has (1,), found (2,)"
    assert strict([(1,)], [(1,), (1,)]) == "2 rows, gold has 1"
    assert strict([(1, 2)], [(1,)]) == "1 columns, gold has 2"
    assert strict([], []) == ""


@given(TABLES, st.randoms())
def test_any_order_of_columns_and_rows_is_the_same_table(rows: list[tuple[object, ...]], draw: object) -> None:
    width = len(rows[0]) if rows else 0
    order = list(range(width))
    draw.shuffle(order)  # type: ignore[attr-defined]
    other = [tuple(row[c] for c in order) for row in rows]
    draw.shuffle(other)  # type: ignore[attr-defined]
    assert strict(rows, other) == ""
    columns = match_columns(rows, other)
    assert columns is not None
    assert same_rows(rows, [tuple(row[c] for c in columns) for row in other])


@given(TABLES, TABLES)
def test_columns_are_matched_exactly_where_some_permutation_matches(
    one: list[tuple[object, ...]], two: list[tuple[object, ...]]
) -> None:
    width = len(one[0]) if one else 0
    fits = len(one) == len(two) and (not one or len(two[0]) == width) and any(
        same_rows(one, [tuple(row[c] for c in order) for row in two]) for order in permutations(range(width))
    )  # fmt: skip
    assert (match_columns(one, two) is not None) == fits


def test_look_alike_columns_are_matched_without_trying_all_permutations() -> None:
    rows = [tuple((r * (c + 1)) % 7 for c in range(12)) for r in range(7)]  # each column holds 0 to 6
    other = [tuple(reversed(row)) for row in rows]
    assert strict(rows, other) == ""


def test_an_order_is_asked_for_only_as_far_as_ties_go() -> None:
    gold = [("a", 1), ("b", 1), ("c", 2)]
    assert strict(gold, [("b", 1), ("a", 1), ("c", 2)], [2, 1]) == ""
    assert strict(gold, [("c", 2), ("a", 1), ("b", 1)], [2, 1]).startswith("order: rows 1 to 2")
    assert strict(gold, [(1, "b"), (1, "a"), (2, "c")], [2, 1]) == ""


def test_at_a_limit_any_of_the_tied_rows_may_stand() -> None:
    gold, tied = [("a", 1), ("b", 2)], [("b", 2), ("c", 2)]
    assert strict(gold, [("a", 1), ("c", 2)], [1, 1], tied) == ""
    assert strict(gold, [("a", 1), ("d", 2)], [1, 1], tied) != ""


def test_bird_ex_has_its_known_faults() -> None:
    assert bird_ex([(1,), (1,)], [(1,)])
    assert not bird_ex([(1, 2)], [(2, 1)])


def test_soft_f1_of_reversed_rows_is_a_third_where_ex_is_one() -> None:
    rows = [(1, "a"), (2, "b"), (3, "c")]
    assert bird_soft_f1(rows, rows) == 1.0
    assert bird_soft_f1(rows, rows[::-1]) == pytest.approx(1 / 3)
    assert bird_soft_f1([], []) == 1.0
    assert bird_soft_f1(rows, []) == 0.0


def test_spider_and_wikisql_compare_lists_where_an_order_is_asked_for() -> None:
    assert spider_ts([(1, "a"), (2, "b")], [("b", 2), ("a", 1)], ordered=False)
    assert not spider_ts([(1, "a"), (2, "b")], [("b", 2), ("a", 1)], ordered=True)
    assert spider_ts([(1, "a"), (2, "b")], [("a", 1), ("b", 2)], ordered=True)
    assert wikisql_ex([(1,), (2,)], [(1, "x"), (2, "y")])
    assert not wikisql_ex([(1,), (2,)], [(2,), (1,)])


@pytest.mark.parametrize(
    ("reply", "sql"),
    [
        ("SELECT a FROM t;", "SELECT a FROM t"),
        ("Here it is:\n```sql\nSELECT a\nFROM t;\n```\nIt reads t.", "SELECT a\nFROM t"),
        ("```\nselect 1\n```\nor better\n```sql\nselect 2\n```", "select 2"),
        ("SQL: with x as (select 1) select * from x\n\nThis works because", "with x as (select 1) select * from x"),
        ("The answer is\nSQLQuery: SELECT a FROM t WHERE b = 'x;y';\nDone.", "SELECT a FROM t WHERE b = 'x;y'"),
        ("```sql\nSELECT a FROM t", "SELECT a FROM t"),
        ("I cannot answer this.", "I cannot answer this."),
        ("", ""),
    ],
)
def test_the_query_is_taken_out_of_a_reply(reply: str, sql: str) -> None:
    assert extract_sql(reply) == sql


@given(st.text(max_size=300))
def test_extraction_never_makes_up_text(reply: str) -> None:
    assert extract_sql(reply) in reply
