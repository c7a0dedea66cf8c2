"""Whose fault it is: what a plugin's component raises or gives is told with its name, wherever the core calls it."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
from conftest import Site, hub_of

import tao_hub
from tao_hub import PluginError, Ref, Session, UsageError, load_plan
from tao_hub.commands.stages import split_of

FAILING = """
    import tao_hub
    class Inputs(tao_hub.Suite):
        class Options(tao_hub.Options):
            at: str = ""
        metric = tao_hub.Ref("rules/exact")
        def splits(self):
            self.fail("splits")
            return ["prompts"]
        def prompts(self, split):
            yield tao_hub.Prompt((tao_hub.Message("user", "a"),))
            self.fail("prompts")
        def options_for(self, component):
            self.fail("options_for")
            return {}
        def close(self):
            self.fail("close")
        def fail(self, at):
            if at == self.options.at:
                [].pop()
    class Way(tao_hub.Strategy):
        Options, fail = Inputs.Options, Inputs.fail
        def variants(self, prompt, n):
            self.fail("variants")
            return [prompt] * (n + (self.options.at == "count"))
        def follow(self, prompt, raws):
            self.fail("follow")
        def combine(self, group):
            self.fail("combine")
            yield {"response": "b"} if self.options.at == "given" else tao_hub.Candidate(group.prompt.digest, "b")
            self.fail("late")
    class Judge(tao_hub.Reward):
        Options, fail, close = Inputs.Options, Inputs.fail, Inputs.close
        def content_digest(self):
            self.fail("content_digest")
            return 7 if self.options.at == "given" else "00"
        def score_batch(self, pairs):
            return [1.0] * len(pairs)
    class Client:
        __slots__ = ()
        def close(self):
            getattr(self, "fail", print)("close")
    class Writer(Client, tao_hub.Generator):
        Options, fail = Inputs.Options, Inputs.fail
        _entry = who = guarded = None  # names of its own
        def policy_digest(self):
            self.fail("policy_digest")
            if self.options.at == "exits":
                raise SystemExit(3)
            return "00" * 16
        def generate(self, requests, sampling):
            for i, request in enumerate(requests):
                yield i, [tao_hub.Completion("a")] * request.n
    class Teacher(tao_hub.Trainer):
        Options, fail, close = Inputs.Options, Inputs.fail, Inputs.close
        def update(self, groups, start, out, progress=None):
            self.fail("update")
            return start
    @tao_hub.hookimpl
    def register_suites(register):
        register("inputs", Inputs)
    @tao_hub.hookimpl
    def register_strategies(register):
        register("way", Way)
    @tao_hub.hookimpl
    def register_rewards(register):
        register("judge", Judge)
    @tao_hub.hookimpl
    def register_generators(register):
        register("writer", Writer)
    @tao_hub.hookimpl
    def register_trainers(register):
        register("teacher", Teacher)
