"""The store: schema, one writer, what is owed, and identities that never mix."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Run, Site, hub_of, write_rows

from tao_hub import Candidate, Message, Prompt, Ref, Sampling, Score, Session, Store, StoreError
from tao_hub.history import History
from tao_hub.lock import writer
from tao_hub.loop import generate, score
from tao_hub.migrations import migrations
from tao_hub.store import Member, Slice
from tao_hub.stored import response_key

SUITE = {
    "kind": "suite", "name": "x/s", "distribution": "x", "version": "1", "source": "", "options": {},
}  # fmt: skip


def prompts(count: int, start: int = 0, reference: Any = None) -> list[Prompt]:
    numbers = range(start, start + count)
    return [Prompt((Message("user", f"question {i}"),), id=f"q{i}", reference=reference) for i in numbers]


def filled(store: Store, count: int = 3) -> tuple[Slice, Member]:
    """A slice of `count` prompts and a member of two slots, none of them filled."""
    part = store.add_items(store.component(SUITE), "all", prompts(count))
    policy = store.policy("ab" * 16, Ref("core/echo"))
    source = store.source({**SUITE, "kind": "strategy"}, {"name": "core/echo"}, Sampling())
    return part, Member(policy, source, 2)


def test_a_new_store_has_the_whole_schema_and_opens_again(tmp_path: Path) -> None:
    with Store(tmp_path / "deep" / "s.db") as store:
        assert {"prompts", "candidates", "scores", "rounds", "evals", "deltas"} <= set(store.db.table_names())
        assert store.one("PRAGMA journal_mode") == ("wal",)
        filled(store)
    with Store(tmp_path / "deep" / "s.db") as store:
        assert store.one("SELECT count(*) FROM prompts") == (3,)
        assert [m.name for m in migrations.pending(store.db)] == []


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path / "s.db").close()

    def half_done(db: Any) -> None:
        db.execute("CREATE TABLE half (x)")
        raise sqlite3.OperationalError("power cut")

    kept = list(migrations._migrations)
    monkeypatch.setattr(migrations, "_migrations", [*kept, migrations._Migration("half_done", half_done)])
    with pytest.raises(StoreError, match="power cut"):
        Store(tmp_path / "s.db")
    with pytest.raises(StoreError, match="older schema"):
        Store(tmp_path / "s.db", write=False)
    monkeypatch.setattr(migrations, "_migrations", kept)
    with Store(tmp_path / "s.db") as store:
        assert "half" not in store.db.table_names()


def test_a_store_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        store.db.table("_sqlite_migrations").insert(
            {"migration_set": "tao_hub", "name": "from_the_future", "applied_at": "2031"}
        )
    for write in (True, False):
        with pytest.raises(StoreError, match=r"newer tao-hub.*from_the_future.*upgrade"):
            Store(tmp_path / "s.db", write=write)


def test_other_files_are_refused_and_left_as_they_were(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE accounts (x)")
    db.close()
    text = tmp_path / "notes.db"
    text.write_text("these are my notes, not a database\n" * 40)
    for path, reason in ((foreign, "no tao-hub store"), (text, "not a usable store")):
        before = path.read_bytes()
        for write in (True, False):
            with pytest.raises(StoreError, match=reason):
                Store(path, write=write)
        assert path.read_bytes() == before
    with pytest.raises(StoreError, match="no store at"):
        Store(tmp_path / "absent.db", write=False)
    assert not (tmp_path / "absent.db").exists()


def test_a_second_writer_is_refused_with_the_pid_of_the_first_and_readers_are_not(tmp_path: Path, run: Run) -> None:
    code = "import sys, tao_hub; s = tao_hub.Store(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "s.db")], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=rf"being written by process {process.pid};"):
            Store(tmp_path / "s.db")
        Store(tmp_path / "s.db", write=False).close()
        refused = run("generate", "jsonl", "--policy", "core/echo", "--store", tmp_path / "s.db")
        assert refused.code == 2
        assert str(process.pid) in refused.err
        if Path("/proc/locks").exists():
            assert writer(tmp_path / "s.db") == str(process.pid)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
    assert writer(tmp_path / "s.db") == ""
    Store(tmp_path / "s.db").close()  # the lock died with its holder


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not list its locks")
def test_a_run_that_is_being_worked_on_is_not_called_interrupted(tmp_path: Path, run: Run) -> None:
    with Session(tmp_path / "s.db") as session:
        History(session.store).begin("mine", {}, "", {})
        told = run("runs", "--store", "s.db").out
        assert f"unfinished (process {os.getpid()} is writing)" in told
        assert run("report", "--store", "s.db", "--format", "json").json["status"].startswith("unfinished (process")
    assert "interrupted (same command resumes)" in run("runs", "--store", "s.db").out
    assert run("report", "--store", "s.db", "--format", "json").json["status"] == "interrupted"


def test_a_store_without_a_run_says_so(tmp_path: Path, run: Run) -> None:
    Store(tmp_path / "s.db").close()
    for command in ("report", "show"):
        refused = run(command, "--store", "s.db")
        assert refused.code == 2
        assert refused.err.endswith("yet; `tao-hub tune` makes one\n")
        assert "''" not in refused.err


def test_owed_slots_are_exactly_the_missing_ones(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        part, member = filled(store)
        rows = [row for row, _ in store.prompts(part)]
        assert store.owed_slots(part, member) == [(row, 0) for row in rows]
        store.add_candidates(member, [(rows[0], Candidate("", "a", index=i)) for i in range(2)])
        store.add_candidates(member, [(rows[2], Candidate("", "b", index=1))])
        assert store.owed_slots(part, member) == [(rows[1], 0), (rows[2], 1)]
        assert store.slots(rows[2], member) == {1}
        assert store.owed_slots(replace(part, count=1), member) == []
        assert store.owed_slots(part, replace(member, n=3)) == [(rows[0], 2), (rows[1], 0), (rows[2], 1)]


def test_a_slot_that_is_filled_keeps_what_it_has(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        part, member = filled(store)
        (row, _), *_ = store.prompts(part)
        first = Candidate("", "first", "raw", logprobs=(-0.5, -1.0), output_tokens=2, seconds=0.1, parents=(4,))
        store.add_candidates(member, [(row, first)])
        before = list(store.rows("SELECT * FROM candidates"))
        store.add_candidates(member, [(row, replace(first, response="second"))])
        assert list(store.rows("SELECT * FROM candidates")) == before
        (kept,) = store.group(row, [member], {}).candidates
        assert (kept.response, kept.raw, kept.logprobs, kept.parents) == ("first", "raw", (-0.5, -1.0), (4,))
        assert (kept.policy, kept.strategy) == ("ab" * 16, "x/s")


def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        part, member = filled(store)
        rows = [row for row, _ in store.prompts(part)]
        with pytest.raises(sqlite3.IntegrityError):
            store.add_candidates(member, [(rows[0], Candidate("", "a")), (999, Candidate("", "no such prompt"))])
        assert store.one("SELECT count(*) FROM candidates") == (0,)


def owed(store: Store, part: Slice, reward: int, members: Sequence[Member], reference: bool = False) -> list[Any]:
    return [row for page in store.owed_scores(part, reward, members, reference) for row in page]


def test_owed_scores_are_exactly_the_missing_ones_and_equal_answers_share_one(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        part, member = filled(store)
        rows = [row for row, _ in store.prompts(part)]
        said = [Candidate("", text, index=i) for i, text in enumerate(["same", "same"])]
        failed = Candidate("", "", index=0, error="no answer")
        store.add_candidates(member, [(rows[0], c) for c in said] + [(rows[1], failed)] + [(rows[2], said[0])])
        reward = store.component({**SUITE, "kind": "reward"})
        waiting = owed(store, part, reward, [member])
        assert [(row, c.response) for row, _, _, c in waiting] == [(rows[0], "same")] * 2 + [(rows[2], "same")]
        store.add_scores(reward, [(rows[0], response_key(said[0]), b"", Score(1.0, why="x", parts={"p": 0.5}))])
        assert [row for row, *_ in owed(store, part, reward, [member])] == [rows[2]]
        group = store.group(rows[0], [member], {"r": (reward, False)})
        assert [s["r"] for s in group.scores] == [Score(1.0, why="x", parts={"p": 0.5})] * 2
        store.add_scores(reward, [(rows[2], response_key(said[0]), b"", Score.failed(ValueError("no")))])
        assert owed(store, part, reward, [member]) == []
        assert store.score_counts(reward) == {"scored": 1, "errors": 1}
        assert store.forget_errors(part, reward) == 1
        assert [row for row, *_ in owed(store, part, reward, [member])] == [rows[2]]


def test_a_score_with_neither_value_nor_error_cannot_be_stored(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        part, _ = filled(store)
        (row, _), *_ = store.prompts(part)
        reward = store.component({**SUITE, "kind": "reward"})
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            store.db.execute("INSERT INTO scores VALUES (?, ?, x'00', x'', NULL, NULL, '', '{}')", [reward, row])


def test_a_score_belongs_to_the_gold_it_was_made_with(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        _, member = filled(store)
        suite, reward = store.component(SUITE), store.component({**SUITE, "kind": "reward"})
        part = store.add_items(suite, "test", prompts(2, reference={"a": 1}))
        rows = [row for row, _ in store.prompts(part)]
        store.add_candidates(member, [(row, Candidate("", "x")) for row in rows])
        waiting = owed(store, part, reward, [member], reference=True)
        assert [p.reference for _, p, _, _ in waiting] == [{"a": 1}] * 2
        assert all(p.reference is None for _, p, _, _ in owed(store, part, reward, [member]))
        store.add_scores(reward, [(row, response_key(c), context, Score(1.0)) for row, _, context, c in waiting])
        assert owed(store, part, reward, [member], reference=True) == []
        mended = store.add_items(suite, "test", [*prompts(1, reference={"a": 1}), *prompts(1, 1, reference={"a": 2})])
        again = owed(store, mended, reward, [member], reference=True)
        assert [(row, p.reference) for row, p, _, _ in again] == [(rows[1], {"a": 2})]


def test_pages_of_owed_scores_miss_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    from tao_hub.store import PAGE

    with Store(tmp_path / "s.db") as store:
        _, member = filled(store)
        suite, reward = store.component(SUITE), store.component({**SUITE, "kind": "reward"})
        # One candidate with more golds than a page holds, in the middle of others.
        many = [Prompt((Message("user", "question 1"),), id=str(i), reference=i) for i in range(PAGE + 7)]
        part = store.add_items(suite, "test", [*prompts(1, reference=-1), *many, *prompts(600, 2, reference=-2)])
        rows = [row for row, _ in store.prompts(part)]
        store.add_candidates(member, [(row, Candidate("", str(i), index=i)) for row in rows for i in range(2)])
        found = [(row, c.index, p.reference) for row, p, _, c in owed(store, part, reward, [member], reference=True)]
        assert len(found) == len(set(found)) == 2 * part.count
        page = next(store.owed_scores(part, reward, [member], reference=True))
        assert len(page) == PAGE
        store.add_scores(reward, [(row, response_key(c), context, Score(0.0)) for row, _, context, c in page])
        assert len(owed(store, part, reward, [member], reference=True)) == 2 * part.count - PAGE


def test_a_split_becomes_what_the_suite_says_now(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        suite = store.component(SUITE)
        store.add_items(suite, "all", prompts(4))
        changes = store.db.conn.total_changes
        part = store.add_items(suite, "all", prompts(4))
        assert store.db.conn.total_changes == changes  # nothing changed, nothing written
        part = store.add_items(suite, "all", prompts(2, start=2))
        assert [p.id for _, p in store.prompts(part)] == ["q2", "q3"]
        assert store.one("SELECT count(*) FROM items") == (2,)
        twice = store.add_items(suite, "twice", [*prompts(2), *prompts(1)])
        assert twice.count == 3
        assert [p.id for _, p in store.prompts(twice)] == ["q0", "q1"]  # a prompt is asked once


REWARD = """
    import pydantic, tao_hub
    CALLS = []
    class Counted(tao_hub.Reward):
        class Options(tao_hub.Options):
            k: int = pydantic.Field(0, description="Any number")
        def score_batch(self, pairs):
            CALLS.extend(c.response for _, c in pairs)
            return [1.0] * len(pairs)
    @tao_hub.hookimpl
    def register_rewards(register):
        register("counted", Counted)
