"""Questions for drawn queries: a grammar draws what can be asked, the sandbox keeps what is worth it, a model asks."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from conftest import Run, Site, hub_of, installed, read_rows, write_rows
from spider import Spider
from sqlglot import exp
from tao_demo.office.suite import Backoffice, database
from tao_reward_sql.backwards import Backwards, canonical, unfit, useful
from tao_reward_sql.gate import parse
from tao_reward_sql.grammar import Draft, Grammar
from tao_reward_sql.sandbox import Limits, Sandbox
from tao_reward_sql.tables import Link, tables_of
from tiny import make_tiny_llama

from tao_hub import Message, Prompt, Ref, Session, Synthesis, UsageError, synthesize

# Asks what it can ask: how many rows, or which; for another query it says the query again.
WRITER = r"""
import re
import tao_hub
from tao_hub.builtin.generators import Echo

class Writer(Echo):
    def generate(self, requests, sampling):
        for i, request in enumerate(requests):
            yield i, [tao_hub.Completion(self.asked(request.prompt.text))] * request.n

    def asked(self, sql):
        found = re.fullmatch(r"SELECT (COUNT\(\*\)|name) FROM product WHERE (.*)", sql)
        if not found or "(" in found[2] or "NULL" in found[2]:
            return sql
        sides = [re.fullmatch(r"(\w+) (=|<|>) '?(.*?)'?", part).groups() for part in found[2].split(" AND ")]
        signs = {"=": "", "<": "below ", ">": "above "}
        told = " and ".join(f"{name} {signs[sign]}{value}" for name, sign, value in sides)
        return "Question: " + ("How many" if "COUNT" in sql else "Which") + f" products with {told} are there?"

