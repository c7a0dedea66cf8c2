"""What a store holds of a part of a split: items, candidates, scores."""

from __future__ import annotations

from .store import Member, Slice, Store

INSIDE = "(SELECT prompt FROM items WHERE suite = ? AND split = ? AND position < ?)"  # with `Slice.where`


def known_items(store: Store, suite: int, split: str, limit: int | None = None) -> Slice:
    """The part of a split that the store holds, as it was when it was last used; it may hold none."""
    row = store.one("SELECT count(*) FROM items WHERE suite = ? AND split = ?", [suite, split]) or (0,)
    return Slice(suite, split, row[0] if limit is None else min(row[0], limit))


def candidate_counts(store: Store, part: Slice, member: Member) -> dict[str, int]:
    """How many candidates of a member a slice has: {"candidates", "errors", "truncated"}."""
    sql = (
        "SELECT count(*), coalesce(sum(error IS NOT NULL), 0), coalesce(sum(finish_reason = 'length'), 0) "
        f"FROM candidates WHERE policy = ? AND source = ? AND slot < ? AND prompt IN {INSIDE}"
    )
    found = store.one(sql, [member.policy, member.source, member.n, *part.where])
    return dict(zip(("candidates", "errors", "truncated"), found or (0, 0, 0)))


def reasons(store: Store, part: Slice, member: Member, most: int = 3) -> dict[str, int]:
    """Why candidates of a member failed in a slice, the most frequent errors first, and how many did so."""
    sql = (
        "SELECT error, count(*) FROM candidates WHERE policy = ? AND source = ? AND slot < ? AND error IS NOT NULL "
        f"AND prompt IN {INSIDE} GROUP BY error ORDER BY 2 DESC, error LIMIT ?"
    )
    return dict(store.rows(sql, [member.policy, member.source, member.n, *part.where, most]))


def score_counts(
    store: Store, part: Slice, reward: int, policy: int | None = None, reference: bool = False
) -> dict[str, int]:
    """How many scores of a reward there are on the candidates (of one policy, if given) of a slice: {"scored",
    "errors"}. With `reference` only those under the references that the slice has now."""
    sql = (
        f"SELECT count(value), count(error) FROM scores s WHERE reward = ? AND prompt IN {INSIDE} AND EXISTS ("
        "SELECT 1 FROM candidates c WHERE c.prompt = s.prompt AND c.response_digest = s.response "
        "AND (? IS NULL OR c.policy = ?))"
    )
    given = [reward, *part.where, policy, policy]
    if reference:
        sql += f" AND (prompt, context) IN {INSIDE.replace('prompt', 'prompt, reference_digest', 1)}"
        given += part.where
    scored, errors = store.one(sql, given) or (0, 0)
    return {"scored": scored, "errors": errors}
