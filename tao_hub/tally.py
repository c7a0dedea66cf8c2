"""What one round saw: counted while its groups stream by once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from .config import RewardUse
from .stored import response_key
from .types import Candidate, Group, Score

KINDS, LONGEST = 500, 100  # different reasons that a reward's are counted by, and characters of one


class RoundStats:
    """Counts of a round, the chosen candidates, and each group's content for the identity of the update."""

    def __init__(self) -> None:
        self.chosen: list[tuple[int, int, float]] = []
        self.said: list[tuple[int, dict[str, float]]] = []  # of each chosen one, its letters and what rewards gave it
        self.candidates = 0
        self.refused: dict[str, int] = {}
        self.sums: dict[str, dict[str, float]] = {}
        self.most: dict[str, tuple[float, int]] = {}
        self.whys: dict[tuple[str, bool], Counter[str]] = {}  # by reward, and whether it failed
        self.groups: dict[str, int] = dict.fromkeys(("all", "flat", "unscored", "repeated"), 0)
        self.letters = 0
        self.totals: list[float] = [0, 0.0, 0.0]  # how many, their mean, the sum of squared distances from it
        self.bounded = False
        self.strategies: dict[str, dict[str, float]] = {}

    def add(self, row: int, group: Group) -> bytes:
        """Count a group; returns the bytes that make it this group: candidates, parts of scores, totals, refusals."""
        best = group.best()
        content = blake2b(group.prompt.digest.encode(), digest_size=16)
        for i, (candidate, total, why) in enumerate(zip(group.candidates, group.totals, group.rejected)):
            self.candidates += 1
            if why:
                self.refused[why] = self.refused.get(why, 0) + 1
            value = "" if total is None or total.value is None else repr(total.value)
            content.update(response_key(candidate) + f"|{value}|{why}\n".encode())
            self.letters += len(candidate.response)
            self._drawn(candidate, i == best)
            for label, scored in sorted(group.scores[i].items()):
                if scored.parts:  # trainers may learn by them
                    content.update(f"{label}|{sorted(scored.parts.items())}\n".encode())
                self._count(label, scored, len(candidate.response))
        self._look(group)
        for label in {label for scores in group.scores for label in scores}:
            values = {s[label].value for s in group.scores if label in s}
            self.sums[label]["groups"] += 1
            self.sums[label]["flat"] += len(values) == 1
        if best is not None:
            total = group.totals[best]
            given = {label: score.value for label, score in group.scores[best].items() if score.value is not None}
            self.said.append((len(group.candidates[best].response), given))
            self.chosen.append((row, group.candidates[best].id or 0, (total.value or 0.0) if total else 0.0))
        return content.digest()

    def _drawn(self, candidate: Candidate, best: bool) -> None:
        """What each strategy made, how often it was the best of its prompt, and what it cost."""
        keys = ("candidates", "best", "truncated", "errors", "tokens", "counted", "seconds")
        found = self.strategies.setdefault(candidate.strategy, dict.fromkeys(keys, 0))
        found["candidates"] += 1
        found["best"] += best
        found["truncated"] += candidate.truncated
        found["errors"] += candidate.error is not None
        found["tokens"] += candidate.output_tokens or 0
        found["counted"] += candidate.output_tokens is not None
        found["seconds"] += candidate.seconds or 0.0

    def _look(self, group: Group) -> None:
        """What makes a group useless to learn from: no total at all, or the same for all; and repeated answers."""
        values = [total.value for total in group.totals if total is not None and total.value is not None]
        for value in values:  # Welford 1962: the same however the totals lie
            self.totals[0] += 1
            apart = value - self.totals[1]
            self.totals[1] += apart / self.totals[0]
            self.totals[2] += apart * (value - self.totals[1])
        totals = set(values)
        self.groups["all"] += 1
        self.groups["flat"] += len(totals) == 1
        self.groups["unscored"] += not totals
        self.groups["repeated"] += len(group.candidates) - len({c.response for c in group.candidates})

    def _count(self, label: str, scored: Score, length: int) -> None:
        keys, value = ("n", "sum", "errors", "groups", "flat", "x", "xx", "xy", "yy"), scored.value
        s = self.sums.setdefault(label, dict.fromkeys(keys, 0.0))
        told = str(scored.error.get("message", "")) if scored.error else scored.why
        whys = self.whys.setdefault((label, value is None), Counter())
        if told[:LONGEST] in whys or len(whys) < KINDS:
            whys[told[:LONGEST]] += 1
        if value is None:
            s["errors"] += 1
            return
        s["n"] += 1
        highest, times = self.most.get(label, (value, 0))
        self.most[label] = (max(value, highest), 1 if value > highest else times + (value == highest))
        s["sum"] += value
        s["x"], s["xx"] = s["x"] + length, s["xx"] + length * length
        s["xy"], s["yy"] = s["xy"] + length * value, s["yy"] + value * value

    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of all totals; spread 1 where they do not vary."""
        n, mean, squares = self.totals
        spread = (squares / n) ** 0.5 if n else 0.0
        return mean, spread if spread > 1e-9 * max(1.0, abs(mean)) else 1.0

    def bound(self, most: int | None, seed: int) -> None:
        """Keep the `most` chosen candidates with the highest totals (of equals, a seeded draw), in their order."""
        self.bounded = most is not None and len(self.chosen) > most
        if self.bounded:
            draw = random.Random(seed)
            ranked = sorted(range(len(self.chosen)), key=lambda i: (-self.chosen[i][2], draw.random()))
            kept = sorted(ranked[:most])
            self.chosen, self.said = [self.chosen[i] for i in kept], [self.said[i] for i in kept]

    def _why(self, label: str, failed: bool, share: float) -> str:
        """What a reward said most often of what it failed on or scored, if of more than such a share; else ""."""
        whys = self.whys.get((label, failed), Counter())
        told, times = next(iter(whys.most_common(1)), ("", 0))
        return told if times > share * whys.total() else ""

    def reasons(self) -> str:
        return ", ".join(f"{n} candidates {why}" for why, n in sorted(self.refused.items(), key=lambda x: -x[1]))

    def as_dict(self, uses: Sequence[RewardUse], prompts: int) -> dict[str, Any]:
        rewards = []
        for use in uses:
            s = self.sums.get(use.key)
            if s is None:
                continue
            chosen = [given[use.key] for _, given in self.said if use.key in given]
            n, spread = s["n"], (s["n"] * s["xx"] - s["x"] ** 2) * (s["n"] * s["yy"] - s["sum"] ** 2)
            rewards.append({
                "label": use.key, "weight": use.weight, "gate": use.gate, "errors": int(s["errors"]),
                "mean_all": s["sum"] / n if n else None,
                "why_errors": self._why(use.key, True, 0.0), "why_same": self._why(use.key, False, 0.5),
                "mean_chosen": sum(chosen) / len(chosen) if chosen else None,
                "no_spread": s["flat"] / s["groups"] if s["groups"] else None,
                "at_most": self.most[use.key][1] / n if n else None,
                "corr_length": (n * s["xy"] - s["x"] * s["sum"]) / spread**0.5 if spread > 1e-9 else None,
            })  # fmt: skip
        learnt, drawn = len(self.chosen), self.candidates
        return {
            "prompts": prompts, "candidates": drawn, "chosen": learnt, "rewards": rewards, "rejected": self.refused,
            "groups": self.groups["all"], "flat_groups": self.groups["flat"],
            "unscored_groups": self.groups["unscored"],
            "repeated": self.groups["repeated"] / drawn if drawn else None,
            "letters": self.letters / drawn if drawn else None,
            "letters_chosen": sum(n for n, _ in self.said) / learnt if learnt else None, "strategies": self.strategies,
        }  # fmt: skip


SUMS = ("prompts", "candidates", "chosen", "groups", "flat_groups", "unscored_groups")
MEANS = {"repeated": "candidates", "letters": "candidates", "letters_chosen": "chosen"}  # of what a mean is one


def together(each: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The statistics of a round's tasks as one: sums, means over all, rewards and refusals by task; and each's own."""
    found: dict[str, Any] = {key: sum(stats[key] for stats in each.values()) for key in SUMS}
    for key, count in MEANS.items():
        known = [(stats[key], stats[count]) for stats in each.values() if stats[key] is not None]
        found[key] = sum(mean * n for mean, n in known) / sum(n for _, n in known) if known else None
    return {
        **found,
        "rewards": [{**r, "label": f"{task} · {r['label']}"} for task, stats in each.items() for r in stats["rewards"]],
        "rejected": {f"{task} · {why}": n for task, stats in each.items() for why, n in stats["rejected"].items()},
        "members": [member for stats in each.values() for member in stats["members"]],
        "tasks": {task: dict(stats) for task, stats in each.items()},
    }


def of_task(stats: Mapping[str, Any], task: str) -> Mapping[str, Any]:
    """What a round counted for one task: all of it, where it had but one."""
    own: Mapping[str, Any] = stats["tasks"].get(task, {}) if "tasks" in stats else stats
    return own
