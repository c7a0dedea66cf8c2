"""TOML file and flags → a validated plan of rounds."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pydantic

from .budget import parse_budget
from .errors import UsageError
from .types import Ref, Sampling

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Table(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    LATER: ClassVar[frozenset[str]] = frozenset()
    """Keys left out of the written form where they say nothing: a plan from before they existed keeps its digest."""

    @pydantic.model_serializer(mode="wrap")
    def _written(self, write: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        silent = {key for key in self.LATER if getattr(self, key) == fields[key].get_default(call_default_factory=True)}
        return {key: value for key, value in write(self).items() if key not in silent}


class _Named(_Table):
    options: dict[str, Any] = pydantic.Field(default_factory=dict, description="options of the component")
    first_round: int = pydantic.Field(1, ge=1, description="used from this round on")
    last_round: int | None = pydantic.Field(None, description="used up to this round; none: to the end")

    def in_round(self, number: int) -> bool:
        return self.first_round <= number and (self.last_round is None or number <= self.last_round)


class Source(_Named):
    """One way to draw candidates: a strategy and how it samples."""

    strategy: str = "direct"
    n: int = pydantic.Field(4, ge=1, description="candidates per prompt")
    temperature: float = pydantic.Field(0.8, ge=0)
    top_p: float = pydantic.Field(1.0, gt=0, le=1)
    max_tokens: int = pydantic.Field(256, ge=1)
    policy: str = pydantic.Field("current", pattern="^(current|start)$", description="this or the first policy")
    own_examples: int = pydantic.Field(
        0, ge=0, description="few-shot, from round 2 on: so many of the last round's surest answers are its examples"
    )

    @property
    def ref(self) -> Ref:
        return Ref(self.strategy, self.options)

    def sampling(self, seed: int) -> Sampling:
        return Sampling(self.temperature, self.max_tokens, self.top_p, seed)


OWN = pydantic.Field(
    0, ge=0, description="from round 2 on, so many of the last round's surest answers join its option `examples`"
)


OTHERWISE: Any = pydantic.Field(
    default_factory=dict, description="options that are others from round 2 on, when the tuned policy votes too"
)


class Combination(_Named):
    """A strategy that makes new candidates from scored ones."""

    LATER = frozenset({"own_examples", "learnt"})

    strategy: str
    own_examples: int = OWN
    learnt: bool = pydantic.Field(
        False, description="made after the rewards that learn from the round have scored, which it then sees"
    )

    @property
    def ref(self) -> Ref:
        return Ref(self.strategy, self.options)


class Variation(_Table):
    """A strategy that makes more of what is learnt (`Strategy.vary`): other inputs with their answers."""

    strategy: str
    options: dict[str, Any] = pydantic.Field(default_factory=dict, description="options of the strategy")
    n: int = pydantic.Field(3, ge=1, description="of each prompt, at most")

    @property
    def ref(self) -> Ref:
        return Ref(self.strategy, self.options)


class RewardUse(_Named):
    """A reward: `weight`·value is added to a candidate's total; below `gate` the candidate is refused."""

    LATER = frozenset({"own_examples", "later"})

    name: str
    label: str = ""
    weight: float = 1.0
    gate: float | None = pydantic.Field(None, description="least value a candidate needs to be chosen")
    normalise: Literal["none", "zscore", "rank"] = pydantic.Field(
        "none", description="put the values of each group on one scale before they are weighed"
    )
    own_examples: int = OWN
    later: dict[str, Any] = OTHERWISE

    @property
    def ref(self) -> Ref:
        return Ref(self.name, self.options)

    @property
    def key(self) -> str:
        return self.label or self.name


class Training(_Table):
    LATER = frozenset({"later"})

    name: str = "trl/best-of-n"
    options: dict[str, Any] = pydantic.Field(default_factory=dict)
    later: dict[str, Any] = OTHERWISE
    min_total: float | None = pydantic.Field(default=None, description="least total of a candidate that is learnt from")
    start: str = pydantic.Field(default="base", pattern="^(base|current)$", description="weights an update starts from")

    def options_in(self, number: int) -> dict[str, Any]:
        """The trainer's options in a round."""
        return {**self.options, **(self.later if number > 1 else {})}


