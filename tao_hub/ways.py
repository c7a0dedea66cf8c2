"""The comparison table: one model asked plainly, prompted, picked from n, tuned without labels, tuned on labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .ablations import BOUNDS
from .budget import fitted, with_n
from .compose import compose
from .config import EvalUse, Plan
from .errors import LabelLeak, UsageError
from .guards import overlap, tuning_slice
from .history import Eval, History
from .learning import models_folder, train
from .loop import compare, measure, suite_of, tune
from .records import dump_record
from .runs import run_report
from .session import OpenReward, Policy, Session
from .stages import generate, score, score_and_combine
from .stats import bootstrap_ratio
from .store import Member, Slice
from .types import Candidate, Group, Prompt, Ref, Report, Score, canonical_json


@dataclass(frozen=True)
class Ways:
    """What stands beside the tuned policy. `labels`: a split with references, or `gold`: a file of references by prompt
    id, for the supervised line (`examples` of them at most, of each task; `options` of its trainer in place of the
    plan's); `best_of`: candidates an answer is picked from at inference time, 0: none; `external`: a file of other
    systems' levels."""

    labels: str = ""
    gold: Path | None = None
    examples: int | None = None
    best_of: int = 0
    external: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def comparison(session: Session, plan: Plan, ways: Ways, command: str = "") -> Report:
    """Tune as the plan says, measure the other ways on the same items, and report all of them in one table.

    Labels are used by the supervised line only; nothing that tunes is given them. What is wrong with files and options
    is told before the tuning begins. Raises LabelLeak if labelled prompts occur in an eval split.
    """
    if plan.tasks and ways.gold:
        raise UsageError("--gold names prompts by id, which several tasks may share; use --labels SPLIT")
    plan = fitted(plan)
    external = read_external(ways.external) if ways.external else []
    if ways.options and not (ways.labels or ways.gold):
        raise UsageError("options of the supervised line's trainer need labels: --labels SPLIT or --gold FILE")
    labelled = [prompt for task in plan.by_task().values() for prompt in _labelled(session, task, ways)]
    if labelled:
        session.hub.trainer(_fine_tuning(session, plan, ways.options))
    wider = with_n(plan, ways.best_of).by_task() if ways.best_of else {}
    name = tune(session, plan, command=command)
    run = History(session.store).find(name, tuned=True)["id"]
    start = session.policy(session.hub.policy(plan.policy, plan.policy_options))
    for use in plan.measured if ways.best_of else []:
        base = _eval(session, run, plan, use, "base")
        if task := _task_of(plan, wider, use):
            picked = best_of_n(session, task, run, start, use, ways.best_of)
            compare(session, run, suite_of(plan, use), base, picked, called=use.label)
    if labelled:
        policy = supervised(session, plan, labelled, start, ways.options)
        label = _supervised_label(labelled, ways)
        for use, done in zip(plan.measured, measure(session, plan, run, policy, label, 0, plan.measured)):
            base = _eval(session, run, plan, use, "base")
            compare(session, run, suite_of(plan, use), base, done, called=use.label)
    report = run_report(session, name)
    data = dict(report.data)
    data["external"] = external
    data["gap"] = _gap(session, run, plan, _supervised_label(labelled, ways)) if labelled else []
    return Report(report.run, report.title, data)


def _task_of(plan: Plan, tasks: Mapping[str, Plan], use: EvalUse) -> Plan | None:
    """The plan of the task whose suite a split belongs to; a suite that is not tuned on has none, so no rewards."""
    if not plan.tasks:
        return next(iter(tasks.values()))
    return next((task for task in tasks.values() if task.suite_ref == suite_of(plan, use)), None)


def _eval(session: Session, run: int, plan: Plan, use: EvalUse, label: str) -> Eval:
    row = session.suite(suite_of(plan, use))[1]
    for e in History(session.store).evals(run):
        if (e["label"], e["split"], e["suite_row"]) == (label, use.split, row):
            return Eval(e["id"], e["label"], e["split"], e["round"])
    raise UsageError(f"{label} was not measured on {use.split}")


# -- best of n at inference time -------------------------------------------------------------------------------------


def best_of_n(session: Session, plan: Plan, run: int, policy: Policy, use: EvalUse, n: int) -> Eval:
    """The answers that round 1's rewards pick from n candidates per eval item: what tuning should bake in.

    An answer costs what all its candidates cost: their tokens and seconds are counted together. Where every candidate
    is refused, the one with the highest total stands, else the first.
    """
    suite = suite_of(plan, use)
    part = session.slice(suite, use.split, use.limit)
    members = [
        generate(session, part, policy, source.ref, source.sampling(plan.seed), source.n, suite)
        for source in plan.candidates if source.in_round(1)
    ]  # fmt: skip
    members, rewards = score_and_combine(session, part, plan, 1, policy, members, suite)
    picked = _pick(session, plan, part, policy, members, rewards)
    metric = session.reward(session.suite(suite)[0].metric, suite)
    metric = score(session, part, [picked], metric)
    seen = metric.reward.uses_reference
    return History(session.store).add_eval(run, 0, f"base, best of {n}", part, policy, picked, metric.row, seen)


def _pick(
    session: Session, plan: Plan, part: Slice, policy: Policy, members: Sequence[Member],
    rewards: Mapping[str, OpenReward],
) -> Member:  # fmt: skip
    """A member whose one candidate per prompt is the picked one, with the cost of all."""
    uses = plan.rewards_in(1)
    weighed = {"uses": [use.model_dump(mode="json") for use in uses], "min_total": plan.train.min_total}
    way = {**session.hub.identity("strategy", Ref("core/direct")), "name": "core/best-of-n", "options": weighed}
    inputs = {"members": [[m.policy, m.source, m.n] for m in members], "rewards": [r.row for r in rewards.values()]}
    generator = {**session.hub.identity("generator", policy.ref), **inputs}
    member = Member(policy.row, session.store.source(way, generator, None), 1)
    owed = {row for row, have in session.store.owed_slots(part, member) if have < 1}
    labels = {key: (r.row, r.whole_groups) for key, r in rewards.items()}
    for row, group in session.store.groups(part, members, labels):
        if row in owed:
            session.store.add_candidates(member, [(row, _picked(compose(group, uses, plan.train.min_total)))])
    return member


def _picked(group: Group) -> Candidate:
    best = group.best()
    if best is None:
        known = [i for i, t in enumerate(group.totals) if t is not None and t.value is not None]
        best = max(known, key=lambda i: _value(group.totals[i]), default=0)
    drawn = [c for c in group.candidates if not c.parents]
    counted = [c.output_tokens for c in drawn if c.output_tokens is not None]
    taken = [c.seconds for c in drawn if c.seconds is not None]
    chosen = group.candidates[best]
    return replace(
        chosen, index=0, id=None, logprobs=None, parents=(chosen.id,) if chosen.id else (),
        output_tokens=sum(counted) if counted else None, seconds=sum(taken) if taken else None,
    )  # fmt: skip


def _value(score: Score | None) -> float:
    return 0.0 if score is None or score.value is None else score.value


# -- the supervised line ---------------------------------------------------------------------------------------------


def _labelled(session: Session, plan: Plan, ways: Ways) -> list[Prompt]:
    """Prompts with their references, none of which occurs in an eval split."""
    if not ways.labels and ways.gold is None:
        return []
    split = ways.labels or plan.split
    if found := overlap(session, plan.model_copy(update={"split": split})):
        one, other = next(iter(found.items()))
        raise LabelLeak(f"{len(found)} labelled prompts of {split!r} occur in an eval split, as {one} ~ {other}")
    prompts: Iterator[Prompt] = iter(session.prompts(plan.suite_ref, split))
    if ways.gold is not None:
        known = read_gold(ways.gold)
        part = tuning_slice(session, plan)
        prompts = (replace(p, reference=known.get(p.id)) for _, p in session.store.prompts(part))
    kept = [p for p in prompts if p.reference is not None][: ways.examples]
    if not kept:
        where = f"{ways.gold} has none of the tuning prompts" if ways.gold else f"split {split!r} has no references"
        raise UsageError(f"nothing to fine-tune on: {where}")
    return kept


# Options that say what of a round's answers is learnt, by scores: labels have none, and all of them are learnt.
CHOOSING = frozenset({"max_examples", "min_score", *BOUNDS})


def _supervised_label(labelled: Sequence[Prompt], ways: Ways) -> str:
    told = "".join(f", {key} = {value}" for key, value in sorted(ways.options.items()))
    return f"supervised on {len(labelled)} labels{told}"


def supervised(
    session: Session, plan: Plan, labelled: Sequence[Prompt], start: Policy, options: Mapping[str, Any] | None = None
) -> Policy:
    """The starting policy fine-tuned on references by the plan's trainer: the line that tuning without labels aims at.

    Made once: the same labels, start and trainer give the policy that is there. `options` of the trainer stand in place
    of the plan's.
    """
    trainer = _fine_tuning(session, plan, options or {})

    def groups() -> Iterator[tuple[int, Group]]:
        for row, prompt in enumerate(labelled):
            answer = Candidate(prompt.digest, answer_text(prompt.reference))
            yield row, Group(prompt.without_reference(), (answer,), ({},), (Score(1.0),), ("",))

    made_by = canonical_json([session.hub.identity("trainer", trainer), start.digest])
    total = blake2b(made_by.encode(), digest_size=16)
    for _, group in groups():
        total.update(f"{group.prompt.digest} {group.candidates[0].response_digest}\n".encode())
    session.free_generator()
    out = models_folder(session) / f"supervised-{total.hexdigest()[:16]}"
    return session.policy(train(session, trainer, groups, start, out))


def _fine_tuning(session: Session, plan: Plan, changed: Mapping[str, Any]) -> Ref:
    """The plan's trainer if it learns one answer a prompt, else TRL's fine-tuning with the options they share."""
    name = "trl/best-of-n" if plan.train.name.startswith("trl/") else plan.train.name
    known = session.hub.find("trainer", name).load().Options.model_fields
    given = {"seed": plan.seed, **plan.train.options}
    options = {key: value for key, value in given.items() if key in known and key not in CHOOSING}
    return session.hub.resolve("trainer", Ref(name, {**options, **changed}))


def answer_text(reference: Any) -> str:
    """The answer that a reference stands for: text as it is, the first of several, a record as one line of JSON."""
    if isinstance(reference, (list, tuple)) and reference:
        return answer_text(reference[0])
    return dump_record(reference) if isinstance(reference, Mapping) else str(reference)


def read_gold(path: Path) -> dict[str, Any]:
    """References by prompt id from JSONL (or .jsonl.gz) rows {"id", "reference"} (or "query"). Raises UsageError."""
    known: dict[str, Any] = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
            known[str(row["id"])] = row["reference"] if "reference" in row else row["query"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f'{path}:{number}: expected {{"id": …, "reference": …}}, found {line[:80]}') from error
    return known


def _lines(path: Path) -> list[str]:
    import gzip

    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error


# -- other systems, and how much of the gap is closed ------------------------------------------------------------------


def read_external(path: Path) -> list[dict[str, Any]]:
    """Other systems' levels, a JSON row each: {"label", "value"} and, where known, "split", "metric", "n", "source"."""
    rows = []
    for number, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
            rows.append({**row, "label": str(row["label"]), "value": float(row["value"])})
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f'{path}:{number}: expected {{"label": …, "value": …}}, found {line[:80]}') from error
    return rows


def _gap(session: Session, run: int, plan: Plan, label: str) -> list[dict[str, Any]]:
    """Per split the share of the way from base to supervised that the tuning went, with a bootstrap interval."""
    history = History(session.store)
    evals = history.evals(run)
    found = []
    for use in plan.measured:
        row = session.suite(suite_of(plan, use))[1]
        here = {e["label"]: e for e in evals if e["split"] == use.split and e["suite_row"] == row}
        last = max((e for e in here.values() if e["round"]), key=lambda e: e["round"], default=None)
        if last is None or label not in here:
            continue
        base, tuned, above = ([i["value"] or 0.0 for i in history.eval_items(e["id"])]
                              for e in (here["base"], last, here[label]))  # fmt: skip
        share = bootstrap_ratio([t - b for t, b in zip(tuned, base)], [a - b for a, b in zip(above, base)])
        where = f"{use.label} {use.split}".strip()
        found.append({"split": where, "label": last["label"], "of": label, "n": len(base), **share})
    return found
