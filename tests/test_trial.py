"""`tao-hub plugins check`: what a plugin brings is imported, built and held to its promises before a run does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Run, Site, write_rows

REWARD = """
    import itertools, random
    import tao_hub
    COUNT = itertools.count()
    class Judge(tao_hub.Reward):
        def score_batch(self, pairs):
            return [float(len(candidate.response)) for _, candidate in pairs]
    @tao_hub.hookimpl
    def register_rewards(register):
        register("judge", Judge)
"""
SCORE = "return [float(len(candidate.response)) for _, candidate in pairs]"


def checked(run: Run, *args: object, code: int = 0) -> dict[str, dict[str, Any]]:
    """What `plugins check ARGS` found, by name."""
    done = run("plugins", "check", *args, "--json")
    assert done.code == code, done.out + done.err
    return {row["name"]: row for row in done.json}


def test_a_plugin_that_keeps_its_promises_is_told_to_be_fine(site: Site, run: Run) -> None:
    site.add("mine", REWARD)
    found = checked(run, "mine")
    assert found["mine"]["wrong"] == found["mine/judge"]["wrong"] == []
    assert found["mine/judge"]["notes"] == ["built", "scored 4 of 4"]
    assert "scored 4 of 4" in run("plugins", "check", "tao-mine").out  # by its distribution, too
    assert checked(run, "core", "rules/exact")["rules/exact"]["notes"] == ["built", "scored 4 of 4"]


def test_everything_of_ours_can_be_imported_and_nothing_is_wrong_with_it(run: Run) -> None:
    found = checked(run)
    assert found["rules/exact"]["notes"] == ["built"]
    assert "it needs pattern (-o pattern=…)" in found["rules/regex"]["notes"][0]
    assert "core/few-shot has no examples" in found["core/few-shot"]["notes"][0]


BROKEN_PROMISES = {
    "depends on the order": (SCORE.replace("float(len", "float(i + len").replace("for _,", "for i, (_,")
                             .replace("candidate in pairs", "candidate) in enumerate(pairs)"), "in reverse order, '4'"),
    "depends on the batch": (SCORE.replace("float(len", "float(len(pairs) + len"), "'4' has 2 instead of 5"),
    "depends on chance": (SCORE.replace("float(len", "float(random.random() + len"), "scored again, "),
    "depends on the time": (SCORE.replace("float(len", "float(next(COUNT) + len"), "scored again, '4'"),
    "gives too few": (SCORE + "[1:]", "gave 3 scores for 4 candidates"),
    "gives no number": ("return [float('nan')] * len(pairs)", "must be finite, found nan (4 of 4 answers)"),
    "gives a bool": ("return [True] * len(pairs)", "found bool True (4 of 4 answers)"),
    "fails alone": ("if len(pairs) == 1:\n                raise OSError('busy')\n            " + SCORE,
                    "one by one, '4' has an error (busy) instead of 1"),
    "hangs": ("import time; time.sleep(3600)", "no answer in 0.2 s"),
    "has no score_batch": (None, "has no `score_batch`: a reward has to define it"),
    "changes its content": (SCORE + "\n        def content_digest(self):\n            return str(next(COUNT))",
                            "`content_digest` changes"),
    "cannot close": (SCORE + "\n        def close(self):\n            [].pop()", "failed in `close`: IndexError"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN_PROMISES)
def test_a_reward_that_breaks_a_promise_is_found_by_scoring_four_candidates(site: Site, run: Run, fault: str) -> None:
    body, told = BROKEN_PROMISES[fault]
    method = f"        def score_batch(self, pairs):\n            {SCORE}\n"
    assert method in REWARD
    site.add("mine", REWARD.replace(method, "        pass\n") if body is None else REWARD.replace(SCORE, body))
    timeout = 0.2 if fault == "hangs" else 60
    wrong = checked(run, "mine/judge", "--timeout", timeout, code=1)["mine/judge"]["wrong"]
    assert any(told in why for why in wrong), wrong


def test_a_failure_is_no_fault_as_long_as_it_stays_one(site: Site, run: Run, tmp_path: Path) -> None:
    site.add("mine", REWARD.replace(SCORE, "raise LookupError('no such table')"))
    notes = checked(run, "mine/judge")["mine/judge"]["notes"]
    assert notes[1] == "scored 0 of 4"
    assert "LookupError: no such table; give rows that it can score (--input FILE.jsonl)" in notes[2]
    rows = write_rows(tmp_path / "rows.jsonl", {"id": 1, "prompt": "a", "response": "b"})
    assert checked(run, "mine/judge", "--input", rows)["mine/judge"]["notes"][1] == "scored 0 of 1"


GROUPS = """
    import tao_hub
    class First(tao_hub.GroupReward):
        "The first of a group wins: no score of an answer at all."
        def score_group(self, group):
            return [float(i == 0) for i, _ in enumerate(group.candidates)]
    class Longest(tao_hub.GroupReward):
        def score_group(self, group):
            most = max(len(c.response) for c in group.candidates)
            return [float(len(c.response) == most) for c in group.candidates]
    @tao_hub.hookimpl
    def register_rewards(register):
        register("first", First)
        register("longest", Longest)
"""


def test_whole_groups_are_scored_in_another_order_too(site: Site, run: Run) -> None:
    site.add("groups", GROUPS)
    found = checked(run, "groups", code=1)
    assert "in reverse order, '4' has 0 instead of 1" in found["groups/first"]["wrong"][0]
    assert (found["groups/longest"]["wrong"], found["groups/longest"]["notes"]) == ([], ["built", "scored 4 of 4"])


FAULTS = {
    "an implementation that cannot be imported": (
        REWARD.replace('"judge", Judge', '"judge", "no_such_module:Judge"'), "mine/judge", "no_such_module"),
    "a hook without its mark": (
        REWARD.replace("@tao_hub.hookimpl", ""), "mine", "register_rewards is never called: put @tao_hub.hookimpl"),
    "a module without hooks": ("import tao_hub", "mine", "registers nothing: define one of register_suites"),
    "a misspelt hook": (REWARD.replace("register_rewards", "register_reward"), "mine", "register_reward"),
    "a constructor that fails": (
        REWARD.replace("def score", "def __init__(self, options=None):\n            [].pop()\n        def score"),
        "mine/judge", "IndexError: pop from empty list"),
    "a suite without a metric": (
        REWARD.replace("rewards", "suites").replace("Reward", "Suite").replace("score_batch(self, pairs)",
        "splits(self)").replace(SCORE, "return []\n        def prompts(self, split):\n            return []"),
        "mine/judge", "has no `metric`"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_looks_healthy_in_the_list_is_found_by_the_check(site: Site, run: Run, fault: str) -> None:
    source, name, told = FAULTS[fault]
    site.add("mine", source)
    wrong = checked(run, "mine", code=1)[name]["wrong"]
    assert any(told in why for why in wrong), wrong
    assert run("plugins", "check").code == 1


def test_a_name_that_is_not_there_and_options_for_several_are_refused(run: Run) -> None:
    done = run("plugins", "check", "nowhere")
    assert done.code == 2
    assert "no plugin, distribution or component is called 'nowhere'; plugins: core" in done.err
    for name, told in (("rules", "-o is for one"), ("regex", "valid string")):
        done = run("plugins", "check", name, "-o", "pattern=4")
        assert done.code == 2
        assert told in done.err
    notes = checked(run, "rules/regex", "-o", "pattern=^4")["rules/regex"]["notes"]
    assert notes == ["built", "scored 4 of 4"]
