"""How much a run may cost: minutes, generated tokens, or candidates per prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import UsageError

if TYPE_CHECKING:
    from .config import Plan, Source
    from .store import Slice, Store

FORMS = "90s, 10m, 2h (time), 500k-tokens, 2M-tokens (generated in tuning), or n=32 (candidates a prompt and round)"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


@dataclass(frozen=True)
class Budget:
    """At most one of the three is set; none: no bound."""

    seconds: float | None = None
    tokens: int | None = None
    n: int | None = None


def parse_budget(text: str) -> Budget:
    """`10m`, `2M-tokens`, `n=32` or nothing. Raises UsageError naming the forms."""
    if not text:
        return Budget()
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text):
        return Budget(seconds=float(found[1]) * _UNITS[found[2]])
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)[- ]?tokens", text):
        return Budget(tokens=round(float(found[1]) * _SIZES[found[2]]))
    if found := re.fullmatch(r"n\s*=\s*(\d+)", text):
        return Budget(n=int(found[1]))
    raise UsageError(f"budget {text!r}: expected one of {FORMS}")


def with_n(plan: Plan, n: int) -> Plan:
    """The plan with `n` candidates per prompt and round, shared among its ways to ask as they share now.

    Ways that are never used in the same round do not share. Raises UsageError if there are more ways than candidates.
    """
    rounds = range(1, plan.rounds + 1)
    tasks = [
        task if task.candidates is None else
        task.model_copy(update={"candidates": _with_n(task.candidates, n, rounds)})
        for task in plan.tasks
    ]  # fmt: skip
    return plan.model_copy(update={"candidates": _with_n(plan.candidates, n, rounds), "tasks": tasks})


def _with_n(candidates: Sequence[Source], n: int, rounds: range) -> list[Source]:
    """Shares in whole candidates: each has one, then those who have least of their share get more, while there is room
    in every round they are used in."""
    together = [[i for i, s in enumerate(candidates) if s.in_round(r)] for r in rounds]
    shares = []
    for i, source in enumerate(candidates):
        beside = max((sum(candidates[j].n for j in used) for used in together if i in used), default=source.n)
        shares.append(n * source.n / beside)
    if any(share < 0.5 for share in shares) or any(len(used) > n for used in together):
        raise UsageError(f"n={n} is too few for the {len(candidates)} ways to ask of this plan")
    given = [1] * len(candidates)

    def owed() -> list[int]:
        full = {i for used in together if sum(given[j] for j in used) >= n for i in used}
        return [i for i, share in enumerate(shares) if i not in full and share - given[i] > 1e-9]

    while waiting := owed():
        given[max(waiting, key=lambda i: (shares[i] - given[i], -i))] += 1
    return [source.model_copy(update={"n": own}) for source, own in zip(candidates, given)]


def fitted(plan: Plan) -> Plan:
    """The plan as its budget bounds it from the start (n=…)."""
    budget = parse_budget(plan.budget)
    return plan if budget.n is None else with_n(plan, budget.n)


def exhausted(plan: Plan, rounds_done: int, seconds: float, tokens: int) -> str:
    """Why no further round should begin ("" if one may): what is spent, and that another like the last would be over.

    The first round always runs: without it there is nothing to show.
    """
    budget = parse_budget(plan.budget)
    if not rounds_done:
        return ""
    again = 1 + 1 / rounds_done
    if budget.seconds is not None and seconds * again > budget.seconds:
        return f"{seconds:.0f} s of {budget.seconds:.0f} are spent"
    if budget.tokens is not None and not tokens:
        raise UsageError("the budget counts tokens, but this generator reports none: give it as time (10m) or as n=32")
    if budget.tokens is not None and tokens * again > budget.tokens:
        return f"{tokens:,} of {budget.tokens:,} generated tokens are spent"
    return ""


def generated_tokens(store: Store, stats: Mapping[str, Any], parts: Sequence[Slice]) -> int:
    """Tokens that were generated for a round's candidates for the prompts of `parts`, from the statistics that it left.

    What other runs drew in the same way for other prompts does not count.
    """
    total = 0
    most: dict[tuple[int, int], int] = {}
    for policy, source, n in stats.get("members", []):  # tasks that ask in one way share its candidates' source
        most[policy, source] = max(n, most.get((policy, source), 0))
    for (policy, source), n in most.items():
        asked = " OR ".join(["(suite = ? AND split = ? AND position < ?)"] * len(parts))
        sql = (
            "SELECT sum(output_tokens) FROM candidates WHERE policy = ? AND source = ? AND slot < ? "
            f"AND prompt IN (SELECT prompt FROM items WHERE {asked})"
        )
        row = store.one(sql, [policy, source, n, *(value for part in parts for value in part.where)])
        total += int(row[0] or 0) if row else 0
    return total