@tao_hub.hookimpl
def register_generators(register):
    register("writer", Writer)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    file = tmp_path / "data" / "shop.sqlite"
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as db:
        db.executescript(
            "CREATE TABLE maker (id INTEGER PRIMARY KEY, name TEXT, country TEXT);"
            "CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT, kind TEXT, price REAL, sold INTEGER, made TEXT,"
            " maker_id INTEGER REFERENCES maker (id));"
            'CREATE TABLE "order" (id INTEGER PRIMARY KEY, "Unit Price" REAL, product_id INTEGER REFERENCES product);'
        )
        makers = [(i, f"Maker {'ABCD'[i]}", ("Norway", "Spain")[i % 2]) for i in range(4)]
        db.executemany("INSERT INTO maker VALUES (?, ?, ?)", makers)
        for i in range(40):
            row = (i, f"Thing {'ABCDEFGH'[i % 8]}{i // 8}", ("lamps", "rugs", "desks")[i % 3], 5 + 7.5 * i, i % 4 == 0)
            db.execute("INSERT INTO product VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, f"20{20 + i % 4}-05-01", i % 3))
            db.execute('INSERT INTO "order" VALUES (?, ?, ?)', (i, None if i % 9 == 0 else 3 * i, i % 11))
        db.commit()
    return file


def asked(question: str = "q", db: str = "") -> Prompt:
    meta = {"db": db} if db else {}
    return Prompt((Message("system", "Write SQL."), Message("user", question)), meta=meta)


def drawn(file: Path, n: int, **options: object) -> list[str]:
    strategy = Backwards(Backwards.Options(db=str(file), **options))
    return [prompt.text for prompt in strategy.proposals([asked("one"), asked("two")], n)]


def test_what_is_drawn_runs_gives_rows_and_is_drawn_once() -> None:
    queries = drawn(database(), 150)
    assert len(queries) == 150
    assert len({canonical(sql) for sql in queries}) == 150
    with closing(sqlite3.connect(database())) as db:
        for sql in queries:
            rows = db.execute(sql).fetchall()
            assert 1 <= len(rows) <= 200, sql
            assert any(value not in (None, 0) for row in rows for value in row), sql
        texts = {v for t in tables_of(database()).tables.values() for c in t.columns for v in c.values}
    trees = [parse(sql) for sql in queries]
    named = [n.this for t in trees for n in t.find_all(exp.Literal) if n.is_string and isinstance(n.parent, exp.EQ)]
    assert {text for text in named if not text.isdigit()} <= texts  # years are parts of dates
    for kind in (exp.Join, exp.Group, exp.Having, exp.Limit, exp.Avg, exp.Distinct, exp.In, exp.Subquery, exp.GT):
        assert sum(tree.find(kind) is not None for tree in trees) >= 2, kind


def test_the_same_seed_draws_the_same_queries_and_more_of_them_begin_alike(shop: Path) -> None:
    queries = drawn(shop, 40)
    assert drawn(shop, 40) == queries
    assert drawn(shop, 12) == queries[:12]
    other = drawn(shop, 40, seed=1)
    assert len(set(other) & set(queries)) < 30
    shown = Backwards.Options(db=str(shop), examples=[{"input": "x", "output": f"{queries[0]};"}])
    (first,) = Backwards(shown).proposals([asked()], 1)
    assert first.text == queries[1]  # what is shown is not drawn


def test_each_database_of_the_split_gets_its_share(tmp_path: Path, shop: Path) -> None:
    with closing(sqlite3.connect(shop.with_name("pets.sqlite"))) as db:
        db.execute("CREATE TABLE pet (name TEXT, weight REAL)")
        db.executemany("INSERT INTO pet VALUES (?, ?)", [(f"Pet {chr(65 + i)}", i) for i in range(9)])
        db.commit()
    strategy = Backwards(Backwards.Options(databases=str(shop.parent)))
    found = strategy.proposals([asked("a", "shop"), asked("b", "pets"), asked("c", "shop")], 20)
    assert [p.meta["db"] for p in found[:4]] == ["shop", "pets", "shop", "pets"]
    assert len(found) == 20
    assert all(("pet" in p.text) == (p.meta["db"] == "pets") for p in found)
    assert all(p.messages[0].content == "Write SQL." and p.reference is None for p in found)


def test_only_results_worth_a_question_are_kept(shop: Path) -> None:
    worth = Draft("COUNT(*)", "product", ("kind = 'lamps'",))
    trivial = {
        "no row": Draft("name", "product", ("kind = 'cars'",)),
        "nothing but 0": Draft("COUNT(*)", "product", ("kind = 'cars'",)),
        "nothing but NULL": Draft("MAX(price)", "product", ("kind = 'cars'",)),
        "a condition that all rows meet": Draft("name", "product", ("kind = 'lamps'", "price > 1")),
        "a group condition that all meet": Draft("kind", "product", group="kind", having="COUNT(*) > 1"),
        "too many rows": Draft("name", "product", ("price > 20",)),
        "a tie where it cuts off": Draft("name", "product", order="sold DESC", limit=3),
        "a limit that cuts nothing off": Draft("kind", "product", group="kind", order="COUNT(*)", limit=3),
        "one group": Draft("kind, COUNT(*)", "product", ("kind = 'lamps'",), group="kind"),
        "an error": Draft("COUNT(*)", "product", ("colour = 'red'",)),
    }
    with Sandbox(limits=Limits(rows=30)) as sandbox:
        assert useful(worth, shop, sandbox)
        assert useful(Draft("name", "product", order="price DESC", limit=3), shop, sandbox)
        assert useful(Draft("kind", "product", group="kind", having="AVG(price) > 150"), shop, sandbox)
        assert [why for why, draft in trivial.items() if useful(draft, shop, sandbox)] == []


def test_a_canonical_form_does_not_depend_on_case_or_order_of_conditions() -> None:
    one = canonical("SELECT Name FROM product WHERE price > 5 AND kind = 'lamps' AND sold = 1")
    assert canonical("select name from PRODUCT where sold = 1 and KIND = 'lamps' and price > 5") == one
    assert canonical('SELECT "name" FROM product WHERE sold = 1 AND kind = \'lamps\' AND price > 5') == one
    assert canonical("SELECT name FROM product WHERE sold = 1 AND kind = 'Lamps' AND price > 5") != one
    assert canonical("SELECT name FROM product WHERE price > 5 OR kind = 'lamps'") != one


def test_columns_are_told_apart_and_keys_join(shop: Path) -> None:
    found = tables_of(shop)
    kinds = {c.name: c.kind for c in found.tables["product"].columns}
    assert kinds == {
        "id": "key", "name": "name", "kind": "class", "price": "number", "sold": "flag", "made": "date",
        "maker_id": "key",
    }  # fmt: skip
    assert found.links == (Link("order", "product_id", "product", "id"), Link("product", "maker_id", "maker", "id"))
    assert found.tables["order"].columns[1].nulls
    queries = drawn(shop, 80)
    assert any('"order"' in sql and '"Unit Price"' in sql for sql in queries)
    assert any("JOIN maker ON maker.id = product.maker_id" in sql for sql in queries)


def test_without_declared_keys_columns_of_one_name_join_if_their_values_do(tmp_path: Path) -> None:
    file = tmp_path / "geo.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.executescript(
            "CREATE TABLE state (state_name TEXT, area REAL, rank INTEGER);"
            "CREATE TABLE city (city_name TEXT, state_name TEXT, rank INTEGER);"
            "CREATE TABLE empty (state_name TEXT);"
        )
        db.executemany("INSERT INTO state VALUES (?, ?, ?)", [(f"S{chr(97 + i)}", i, i) for i in range(9)])
        cities = [(f"C{chr(97 + i)}", f"S{chr(97 + i % 5)}", i % 9) for i in range(26)]
        db.executemany("INSERT INTO city VALUES (?, ?, ?)", cities)
        db.commit()
    found = tables_of(file)
    assert found.links == (Link("city", "state_name", "state", "state_name"),)
    assert set(found.tables) == {"state", "city"}
    queries = drawn(file, 60)
    assert any("JOIN state" in sql for sql in queries)
    for sql in queries:  # the city has its state's name: nothing is joined for that
        assert "state.state_name" not in sql.replace("ON state.state_name = city.state_name", ""), sql
    nothing = tmp_path / "nothing.sqlite"
    sqlite3.connect(nothing).close()
    assert drawn(nothing, 3) == []


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("How many lamps cost over 100?", ""),
        ("How many lamps cost over 90?", "does not name"),
        ("How many cost over 100?", "does not name"),
        ("How many lamps from Spain cost over 100?", "has not"),
        ("How many of the 7 lamps cost over 100?", "has not"),
        ("What is the average price of lamps over 100?", "other operations"),
        ("SELECT COUNT(*) of lamps over 100", "wrote a query"),
    ],
)
def test_a_question_is_refused_that_cannot_be_the_querys(shop: Path, question: str, why: str) -> None:
    found = unfit(question, "SELECT COUNT(*) FROM product WHERE kind = 'lamps' AND price > 100", shop)
    assert why in found
    assert bool(found) == bool(why)


