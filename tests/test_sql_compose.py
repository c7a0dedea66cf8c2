"""sql/compose writes queries that no example has as a whole, from the parts that the question's words ask for."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from tao_demo.office.suite import Backoffice, database
from tao_reward_sql.compose import Compose, LexiconReward
from tao_reward_sql.composer import Composer
from tao_reward_sql.conditions import MOST
from tao_reward_sql.databases import columns_of
from tao_reward_sql.frames import Frame, held_by, wholes_of
from tao_reward_sql.gate import parse
from tao_reward_sql.lexicon import NOTHING, Lexicon, told_by
from tao_reward_sql.linking import Asked, read
from tao_reward_sql.match import Match
from tao_reward_sql.parts import Parts
from tao_reward_sql.places import Places
from tao_reward_sql.sketch import query_of, sketch_of
from tao_reward_sql.tables import tables_of

import tao_hub
from tao_hub import Candidate, Group, Message, Prompt

EXAMPLES = [
    ("How many products in lamps?", "SELECT COUNT(*) FROM product WHERE category = 'lamps'"),
    ("How many sales are there?", "SELECT COUNT(*) FROM sale"),
    ("List the products in chairs", "SELECT name FROM product WHERE category = 'chairs'"),
    ("List the products that cost more than 40", "SELECT name FROM product WHERE price > 40"),
    ("Count the products that cost more than 9", "SELECT COUNT(*) FROM product WHERE price > 9"),
    ("List the products that nobody bought",
     "SELECT name FROM product WHERE id NOT IN (SELECT product_id FROM sale)"),
    ("How many products per category?", "SELECT category, COUNT(*) FROM product GROUP BY category"),
    ("How many sales of products in chairs?",
     "SELECT COUNT(*) FROM sale JOIN product ON product.id = sale.product_id WHERE product.category = 'chairs'"),
    ("Show the 2 products with the highest price",
     "SELECT name FROM product WHERE price IS NOT NULL ORDER BY price DESC LIMIT 2"),
]  # fmt: skip


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


def composed(file: Path, question: str, n: int = 8, known: tuple[str, ...] = ()) -> list[str]:
    options = Compose.Options(examples=[{"input": q, "output": sql} for q, sql in EXAMPLES], n=n)
    prompt = Prompt((Message("user", question),), meta={"db": str(file)})
    group = Group(prompt, tuple(Candidate(prompt.digest, sql) for sql in known))
    return [c.response for c in Compose(options).combine(group)]


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("How many products in lamps cost more than 15?",
         "SELECT COUNT(*) FROM product WHERE category = 'lamps' AND price > 15"),
        ("Count the products that nobody bought",
         "SELECT COUNT(*) FROM product WHERE id NOT IN (SELECT product_id FROM sale)"),
        ("How many sales of products that cost more than 30?",
         "SELECT COUNT(*) FROM sale JOIN product ON product.id = sale.product_id WHERE product.price > 30"),
        ("Show the 3 products in lamps with the highest price",
         "SELECT name FROM product WHERE category = 'lamps' AND price IS NOT NULL ORDER BY price DESC LIMIT 3"),
    ],
)  # fmt: skip
def test_a_query_that_no_example_has_is_put_together_from_parts(shop: Path, question: str, wanted: str) -> None:
    assert wanted in composed(shop, question)


def test_column_names_ask_for_columns_that_no_example_shows(shop: Path) -> None:
    wanted = "SELECT name FROM product WHERE stock IS NOT NULL ORDER BY stock DESC LIMIT 2"
    assert wanted in composed(shop, "Show the 2 products with the highest stock")


def test_queries_come_once_and_never_those_that_are_there(shop: Path) -> None:
    question = "How many products in lamps cost more than 15?"
    found = composed(shop, question)
    assert len(found) == len(set(found)) == 8
    there = (found[0], found[3])
    assert composed(shop, question, known=there) == [sql for sql in found if sql not in there]
    assert composed(shop, question, n=3) == found[:3]


def test_a_value_with_a_quote_stays_a_constant(shop: Path) -> None:
    with closing(sqlite3.connect(shop)) as db:
        db.execute("INSERT INTO product (name, category, price, stock) VALUES ('x', 'kid''s chairs', 1, 1)")
        db.commit()
    assert composed(shop, "How many products in kid's chairs?")[0].endswith("WHERE category = 'kid''s chairs'")


def test_names_that_need_quotes_have_them(tmp_path: Path) -> None:
    file = tmp_path / "order.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.execute('CREATE TABLE "order" (id INTEGER PRIMARY KEY, "unit price" REAL, "group" TEXT, amount REAL)')
        db.executemany('INSERT INTO "order" VALUES (?, ?, ?, ?)', [(1, 5.0, "north", 7.5), (2, 9.5, "south", 1.5)])
        db.commit()
    known = {
        "How many orders with a unit price over 6?": 'SELECT COUNT(*) FROM "order" WHERE "unit price" > 6',
        "Total amount of the group north": """SELECT SUM(amount) FROM "order" WHERE "group" = 'north'""",
    }
    examples = [{"input": question, "output": sql} for question, sql in known.items()]
    prompt = Prompt((Message("user", "How many orders of the group south?"),), meta={"db": str(file)})
    found = Compose(Compose.Options(examples=examples)).combine(Group(prompt, ()))
    assert """SELECT COUNT(*) FROM "order" WHERE "group" = 'south'""" in [c.response for c in found]
    with closing(sqlite3.connect(file)) as db:
        for candidate in found:
            db.execute(candidate.response)  # none has a name that SQLite does not read


def test_queries_are_taken_apart_and_put_together_again(shop: Path) -> None:
    tables = {t.casefold(): tuple(map(str.casefold, c)) for t, c in columns_of(shop).items()}
    for question, sql in EXAMPLES:
        before = parse(sql).sql("sqlite")
        found = sketch_of(sql, read(question, shop), tables)
        assert found is not None
        assert query_of(*found) == sql
        assert parse(sql).sql("sqlite") == before  # what others parse, too, is left as it is


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM product UNION SELECT sold_on FROM sale",
        "WITH p AS (SELECT name FROM product) SELECT name FROM p",
        "SELECT a.name FROM product a JOIN product b ON a.id = b.id",
        "SELECT name FROM (SELECT name FROM product)",
        "SELECT nothing FROM product",
        "SELECT name FROM product LEFT JOIN sale ON product.id = sale.product_id",
        "DELETE FROM product",
        "no query at all",
    ],
)
def test_what_has_no_such_parts_is_left_out(shop: Path, sql: str) -> None:
    tables = {t.casefold(): tuple(map(str.casefold, c)) for t, c in columns_of(shop).items()}
    asked = read("How many products?", shop)
    assert sketch_of(sql, asked, tables) is None
    with pytest.raises(ValueError, match="can be taken apart"):
        Parts.learnt([(asked, sql)], tables_of(shop))


def test_examples_that_cannot_be_taken_apart_are_told(shop: Path) -> None:
    examples = [{"input": "How many products?", "output": "SELECT 1 UNION SELECT 2"}]
    prompt = Prompt((Message("user", "How many sales?"),), meta={"db": str(shop)})
    with pytest.raises(tao_hub.UsageError, match=r"sql/compose on shop.sqlite: none of the examples .* UNION"):
        Compose(Compose.Options(examples=examples)).combine(Group(prompt, ()))


def test_a_large_schema_is_thought_of_within_bounds(tmp_path: Path) -> None:
    """60 tables of 20 columns, outlines of four columns: conditions and outlines are bounded, and both are used."""
    file = tmp_path / "large.sqlite"
    with closing(sqlite3.connect(file)) as db:
        for table in range(60):
            kinds = [("size", "REAL") if c % 2 else ("kind", "TEXT") for c in range(20)]
            columns = ", ".join(f"{name}{chr(97 + c)} {kind}" for c, (name, kind) in enumerate(kinds))
            name = f"part{chr(97 + table // 26)}{chr(97 + table % 26)}"
            db.execute(f"CREATE TABLE {name} ({columns})")
            values = [3.5 if c % 2 else "red" for c in range(20)]
            db.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * 20)})", values)
        db.commit()
    of_four = "SELECT kinda, AVG(sizeb), MAX(sized), MIN(sizef) FROM {} GROUP BY kinda"
    pairs = [("average sizeb of partaa per kinda", of_four.format("partaa")),
             ("How many partab with sizeb over 2?", "SELECT COUNT(*) FROM partab WHERE sizeb > 2")]  # fmt: skip
    parts = Parts.learnt([(read(question, file), sql) for question, sql in pairs], tables_of(file))
    assert len(parts.usable) <= MOST
    assert len(parts.frames) <= 5000
    asked = read("How many partab with sized over 7?", file)
    queries = [sql for sql, _ in islice(Composer(parts).queries(asked), 5)]
    assert "SELECT COUNT(*) FROM partab WHERE sized > 7" in queries
    asked = read("average sizeb of partaa per kinda", file)
    assert of_four.format("partaa") in [sql for sql, _ in islice(Composer(parts).queries(asked), 8)]


def test_a_lexicon_learns_what_each_word_is_said_for() -> None:
    pairs = [(["how", "many", "lamps"], ["count", "lamps!"]), (["list", "lamps"], ["list!", "lamps!"]),
             (["how", "many", "chairs"], ["count", "chairs!"]), (["list", "chairs"], ["list!", "chairs!"])]  # fmt: skip
    lexicon = Lexicon.learnt(pairs)
    assert np.allclose(lexicon.table.sum(1), 1)
    assert set(lexicon.parts) == {NOTHING, "count", "lamps!", "list!", "chairs!"}
    told = lexicon.of(["many", "lamps", "unheard"])
    assert told.shape == (5, 2)  # a word that no pair has says nothing
    many, lamps = ({part: told[row, i] for part, row in lexicon.parts.items()} for i in (0, 1))
    assert max(many, key=many.__getitem__) == "count"
    assert max(lamps, key=lamps.__getitem__) == "lamps!"


def test_one_step_of_the_lexicon_equals_a_case_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tao_reward_sql.lexicon.ROUNDS", 1)
    monkeypatch.setattr("tao_reward_sql.lexicon.SMOOTHING", 0.0)
    lexicon = Lexicon.learnt([(["a", "b"], ["x"]), (["a"], ["y"])])
    # at first all parts say the same: each word of a question is shared alike by NOTHING and the query's part
    assert lexicon.table[lexicon.parts["x"]] == pytest.approx([0.5, 0.5])
    assert lexicon.table[lexicon.parts["y"]] == pytest.approx([1.0, 0.0])
    assert lexicon.table[lexicon.parts[NOTHING]] == pytest.approx([2 / 3, 1 / 3])


def test_values_and_numbers_are_read_as_such(shop: Path) -> None:
    told = told_by(read("How many lamps of Sol lamp cost 20 or 20?", shop))
    assert told.words == ("how", "many", "<text>", "of", "cost", "<number>", "or")
    assert told.first == ("how", "many", "<text>", "of")
    assert told.around["20"] == (("cost", "or"), ("or", ""))
    assert told.around["lamps"] == (("many", "of"),)


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("Which lamp has the highest price?", {"<most>"}),
        ("Which lamp has the fewest sales?", {"<least>"}),
        ("The cheapest of the biggest lamps", {"<most>", "<least>"}),
        ("Lamps of at most 5 and at least 3", set()),
    ],
)
def test_superlatives_have_a_word_in_common(shop: Path, question: str, kinds: set[str]) -> None:
    assert {word for word in told_by(read(question, shop)).words if word.endswith("st>")} == kinds


def test_without_examples_or_on_other_engines_it_says_so_or_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(tao_hub.UsageError, match="no examples to learn from"):
        Compose(Compose.Options())
    duckdb = pytest.importorskip("duckdb")
    file = tmp_path / "shop.duckdb"
    with duckdb.connect(str(file)) as db:
        db.execute("CREATE TABLE product (name TEXT)")
    assert composed(file, "How many products in lamps?") == []


@pytest.mark.slow
def test_on_backoffice_it_finds_what_the_shipped_policy_does_not() -> None:
    """Of 60 questions of dev more than two thirds have a right query among eight; the shipped policy answers 43%."""
    suite = Backoffice()
    pairs = [(read(p.text, database()), str(p.reference)) for p in suite.prompts("seed")]
    parts = Parts.learnt(pairs, tables_of(database()))
    match = Match(Match.Options(**suite.options_for("sql/match")))
    right = []
    for prompt in list(suite.prompts("dev"))[:60]:
        queries = [sql for sql, _ in islice(Composer(parts).queries(read(prompt.text, database())), 8)]
        right.append(any(score.value for score in match.score_batch([(prompt, Candidate("", sql)) for sql in queries])))
    match.close()
    assert sum(right) > 40


def lexicon(file: Path, question: str, *queries: str) -> list[tao_hub.Score]:
    reward = LexiconReward(LexiconReward.Options(examples=[{"input": q, "output": sql} for q, sql in EXAMPLES]))
    prompt = Prompt((Message("user", question),), meta={"db": str(file)})
    return list(reward.score_batch([(prompt, Candidate(prompt.digest, sql)) for sql in queries]))


def test_the_lexicon_prefers_the_query_whose_parts_the_words_ask_for(shop: Path) -> None:
    right, *wrong = lexicon(
        shop, "How many products in lamps cost more than 15?",
        "SELECT COUNT(*) FROM product WHERE category = 'lamps' AND price > 15",
        "SELECT name FROM product WHERE category = 'lamps' AND price > 15",
        "SELECT COUNT(*) FROM product WHERE price > 15",
        "SELECT COUNT(*) FROM sale JOIN product ON product.id = sale.product_id WHERE product.category = 'lamps'",
        "SELECT category, COUNT(*) FROM product WHERE price > 15 GROUP BY category",
    )  # fmt: skip
    assert right.value is not None
    assert right.value == pytest.approx(sum(right.parts.values()))
    assert all(other.value is not None and other.value < right.value for other in wrong)
    assert [s.parts["unsaid"] < 0 for s in (right, *wrong)] == [False, False, True, True, True]


def test_the_first_words_tell_what_is_asked_for(shop: Path) -> None:
    pairs = [
        ("which product has the highest price",
         "SELECT name FROM product WHERE price = (SELECT MAX(price) FROM product)"),
        ("which category has the highest stock",
         "SELECT category FROM product WHERE stock = (SELECT MAX(stock) FROM product)"),
        ("which product is in lamps", "SELECT name FROM product WHERE category = 'lamps'"),
        ("which category has Sol lamp", "SELECT category FROM product WHERE name = 'Sol lamp'"),
    ]  # fmt: skip
    parts = Parts.learnt([(read(q, shop), sql) for q, sql in pairs], tables_of(shop))
    best = "FROM product WHERE price = (SELECT MAX(price) FROM product)"
    name, category = f"SELECT name {best}", f"SELECT category {best}"
    one = "which category has the product of the highest price"
    two = "which product of the category has the highest price"
    of_one, of_two = ({q: parts.likelihood(q, read(text, shop)) for q in (name, category)} for text in (one, two))
    assert {q: p["words"] for q, p in of_one.items()} == pytest.approx({q: p["words"] for q, p in of_two.items()})
    assert of_one[category]["asked"] > of_one[name]["asked"]
    assert of_two[name]["asked"] > of_two[category]["asked"]


def test_what_has_no_parts_is_explained_by_nothing(shop: Path) -> None:
    union, right = lexicon(
        shop, "How many products in lamps?", "SELECT name FROM product UNION SELECT sold_on FROM sale",
        "SELECT COUNT(*) FROM product WHERE category = 'lamps'",
    )  # fmt: skip
    assert union.parts["unsaid"] < 0
    assert union.parts["words"] < right.parts["words"]
    assert union.parts["parts"] < right.parts["parts"]


def test_the_lexicon_ranks_as_queries_are_composed(shop: Path) -> None:
    parts = Parts.learnt([(read(q, shop), sql) for q, sql in EXAMPLES], tables_of(shop))
    asked = read("How many products in lamps cost more than 15?", shop)
    known = [word for word in told_by(asked).words if word in parts.lexicon.words]
    for sql, total in list(Composer(parts).queries(asked))[:5]:
        found = parts.likelihood(sql, asked)
        # the same sum but for the smoothing of what is rare
        assert len(known) * sum(found.values()) == pytest.approx(total, abs=1.5)


def test_a_query_that_examples_have_as_a_whole_is_likelier_than_its_parts_tell(shop: Path) -> None:
    sketches = [found[0] for q, sql in EXAMPLES if (found := sketch_of(sql, read(q, shop), tables_of(shop).folded))]
    seen, share = sketches[0], 1 / len(sketches)
    more = wholes_of(sketches, lambda _: math.log(0.05))[Frame.of(seen)]
    # of what is asked, 15% is asked as a whole: 0.85 · 0.05 + 0.15 / 9 instead of 0.85 · 0.05
    assert more[held_by(seen.conditions)] == pytest.approx(math.log((0.85 * 0.05 + 0.15 * share) / (0.85 * 0.05)))
    assert held_by([]) not in more
    assert wholes_of(sketches, lambda _: -20.0)[Frame.of(seen)][held_by(seen.conditions)] == 0.5  # a hint, no more

    parts = Parts.learnt([(read(q, shop), sql) for q, sql in EXAMPLES], tables_of(shop))
    asked, seen_sql = read("List the products in lamps", shop), "SELECT name FROM product WHERE category = 'lamps'"
    words = len([word for word in told_by(asked).words if word in parts.lexicon.words])

    def judged() -> tuple[float, float]:
        return words * parts.likelihood(seen_sql, asked)["parts"], dict(Composer(parts).queries(asked))[seen_sql]

    told = sketch_of(seen_sql, asked, parts.tables)
    assert told is not None
    hint = parts.wholes[Frame.of(told[0])][held_by(told[0].conditions)]  # an example asks for chairs
    with_hint = judged()
    parts.wholes, parts.seen = {}, {}
    assert [a - b for a, b in zip(with_hint, judged())] == pytest.approx([hint, hint])
    assert hint > 0.2


def test_the_order_of_conditions_does_not_make_another_whole(shop: Path) -> None:
    asked = read("products in chairs that cost more than 9", shop)
    one, other = (
        sketch_of(f"SELECT name FROM product WHERE {where}", asked, tables_of(shop).folded)
        for where in ("category = 'chairs' AND price > 9", "price > 9 AND category = 'chairs'")
    )
    assert one is not None
    assert other is not None
    assert one[0].conditions != other[0].conditions
    assert held_by(one[0].conditions) == held_by(other[0].conditions)


def test_what_stands_around_a_number_tells_where_it_belongs(shop: Path) -> None:
    question = "Show the 40 products that cost more than 2 with the highest price"
    found = composed(shop, question)
    assert any("price > 2 " in sql and sql.endswith("LIMIT 40") for sql in found[:2])
    right, swapped = lexicon(
        shop, question,
        "SELECT name FROM product WHERE price > 2 AND price IS NOT NULL ORDER BY price DESC LIMIT 40",
        "SELECT name FROM product WHERE price > 40 AND price IS NOT NULL ORDER BY price DESC LIMIT 2",
    )  # fmt: skip
    assert right.parts["around"] > swapped.parts["around"]
    assert {k: v for k, v in right.parts.items() if k != "around"} == pytest.approx(
        {k: v for k, v in swapped.parts.items() if k != "around"}
    )


def test_gains_of_places_equal_a_case_by_hand() -> None:
    places = Places([(["limit"], ("top", "x")), (["limit"], ("top", "y")), (["price"], ("than", ""))])
    told = told_by(read_nothing("top 5 x"))
    # before: (2 + 2·s)/(2 + 2)/s with s = 2.1/4; after: (1 + 2·t)/(2 + 2)/t with t = 1.1/4
    s, t = 2.1 / 4, 1.1 / 4
    assert places.gain(["limit"], "5", told) == pytest.approx(
        np.log((2 + 2 * s) / 4 / s) + np.log((1 + 2 * t) / 4 / t)
    )
    assert places.gain(["limit"], "7", told) == 0.0  # it does not stand in the question


def read_nothing(text: str) -> Asked:
    return Asked(text, frozenset(), (), (), ("5",), frozenset())
