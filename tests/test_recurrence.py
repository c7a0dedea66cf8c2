"""rules/recurrence: what recurs over the inputs is nobody's own, and a piece of a name is no name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydantic
import pytest
from tao_reward_rules.recurrence import Recurrence

import tao_hub
from tao_hub import Candidate, Message, Prompt, Ref, Score

MESSAGES = [
    f"Derek: hello\n{name} here, the {thing} is late" for name, thing in
    [("Umar Kim", "salad bowls"), ("Nora Ito", "salad bowl"), ("Ann Lee", "salad bowl"), ("Bo Diaz", "old bowl"),
     ("Eva Roth", "red lamp"), ("Ida Berg", "lamp"), ("Jo Marsh", "lamp"), ("Per Dahl", "lamp")]
]  # fmt: skip


def prompts() -> list[Prompt]:
    return [Prompt((Message("user", text),)) for text in MESSAGES]


def build(**options: Any) -> Recurrence:
    return Recurrence(Recurrence.Options(**options))


def parts(reward: Recurrence, **record: Any) -> dict[str, float]:
    (score,) = reward.score_batch([(prompts()[0], Candidate("", json.dumps(record)))])
    assert isinstance(score, Score)
    return dict(score.parts)


def test_a_name_in_many_inputs_is_not_this_ones_own() -> None:
    reward = build(own={"customer": 0.125})
    reward.read(prompts())
    assert parts(reward, customer="Derek") == {"customer": 0.0}  # in 8 of 8, over twice the share
    assert parts(reward, customer="umar kim") == {"customer": 1.0}
    assert parts(reward, customer=None) == {"customer": 1.0}
    assert parts(reward, customer="Nobody") == {"customer": 1.0}  # grounding is another reward's job
    assert parts(reward, customer=7) == {"customer": 0.0}


def test_between_the_share_and_twice_the_share_the_part_falls_on_a_straight_line() -> None:
    reward = build(own={"thing": 0.25})
    reward.read(prompts())
    # "salad bowl" with its plural stands in 3 of 8 inputs: 2 - (3/8) / 0.25
    assert parts(reward, thing="salad bowl")["thing"] == pytest.approx(0.5)


def test_a_piece_of_a_longer_name_is_no_phrase() -> None:
    reward = build(phrase=["thing"], common=0.5)
    reward.read(prompts())
    assert parts(reward, thing="bowl")["thing"] == pytest.approx(1 / 4)  # 3 of 4 bowls are salad bowls
    assert parts(reward, thing="salad bowl")["thing"] == 1.0
    assert parts(reward, thing="lamp")["thing"] == pytest.approx(3 / 4)
    assert parts(reward, thing="the lamp")["thing"] == 1.0  # "is" follows in every input: too common to extend a name


def test_a_reward_that_has_read_nothing_says_so_instead_of_a_score() -> None:
    with pytest.raises(RuntimeError, match="has read no inputs"):
        build(phrase=["thing"]).score_batch([(prompts()[0], Candidate("", "{}"))])


@pytest.mark.parametrize("options", [{}, {"own": {"a": 0}}, {"own": {"a": 1.5}}, {"phrase": ["a"], "common": 0}])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        build(**options)


def test_an_answer_that_is_no_record_scores_zero_and_says_why() -> None:
    reward = build(phrase=["thing"])
    reward.read(prompts())
    for response in ("", "lamp", "[" * 50_000, "{}"):
        (score,) = reward.score_batch([(prompts()[0], Candidate("", response))])
        assert score.value == 0.0
        assert score.why


def test_the_score_command_reads_all_prompts_first(tmp_path: Path) -> None:
    rows = [
        {"id": str(i), "prompt": text, "response": json.dumps({"customer": "Derek", "thing": "bowl"})}
        for i, text in enumerate(MESSAGES)
    ]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    for workers in (1, 2):
        reward = Ref("rules/recurrence", {"own": {"customer": 0.2}, "phrase": ["thing"], "common": 0.5})
        tao_hub.score_rows(reward, source, target, workers=workers)
        found = [json.loads(line) for line in target.read_text().splitlines()]
        assert [f["parts"] for f in found] == [{"customer": 0.0, "thing": 0.25}] * len(rows)


def test_scores_belong_to_the_inputs_that_were_read(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    reply = json.dumps({"thing": "bowl"})
    suite = Ref("jsonl", {"path": str(data)})

    def scored(*more: str, limit: int | None = None) -> tuple[int, float | None]:
        (data / "prompts.jsonl").write_text("\n".join(json.dumps({"prompt": text}) for text in [*MESSAGES, *more]))
        with tao_hub.Session(tmp_path / "store.db") as session:
            policy = session.policy(Ref("core/echo", {"replies": [reply]}))
            part = session.slice(suite, "prompts", limit)
            member = tao_hub.generate(session, part, policy, Ref("core/direct"), tao_hub.Sampling(0.0, 10), 1, suite)
            opened = session.reward(Ref("rules/recurrence", {"phrase": ["thing"], "common": 0.5}))
            done = tao_hub.score(session, part, [member], opened)
            (_row, group), *_ = session.store.groups(part, [member], {"r": (done.row, False)})
            return done.row, group.scores[0]["r"].value

    first = scored()
    assert first[1] == 0.25
    assert scored(limit=2) == first, "inputs of the split that are not tuned on are read, too"
    other = scored("one bowl only")
    assert other[0] != first[0]
    assert other[1] == pytest.approx(2 / 5)
    assert scored() == first