class EvalUse(_Table):
    """Splits that are measured after each round; `sealed` ones only base and the last round."""

    LATER = frozenset({"label", "max_tokens", "retain"})

    suite: str = ""
    options: dict[str, Any] = pydantic.Field(default_factory=dict)
    split: str
    limit: int | None = pydantic.Field(None, ge=1, description="the first so many items; none: all")
    sealed: bool = False
    label: str = pydantic.Field("", description="what reports call the suite; default: its name")
    max_tokens: int | None = pydantic.Field(None, ge=1, description="longest answer; none: the task's")
    retain: float | None = pydantic.Field(
        None, gt=0, description="gate: the metric must be shown not to have fallen by so much (0.02: two points)"
    )


class Baseline(_Table):
    """Another way to ask the starting policy, measured beside it."""

    label: str
    strategy: str
    options: dict[str, Any] = pydantic.Field(default_factory=dict)


class Task(_Table):
    """One task of several: its own suite, and what it has of its own instead of what the plan says for all tasks."""

    LATER = frozenset({
        "label", "suite_options", "split", "prompts", "max_tokens", "max_examples", "min_total", "candidates",
        "combine", "vary", "rewards", "eval",
    })  # fmt: skip
    OWN: ClassVar[tuple[str, ...]] = ("split", "prompts", "max_tokens", "max_examples", "candidates", "combine",
                                      "vary", "rewards")  # fmt: skip

    suite: str
    suite_options: dict[str, Any] = pydantic.Field(default_factory=dict)
    label: str = pydantic.Field("", description="what reports call the task; default: its suite's name")
    split: str | None = None
    prompts: int | None = pydantic.Field(None, ge=1)
    max_tokens: int | None = pydantic.Field(None, ge=1)
    max_examples: int | None = pydantic.Field(None, ge=1)
    min_total: float | None = None
    candidates: list[Source] | None = None
    combine: list[Combination] | None = None
    vary: list[Variation] | None = None
    rewards: list[RewardUse] | None = None
    eval: list[EvalUse] | None = pydantic.Field(None, description="splits of this task's suite")

    @property
    def suite_ref(self) -> Ref:
        return Ref(self.suite, self.suite_options)

    @property
    def called(self) -> str:
        return self.label or opened_name(self.suite_ref)


