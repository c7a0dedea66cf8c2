"""Runs, rounds, evals and deltas in the store: what happened, and what a report is made from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from .errors import UsageError
from .session import Policy
from .store import Member, Slice, Store
from .types import Delta, Ref, canonical_json, digest

PEAK = "peak_memory_mb"  # kept beside the timings


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Eval:
    """One policy measured on one slice: items are in `eval_items`."""

    row: int
    label: str
    split: str
    round: int


class History:
    """The part of the store that is about runs."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.db = store.db

    # -- runs ---------------------------------------------------------------------------------------------------

    def begin(self, name: str, plan: Mapping[str, Any], command: str, environment: Mapping[str, Any]) -> int:
        """Row id of the run `name`, new or resumed. A resumed run takes the new plan (it may ask for more rounds)."""
        seen = {"digest": digest(dict(environment)), "data": canonical_json(environment)}
        env = self.store._intern("environments", seen)
        with self.store.atomic():
            found = self.store.one("SELECT id FROM runs WHERE name = ?", [name])
            row = {"plan": canonical_json(plan), "command": command, "environment": env, "finished": None}
            if found:
                self.db.table("runs").update(found[0], row)
                return int(found[0])
            return int(self.db.table("runs").insert({**row, "name": name, "created": now()}).last_pk)

    def finish(self, run: int) -> None:
        self.db.table("runs").update(run, {"finished": now()})

    def runs(self) -> list[dict[str, Any]]:
        """All runs, newest last: name, created, finished (None: interrupted or running), rounds done, plan."""
        sql = (
            "SELECT r.id, r.name, r.created, r.finished, r.plan, r.command, r.environment, "
            "(SELECT count(*) FROM rounds o WHERE o.run = r.id AND o.after IS NOT NULL) FROM runs r ORDER BY r.id"
        )
        keys = ("id", "name", "created", "finished", "plan", "command", "environment", "rounds")
        return [{**dict(zip(keys, row)), "plan": json.loads(row[4])} for row in self.store.rows(sql)]

    def find(self, name: str = "", tuned: bool = False) -> dict[str, Any]:
        """The run of that name; or the newest, before all those that tune. Raises UsageError naming those there are.

        A run of `tao-hub eval` is a leaderboard: it has no plan and no rounds, so with `tuned` it is none.
        """
        runs = sorted((r for r in self.runs() if r["plan"] or not tuned), key=lambda r: bool(r["plan"]))
        found = [r for r in runs if r["name"] == name or str(r["id"]) == name] if name else runs[-1:]
        if not found:
            if not name:
                raise UsageError(f"{self.store.path} holds no run{' that tunes' * tuned} yet; `tao-hub tune` makes one")
            known = ", ".join(r["name"] for r in runs) or "none yet"
            raise UsageError(f"no run {name!r} in {self.store.path}; runs: {known}")
        return found[-1]

    def environment(self, row: int | None) -> dict[str, Any]:
        found = self.store.one("SELECT data FROM environments WHERE id = ?", [row])
        return dict(json.loads(found[0])) if found else {}

    def add_seconds(self, run: int, number: int, seconds: Mapping[str, float]) -> None:
        """Add to the time a run has spent per stage, so that a resumed run counts all of it."""
        with self.store.atomic():
            for stage, value in seconds.items():
                self.db.execute(
                    "INSERT INTO timings VALUES (?, ?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET seconds = seconds + excluded.seconds",
                    [run, number, stage, value],
                )

    def seconds(self, run: int) -> dict[str, float]:
        """What a run has spent per stage."""
        sql = "SELECT stage, sum(seconds) FROM timings WHERE run = ? AND stage != ? GROUP BY stage ORDER BY stage"
        return dict(self.store.rows(sql, [run, PEAK]))

    def round_seconds(self, run: int) -> dict[int, float]:
        """What each of its rounds has taken, its measuring with it; a round of an older store may be missing."""
        sql = "SELECT round, sum(seconds) FROM timings WHERE run = ? AND round > 0 AND stage != ? GROUP BY round"
        return dict(self.store.rows(sql, [run, PEAK]))

    def peak_memory(self, run: int) -> float | None:
        """Of all its sessions, in MB."""
        found = self.store.one("SELECT seconds FROM timings WHERE run = ? AND stage = ?", [run, PEAK])
        return None if found is None else float(found[0])

    def note_peak(self, run: int, megabytes: float) -> None:
        self.add_seconds(run, 0, {PEAK: max(0.0, megabytes - (self.peak_memory(run) or 0.0))})

    # -- rounds -------------------------------------------------------------------------------------------------

    def begin_round(self, run: int, number: int, plan: Mapping[str, Any], before: Policy) -> None:
        self.db.execute(
            "INSERT INTO rounds (run, number, plan, before, stats) VALUES (?, ?, ?, ?, '{}') "
            "ON CONFLICT DO UPDATE SET plan = excluded.plan, before = excluded.before",
            [run, number, canonical_json(plan), before.row],
        )

    def drew(self, run: int, number: int, stats: Mapping[str, Any]) -> None:
        """What a round has drawn and scored, before anything is learnt from it."""
        self.db.table("rounds").update((run, number), {"stats": canonical_json(stats)})

    def end_round(self, run: int, number: int, after: Policy, update: str) -> None:
        self.db.table("rounds").update((run, number), {"after": after.row, "update_digest": update})

    def rounds(self, run: int) -> list[dict[str, Any]]:
        sql = "SELECT number, plan, before, after, update_digest, stats FROM rounds WHERE run = ? ORDER BY number"
        keys = ("number", "plan", "before", "after", "update", "stats")
        found = [dict(zip(keys, row)) for row in self.store.rows(sql, [run])]
        return [{**r, "plan": json.loads(r["plan"]), "stats": json.loads(r["stats"])} for r in found]

    def trained(self, update: str) -> int | None:
        """Row id of the policy that this very update already gave, in this round or in any other run."""
        sql = "SELECT after FROM rounds WHERE update_digest = ? AND after IS NOT NULL LIMIT 1"
        found = self.store.one(sql, [update])
        return int(found[0]) if found else None

    def choose(self, run: int, number: int, chosen: Iterable[tuple[int, int, float]]) -> int:
        """Keep which candidate of each prompt was learnt from: (prompt row, candidate row, total)."""
        with self.store.atomic():
            self.db.execute("DELETE FROM chosen WHERE run = ? AND round = ?", [run, number])
            rows = [(run, number, *row) for row in chosen]
            self.db.conn.executemany("INSERT INTO chosen VALUES (?, ?, ?, ?, ?)", rows)
        return len(rows)

    # -- evals --------------------------------------------------------------------------------------------------

    def add_eval(
        self, run: int, number: int, label: str, part: Slice, policy: Policy, member: Member, metric: int,
        reference: bool = True,
    ) -> Eval:  # fmt: skip
        """Take the items of a measured slice from candidates and scores; replaces an older eval of the same label.

        `reference`: whether the metric sees the gold, under which its scores are kept then (`Store.owed_scores`).
        """
        context = "i.reference_digest" if reference else "x''"
        with self.store.atomic():
            old = self.store.one(
                "SELECT id FROM evals WHERE run = ? AND label = ? AND suite = ? AND split = ?",
                [run, label, part.suite, part.split],
            )
            if old:
                self.db.execute("DELETE FROM eval_items WHERE eval = ?", [old[0]])
                self.db.execute("DELETE FROM evals WHERE id = ?", [old[0]])
            row = {
                "run": run, "label": label, "suite": part.suite, "split": part.split, "count": part.count,
                "policy": policy.row, "source": member.source, "metric": metric, "round": number,
            }  # fmt: skip
            if old:
                row["id"] = old[0]
            pk = int(self.db.table("evals").insert(row).last_pk)
            self.db.execute(
                "INSERT INTO eval_items (eval, position, candidate, value, error, parts, gold) "
                "SELECT ?, i.position, c.id, s.value, coalesce(c.error, s.error, CASE WHEN s.value IS NULL THEN "
                "'not scored' END), coalesce(s.parts, '{}'), i.reference_digest FROM items i "
                "LEFT JOIN candidates c ON c.prompt = i.prompt AND c.policy = ? AND c.source = ? AND c.slot = 0 "
                "LEFT JOIN scores s ON s.reward = ? AND s.prompt = i.prompt AND s.response = c.response_digest "
                f"AND s.context = {context} WHERE i.suite = ? AND i.split = ? AND i.position < ?",
                [pk, policy.row, member.source, metric, *part.where],
            )
        return Eval(pk, label, part.split, number)

    def evals(self, run: int) -> list[dict[str, Any]]:
        sql = (
            "SELECT e.id, e.label, e.split, e.round, k.name, e.suite, e.count, e.policy FROM evals e "
            "JOIN components k ON k.id = e.suite WHERE e.run = ? ORDER BY e.round, e.id"
        )
        keys = ("id", "label", "split", "round", "suite", "suite_row", "count", "policy")
        return [dict(zip(keys, row)) for row in self.store.rows(sql, [run])]

    def suite_ref(self, row: int) -> Ref:
        """The Ref of a suite's component row."""
        found = self.store.one("SELECT name, options FROM components WHERE id = ?", [row])
        if found is None:
            raise KeyError(row)
        return Ref(found[0], json.loads(found[1]))

    def eval_items(self, row: int) -> list[dict[str, Any]]:
        """Items of an eval in order: position, value, error, parts, the candidate's tokens, seconds, finish, the row of
        its prompt, and the digest of the reference it was judged by."""
        sql = (
            "SELECT e.position, e.value, e.error, e.parts, c.output_tokens, c.seconds, c.finish_reason, c.response, "
            "c.prompt, e.gold FROM eval_items e LEFT JOIN candidates c ON c.id = e.candidate WHERE e.eval = ? "
            "ORDER BY e.position"
        )
        keys = ("position", "value", "error", "parts", "output_tokens", "seconds", "finish_reason", "response",
                "prompt", "gold")  # fmt: skip
        return [{**dict(zip(keys, r)), "parts": json.loads(r[3])} for r in self.store.rows(sql, [row])]

    def add_delta(self, run: int, before: str, after: str, suite: Ref, split: str, delta: Delta) -> None:
        # Suites of one name and other options (two folders of files, say) are other suites.
        own = delta.suite + (f" {suite.digest}" if suite.options else "")
        self.db.execute(
            "INSERT OR REPLACE INTO deltas VALUES (?, ?, ?, ?, ?, ?, ?)",
            [run, before, after, own, split, delta.metric, canonical_json(asdict(delta))],
        )

    def deltas(self, run: int) -> list[dict[str, Any]]:
        sql = "SELECT before, after, split, data FROM deltas WHERE run = ?"
        return [
            {**json.loads(data), "before_label": before, "after_label": after, "split": split}
            for before, after, split, data in self.store.rows(sql, [run])
        ]
