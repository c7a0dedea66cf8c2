"""sql/repair mends queries towards the question; questions made anew keep their queries right."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from spider import Spider
from tao_reward_sql.asking import OtherValues
from tao_reward_sql.cues import unheard
from tao_reward_sql.gate import parse
from tao_reward_sql.match import Match
from tao_reward_sql.repair import Repair, written
from tao_reward_sql.schema import Schema
from tao_reward_sql.values import values_of, vary

from tao_hub import Candidate, Group, Message, Prompt, Score


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    file = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT, category TEXT, price REAL, stock INTEGER)")
        db.executemany(
            "INSERT INTO product (name, category, price, stock) VALUES (?, ?, ?, ?)",
            [("Oslo stool", "chairs", 50.5, 3), ("Sol lamp", "lamps", 20.0, 9), ("Nova lamp", "lamps", 75.0, 1)],
        )
        db.execute("CREATE TABLE sale (id INTEGER PRIMARY KEY, product_id INTEGER, sold_on TEXT)")
        db.execute("INSERT INTO sale (product_id, sold_on) VALUES (1, '2023-04-01')")
        db.commit()
    return file


def mended(file: Path, question: str, *responses: str) -> list[str]:
    prompt = Prompt((Message("user", question),), meta={"db": str(file)})
    candidates = tuple(Candidate(prompt.digest, r, id=i + 1) for i, r in enumerate(responses))
    found = Repair().combine(Group(prompt, candidates))
    assert all(len(c.parents) == 1 for c in found)
    return [c.response for c in found]


@pytest.mark.parametrize(
    ("question", "wrong", "right"),
    [
        ("How many products in lamps?", "SELECT COUNT(*) FROM product WHERE category = 'chairs'",
         "SELECT COUNT(*) FROM product WHERE category = 'lamps'"),
        ("Which products cost more than 45?", "SELECT name FROM product WHERE price > 60",
         "SELECT name FROM product WHERE price > 45"),
        ("What is the average price?", "SELECT MAX(price) FROM product", "SELECT AVG(price) FROM product"),
        ("What is the stock of Sol lamp?", "SELECT price FROM product WHERE name = 'Sol lamp'",
         "SELECT stock FROM product WHERE name = 'Sol lamp'"),
        ("Show the 2 products with the highest price", "SELECT name FROM product ORDER BY price DESC LIMIT 5",
         "SELECT name FROM product ORDER BY price DESC LIMIT 2"),
        ("Which product has the lowest price?", "SELECT name FROM product ORDER BY price DESC LIMIT 1",
         "SELECT name FROM product ORDER BY price LIMIT 1"),
        ("List the products in chairs", "SELECT name FROM product",
         "SELECT name FROM product WHERE category = 'chairs'"),
    ],
)  # fmt: skip
def test_what_question_and_query_disagree_on_is_mended(shop: Path, question: str, wrong: str, right: str) -> None:
    assert mended(shop, question, wrong) == [right]


def test_a_query_without_faults_and_text_that_is_no_query_are_left_alone(shop: Path) -> None:
    assert mended(shop, "How many lamps?", "SELECT COUNT(*) FROM product WHERE category = 'lamps'", "no idea") == []


def test_candidates_with_the_best_totals_are_mended_first(shop: Path) -> None:
    prompt = Prompt((Message("user", "What is the average price?"),), meta={"db": str(shop)})
    responses = ["SELECT MAX(price) FROM product", "SELECT MIN(price) FROM product WHERE stock > 2"]
    candidates = tuple(Candidate(prompt.digest, r, id=i + 1) for i, r in enumerate(responses))
    group = Group(prompt, candidates, ({}, {}), (Score(0.1), Score(0.9)), ("", ""))
    (found,) = Repair(Repair.Options(best=1)).combine(group)
    assert found.parents == (2,)


def test_a_mended_query_is_written_as_people_write_it() -> None:
    sql = "SELECT name FROM p WHERE strftime('%Y', d) = '2023' AND x IS NOT NULL AND id NOT IN (SELECT q FROM s)"
    assert written(parse(sql), sql) == sql


@pytest.mark.parametrize(
    ("question", "sql", "apart"),
    [
        ("How many are there per city?", "SELECT city, COUNT(*) FROM t GROUP BY city", []),
        ("How many are there per city?", "SELECT COUNT(*) FROM t", ["groups"]),
        ("Which is the cheapest?", "SELECT a FROM t ORDER BY b DESC LIMIT 1", ["low"]),
        ("at least 3 rooms", "SELECT a FROM t WHERE rooms >= 3", []),
        ("who never paid", "SELECT a FROM t WHERE paid IS NULL", []),
        ("who never paid", "SELECT a FROM t WHERE paid IS NOT NULL", ["denial"]),
        ("list the names", "SELECT a FROM t ORDER BY b DESC LIMIT 1", ["high"]),
    ],
)
def test_words_ask_for_operations(question: str, sql: str, apart: list[str]) -> None:
    assert unheard(question, parse(sql))[0] == apart


def test_values_are_found_word_by_word_and_the_longer_one_wins(shop: Path) -> None:
    found = values_of(shop).mentions("is the sol LAMP in lamps or in chairsets?")
    assert [(m.value, m.columns) for m in found] == [
        ("Sol lamp", (("product", "name"),)), ("lamps", (("product", "category"),))
    ]  # fmt: skip


def test_dates_and_numbers_are_no_names(shop: Path) -> None:
    assert ("sale", "sold_on") not in values_of(shop).of


def test_a_question_made_anew_keeps_its_query_right(shop: Path) -> None:
    question = "Which chairs cost over 40 euros?"
    sql = "SELECT name FROM product WHERE category = 'chairs' AND price > 40"
    seen = set()
    for seed in range(20):
        made = vary(question, [sql], shop, Random(seed))
        assert made is not None
        new, (query,) = made
        category, number = query.split("'")[1], query.rsplit(" ", 1)[1]
        assert category in ("chairs", "lamps")
        assert new == f"Which {category} cost over {number} euros?"
        seen.add((category, number))
    assert len(seen) > 5


def test_a_constant_that_the_question_does_not_name_stays(shop: Path) -> None:
    queries = ["SELECT name FROM product WHERE category = 'lamps'"]
    assert vary("Which ones are on sale?", queries, shop, Random(0)) is None


@pytest.mark.parametrize(
    ("question", "sql"),
    [
        ("How many of our sales are in and about chairs?", "SELECT COUNT(*) FROM product WHERE category = 'chairs'"),
        ("Which product is a lamp?", "SELECT name FROM product WHERE category = \"lamps\""),
        ("How many products are chair-like?", "SELECT COUNT(*) FROM product WHERE category = 'chairs'"),
        ("How many products are there?", "SELECT COUNT(*) FROM product"),
    ],
)
def test_words_that_are_only_spelt_like_values_or_keys_mend_nothing(shop: Path, question: str, sql: str) -> None:
    with closing(sqlite3.connect(shop)) as db:
        db.execute("CREATE TABLE country (code TEXT, name TEXT)")
        db.executemany("INSERT INTO country VALUES (?, ?)", [("IN", "India"), ("ARE", "Emirates"), ("AND", "Andorra")])
        db.commit()
    assert mended(shop, question, sql) == []


def test_a_strong_systems_errors_are_not_in_the_words_and_its_queries_are_rarely_mended(spider: Spider) -> None:
    """Graphix-T5 on Spider dev: a known limit of `sql/schema` and `sql/repair`, as docs/results/sql.md says."""
    schema, match = Schema(), Match()
    mended = broken = repaired = 0
    errors = {"gold above": 0, "gold below": 0, "alike": 0}

    def value(reward: Schema | Match, prompt: Prompt, sql: str) -> float:
        (score,) = reward.score_batch([(prompt, Candidate(prompt.digest, sql))])
        return (score.value or 0.0) if isinstance(score, Score) else float(score)

    for row, sql in spider.predictions():
        prompt = spider.prompt(row)
        asked = prompt.without_reference()
        right, fits = value(match, prompt, sql), value(schema, asked, sql)
        for other in Repair().combine(Group(asked, (Candidate(asked.digest, sql, id=1),))):
            if value(schema, asked, other.response) > fits:
                mended += 1
                after = value(match, prompt, other.response)
                repaired, broken = repaired + (after > right), broken + (after < right)
        if not right:
            gold = value(schema, asked, row["query"])
            errors["gold above" if gold > fits else "gold below" if gold < fits else "alike"] += 1
    schema.close()
    match.close()
    assert (mended, repaired, broken) == (12, 0, 4)
    assert errors == {"gold above": 15, "gold below": 19, "alike": 31}


def test_what_is_learnt_is_varied_with_its_query(shop: Path) -> None:
    asked = Prompt((Message("system", "s"), Message("user", "Which lamps cost more than 45?")), meta={"db": str(shop)})
    answer = "SELECT name FROM product WHERE category = 'lamps' AND price > 45"
    made = OtherValues().vary(asked, answer, 8)
    assert made == OtherValues().vary(asked, answer, 8)
    assert 0 < len(made) <= 8
    for prompt, sql in made:
        assert prompt.text != asked.text
        assert prompt.messages[0] == asked.messages[0]
        assert prompt.meta == asked.meta
        kind, number = re.fullmatch(r"Which (\w+) cost more than (\d+)\?", prompt.text).groups()
        assert sql == f"SELECT name FROM product WHERE category = '{kind}' AND price > {number}"
    assert OtherValues().vary(asked, "SELECT name FROM product WHERE price > 7", 3) == []  # no value of the question