class Plan(_Table):
    """All that decides a run. Same plan, same seed, same plugins: same candidates, scores and report.

    A plan has one task (`suite`), or several `tasks`; then the keys that a task may have of its own, such as
    `candidates`, hold for all tasks that have none.
    """

    LATER = frozenset({"tasks", "max_examples", "vary"})

    suite: str = ""
    tasks: list[Task] = pydantic.Field(default_factory=list, description="several tasks, learnt together")
    suite_options: dict[str, Any] = pydantic.Field(default_factory=dict)
    split: str = pydantic.Field("prompts", description="split whose inputs are tuned on")
    prompts: int | None = pydantic.Field(None, ge=1, description="use the first so many prompts; none: all")
    policy: str = pydantic.Field(..., description="registered model, checkpoint folder, GGUF file, hub id or generator")
    policy_options: dict[str, Any] = pydantic.Field(default_factory=dict)
    rounds: int = pydantic.Field(1, ge=0, description="rounds at most")
    budget: str = pydantic.Field("", description="what tuning may cost: 10m, 2M-tokens or n=32 candidates a prompt")
    keep: Literal["last", "best"] = pydantic.Field(
        "last", description="the run ends with the last round's policy, or with the best one's on the first open split"
    )
    patience: int | None = pydantic.Field(None, ge=1, description="stop after so many rounds without a better one")
    seed: int = 0
    deterministic: bool = pydantic.Field(False, description="repeat whole batches on resume, so results are the same")
    allow_labels: bool = False
    drop_overlap: bool = pydantic.Field(False, description="leave out tuning prompts that occur in an eval split")
    timeout: float = pydantic.Field(300.0, gt=0, description="seconds a reward may take for one batch")
    max_tokens: int = pydantic.Field(256, ge=1, description="longest answer when evaluating")
    max_examples: int | None = pydantic.Field(
        None, ge=1, description="learn from so many prompts per task and round: those whose answers have the most total"
    )
    adapt: bool = pydantic.Field(
        False, description="from round 2 on, candidates go to the ways to ask whose candidates were chosen"
    )
    candidates: list[Source] = pydantic.Field(default_factory=list)
    combine: list[Combination] = pydantic.Field(default_factory=list)
    vary: list[Variation] = pydantic.Field(
        default_factory=list, description="more of what is learnt: chosen answers with other values, say"
    )
    rewards: list[RewardUse] = pydantic.Field(default_factory=list)
    train: Training = Training()
    eval: list[EvalUse] = pydantic.Field(default_factory=list)
    baselines: list[Baseline] = pydantic.Field(default_factory=list)

    @property
    def suite_ref(self) -> Ref:
        return Ref(self.suite, self.suite_options)

    def rewards_in(self, number: int) -> list[RewardUse]:
        """The rewards of a round, with the options that they have in it."""
        uses = [use for use in self.rewards if use.in_round(number)]
        return [
            use.model_copy(update={"options": {**use.options, **use.later}, "later": {}}) if use.later and number > 1
            else use for use in uses
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def by_task(self) -> dict[str, Plan]:
        """What the tasks are called → the plan of that task alone. A plan of one task is its own.

        What is measured stays that of the whole run: no task tunes on what another one is measured on.
        """
        if not self.tasks:
            return {opened_name(self.suite_ref): self}
        alone = {"tasks": [], "eval": self.measured}
        found = {}
        for task in self.tasks:
            own = {key: value for key in Task.OWN if (value := getattr(task, key)) is not None}
            own |= {"suite": task.suite, "suite_options": task.suite_options}
            if task.min_total is not None:
                own["train"] = self.train.model_copy(update={"min_total": task.min_total})
            found[task.called] = self.model_copy(update=alone | own)
        return found

    @property
    def measured(self) -> list[EvalUse]:
        """All splits that are measured. With several tasks each names its suite: first the tasks' splits (their own
        `eval`, else those of the plan that name no suite), then those of the plan that name one."""
        if not self.tasks:
            return self.eval
        return [use for task in self.tasks for use in self.measured_of(task)] + self._elsewhere(self.eval)

    def measured_of(self, task: Task) -> list[EvalUse]:
        """The splits by which a task is measured, each with its suite's name: the task's own, or another."""
        given = [use for use in self.eval if not use.suite] if task.eval is None else task.eval
        own = {"suite": task.suite, "options": task.suite_options, "label": task.called}
        here = [use.model_copy(update=own) for use in given if not use.suite] + self._elsewhere(given)
        return [use.model_copy(update={"max_tokens": use.max_tokens or task.max_tokens}) for use in here]

    @staticmethod
    def _elsewhere(uses: Sequence[EvalUse]) -> list[EvalUse]:
        """Those that name a suite, with the name that it is called by."""
        return [
            use.model_copy(update={"label": use.label or opened_name(Ref(use.suite))}) for use in uses if use.suite
        ]

    @pydantic.field_validator("budget")
    @classmethod
    def _budget(cls, text: str) -> str:
        parse_budget(text)
        return text

    @pydantic.model_validator(mode="after")
    def _one_task_or_several(self) -> Plan:
        if not self.tasks:
            if not self.suite:
                raise ValueError("suite: Field required (or [[tasks]], each with a suite)")
            return self
        if self.suite or self.suite_options:
            raise ValueError("with [[tasks]] each task has its suite and suite_options: the plan itself has none")
        scales = sorted({"max_examples", "min_score"} & set(self.train.options))
        if scales:
            raise ValueError(
                f"train.options: {scales} compare totals of different tasks, which are on scales of their own; "
                "use max_examples and min_total of the tasks"
            )
        names = [task.called for task in self.tasks]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"tasks {sorted(twice)} occur twice: give each a label")
        self._check_measured()
        return self

    def _check_measured(self) -> None:
        """No split twice; one name for one suite; no options without a suite."""
        suites = {task.called: task.suite_ref for task in self.tasks}
        unnamed = (t.called for t in self.tasks for use in t.eval or [] if use.options and not use.suite)
        if named := list(dict.fromkeys(unnamed)):
            raise ValueError(f"tasks {named}: the eval has options of a suite that it does not name")
        seen = set()
        for use in self.measured:
            ref = Ref(use.suite, use.options)
            if suites.setdefault(use.label, ref).digest != ref.digest:
                raise ValueError(f"eval: two suites are called {use.label!r}: give one a label")
            if (ref.digest, use.split) in seen:
                raise ValueError(f"eval: {use.label} {use.split!r} occurs twice")
            seen.add((ref.digest, use.split))

    @pydantic.model_validator(mode="after")
    def _distinct_labels(self) -> Plan:
        for name, task in self.by_task().items():
            for number in range(1, self.rounds + 1):
                keys = [r.key for r in task.rewards if r.in_round(number)]
                if twice := {k for k in keys if keys.count(k) > 1}:
                    where = f"task {name}: " if self.tasks else ""
                    raise ValueError(f"{where}rewards {sorted(twice)} occur twice in round {number}: give each a label")
        return self


