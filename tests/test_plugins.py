"""The seam: each plugin alone, a broken one named and left out, every answer of a reward checked."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, Run, Site, hub_of, installed, shell, write_rows

import tao_hub
from tao_hub import Candidate, Group, Message, PluginError, Prompt, Ref, Sampling, Score, Session, UsageError
from tao_hub.compose import compose
from tao_hub.config import RewardUse
from tao_hub.hookspecs import KINDS, Hooks
from tao_hub.loop import generate, score
from tao_hub.scoring import score_group

GOOD = """
    import tao_hub
    class Ones(tao_hub.Reward):
        def score_batch(self, pairs):
            return [1.0] * len(pairs)
    @tao_hub.hookimpl
    def register_rewards(register):
        register("ones", Ones, summary="always one")
"""
BROKEN = {
    "fails to import": ("import a_module_that_is_not_there", "ModuleNotFoundError"),
    "has a syntax error": ("def broken(:", "SyntaxError"),
    "exits at import": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "registers a name twice": (GOOD + '        register("ones", Ones)\n', "registers reward 'ones' twice"),
    "misspells a hook": (GOOD.replace("register_rewards", "register_reward"), "register_reward"),
    "misspells an argument": (GOOD.replace("(register)", "(registry)"), "registry"),
    "raises in a hook": (GOOD + "        raise RuntimeError('out of order')\n", "RuntimeError: out of order"),
    "exits in a hook": (GOOD + "        raise SystemExit(4)\n", "SystemExit: 4"),
    "registers a bad name": (GOOD + "        register('a/b', Ones)\n", "a/b"),
    "registers a bad target": (GOOD + "        register('b', 'nowhere')\n", "module:Class"),
}


def pairs(count: int = 3) -> list[tuple[Prompt, Candidate]]:
    prompt = Prompt((Message("user", "hello"),), reference="secret")
    return [(prompt, Candidate(prompt.digest, f"answer {i}")) for i in range(count)]


@pytest.mark.parametrize("fault", BROKEN)
def test_a_plugin_that_is_broken_is_named_with_its_version_and_the_rest_works(site: Site, fault: str) -> None:
    source, reason = BROKEN[fault]
    hub = hub_of(site.add("bad", source, version="7.8"), site.add("good", GOOD))
    (broken,) = [p for p in hub.plugins if p.error]
    assert (broken.name, broken.distribution, broken.version) == ("bad", "tao-bad", "7.8")
    assert reason in broken.error
    assert not broken.entries  # what it registered before it broke is rolled back
    assert [e.name for e in hub.entries("reward") if e.short == "ones"] == ["good/ones"]
    assert list(hub.reward(Ref("ones")).score_batch(pairs())) == [1.0, 1.0, 1.0]
    assert list(hub.reward(Ref("regex", {"pattern": "1"})).score_batch(pairs()))[1] == Score(1.0, why="found '1'")
    with pytest.raises(PluginError, match=r"(?s)bad/ones.*tao-bad 7\.8 is broken.*tao-hub plugins"):
        hub.reward(Ref("bad/ones"))


def test_an_implementation_that_cannot_be_imported_breaks_only_itself(site: Site) -> None:
    exits = site.path / "exits_at_import.py"
    exits.write_text("raise SystemExit(5)")
    source = """
        import tao_hub
        @tao_hub.hookimpl
        def register_rewards(register):
            register("lost", "no_such_module:Lost")
            register("absent", "tao_hub:Absent")
            register("exits", "exits_at_import:Reward")
            register("wrong", "tao_hub:Strategy")
    """
    hub = hub_of(site.add("lazy", source), site.add("good", GOOD))
    assert not [p for p in hub.plugins if p.error]  # nothing is imported before it is used
    for name, reason in {"lost": "ModuleNotFoundError", "absent": "Absent", "exits": "SystemExit"}.items():
        with pytest.raises(PluginError, match=rf"'lazy/{name}' of tao-lazy 1\.2.*{reason}"):
            hub.reward(Ref(name))
    with pytest.raises(PluginError, match=r"'lazy/wrong' of tao-lazy 1\.2.*Strategy.*Reward"):
        hub.reward(Ref("wrong"))
    assert hub.reward(Ref("ones"))


OPTIONS = """
    import pydantic, tao_hub
    class Fussy(tao_hub.Reward):
        class Options(tao_hub.Options):
            size: int = pydantic.Field(1, description="How many")
            @pydantic.field_validator("size")
            @classmethod
            def _check(cls, size):
                if size == 13:
                    raise RuntimeError("no thirteen here")
                return size
        def __init__(self, options=None):
            super().__init__(options)
            if self.options.size == 99:
                raise OSError("no room")
    @tao_hub.hookimpl
    def register_rewards(register):
        register("fussy", Fussy)
