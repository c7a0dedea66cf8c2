"""Scores become totals: weights, gates, least totals, and what has no total."""

from __future__ import annotations

from tao_hub import Candidate, Group, Message, Prompt, Score
from tao_hub.compose import compose
from tao_hub.config import RewardUse


def group(*rows: tuple[Candidate, dict[str, Score]]) -> Group:
    prompt = Prompt((Message("user", "q"),))
    return Group(prompt, tuple(c for c, _ in rows), tuple(s for _, s in rows))


def test_a_candidate_with_a_failed_or_missing_component_has_no_total() -> None:
    uses = [RewardUse(name="a", weight=2.0), RewardUse(name="b", label="second", weight=-1.0)]
    whole = {"a": Score(0.5), "second": Score(0.25)}
    failed = {"a": Score(9.0), "second": Score.failed("slow", "TimeoutError")}
    composed = compose(group((Candidate("", "x"), failed), (Candidate("", "y"), {"a": Score(9.0)}),
                             (Candidate("", "z"), whole)), uses)  # fmt: skip
    assert composed.totals[0] == Score(error={"type": "TimeoutError", "message": "second: slow"})
    assert composed.totals[1] is None
    assert composed.totals[2] == Score(0.75, parts={"a": 0.5, "second": 0.25})
    assert composed.rejected == ("second failed", "not scored by second", "")
    assert composed.best() == 2


def test_truncated_and_failed_candidates_are_never_chosen_and_ties_go_to_the_first() -> None:
    uses = [RewardUse(name="a")]
    cut = Candidate("", "long", finish_reason="length")
    broken = Candidate("", "", error="no answer")
    good = [Candidate("", t) for t in ("one", "two")]
    rows = [(cut, {"a": Score(9)}), (broken, {"a": Score(9)}), *((c, {"a": Score(1)}) for c in good)]
    composed = compose(group(*rows), uses)
    assert composed.rejected == ("truncated", "generation failed", "", "")
    assert composed.best() == 2
    assert compose(group((cut, {"a": Score(9)})), uses).best() is None


def test_gates_and_least_totals_refuse() -> None:
    uses = [RewardUse(name="a", gate=0.5), RewardUse(name="b", weight=10)]
    rows = [
        (Candidate("", "x"), {"a": Score(0.4), "b": Score(1.0)}),
        (Candidate("", "y"), {"a": Score(0.5), "b": Score(0.0)}),
        (Candidate("", "z"), {"a": Score(0.6), "b": Score(0.1)}),
    ]
    composed = compose(group(*rows), uses, min_total=1.0)
    assert composed.rejected == ("a below 0.5", "total below 1", "")
    assert composed.best() == 2
