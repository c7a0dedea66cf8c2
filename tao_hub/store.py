"""What exists and what is owed: one SQLite file, one writer, the only user of sqlite-utils."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from .errors import StoreError
from .light_sqlite import Database
from .lock import take_lock
from .migrations import migrations
from .stored import (
    CANDIDATE,
    DRAWN,
    candidate_of,
    candidate_row,
    dump_prompt,
    group_context,
    load_prompt,
    reference_digest,
    response_key,
    storable,
)
from .types import Candidate, Group, Prompt, Ref, Sampling, Score, canonical_json, digest

PAGE = 500  # rows held in memory at a time
_ALIVE = {False: "", True: " AND c.error IS NULL"}


@dataclass(frozen=True)
class Slice:
    """The first `count` items of a suite's split (`suite` is a component's row id): what a stage covers."""

    suite: int
    split: str
    count: int

    @property
    def where(self) -> tuple[Any, ...]:
        return (self.suite, self.split, self.count)


@dataclass(frozen=True)
class Member:
    """Candidates 0 … n−1 that a policy gave by a source (row ids): a group is made of members."""

    policy: int
    source: int
    n: int


class Store:
    """The run store. `write=True` takes the one writer's lock; readers need none.

    Raises StoreError if another process writes, the file is no store, or its schema is newer than this program.
    """

    def __init__(self, path: str | Path, write: bool = True) -> None:
        self.path = Path(path)
        self.write = write
        self._lock: BinaryIO | None = None
        if not write and not self.path.exists():
            raise StoreError(f"no store at {self.path}; `tao-hub quickstart` or `tao-hub tune` makes one (or --store)")
        if write:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._lock = take_lock(self.path)
            except OSError as error:
                why = f"{error.strerror}: {error.filename}"
                raise StoreError(f"no store can be written at {self.path} ({why}); choose another --store") from error
        try:
            self.db: Any = Database(self._connect())
            self._prepare(write)
        except sqlite3.DatabaseError as error:
            self.close()
            raise StoreError(f"{self.path} is not a usable store: {error}") from error
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        if not self.write:
            try:
                connection.execute("SELECT 1 FROM sqlite_master")
            except sqlite3.OperationalError:  # SQLite writes beside a WAL file even to read it
                connection.close()
                wal = Path(f"{self.path}-wal")
                if os.access(self.path.parent, os.W_OK) or (wal.exists() and wal.stat().st_size):
                    raise
                address = f"{self.path.resolve().as_uri()}?immutable=1"  # where nobody can write, nobody does
                connection = sqlite3.connect(address, uri=True, isolation_level=None)
        return connection

    def _prepare(self, write: bool) -> None:
        self.db.execute("PRAGMA foreign_keys = ON")
        self.db.execute("PRAGMA synchronous = NORMAL")
        applied = {m.name for m in migrations.applied(self.db)}
        known = {m.name for m in migrations._migrations}
        if applied - known:
            raise StoreError(f"{self.path} was written by a newer tao-hub ({sorted(applied - known)}): upgrade tao-hub")
        if not applied and set(self.db.table_names()) - {"_sqlite_migrations"}:  # which a first open may leave
            raise StoreError(f"{self.path} is an SQLite file, but no tao-hub store; choose another --store")
        if write:
            self.db.execute("PRAGMA journal_mode = WAL").fetchone()  # only now: it changes the file
            migrations.apply(self.db)
        elif known - applied:
            raise StoreError(f"{self.path} has an older schema; any writing command brings it up to date")

    def close(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
        if self._lock is not None:
            self._lock.close()  # the lock goes with the file handle, also when the process dies
            self._lock = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def atomic(self) -> AbstractContextManager[Any]:
        """One transaction: all of it or nothing."""
        context: AbstractContextManager[Any] = self.db.atomic()
        return context

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, fetched page by page."""
        cursor = self.db.execute(sql, list(parameters))
        while page := cursor.fetchmany(PAGE):
            yield from page

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self.db.execute(sql, list(parameters)).fetchone()
        return row

    # -- identities ---------------------------------------------------------------------------------------------

    def _intern(self, table: str, row: Mapping[str, Any]) -> int:
        found = self.one(f"SELECT id FROM {table} WHERE digest = ?", [row["digest"]])
        return int(found[0] if found else self.db.table(table).insert(dict(row)).last_pk)

    def component(self, identity: Mapping[str, Any]) -> int:
        """Row id of a component by what makes it the same one (`Hub.identity`)."""
        columns = ("kind", "name", "distribution", "version", "source")
        row = {c: identity[c] for c in columns}
        return self._intern(
            "components",
            {**row, "options": canonical_json(identity["options"]), "digest": digest(dict(identity))},
        )

    def policy(self, policy_digest: str, ref: Ref) -> int:
        text = canonical_json({"name": ref.name, "options": dict(ref.options)})
        return self._intern("policies", {"digest": policy_digest, "ref": text})

    def place(self, row: int, ref: Ref) -> None:
        """Keep where the files of a policy are now."""
        text = canonical_json({"name": ref.name, "options": dict(ref.options)})
        self.db.execute("UPDATE policies SET ref = ? WHERE id = ?", [text, row])

    def policy_of(self, row: int) -> tuple[str, Ref]:
        """(digest, Ref) of a policy's row id."""
        found = self.one("SELECT digest, ref FROM policies WHERE id = ?", [row])
        if found is None:
            raise KeyError(row)
        ref = json.loads(found[1])
        return str(found[0]), Ref(ref["name"], ref["options"])

    def source(self, strategy: Mapping[str, Any], generator: Mapping[str, Any], sampling: Sampling | None) -> int:
        """Row id of a way to draw candidates: strategy, generator plugin and sampling, all by content."""
        # The generator's options are the policy's; its plugin version decides how the policy is sampled.
        plugin = {k: generator.get(k, "") for k in ("name", "distribution", "version", "source")}
        plugin |= {key: generator[key] for key in ("members", "rewards", "uses") if key in generator}
        drawn = sampling.as_dict() if sampling else {}
        row = {"generator": canonical_json(plugin), "sampling": canonical_json(drawn)}
        row["digest"] = digest([dict(strategy), plugin, drawn])
        return self._intern("sources", {**row, "strategy": self.component(strategy)})

    # -- prompts ------------------------------------------------------------------------------------------------

    def add_items(self, suite: int, split: str, prompts: Iterable[Prompt], limit: int | None = None) -> Slice:
        """Make the stored split equal to `prompts` (the first `limit`); streaming, and cheap when nothing changed."""
        count = 0
        with self.atomic():
            stored = self.rows(
                "SELECT p.digest, i.item, i.reference_digest FROM items i JOIN prompts p ON p.id = i.prompt "
                "WHERE suite = ? AND split = ? ORDER BY position",
                [suite, split],
            )
            same = True
            for position, prompt in enumerate(islice(prompts, limit)):
                key = (prompt.digest, prompt.id or str(position), reference_digest(prompt.reference))
                same = same and next(stored, None) == key
                if not same:
                    self._put_item(suite, split, position, prompt, key)
                count += 1
            if limit is None:
                gone = "DELETE FROM items WHERE suite = ? AND split = ? AND position >= ?"
                self.db.execute(gone, [suite, split, count])
        return Slice(suite, split, count)

    def _put_item(self, suite: int, split: str, position: int, prompt: Prompt, key: tuple[str, str, bytes]) -> None:
        asked = "INSERT OR IGNORE INTO prompts (digest, messages) VALUES (?, ?)"
        self.db.execute(asked, [key[0], storable(dump_prompt(prompt))])
        reference = None if prompt.reference is None else storable(canonical_json(prompt.reference))
        self.db.execute(
            "INSERT OR REPLACE INTO items VALUES (?, ?, ?, (SELECT id FROM prompts WHERE digest = ?), ?, ?, ?, ?)",
            [suite, split, position, key[0], key[1], reference, key[2], storable(canonical_json(dict(prompt.meta)))],
        )

    def prompts(self, part: Slice) -> Iterator[tuple[int, Prompt]]:
        """(row id, prompt without reference) of a slice, each prompt once, in the suite's order."""
        sql = (
            "SELECT p.id, p.messages, i.item FROM items i JOIN prompts p ON p.id = i.prompt "
            "WHERE i.suite = ? AND i.split = ? AND i.position < ? GROUP BY p.id ORDER BY min(i.position)"
        )
        for row, messages, item in self.rows(sql, part.where):
            yield row, load_prompt(messages, item)

    # -- candidates ---------------------------------------------------------------------------------------------

    def owed_slots(self, part: Slice, member: Member, retry: bool = False) -> list[tuple[int, int]]:
        """(prompt row id, how many of its n slots exist) for prompts that miss some, in the suite's order; with `retry`
        a slot whose candidate failed counts as missing."""
        sql = (
            "SELECT i.prompt, (SELECT count(*) FROM candidates c WHERE c.prompt = i.prompt AND c.policy = ? AND "
            f"c.source = ? AND c.slot < ?{_ALIVE[retry]}) AS have FROM items i WHERE i.suite = ? AND i.split = ? AND "
            "i.position < ? AND have < ? GROUP BY i.prompt ORDER BY min(i.position)"
        )
        return list(self.rows(sql, [member.policy, member.source, member.n, *part.where, member.n]))

    def slots(self, prompt: int, member: Member, retry: bool = False) -> set[int]:
        """The slots of a prompt that are filled; with `retry` those whose candidate did not fail."""
        sql = f"SELECT slot FROM candidates c WHERE prompt = ? AND policy = ? AND source = ?{_ALIVE[retry]}"
        return {r[0] for r in self.rows(sql, [prompt, member.policy, member.source])}

    def prompt(self, row: int) -> Prompt:
        found = self.one("SELECT messages FROM prompts WHERE id = ?", [row])
        if found is None:
            raise KeyError(row)
        return load_prompt(*found)

    def answered(self, member: Member) -> bool:
        """Whether the member holds any candidate that did not fail."""
        sql = "SELECT 1 FROM candidates WHERE policy = ? AND source = ? AND error IS NULL LIMIT 1"
        return self.one(sql, [member.policy, member.source]) is not None

    def add_candidates(self, member: Member, rows: Iterable[tuple[int, Candidate]]) -> None:
        """Write (prompt row id, candidate) in one transaction; a slot that exists keeps what it has, unless that failed
        and this did not."""
        new = ", ".join(f"{name} = excluded.{name}" for name in DRAWN)
        with self.atomic():
            self.db.conn.executemany(
                f"INSERT INTO candidates (prompt, policy, source, slot, {', '.join(DRAWN)}) "
                f"VALUES ({', '.join('?' * (4 + len(DRAWN)))}) ON CONFLICT (prompt, policy, source, slot) DO UPDATE "
                f"SET {new} WHERE candidates.error IS NOT NULL AND excluded.error IS NULL",
                ((p, member.policy, member.source, *candidate_row(c)) for p, c in rows),
            )

    # -- scores -------------------------------------------------------------------------------------------------

    def owed_scores(
        self, part: Slice, reward: int, members: Sequence[Member], reference: bool = False
    ) -> Iterator[list[tuple[int, Prompt, bytes, Candidate]]]:
        """Pages of (prompt row id, prompt, context, candidate) that `reward` has not scored.

        With `reference` the prompts carry their gold, and a score belongs to that gold (`context` is its digest).
        """
        gold, context = ("i.reference", "i.reference_digest") if reference else ("NULL", "x''")
        sql = (
            f"SELECT {CANDIDATE}, (SELECT messages FROM prompts WHERE id = c.prompt), {gold}, {context}, i.position "
            "FROM candidates c JOIN items i ON i.prompt = c.prompt AND i.suite = ? AND i.split = ? AND i.position < ? "
            "LEFT JOIN scores s ON s.reward = ? AND s.prompt = c.prompt AND s.response = c.response_digest "
            f"AND s.context = {context} WHERE c.policy = ? AND c.source = ? AND c.slot < ? AND c.error IS NULL "
            "AND s.reward IS NULL AND c.prompt >= ? AND (c.prompt, c.slot, i.position) > (?, ?, ?) "
            f"ORDER BY c.prompt, c.slot, i.position LIMIT {PAGE}"
        )
        for member in members:
            owner, last = (member.policy, member.source, member.n), (0, -1, -1)
            while page := list(self.rows(sql, [*part.where, reward, *owner, last[0], *last])):
                last = (page[-1][1], page[-1][4], page[-1][-1])
                yield [(r[1], load_prompt(r[-4], "", r[-3]), bytes(r[-2]), candidate_of(r)) for r in page]

    def add_scores(self, reward: int, rows: Iterable[tuple[int, bytes, bytes, Score]]) -> None:
        """Write (prompt row id, response digest, context, score) in one transaction; existing scores stay."""
        with self.atomic():
            self.db.conn.executemany(
                "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (reward, p, response, context, s.value, s.error and storable(canonical_json(dict(s.error))),
                     storable(s.why[:2000]), storable(canonical_json(dict(s.parts))))
                    for p, response, context, s in rows
                ),
            )  # fmt: skip

    def members(self, part: Slice, policy: int | None = None) -> list[Member]:
        """All members that have candidates in a slice (of one policy, if given)."""
        sql = (
            "SELECT c.policy, c.source, max(c.slot) + 1 FROM candidates c WHERE c.prompt IN (SELECT prompt FROM items "
            "WHERE suite = ? AND split = ? AND position < ?) AND (? IS NULL OR c.policy = ?) "
            "GROUP BY c.policy, c.source ORDER BY c.policy, c.source"
        )
        return [Member(*row) for row in self.rows(sql, [*part.where, policy, policy])]

    def score_counts(self, reward: int) -> dict[str, int]:
        """How many scores of a reward the store holds: {"scored", "errors"}."""
        row = self.one("SELECT count(value), count(error) FROM scores WHERE reward = ?", [reward])
        return {"scored": int(row[0]), "errors": int(row[1])} if row else {"scored": 0, "errors": 0}

    def forget_errors(self, part: Slice, reward: int) -> int:
        """Drop the error scores of a reward on the prompts of `part`, so that they are owed again; returns how many."""
        sql = (
            "DELETE FROM scores WHERE reward = ? AND error IS NOT NULL AND prompt IN "
            "(SELECT prompt FROM items WHERE suite = ? AND split = ? AND position < ?)"
        )
        return int(self.db.execute(sql, [reward, *part.where]).rowcount)

    # -- groups -------------------------------------------------------------------------------------------------

    def groups(
        self, part: Slice, members: Sequence[Member], rewards: Mapping[str, tuple[int, bool]], page: int = 100
    ) -> Iterator[tuple[int, Group]]:
        """(prompt row id, group) in the suite's order; `rewards`: label → (row id, whether it scores whole groups)."""
        prompts = self.prompts(part)
        while chunk := dict(islice(prompts, page)):
            yield from self._groups(chunk, members, rewards, part)

    def group(self, row: int, members: Sequence[Member], rewards: Mapping[str, tuple[int, bool]]) -> Group:
        """The group of one prompt (row id)."""
        return next(group for _, group in self._groups({row: self.prompt(row)}, members, rewards))

    def _groups(
        self, chunk: Mapping[int, Prompt], members: Sequence[Member], rewards: Mapping[str, tuple[int, bool]],
        part: Slice | None = None,
    ) -> Iterator[tuple[int, Group]]:
        marks = ",".join("?" * len(chunk))
        by_prompt: dict[int, list[Candidate]] = {p: [] for p in chunk}
        for member in members:
            sql = (
                f"SELECT {CANDIDATE} FROM candidates c WHERE c.prompt IN ({marks}) AND c.policy = ? AND "
                "c.source = ? AND c.slot < ? ORDER BY c.prompt, c.slot"
            )
            for row in self.rows(sql, [*chunk, member.policy, member.source, member.n]):
                by_prompt[row[1]].append(candidate_of(row))
        scores = self._scores(list(chunk), [r for r, _ in rewards.values()])
        golds = self._golds(list(chunk), part)
        for row_id, prompt in chunk.items():
            candidates = tuple(by_prompt[row_id])
            whole_group = [group_context(candidates)]
            each = [*golds.get(row_id, ()), b""]  # a reward that sees the gold has its score under that gold
            found = tuple(
                {
                    label: hits[0]
                    for label, (reward, whole) in rewards.items()
                    if (hits := [scores[key] for context in (whole_group if whole else each)
                                 if (key := (reward, row_id, response_key(c), context)) in scores])
                }
                for c in candidates
            )  # fmt: skip
            yield row_id, Group(prompt, candidates, found)

    def _golds(self, prompts: Sequence[int], part: Slice | None) -> dict[int, list[bytes]]:
        """Prompt row id → digests of its references, in a slice or anywhere."""
        sql = (
            f"SELECT prompt, reference_digest FROM items WHERE prompt IN ({','.join('?' * len(prompts))}) "
            "AND reference IS NOT NULL"
        )
        if part:
            sql += " AND suite = ? AND split = ? AND position < ?"
        golds: dict[int, list[bytes]] = {}
        for prompt, gold in self.rows(sql, [*prompts, *(part.where if part else ())]):
            golds.setdefault(prompt, []).append(bytes(gold))
        return golds

    def _scores(self, prompts: Sequence[int], rewards: Sequence[int]) -> dict[tuple[int, int, bytes, bytes], Score]:
        sql = (
            "SELECT reward, prompt, response, context, value, error, why, parts FROM scores "
            f"WHERE reward IN ({','.join('?' * len(rewards))}) AND prompt IN ({','.join('?' * len(prompts))})"
        )
        return {
            (r[0], r[1], bytes(r[2]), bytes(r[3])): Score(r[4], r[5] and json.loads(r[5]), r[6], json.loads(r[7]))
            for r in self.rows(sql, [*rewards, *prompts])
        }