def load_plan(source: Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Plan:
    """A plan from a TOML file (or a mapping), with overrides on top. Raises UsageError naming file, place and cure."""
    where = str(source) if isinstance(source, Path) else "plan"
    if isinstance(source, Path):
        try:
            data: dict[str, Any] = tomllib.loads(source.read_text(encoding="utf-8-sig"))
        except FileNotFoundError as error:
            raise UsageError(f"{source}: no such file; `tao-hub tune --init {source}` writes one") from error
        except OSError as error:
            raise UsageError(f"{source}: {error.strerror}; a config is a TOML file") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{source}: not TOML: {error}") from error
    else:
        data = dict(source)
    _override(data, overrides or {})
    try:
        return Plan.model_validate(data)
    except pydantic.ValidationError as error:
        lines = "\n".join(f"  {'.'.join(map(str, e['loc'])) or '(file)'}: {e['msg']}" for e in error.errors())
        raise UsageError(f"{where}:\n{lines}\n`tao-hub tune --init FILE` writes a commented example") from error


def _override(data: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Set keys of a plan; what a task has of its own gives way too."""
    data.update(overrides)
    if isinstance(data.get("tasks"), list):
        own = {key: value for key, value in overrides.items() if key in Task.OWN}
        data["tasks"] = [{**t, **{k: v for k, v in own.items() if k in t}} if isinstance(t, dict) else t
                         for t in data["tasks"]]  # fmt: skip


def opened_name(suite: Ref) -> str:
    """The name of a suite without that of its plugin."""
    return suite.name.rsplit("/", 1)[-1]


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs → options; a value that is JSON is read as JSON, `@file` reads JSON from a file."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, found, text = pair.partition("=")
        if not found or not key:
            raise UsageError(f"-o {pair!r}: expected key=value")
        if text.startswith("@"):
            try:
                text = Path(text[1:]).read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"-o {pair!r}: {error}") from error
        try:
            options[key] = json.loads(text)
        except ValueError:
            options[key] = text
    return options


def parse_suite(text: str) -> tuple[str, str | None]:
    """`SUITE[:SPLIT]` → (suite, split or None)."""
    suite, _, split = text.partition(":")
    return suite, split or None