"""


def test_a_score_is_never_served_to_another_policy_version_or_option_set(site: Site, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data" / "prompts.jsonl", {"prompt": "a"}, {"prompt": "b"}).parent
    old = site.add("count", REWARD)
    new = site.add("count", REWARD, version="1.3")

    def calls(point: Any, template: str = "{input}", **options: Any) -> int:
        """How many answers the reward is asked about when this is scored."""
        module = sys.modules.get(point.module)
        before = len(module.CALLS) if module else 0
        with Session(tmp_path / "s.db", hub_of(point)) as session:
            part = session.slice(Ref("jsonl", {"path": str(data)}), "prompts")
            policy = session.policy(Ref("core/echo", {"template": template}))
            member = generate(session, part, policy, Ref("direct"), Sampling())
            score(session, part, [member], session.reward(Ref("counted", options)))
        return len(sys.modules[point.module].CALLS) - before

    assert [calls(old), calls(old)] == [2, 0]
    assert [calls(old, k=1), calls(old, k=1)] == [2, 0]
    assert [calls(new), calls(new)] == [2, 0]
    assert [calls(old, template="{input}!"), calls(old, template="{input}!")] == [2, 0]
    assert calls(old, template="{input}") == 0
    with Store(tmp_path / "s.db") as store:
        assert store.one("SELECT count(*) FROM candidates") == (4,)
        assert store.one("SELECT count(*) FROM scores") == (8,)


def test_candidates_are_drawn_anew_for_another_sampling_strategy_or_plugin_version(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data" / "prompts.jsonl", {"prompt": "a"}).parent
    with Session(tmp_path / "s.db", hub_of()) as session:
        part = session.slice(Ref("jsonl", {"path": str(data)}), "prompts")
        policy = session.policy("core/echo")
        one = generate(session, part, policy, Ref("direct"), Sampling(0.0, seed=1))
        assert generate(session, part, policy, Ref("core/direct"), Sampling(0.0, seed=2, top_p=0.5)) == one
        others = [
            generate(session, part, policy, Ref("direct"), Sampling(0.5, seed=1)),
            generate(session, part, policy, Ref("direct"), Sampling(0.5, seed=2)),
            generate(session, part, policy, Ref("direct"), Sampling(0.0, max_tokens=9)),
            generate(session, part, policy, Ref("chain-of-thought"), Sampling(0.0)),
        ]
        assert len({one.source, *(m.source for m in others)}) == 5
        core = {**session.hub.identity("generator", policy.ref), "version": "99"}
        newer = session.store.source(session.hub.identity("strategy", Ref("core/direct")), core, Sampling(0.0))
        assert newer not in {one.source, *(m.source for m in others)}


def test_half_a_surrogate_pair_in_an_answer_or_a_score_is_stored_and_stays_scored(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        part, member = filled(store, 1)
        store.add_candidates(member, [(row, Candidate("", "half \ud83d")) for row, _ in store.prompts(part)])
        reward = store.component({**SUITE, "kind": "reward"})
        for page in store.owed_scores(part, reward, [member]):
            bad = Score(1.0, why="found \ud83d", parts={"\ud83d": 1.0})
            store.add_scores(reward, [(row, response_key(c), context, bad) for row, _, context, c in page])
        assert list(store.owed_scores(part, reward, [member])) == []
        assert store.one("SELECT response FROM candidates") == ("half ?",)


def test_what_a_first_open_left_that_was_killed_is_opened(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.execute("CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set, name, applied_at)")
        db.commit()
    with Store(tmp_path / "s.db") as store:
        assert "candidates" in store.db.table_names()


def test_a_metric_that_sees_no_reference_measures_items_that_have_one(tmp_path: Path, run: Run) -> None:
    write_rows(tmp_path / "d" / "test.jsonl", {"prompt": "yes", "reference": "yes"}, {"prompt": "no"})
    metric = 'metric={"name": "rules/regex", "options": {"pattern": "y"}}'
    asked = ("--suite-option", "path=d", "--suite-option", metric)
    told = run("eval", "jsonl:test", *asked, "--policy", "core/echo", "--json")
    (row,) = [r for r in told.json["quality"] if r["metric"] == "score"]
    assert (row["value"], row["errors"]) == (0.5, 0)