def test_exclusions_and_groups_have_to_be_asked_for(shop: Path) -> None:
    groups = "SELECT kind, COUNT(*) FROM product GROUP BY kind"
    assert not unfit("How many products are there of each kind?", groups, shop)
    assert "other operations" in unfit("How many products are there?", groups, shop)
    others = "SELECT COUNT(*) FROM product WHERE kind <> 'lamps'"
    assert not unfit("How many products are not lamps?", others, shop)
    assert "other operations" in unfit("How many products are lamps?", others, shop)


def test_questions_that_people_wrote_for_their_queries_fit() -> None:
    pairs = [(p.text, str(p.reference)) for split in ("seed", "dev") for p in Backoffice().prompts(split)]
    right = sum(not unfit(question, sql, database()) for question, sql in pairs)
    crossed = sum(not unfit(question, sql, database()) for (question, _), (_, sql) in zip(pairs, pairs[7:]))
    assert right >= 0.95 * len(pairs)
    assert crossed <= 0.05 * len(pairs)


def test_worked_examples_are_shown_the_other_way_round() -> None:
    options = Backoffice().options_for("sql/backwards")
    strategy = Backwards(Backwards.Options(**options))
    sql = "SELECT COUNT(*) FROM customers WHERE city = 'Lyon'"
    (one,) = strategy.variants(asked(sql), 1)
    assert [m.role for m in one.messages] == ["system", *["user", "assistant"] * 8, "user"]
    assert one.messages[-3].content.startswith("SELECT COUNT(*) FROM customers WHERE city = ")  # the most alike is last
    assert one.messages[-2].content.startswith(("How many", "Tell me how many", "What is the number", "Give me the"))
    assert one.text == sql
    assert strategy.worked_examples() == len(options["examples"]) == 200
    trained = Backwards(Backwards.Options(**options, trained=True))
    assert [m.content for m in trained.variants(asked("SELECT 1"), 1)[0].messages] == ["SELECT 1"]
    assert trained.worked_examples() == 0


@pytest.fixture
def suite(shop: Path) -> Ref:
    said: Sequence[str] = ("Which lamps?", "Which rugs?")
    rows = ({"prompt": [{"role": "system", "content": "Write SQL."}, {"role": "user", "content": q}],
             "meta": {"db": "shop"}} for q in said)  # fmt: skip
    write_rows(shop.with_name("prompts.jsonl"), *rows)
    return Ref("core/jsonl", {"path": str(shop.parent)})


