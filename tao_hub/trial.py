"""Try what plugins bring before a run does: import, options, construction, and what a reward promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, cast

from . import components
from .components import Component, GroupReward, Reward, Suite
from .errors import PluginError, TaoHubError, UsageError
from .hookspecs import GROUP, KINDS
from .plugins import Entry, Hub, Plugin
from .rows import Row
from .scoring import checked, limited, score_group, score_pairs
from .types import Candidate, Group, Message, Prompt, Ref, Score

NEEDED = {  # what a class of each kind has to define itself
    "suite": ("splits", "prompts"), "strategy": (), "generator": ("policy_digest", "generate"),
    "reward": ("score_batch",), "trainer": ("update",), "engine": ("map",),
}  # fmt: skip
NOISE = 1e-3  # relative: sums in another order differ, in half precision too; what differs more is another score
_ASKED = Prompt((Message("user", "What is 2 + 2? Answer with one number."),), id="trial", reference="4")
ROWS = [Row(i, _ASKED, text, _ASKED.digest) for i, text in enumerate(("4", "Five, I think.", '{"answer": 4}', ""))]


@dataclass
class Finding:
    """What the trial of one component (or of a plugin's registration) found."""

    kind: str  # "reward", …; "plugin"
    name: str
    plugin: str  # distribution and version
    wrong: list[str] = field(default_factory=list)
    """What breaks the contract. Empty: all that could be tried is right."""
    notes: list[str] = field(default_factory=list)
    """What was tried, and what could not be."""


def try_plugin(plugin: Plugin) -> Finding:
    """The registration of one plugin: loaded, and something came of it."""
    found = Finding("plugin", plugin.name, plugin.label)
    if plugin.error:
        found.wrong.append(f"{plugin.error} ({plugin.hint})" if plugin.hint else plugin.error)
        return found
    registering: Any = metadata.EntryPoint(plugin.name, plugin.target, GROUP).load()
    hooks = [f"register_{plural}" for plural in (*KINDS.values(), "commands")]
    written = {hook: function for hook in hooks if callable(function := getattr(registering, hook, None))}
    unmarked = [hook for hook, function in written.items() if not hasattr(function, f"{GROUP}_impl")]  # set by pluggy
    found.wrong += [f"{hook} is never called: put @tao_hub.hookimpl above it" for hook in unmarked]
    if not written:
        found.wrong.append(f"registers nothing: define one of {', '.join(hooks)} in {plugin.target}")
    return found


def try_entry(
    hub: Hub, entry: Entry, options: Mapping[str, Any] | None = None, rows: Sequence[Row] | None = None,
    timeout: float = 60.0,
) -> Finding:  # fmt: skip
    """Import a component and build it, with `options` (None: its defaults) as far as they are enough.

    With `rows`, a suite is also read, and a reward scores them: again, in another order, one by one and built anew,
    with the same result; its `content_digest` stays, and it answers with finite floats or Scores. `timeout` is in
    seconds per call. Raises UsageError for given options that are wrong, nothing for a fault of the component.
    """
    found = Finding(entry.kind, entry.name, entry.plugin.label)
    try:
        cls = entry.load()
        _class(cls, entry.kind, found)
    except PluginError as error:
        found.wrong.append(str(error))
    if found.wrong:
        return found
    if options is not None:
        hub.check_options(entry.kind, Ref(entry.name, options))
    try:
        _built(hub, entry, cls, options, rows, timeout, found)
    except TaoHubError as error:
        found.wrong.append(str(error))
    return found


def _class(cls: type[Component], kind: str, found: Finding) -> None:
    needed = ("score_group",) if issubclass(cls, GroupReward) else NEEDED[kind]
    bases = [getattr(components, kind.capitalize()), GroupReward]
    lacking = [name for name in needed if any(getattr(cls, name) is getattr(base, name, None) for base in bases)]
    found.wrong += [f"has no `{name}`: a {kind} has to define it" for name in lacking]
    silent = [name for name, info in cls.Options.model_fields.items() if not info.description]
    if silent:
        found.notes.append(f"options without a description: {', '.join(silent)} (it becomes help text)")


def _built(
    hub: Hub, entry: Entry, cls: type[Component], options: Mapping[str, Any] | None, rows: Sequence[Row] | None,
    timeout: float, found: Finding,
) -> None:  # fmt: skip
    needed = [info.alias or name for name, info in cls.Options.model_fields.items() if info.is_required()]
    if options is None and needed:
        found.notes.append(f"imported, not built: it needs {', '.join(needed)} (-o {needed[0]}=…)")
        return
    ref = Ref(entry.name, dict(options or {}))
    try:
        component = hub.build(entry.kind, ref)
    except (UsageError, PluginError) as error:
        if options is None and isinstance(error.__cause__ or error, (UsageError, ValueError, OSError)):
            found.notes.append(f"imported, not built: its default options are not enough here ({error})")
            return
        raise
    first: list[Score] | None = None
    try:
        found.notes.append("built")
        if isinstance(component, Suite):
            _metric(hub, component, found)
            if rows is not None:
                _read(component, found)
        if rows is not None and isinstance(component, Reward):
            first = _reward(component, rows, timeout, found)
            content = component.content_digest()
    finally:
        component.close()
    if rows is not None and first is not None:  # after the first is closed: two may not fit into memory
        _anew(hub, ref, rows, timeout, first, content, found)


def _metric(hub: Hub, suite: Suite, found: Finding) -> None:
    if not isinstance(getattr(suite, "metric", None), Ref):
        found.wrong.append("has no `metric`: the Ref of the reward that judges its answers")
    else:
        hub.find("reward", suite.metric.name)


def _read(suite: Suite, found: Finding) -> None:
    for split in suite.splits():
        try:
            first = next(iter(suite.prompts(split)), None)
        except (ValueError, OSError) as error:
            found.notes.append(f"split {split}: {error}")
            continue
        found.notes.append(f"split {split}: read" if first else f"split {split}: empty")


# -- what a reward promises --------------------------------------------------------------------------------------------


def _reward(reward: Reward, rows: Sequence[Row], timeout: float, found: Finding) -> list[Score] | None:
    """The scores of the rows, the same in whatever way they are asked for; None if there are none to expect."""
    if reward.learns:
        found.notes.append("not scored: it learns from a round, so only a plan can use it")
        return None
    _prepare(reward, rows)
    content = reward.content_digest()
    if not _answers(reward, rows, timeout, found):
        return None
    first = _scores(reward, rows, timeout)
    _compare("scored again", rows, first, _scores(reward, rows, timeout), found)
    _compare("in reverse order", rows, first, _scores(reward, rows[::-1], timeout)[::-1], found)
    if not isinstance(reward, GroupReward):
        _compare("one by one", rows, first, [_scores(reward, [row], timeout)[0] for row in rows], found)
    _same_content(content, reward, found)
    failed = [score.error for score in first if score.error]
    found.notes.append(f"scored {len(first) - len(failed)} of {len(first)}")
    if failed:
        hint = "" if len(failed) < len(first) else "; give rows that it can score (--input FILE.jsonl)"
        found.notes.append(f"first error, kept as one: {failed[0]['type']}: {failed[0]['message']:.200}{hint}")
    return first


def _anew(
    hub: Hub, ref: Ref, rows: Sequence[Row], timeout: float, first: Sequence[Score], content: str, found: Finding
) -> None:
    """A second one of the same options scores the same, and says the same of its content."""
    reward = hub.reward(ref)
    try:
        _prepare(reward, rows)
        _compare("built anew", rows, first, _scores(reward, rows, timeout), found)
        _same_content(content, reward, found)
    finally:
        reward.close()


def _prepare(reward: Reward, rows: Sequence[Row]) -> None:
    if reward.reads_inputs:
        reward.read([row.prompt.without_reference() for row in rows])


def _same_content(content: str, reward: Reward, found: Finding) -> None:
    told = "`content_digest` changes: a score that is kept would never be found again"
    if reward.content_digest() != content and told not in found.wrong:
        found.wrong.append(told)


def _scores(reward: Reward, rows: Sequence[Row], timeout: float) -> list[Score]:
    """One Score per row, as the loop makes them."""
    if not isinstance(reward, GroupReward):
        return score_pairs(reward, _pairs(rows), timeout)
    scores: dict[int, Score] = {}
    for name in dict.fromkeys(row.group for row in rows):
        places = [i for i, row in enumerate(rows) if row.group == name]
        group = Group(rows[places[0]].prompt, tuple(c for _, c in _pairs([rows[i] for i in places])))
        scores.update(zip(places, score_group(reward, group, timeout)))
    return [scores[i] for i in range(len(rows))]


def _pairs(rows: Sequence[Row]) -> list[tuple[Prompt, Candidate]]:
    return [(row.prompt, Candidate(row.prompt.digest, row.response)) for row in rows]


def _answers(reward: Reward, rows: Sequence[Row], timeout: float, found: Finding) -> bool:
    """What the reward itself answers, before the loop makes errors of what is no score. What it raises is no fault.

    False if it gives no answer in time: then it is not asked again.
    """
    pairs = [(p if reward.uses_reference else p.without_reference(), c) for p, c in _pairs(rows)]

    def call() -> list[Any]:
        if isinstance(reward, GroupReward):
            same = [(p, c) for (p, c), row in zip(pairs, rows) if row.group == rows[0].group]
            return list(reward.score_group(Group(same[0][0], tuple(c for _, c in same))))
        return list(reward.score_batch(pairs))

    asked = sum(row.group == rows[0].group for row in rows) if isinstance(reward, GroupReward) else len(rows)
    try:
        answers = cast("list[Any]", limited(call, timeout))
    except TimeoutError as error:
        found.wrong.append(str(error))
        return False
    except Exception:
        return True
    if len(answers) != asked:
        found.wrong.append(f"gave {len(answers)} scores for {asked} candidates: it must give one each, in order")
    bad = [checked(answer) for answer in answers if not isinstance(answer, Score)]
    told = [score.error["message"] for score in bad if score.error]
    found.wrong += [f"{message} ({len(told)} of {len(answers)} answers)" for message in told[:1]]
    return True


def _compare(way: str, rows: Sequence[Row], first: Sequence[Score], other: Sequence[Score], found: Finding) -> None:
    for row, a, b in zip(rows, first, other):
        if a.value is None or b.value is None:
            same = a.value is None and b.value is None
        else:
            same = abs(a.value - b.value) <= NOISE * max(1.0, abs(a.value), abs(b.value))
        if not same:
            found.wrong.append(f"{way}, {row.response!r:.60} has {_told(b)} instead of {_told(a)}")
            return


def _told(score: Score) -> str:
    return f"an error ({score.error['message']:.100})" if score.error else f"{score.value:g}"