"""


@pytest.mark.parametrize(
    ("failing", "at"),
    [
        ("suite/inputs", "splits"), ("suite/inputs", "prompts"), ("suite/inputs", "options_for"),
        ("suite/inputs", "close"), ("strategy/way", "variants"), ("strategy/way", "follow"),
        ("strategy/way", "combine"), ("strategy/way", "late"), ("reward/judge", "content_digest"),
        ("reward/judge", "close"), ("generator/writer", "policy_digest"), ("generator/writer", "close"),
        ("trainer/teacher", "update"), ("trainer/teacher", "close"),
    ],
)  # fmt: skip
def test_what_a_plugin_raises_in_any_method_is_told_with_component_distribution_and_place(
    site: Site, tmp_path: Path, failing: str, at: str
) -> None:
    kind, name = failing.split("/")
    method = "combine" if at == "late" else at
    told = rf"(?s){kind} 'seam/{name}' of tao-seam 1\.2 failed in `{method}`: IndexError: pop from empty list"
    with pytest.raises(PluginError, match=rf"{told} \(.*in fail\).*tell its authors.*--block seam") as failed:
        a_round(tmp_path, hub_of(site.add("seam", FAILING)), {name: {"at": at}})
    assert isinstance(failed.value.__cause__, IndexError)


def test_what_a_plugin_says_about_data_is_told_as_it_is(site: Site) -> None:
    source = FAILING.replace("[].pop()", "raise FileNotFoundError('no data/: fetch it with `make data`')")
    suite = hub_of(site.add("seam", source)).suite(Ref("seam/inputs", {"at": "splits"}))
    with pytest.raises(PluginError) as failed:
        suite.splits()
    said = "FileNotFoundError: no data/: fetch it with `make data`"
    assert str(failed.value) == f"suite 'seam/inputs' of tao-seam 1.2 failed in `splits`: {said}"


def test_a_class_that_a_component_has_a_method_from_stays_as_it_is(site: Site) -> None:
    writer = hub_of(site.add("seam", FAILING)).generator(Ref("seam/writer", {"at": "close"}))
    client = type(writer).__mro__[1]
    client().close()
    with pytest.raises(PluginError, match="failed in `close`"):
        writer.close()


def a_round(tmp_path: Path, hub: tao_hub.Hub, options: dict[str, dict[str, str]]) -> None:
    """A round with all components of FAILING."""
    of = {name: options.get(name, {}) for name in ("inputs", "way", "judge", "writer", "teacher")}
    plan = load_plan({
        "suite": "seam/inputs", "suite_options": of["inputs"], "policy": "seam/writer", "policy_options": of["writer"],
        "candidates": [{"strategy": "seam/way", "options": of["way"]}],
        "combine": [{"strategy": "seam/way", "options": of["way"]}],
        "rewards": [{"name": "seam/judge", "options": of["judge"]}],
        "train": {"name": "seam/teacher", "options": of["teacher"]},
    })  # fmt: skip
    with Session(tmp_path / "s.db", hub) as session:
        assert split_of(session, "seam/inputs", [f"at={of['inputs'].get('at', '')}"])[1] == "prompts"
        tao_hub.tune(session, plan)


def test_a_plugin_without_a_fault_passes_through_the_whole_round(site: Site, tmp_path: Path) -> None:
    a_round(tmp_path, hub_of(site.add("seam", FAILING)), {})


@pytest.mark.parametrize(
    ("name", "at", "found"),
    [
        ("way", "given", "TypeError: gave dict {'response': 'b'} where Candidate was asked"),
        ("judge", "given", "TypeError: gave int 7 where str was asked"),
        ("writer", "exits", "SystemExit: 3"),
        ("way", "count", "gave 5 variants where n=4 × 1 steps were asked"),
    ],
)
def test_an_answer_of_the_wrong_type_and_an_exit_are_a_plugins_faults_too(
    site: Site, tmp_path: Path, name: str, at: str, found: str
) -> None:
    with pytest.raises(PluginError, match=rf"(?s)'seam/{name}' of tao-seam 1\.2.*{re.escape(found)}"):
        a_round(tmp_path, hub_of(site.add("seam", FAILING)), {name: {"at": at}})


def test_the_first_error_is_told_and_everything_is_closed_where_closing_fails_too(site: Site, tmp_path: Path) -> None:
    hub = hub_of(site.add("seam", FAILING))

    def work() -> None:
        with Session(tmp_path / "s.db", hub) as session:
            session.suite(Ref("seam/inputs", {"at": "close"}))
            session.reward(Ref("seam/judge", {"at": "close"}))
            raise UsageError("the first")

    with pytest.raises(UsageError, match="the first"):
        work()
    Session(tmp_path / "s.db", hub).close()  # the store was given back


CAREFUL = """
    import tao_hub
    class Careful(tao_hub.Suite):
        metric = tao_hub.Ref("rules/exact")
        def splits(self):
            try:
                return [split for split in ("a", "b") if list(self.prompts(split))]
            except ValueError:
                return ["none"]
        def prompts(self, split):
            raise ValueError(f"no split {split!r}")
    @tao_hub.hookimpl
    def register_suites(register):
        register("careful", Careful)
"""


def test_what_a_component_raises_for_itself_reaches_its_own_handlers(site: Site, tmp_path: Path) -> None:
    hub = hub_of(site.add("own", CAREFUL))
    suite = hub.suite(Ref("careful"))
    assert suite.splits() == ["none"]
    with pytest.raises(ValueError, match="no split 'a'"):  # documented, so it stays what it is
        suite.prompts("a")
    told = r"suite own/careful \(tao-own 1\.2\), split 'a': no split 'a'"
    with Session(tmp_path / "s.db", hub) as session, pytest.raises(UsageError, match=told):
        list(session.prompts(Ref("own/careful"), "a"))
    assert pickle.loads(pickle.dumps(hub.reward(Ref("regex", {"pattern": "1"})))).options.pattern == "1"