"""


def test_bad_options_are_errors_that_name_option_plugin_version_and_cure(site: Site) -> None:
    hub = hub_of(site.add("fussy", OPTIONS))
    for options, field in (({"size": "big"}, "size"), ({"colour": 1}, "colour")):
        with pytest.raises(UsageError, match=rf"tao-fussy 1\.2\): {field}: .*tao-hub rewards show fussy/fussy"):
            hub.reward(Ref("fussy", options))
    with pytest.raises(PluginError, match=r"tao-fussy 1\.2\) failed: RuntimeError: no thirteen here"):
        hub.reward(Ref("fussy", {"size": 13}))
    with pytest.raises(PluginError, match=r"tao-fussy 1\.2: OSError: no room"):
        hub.reward(Ref("fussy", {"size": 99}))
    assert hub.reward(Ref("fussy", {"size": 2})).options.size == 2


ANSWERS = {
    "too few": ("return [1.0] * (len(pairs) - 1) if len(pairs) > 1 else []", "ValueError", "returned 0 scores for 1"),
    "too many": ("return [1.0] * (len(pairs) + 1)", "ValueError", "returned 2 scores for 1"),
    "nan": ("return [float('nan')] * len(pairs)", "ValueError", "finite"),
    "infinity": ("return [float('inf')] * len(pairs)", "ValueError", "finite"),
    "a string": ("return ['1.0'] * len(pairs)", "TypeError", "str '1.0'"),
    "nothing": ("return [None] * len(pairs)", "TypeError", "NoneType"),
    "a bool": ("return [True] * len(pairs)", "TypeError", "bool"),
    "not a list": ("return None", "TypeError", "NoneType"),
    "raises": ("raise KeyError('lost')", "KeyError", "lost"),
    "raises midway": ("yield 1.0; raise KeyError('lost')", "KeyError", "lost"),
    "exits": ("raise SystemExit(1)", "RuntimeError", "SystemExit"),
    "hangs": ("import time; time.sleep(3600)", "TimeoutError", "no answer in 0.3 s"),
}


@pytest.mark.parametrize("fault", ANSWERS)
def test_no_candidate_gets_a_made_up_score(site: Site, tmp_path: Path, fault: str) -> None:
    body, kind, message = ANSWERS[fault]
    source = f"""
    import tao_hub
    class Bad(tao_hub.Reward):
        def score_batch(self, pairs):
            {body}
    class BadGroup(tao_hub.GroupReward):
        def score_group(self, group):
            pairs = group.candidates
            {body}
    @tao_hub.hookimpl
    def register_rewards(register):
        register("bad", Bad)
        register("bad-group", BadGroup)
    """
    hub = hub_of(site.add("bad", source), site.add("good", GOOD))
    data = write_rows(tmp_path / "data" / "prompts.jsonl", {"prompt": "a"}, {"prompt": "b"})
    with Session(tmp_path / "s.db", hub, timeout=0.3) as session:
        part = session.slice(Ref("jsonl", {"path": str(data.parent)}), "prompts")
        member = generate(session, part, session.policy("core/echo"), Ref("direct"), Sampling())
        rewards = {name: score(session, part, [member], session.reward(Ref(name))) for name in ("bad", "good/ones")}
        labels = {name: (r.row, False) for name, r in rewards.items()}
        groups = [g for _, g in session.store.groups(part, [member], labels)]
        assert len(groups) == 2
        for group in groups:
            found = group.scores[0]["bad"]
            assert found.value is None
            assert found.error is not None
            assert found.error["type"] == kind
            assert message in found.error["message"]
            assert "bad/bad (tao-bad 1.2)" in found.error["message"]
            assert group.scores[0]["good/ones"].value == 1.0
            composed = compose(group, [RewardUse(name="good/ones"), RewardUse(name="bad")])
            assert composed.totals[0] is not None
            assert composed.totals[0].value is None  # unscored, not half-scored
            assert composed.best() is None
    (prompt, candidate), *_ = pairs()
    whole = hub.reward(Ref("bad-group"))
    assert isinstance(whole, tao_hub.GroupReward)
    short = message.replace("scores for 1", "scores for a group of 1")
    (one,) = score_group(whole, Group(prompt, (candidate,)), 0.3, "bad/bad-group (tao-bad 1.2)")
    assert one.value is None
    assert one.error is not None
    assert one.error["type"] == kind
    assert short in one.error["message"]


def test_two_entry_points_of_one_name_are_an_error_that_names_both(site: Site) -> None:
    first = site.add("same", GOOD, distribution="tao-first", version="1.0")
    hub = hub_of(first, site.add("same", GOOD, distribution="tao-second", version="2.0"))
    (broken,) = [p for p in hub.plugins if p.error]
    assert broken.label == "tao-second 2.0"
    assert "tao-first 1.0" in broken.error
    assert "rename it in tao-second" in broken.error
    assert hub.find("reward", "same/ones").plugin.label == "tao-first 1.0"


def test_a_short_name_of_two_plugins_is_refused_and_the_qualified_one_resolves(site: Site) -> None:
    hub = hub_of(site.add("left", GOOD), site.add("right", GOOD, version="3.0"))
    with pytest.raises(PluginError, match=r"left/ones \(tao-left 1\.2\) and right/ones \(tao-right 3\.0\)"):
        hub.reward(Ref("ones"))
    assert hub.find("reward", "right/ones").plugin.name == "right"
    blocked = hub_of(site.add("third", GOOD), site.add("fourth", GOOD), block=["tao-third"])
    assert blocked.find("reward", "ones").name == "fourth/ones"


GENERATOR = GOOD.replace("Reward", "Generator").replace("_rewards", "_generators").replace("ones", "mark")


def test_a_policy_may_be_a_generators_short_name_as_of_other_components(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, other, echo = site.add("one", GENERATOR), site.add("other", GENERATOR), GENERATOR.replace("mark", "echo")
    hub = hub_of(one, site.add("third", echo), *installed("hf"))
    assert hub.policy("mark", {"a": 1}) == Ref("one/mark", {"a": 1})
    assert hub.policy("echo") == Ref("core/echo")  # the core's short names stay its own
    assert hub.policy("smollm2") == Ref("hf/causal-lm", {"model": "smollm2"})
    (tmp_path / "mark").mkdir()
    assert hub.policy("mark") == Ref("hf/causal-lm", {"model": "mark"})  # a checkpoint's folder
    (tmp_path / "mark").rmdir()
    with pytest.raises(PluginError, match=r"generator 'mark' is ambiguous: one/mark \(tao-one 1\.2\) and other/mark"):
        hub_of(one, other).policy("mark")
    with pytest.raises(PluginError, match="policy 'elsewhere' needs the generator hf/causal-lm"):
        hub_of(one).policy("elsewhere")


def test_an_unknown_name_lists_the_known_ones(site: Site) -> None:
    with pytest.raises(PluginError, match=r"unknown generator 'ehco' \(did you mean 'echo'\?\); known: "):
        hub_of().find("generator", "ehco")
    with pytest.raises(PluginError, match=r"unknown generator 'nowhere'; known: core/echo"):
        hub_of().generator(Ref("nowhere"))


def test_the_core_cannot_be_blocked() -> None:
    hub = tao_hub.Hub(installed("core", "rules"), block=["core", "tao-hub", "rules"])
    assert [p.name for p in hub.plugins] == ["core"]


def test_the_list_of_plugins_tells_what_is_broken_and_why(site: Site, run: Run) -> None:
    site.add("bad", "import a_module_that_is_not_there", version="7.8")
    site.add("good", GOOD)
    rows = {row["name"]: row for row in run("plugins", "--json").json}
    assert rows["bad"]["version"] == "7.8"
    assert "a_module_that_is_not_there" in rows["bad"]["error"]
    assert "tao_bad_of" in rows["bad"]["hint"]  # the file and line that raised
    assert rows["good"]["registers"] == {"reward": ["good/ones"]}
    assert rows["core"]["error"] is None
    shown = run("plugins")
    assert "BROKEN ModuleNotFoundError" in shown.out
    without = run("--block", "bad", "plugins", "--json").json
    assert "bad" not in {row["name"] for row in without}
    wrong = run("nonsense")
    assert wrong.code == 2
    assert "broken plugins: bad" in wrong.err


COMMANDS = """
    import click, tao_hub
    @tao_hub.hookimpl
    def register_commands(cli):
        @cli.command("extra")
        def extra():
            "Something extra."
            click.echo("extra!")