def test_new_questions_are_apart_from_what_is_measured_and_hold_no_query(
    site: Site, tmp_path: Path, shop: Path, suite: Ref
) -> None:
    way = Ref("sql/backwards", {"databases": str(shop.parent)})
    hub = hub_of(site.add("writer", WRITER), *installed("sql"))
    with Session(tmp_path / "s.db", hub) as session:
        first = synthesize(session, Synthesis(suite, "prompts", way, 120, "writer/writer"), tmp_path / "first.jsonl")
    assert first["left_out"]["wrote a query, not a question"] > 5
    texts = [row["prompt"][-1]["content"] for row in read_rows(tmp_path / "first.jsonl")]
    assert len(texts) >= 5
    write_rows(shop.with_name("test.jsonl"), {"prompt": texts[0].upper(), "reference": "SELECT 1"})
    wanted = Synthesis(suite, "prompts", way, 120, "writer/writer", pairs=tmp_path / "pairs.jsonl")
    with Session(tmp_path / "s.db", hub) as session:  # what was drawn is in the store: nothing is asked again
        told = synthesize(session, wanted, tmp_path / "new.jsonl")
        assert "generate" not in session.clock
    assert told["left_out"]["repeats test"] == 1
    rows = read_rows(tmp_path / "new.jsonl")
    assert [row["prompt"][-1]["content"] for row in rows] == texts[1:]
    assert all(row.keys() == {"id", "prompt", "meta"} and row["meta"] == {"db": "shop"} for row in rows)
    assert all(row["prompt"][0]["content"] == "Write SQL." for row in rows)
    assert "SELECT" not in json.dumps(rows)
    pairs = read_rows(tmp_path / "pairs.jsonl")
    assert [(p["id"], p["prompt"]) for p in pairs] == [(r["id"], r["prompt"][-1]["content"]) for r in rows]
    assert all(p["response"].startswith("SELECT ") for p in pairs)
    with Session(tmp_path / "s.db", hub) as session, pytest.raises(UsageError, match="exists"):
        synthesize(session, wanted, tmp_path / "again.jsonl")
    assert not (tmp_path / "again.jsonl").exists()


def test_a_model_of_the_way_back_asks_for_what_is_drawn(run: Run, tmp_path: Path, shop: Path, suite: Ref) -> None:
    learnt = drawn_by_suite(shop, 18)
    write_rows(tmp_path / "pairs.jsonl", *({"prompt": question(sql), "response": sql} for sql in learnt))
    texts = [text for sql in learnt for text in (sql, question(sql))]
    make_tiny_llama(tmp_path / "tiny", texts=texts, hidden=64)
    quick = ("learning_rate=1e-2", "epochs=40", "batch_size=6", "lora_rank=0", "dtype=float32")
    options = itertools.chain.from_iterable(("-o", option) for option in quick)
    made = run("train-backward", "--pairs", "pairs.jsonl", "--start", tmp_path / "tiny", "--out", "back", *options)
    assert made.code == 0, made.err
    call = ("prompts", "synthesize", "jsonl", "--suite-option", f"path={shop.parent}", "--way", "sql/backwards",
            "-o", f"databases={shop.parent}", "-o", "trained=true", "-o", "fit=false", "-n", 12, "--policy", "back",
            "--temperature", 0.01)  # fmt: skip
    new = run(*call, "--output", "new.jsonl", "--pairs", "new-pairs.jsonl", "--json")
    assert new.code == 0, new.err
    assert new.json["from"] == 18
    assert new.json["worked_examples"] == 0
    pairs = read_rows(tmp_path / "new-pairs.jsonl")
    assert len(pairs) == new.json["written"] >= 8
    assert sum(pair["prompt"] == question(pair["response"]) for pair in pairs) >= 0.8 * len(pairs)


def drawn_by_suite(shop: Path, n: int) -> list[str]:
    """What the strategy draws for the suite: for its system message and its name of the database."""
    strategy = Backwards(Backwards.Options(databases=str(shop.parent)))
    return [prompt.text for prompt in strategy.proposals([asked("q", "shop")], n)]


def question(sql: str) -> str:
    """A wording by rule, another one for each query."""
    words = sql.replace("SELECT", "show").replace("FROM", "of").replace("WHERE", "where").replace("'", "")
    return f"Please {words}"


def test_what_cannot_be_done_is_said(run: Run, tmp_path: Path, shop: Path, suite: Ref) -> None:
    call = ("prompts", "synthesize", "jsonl", "--suite-option", f"path={shop.parent}", "--output", "new.jsonl")
    other = run(*call, "--way", "sql/values", "-o", f"databases={shop.parent}", "--pairs", "pairs.jsonl")
    assert other.code == 2
    assert "nothing to write to pairs.jsonl" in other.err
    lost = run(*call, "--way", "sql/backwards", "-o", f"databases={tmp_path}")
    assert lost.code == 2
    assert "no database 'shop'" in lost.err
    pytest.importorskip("duckdb")
    (tmp_path / "shop.duckdb").touch()
    duck = run(*call, "--way", "sql/backwards", "-o", f"databases={tmp_path}")
    assert duck.code == 2
    assert "draws for SQLite databases, found DuckDB's" in duck.err
    assert not (tmp_path / "new.jsonl").exists()


def test_real_schemas_give_queries(spider: Spider) -> None:
    for name in ("concert_singer", "world_1", "car_1", "tvshow"):
        if name in spider.files:
            tables = tables_of(spider.files[name])
            assert tables.links
            drafts = [Grammar(tables, Random(i)).query() for i in range(50)]
            assert sum(draft is not None for draft in drafts) >= 20
            assert len(drawn(spider.files[name], 20)) == 20
