"""`tao-hub sql report`, and verdicts against those that benchmarks recorded."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Run
from tao_reward_sql.compare import bird_ex, bird_rves, strict
from tao_reward_sql.executes import Executes
from tao_reward_sql.match import Match
from tao_reward_sql.sandbox import Limits, Sandbox
from tao_reward_sql.verdict import judge, judge_pairs

from tao_hub import Candidate, Message, Prompt, Score

DATA = Path(os.environ.get("TAO_HUB_DATA", ""))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    file = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE sale (id INTEGER PRIMARY KEY, item TEXT, city TEXT)")
        rows = [("lamp", "Oslo"), ("desk", "Rome"), ("lamp", "Rome"), ("sofa", "Oslo"), ("rug", "Bonn")] * 8
        db.executemany("INSERT INTO sale (item, city) VALUES (?, ?)", rows)
        db.commit()
    return file


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_semantics_stand_side_by_side_and_disagreements_are_listed(shop: Path, run: Run) -> None:
    gold = write(
        shop.parent / "gold.jsonl",
        {"id": "a", "sql": "SELECT city, count(*) FROM sale GROUP BY city", "db": "shop"},
        {"id": "b", "sql": ["SELECT DISTINCT item FROM sale", "SELECT item FROM sale GROUP BY 1"], "db": "shop"},
        {"id": "c", "sql": "SELECT count(*) FROM sale", "meta": {"db": "shop"}},
        {"id": "d", "sql": "SELECT gone FROM sale", "db": "shop"},
    )
    predicted = write(
        shop.parent / "predicted.jsonl",
        {"id": "a", "response": "```sql\nSELECT count(*), city FROM sale GROUP BY city;\n```"},
        {"id": "b", "response": "SELECT item FROM sale"},
        {"id": "d", "response": "SELECT 1 FROM sale"},
    )
    asked = ("sql", "report", predicted, "--gold", gold, "--databases", shop.parent)
    found = run(*asked, "--semantics", "strict,bird_ex", "--json").json
    assert found["n"] == 4
    assert found["semantics"]["strict"]["verdicts"] == {"mismatch": 1, "match": 1, "pred_error": 1, "gold_error": 1}
    assert found["semantics"]["bird_ex"]["right"] == 1  # the repeats of b do not count
    assert [row["n"] for row in found["semantics"].values()] == [3, 3]  # a gold that fails is nobody's zero
    assert [row["id"] for row in found["disagreements"]] == ["a", "b"]
    told = run(*asked)
    assert told.code == 0
    assert "2 of 4 judged differently" in told.out


def test_bad_input_is_told_with_file_and_line(shop: Path, run: Run) -> None:
    gold = write(shop.parent / "gold.jsonl", {"sql": "SELECT 1", "db": "shop"})
    good = write(shop.parent / "predicted.jsonl", {"response": "SELECT 1"})
    for name, rows, cure in [
        ("gold", [{"db": "shop"}], "line 1: no gold query"),
        ("gold", [{"sql": "SELECT 1"}], "line 1: no database"),
        ("gold", ['{"sql": "SELECT 1", "db": "shop"}', "nonsense"], "line 2: no JSON"),
        ("gold", [{"id": 1, "sql": "SELECT 1", "db": "shop"}] * 2, "line 2: the id '1' stands twice"),
        ("gold", [{"sql": "SELECT 1", "db": "nowhere"}], "no database 'nowhere'"),
        ("predicted", [{"id": "x", "response": "SELECT 1"}], "an id that gold does not know"),
        ("predicted", [{"response": 7}], "line 1: no text"),
    ]:  # fmt: skip
        bad = write(shop.parent / "bad.jsonl", *rows)
        files = (bad, gold) if name == "predicted" else (good, bad)
        told = run("sql", "report", files[0], "--gold", files[1], "--databases", shop.parent)
        assert told.code == 2, told
        assert cure in " ".join(told.err.split())
    told = run("sql", "report", good, "--gold", gold, "--databases", shop.parent, "--semantics", "best")
    assert told.code == 2
    assert "no semantics 'best'" in told.err


def test_a_match_by_chance_fails_on_other_data(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shop.parent / "cache"))
    gold = "SELECT item FROM sale WHERE city = 'Bonn'"
    prompt = Prompt((Message("user", "?"),), reference=gold, meta={"db": str(shop)})
    by_chance = Candidate("", "SELECT item FROM sale WHERE item = 'rug'")  # all rugs are sold in Bonn
    values = []
    for perturbed in (0, 3):
        reward = Match(Match.Options(perturbed=perturbed))
        (score,) = reward.score_batch([(prompt, by_chance)])
        assert isinstance(score, Score)
        values.append((score.value, score.why[:27]))
        reward.close()
    assert values[0] == (1.0, "match")
    assert values[1] == (0.0, "mismatch: with other data (")


def test_bird_rves_rewards_speed_and_nothing_that_is_wrong(shop: Path) -> None:
    assert [bird_rves(ratio) for ratio in (3, 2, 1.5, 1, 0.7, 0.3, 0.1)] == [1.25, 1.25, 1.0, 1.0, 0.75, 0.5, 0.25]
    fast = "SELECT count(*) FROM sale"
    slow = "SELECT count(DISTINCT a.id) FROM sale a, sale b, sale c WHERE b.id > 0 AND c.id > 0"
    with Sandbox(1, Limits()) as sandbox:
        assert judge(sandbox, shop, slow, fast, "bird_rves").value == 1.25
        assert judge(sandbox, shop, fast, slow, "bird_rves").value == 0.25
        assert judge(sandbox, shop, fast, "SELECT 7", "bird_rves").value == 0.0


def test_a_task_that_kills_its_process_costs_itself_alone(shop: Path) -> None:
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t"
    pairs = [(shop, "SELECT count(*) FROM sale", f"SELECT {40 + (i % 2)}") for i in range(90)]
    pairs.insert(45, (shop, "SELECT 1", endless))
    with Sandbox(2, Limits(seconds=1.0)) as sandbox:
        told = list(judge_pairs(sandbox, pairs, "bird_ex"))
        names = [verdict.name for verdict in told]
        assert names[45] == "timeout"
        assert names[:45] + names[46:] == ["match", "mismatch"] * 45


def test_all_workers_share_what_a_reward_runs(shop: Path) -> None:
    prompt = Prompt((Message("user", "?"),), reference="SELECT count(*) FROM sale", meta={"db": str(shop)})
    pairs = [(prompt, Candidate("", f"SELECT count(*) + {i} FROM sale")) for i in range(40)]
    for reward in (Match(Match.Options(workers=2)), Executes(Executes.Options(workers=2))):
        values = [score.value for score in reward.score_batch(pairs) if isinstance(score, Score)]
        assert values == ([1.0] + [0.0] * 39 if isinstance(reward, Match) else [1.0] * 40)
        assert [worker._process is not None for worker in reward.sandbox._workers] == [True, True]
        reward.close()


def test_recorded_verdicts_of_birds_mini_dev_are_reproduced() -> None:
    file = DATA / "bird-mini-dev" / "bird_sqlite_test_benchmark-predictions_eval.json.gz"
    if not file.is_file():
        pytest.skip("needs $TAO_HUB_DATA/bird-mini-dev")
    seen = 0
    for question in json.loads(gzip.decompress(file.read_bytes())):
        gold = rows(question["gt_df"])
        for made in question["predictions"].values():
            flags, table = made["evaluation"], made.get("predicted_df")
            if flags["eval_error"]:  # the record has no verdict on it
                continue
            assert bool(table) != bool(flags["df_error"])
            predicted = rows(table) if table else None
            assert (predicted is not None and bird_ex(gold, predicted)) == flags["bird_execution_accuracy"]
            assert (predicted is not None and not strict(gold, predicted)) == flags["execution_accuracy"]
            nonempty = predicted is not None and bool(predicted) and not strict(gold, predicted)
            assert nonempty == flags["non_empty_execution_accuracy"]
            seen += 1
    assert seen == 29


def rows(table: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in json.loads(table)["data"]]