"""


def test_a_plugin_brings_commands_but_takes_no_others_place(site: Site, run: Run) -> None:
    site.add("extra", COMMANDS)
    site.add("thief", COMMANDS.replace('"extra"', '"tune"'))
    site.add("zz-twin", COMMANDS.replace("extra!", "twin!"))
    site.add("zz-exits", COMMANDS.replace("@cli.command", "raise SystemExit(9)\n        @cli.command"))
    assert run("extra").out == "extra!\n"
    rows = {row["name"]: row for row in run("plugins", "--json").json}
    assert rows["extra"]["commands"] == ["extra"]
    assert "command 'tune' is taken" in rows["thief"]["error"]
    assert "command 'extra' is taken" in rows["zz-twin"]["error"]
    assert "SystemExit: 9" in rows["zz-exits"]["error"]
    assert "Something extra." in run("--help").out


def test_help_tells_the_commands_of_a_plugin_as_its_code_is_now(site: Site, tmp_path: Path) -> None:
    code = site.path / f"{site.add('extra', 'raise OSError()').module}.py"

    def told(*words: str) -> str:
        return " ".join(shell(*words, "--help", cwd=tmp_path, path=site.path).out.split())

    assert "extra" not in told()
    code.write_text(textwrap.dedent(COMMANDS))  # the version is the same, nothing is installed
    assert "extra Something extra." in told()
    code.write_text(textwrap.dedent(COMMANDS.replace("Something extra", "Something else")))
    assert "extra Something else." in told()
    assert "extra" not in told("--block", "extra")
    assert "extra Something else." in told()
    site.add("more", COMMANDS.replace('"extra"', '"more"'))
    assert "more Something extra." in told()


def test_commands_that_repair_work_with_every_plugin_broken(site: Site, tmp_path: Path) -> None:
    for point in metadata.entry_points(group="tao_hub"):
        if point.dist and point.name != "core":  # the same distribution, found first, and broken
            site.add(point.name, "raise OSError('all is lost')", "9", distribution=point.dist.name)
    shown = shell("plugins", "--json", cwd=tmp_path, path=site.path)
    assert shown.code == 0, shown.err
    rows = shown.json
    assert len(rows) > 1
    assert all("all is lost" in row["error"] for row in rows if row["name"] != "core")
    for words in (["--help"], ["--version"], ["rewards"], ["runs", "--help"]):
        assert shell(*words, cwd=tmp_path, path=site.path).code == 0


def test_every_hook_is_documented_and_registers_what_it_names(site: Site) -> None:
    assert all(getattr(Hooks, hook).__doc__ for hook in vars(Hooks) if hook.startswith("register_"))
    hooks = "".join(
        f"@tao_hub.hookimpl\ndef register_{plural}(register):\n"
        f"    register('mine', tao_hub.{kind.capitalize()}, summary='my {kind}')\n"
        for kind, plural in KINDS.items()
    )
    hub = hub_of(site.add("all", "import tao_hub\n" + hooks))
    for kind in KINDS:
        assert (hub.find(kind, "all/mine").summary, hub.find(kind, "mine").load().kind) == (f"my {kind}", kind)


def test_the_example_distribution_installs_and_works(example: Path, tmp_path: Path) -> None:
    rows = {r["name"]: r for r in shell("plugins", "--json", cwd=tmp_path, path=example).json}
    mine = rows["example"]
    assert (mine["distribution"], mine["version"], mine["error"]) == ("tao-example", "0.3.1", None)
    assert mine["commands"] == ["greet"]
    assert mine["registers"]["reward"] == ["example/polite", "example/sum"]
    shown = shell("rewards", "show", "polite", "--json", cwd=tmp_path, path=example).json
    assert shown["options"][0]["name"] == "words"
    assert shown["options"][0]["description"] == "What a polite answer says"
    assert (shown["uses_reference"], shown["scores"]) == (False, "candidates")
    assert shell("greet", "you", cwd=tmp_path, path=example).out == "Hello, you!\n"
    store = ["--store", tmp_path / "s.db", "--json"]
    words = ["eval", "sums", "--policy", "core/echo", "--strategy", "please", *store]
    measured = shell(*words, cwd=tmp_path, path=example)
    assert measured.code == 0, measured.err
    (row,) = measured.json["quality"]
    assert (row["metric"], row["split"], row["n"], row["value"]) == ("right", "test", 10, 0.0)


def test_an_identity_is_the_same_from_a_checkout_and_from_elsewhere(tmp_path: Path) -> None:
    code = "import tao_hub; print(tao_hub.Hub().identity('suite', tao_hub.Ref('core/jsonl')))"
    told = set()
    for folder in (ROOT, tmp_path):  # `python -c` puts the folder it runs in first on the path
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        told.add(done.stdout)
    assert len(told) == 1


def test_a_score_holds_a_finite_number_or_an_error_and_never_both() -> None:
    for bad in ({}, {"value": 1.0, "error": {"type": "x", "message": "y"}}, {"value": math.nan}, {"value": math.inf}):
        with pytest.raises(ValueError, match=r"exactly one|finite"):
            Score(**bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a number"):
        Score("1")  # type: ignore[arg-type]
    assert json.dumps(Score(1, parts={"a": 1}).parts) == '{"a": 1.0}'
