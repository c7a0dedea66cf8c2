"""The stages: generate, score, combine. Each computes what is owed and does only that."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

from .components import GroupReward, Strategy
from .compose import compose
from .config import Plan, RewardUse
from .errors import PluginError, TaoHubError, UsageError
from .scoring import score_group, score_pairs
from .session import OpenReward, Policy, Session
from .store import Member, Slice
from .stored import group_context, response_key
from .types import Candidate, Completion, Group, Prompt, Ref, Request, Sampling, Score, digest

CHUNK = 256  # most prompts per call of a generator: enough to sort by length; more would put all long ones together
BATCH = 64  # pairs per call of a reward
MOST_TURNS = 16  # completions that one candidate may ask for in turn


@dataclass(frozen=True)
class _Job:
    """One request and the slots of one prompt it fills; `step` counts the completions one candidate needs."""

    row: int
    prompt: Prompt
    slots: tuple[int, ...]
    step: int
    request: Request


def generate(
    session: Session,
    part: Slice | Sequence[Slice],
    policy: Policy,
    strategy: Ref,
    sampling: Sampling,
    n: int = 1,
    suite: Ref | None = None,
) -> Member:
    """Fill the owed slots 0 … n−1 of every prompt in `part`, one slice or several; returns the member they belong to.

    Draws depend on the sampling seed, the prompt and the slot only. A request that fails keeps its error as a
    candidate; if the first requests of a call all fail alone too, the fault is not theirs and it is raised.
    """
    asked, strategy = session.strategy(strategy, suite)
    member = Member(policy.row, session.source(strategy, policy, sampling), n)
    parts = [part] if isinstance(part, Slice) else part
    again = session.retries("generate", member, *parts)
    owed = dict(slot for one in parts for slot in session.store.owed_slots(one, member, again))
    if not owed:
        return member
    session.progress.start(f"generate · {strategy.name}", sum(n - have for have in owed.values()), "candidates")
    for chunk in _chunks(session, parts, owed, asked.steps):
        jobs = [job for row in chunk for job in _jobs(session, row, member, asked, strategy, sampling, again)]
        if follows(asked):
            _draw_in_turn(session, member, policy, asked, sampling, jobs)
            continue
        for column in _columns(jobs, asked.steps):
            _draw(session, member, policy, asked, sampling, column)
    session.progress.finish()
    return member


def _chunks(session: Session, parts: Sequence[Slice], owed: Mapping[int, int], steps: int) -> Iterator[Sequence[int]]:
    """Owed prompts in chunks of like size. Deterministic runs repeat whole chunks of the full list, so batches never
    change."""
    size = max(1, CHUNK // steps)
    if not session.deterministic:
        yield from _even(list(owed), size)
        return
    everything = list(dict.fromkeys(row for part in parts for row, _ in session.store.prompts(part)))
    for chunk in _even(everything, size):
        if not owed.keys().isdisjoint(chunk):
            yield chunk


def _even(rows: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    size = math.ceil(len(rows) / math.ceil(len(rows) / most))
    yield from (rows[i : i + size] for i in range(0, len(rows), size))


def _jobs(
    session: Session, row: int, member: Member, asked: Strategy, way: Ref, sampling: Sampling, again: bool = False
) -> Iterator[_Job]:
    have = set() if session.deterministic else session.store.slots(row, member, again)
    slots = [s for s in range(member.n) if s not in have]
    prompt = session.store.prompt(row)
    variants = list(asked.variants(prompt, member.n))
    if len(variants) != member.n * asked.steps:
        label = session.hub.find("strategy", way.name).plugin.label
        raise PluginError(
            f"strategy {way.name!r} of {label} gave {len(variants)} variants where n={member.n} × {asked.steps} steps "
            "were asked: `variants(prompt, n)` must give n·steps prompts"
        )
    alike = asked.steps == 1 and len(set(variants_key(variants))) == 1 and not follows(asked)
    for group in [tuple(slots)] if alike else [(s,) for s in slots]:
        for step in range(asked.steps):
            seed = _seed(sampling, prompt, group[0], step)
            variant = variants[group[0] * asked.steps + step].without_reference()
            yield _Job(row, prompt, group, step, Request(variant, len(group), seed))


def _seed(sampling: Sampling, prompt: Prompt, slot: int, step: int) -> int:
    """Fixes the draws of one completion: by the sampling's seed, the prompt, the slot and the step."""
    return int(digest([sampling.as_dict()["seed"], prompt.digest, slot, step])[:12], 16)


def follows(asked: Strategy) -> bool:
    """Whether the strategy asks again after it has seen what was written."""
    return type(asked).follow is not Strategy.follow


def variants_key(variants: Sequence[Prompt]) -> list[str]:
    first = variants[0]
    return [first.digest if v is first else v.digest for v in variants]


def _columns(jobs: Sequence[_Job], steps: int) -> Iterator[list[_Job]]:
    """Jobs in the order they are asked: slot by slot, so that a call shares its worked examples as one prefix."""
    if steps > 1:
        yield list(jobs)  # candidates are complete only when all their steps are: keep them together
        return
    by_slot: dict[tuple[int, ...], list[_Job]] = {}
    for job in jobs:
        by_slot.setdefault(job.slots[:1], []).append(job)
    yield from by_slot.values()


def _draw(
    session: Session, member: Member, policy: Policy, asked: Strategy, sampling: Sampling, jobs: Sequence[_Job]
) -> None:
    open_steps: dict[tuple[int, int], dict[int, Completion]] = {}
    for job, result in _completions(session, member, policy, sampling, jobs):
        if isinstance(result, Exception):
            failed = Candidate("", "", error=f"{type(result).__name__}: {result}"[:2000])
            rows = [(job.row, replace(failed, index=slot)) for slot in job.slots]
        elif asked.steps == 1:
            rows = [(job.row, _candidate(asked, job, slot, [c])) for slot, c in zip(job.slots, result)]
        else:
            parts = open_steps.setdefault((job.row, job.slots[0]), {})
            parts[job.step] = result[0]
            if len(parts) < asked.steps:
                continue
            done = [parts[i] for i in range(asked.steps)]
            rows = [(job.row, _candidate(asked, job, job.slots[0], done))]
        session.store.add_candidates(member, rows)
        session.progress.advance(len(rows), sample=rows[0][1].response)


def _draw_in_turn(
    session: Session, member: Member, policy: Policy, asked: Strategy, sampling: Sampling, jobs: Sequence[_Job]
) -> None:
    """Candidates that take several completions in turn, all of them step by step together; each is kept when done."""
    written: dict[tuple[int, int], list[Completion]] = {}
    while jobs:
        ahead: list[_Job] = []
        for job, result in _completions(session, member, policy, sampling, jobs):
            slot = job.slots[0]
            parts = written.setdefault((job.row, slot), [])
            if isinstance(result, Exception):
                row = (job.row, Candidate("", "", index=slot, error=f"{type(result).__name__}: {result}"[:2000]))
            else:
                parts.append(result[0])
                further = asked.follow(job.prompt, [c.text for c in parts]) if len(parts) < MOST_TURNS else None
                if further is not None:
                    step = job.step + 1
                    request = Request(further.without_reference(), 1, _seed(sampling, job.prompt, slot, step))
                    ahead.append(_Job(job.row, job.prompt, job.slots, step, request))
                    continue
                row = (job.row, _candidate(asked, job, slot, parts))
            session.store.add_candidates(member, [row])
            session.progress.advance(1, sample=row[1].response)
        jobs = ahead


def _completions(
    session: Session, member: Member, policy: Policy, sampling: Sampling, jobs: Sequence[_Job]
) -> Iterator[tuple[_Job, list[Completion] | Exception]]:
    generator = session.generator(policy)
    left = dict(enumerate(jobs))

    def ask(indices: Sequence[int]) -> Iterator[tuple[_Job, list[Completion] | Exception]]:
        stream = generator.generate([jobs[i].request for i in indices], sampling)
        while True:
            with session.timed("generate"):
                item = next(stream, None)
            if item is None:
                return
            result, wanted = cast("list[Completion] | Exception", item[1]), left[indices[item[0]]].request.n
            if not isinstance(result, Exception) and len(result) != wanted:
                raise ValueError(f"gave {len(result)} completions where {wanted} were asked")
            if not isinstance(result, Exception):
                for completion in result:
                    _check(completion)
            yield left.pop(indices[item[0]]), result

    try:
        yield from ask(list(left))
        if left:
            raise RuntimeError(f"answered {len(jobs) - len(left)} of {len(jobs)} requests")
    except TaoHubError:
        raise
    except Exception:
        held: list[tuple[_Job, Exception]] = []  # failures wait until one request succeeds: else the fault is common
        enough = 3 if session.store.answered(member) else min(3, len(jobs))
        for tried, index in enumerate(list(left), 1):
            try:
                answered = list(ask([index]))
                if not answered:
                    raise RuntimeError("gave no answer")
            except Exception as error:
                held.append((jobs[index], error))
                if len(held) == tried and tried >= enough:
                    plugin = session.hub.find("generator", policy.ref.name).plugin
                    what = f"{type(error).__name__}: {error}"
                    raise TaoHubError(f"generator {policy.ref.name} ({plugin.label}) failed: {what}") from error
                continue
            yield from held
            held = []
            yield from answered
        yield from held


def _check(completion: Completion) -> None:
    """Raises TypeError for a completion that no store could keep."""
    if not isinstance(completion, Completion):
        raise TypeError(f"gave a {type(completion).__name__} where a Completion was asked")
    for name in ("text", "finish_reason"):
        if not isinstance(value := getattr(completion, name), str):
            raise TypeError(f"gave a completion whose {name} is {type(value).__name__} {value!r:.80}, no str")


def _candidate(asked: Strategy, job: _Job, slot: int, parts: Sequence[Completion]) -> Candidate:
    error = None
    try:
        raws = [c.text for c in parts]
        whole_answer = asked.steps == 1 and len(raws) == 1
        response = asked.answer(job.prompt, raws[0]) if whole_answer else asked.assemble(job.prompt, raws)
    except Exception as failure:
        response, error = "", f"{type(failure).__name__}: {failure}"[:2000]
    whole = parts[0]
    if len(parts) > 1:
        whole = Completion(
            "\n".join(c.text for c in parts),
            "length" if any(c.finish_reason == "length" for c in parts) else "stop",
            _total(c.prompt_tokens for c in parts),
            _total(c.output_tokens for c in parts),
            None,
            _total(c.seconds for c in parts),
        )
    return Candidate(
        prompt="", response=response, raw=whole.text, index=slot, finish_reason=whole.finish_reason,
        prompt_tokens=whole.prompt_tokens, output_tokens=whole.output_tokens, logprobs=whole.logprobs,
        seconds=whole.seconds, error=error,
    )  # fmt: skip


def _total(numbers: Iterable[Any]) -> Any:
    known = list(numbers)
    return None if any(k is None for k in known) else sum(known)


def score(session: Session, part: Slice, members: Sequence[Member], reward: OpenReward) -> OpenReward:
    """Fill the owed scores of `reward` over the candidates of `members`; failed ones keep their error.

    Returns the reward that the scores belong to.
    """
    reward = session.informed(reward, part)
    if session.retries("score", reward.row, part):
        session.store.forget_errors(part, reward.row)
    session.progress.start(f"score · {reward.ref.name}", None, "scores")
    if reward.whole_groups:
        _score_groups(session, part, members, reward)
    else:
        for page in session.store.owed_scores(part, reward.row, members, reward.reward.uses_reference):
            # Equal responses to a prompt have one score: ask once.
            owed = {(row, response_key(c), context): (p, c) for row, p, context, c in page}
            keys = list(owed)
            for i in range(0, len(keys), BATCH):
                batch = keys[i : i + BATCH]
                judge = reward.ready()
                with session.timed("score"):
                    scores = score_pairs(judge, [owed[k] for k in batch], session.timeout, reward.who)
                session.store.add_scores(reward.row, [(*key, s) for key, s in zip(batch, scores)])
                session.progress.advance(len(batch))
    session.progress.finish()
    return reward


def _score_groups(session: Session, part: Slice, members: Sequence[Member], reward: OpenReward) -> None:
    whole = cast("GroupReward", reward.reward)
    if whole.uses_reference:
        raise UsageError(
            f"{reward.who} scores whole groups by their references: the loop gives groups none. Use `tao-hub score`, "
            "or a reward that scores candidates one by one"
        )
    pending: list[tuple[int, bytes, bytes, Score]] = []
    for row, group in session.store.groups(part, members, {"": (reward.row, True)}):
        alive = [c for c in group.candidates if c.error is None]
        if not alive or all(scores for c, scores in zip(group.candidates, group.scores) if c.error is None):
            continue
        reward.ready()
        with session.timed("score"):
            scores = score_group(whole, replace(group, candidates=tuple(alive), scores=()), session.timeout, reward.who)
        context = group_context(group.candidates)
        # Equal responses of a group share a score; the first one's is kept.
        pending += [(row, response_key(c), context, s) for c, s in zip(alive, scores)]
        session.progress.advance(len(alive))
        if len(pending) >= BATCH:
            session.store.add_scores(reward.row, pending)
            pending = []
    session.store.add_scores(reward.row, pending)


def combine(
    session: Session,
    part: Slice,
    policy: Policy,
    members: Sequence[Member],
    rewards: Mapping[str, OpenReward],
    strategy: Ref,
    suite: Ref | None = None,
    most: int = 64,
    uses: Sequence[RewardUse] = (),
) -> Member:
    """New candidates from scored ones (`Strategy.combine`), at most `most` a prompt; their parents are kept.

    With `uses`, how the rewards are weighed, the strategy also sees the composed totals and who is refused.
    """
    asked, strategy = session.strategy(strategy, suite)
    inputs: dict[str, Any] = {
        "members": [[m.policy, m.source, m.n] for m in members], "rewards": [r.row for r in rewards.values()],
        "uses": [use.model_dump(mode="json") for use in uses],
    }  # fmt: skip
    member = Member(policy.row, session.source(strategy, policy, None, **inputs), most)
    owed = {row for row, have in session.store.owed_slots(part, replace(member, n=1)) if have < 1}
    if not owed:
        return member
    session.progress.start(f"combine · {strategy.name}", len(owed), "prompts")
    labels = {label: (r.row, r.whole_groups) for label, r in rewards.items()}
    for row, group in session.store.groups(part, members, labels):
        if row in owed:
            with session.timed("score"):
                made = list(islice(asked.combine(compose(group, uses) if uses else group), most))
            session.store.add_candidates(member, [(row, replace(c, index=i)) for i, c in enumerate(made)])
            session.progress.advance(1, sample=made[0].response if made else "")
    session.progress.finish()
    return member


def score_and_combine(
    session: Session, part: Slice, plan: Plan, number: int, policy: Policy, members: Sequence[Member], suite: Ref
) -> tuple[list[Member], dict[str, OpenReward]]:
    """The members with what the plan's strategies make of them in round `number`, all scored by its rewards.

    Rewards that learn from the round come last: they learn from what the others scored, then score all, and strategies
    that are `learnt` see them, too.
    """
    found = list(members)
    uses = plan.rewards_in(number)
    opened = {use.key: session.reward(use.ref, suite) for use in uses}
    plain = [use for use in uses if not opened[use.key].reward.learns]
    rewards = {use.key: score(session, part, found, opened[use.key]) for use in plain}

    def add(learnt: bool, seen: Sequence[RewardUse]) -> None:
        for combination in plan.combine:
            if combination.in_round(number) and combination.learnt == learnt:
                found.append(combine(session, part, policy, found, rewards, combination.ref, suite, uses=seen))
                for reward in rewards.values():
                    score(session, part, found, reward)

    add(False, plain)
    for key, reward in taught(session, part, found, uses, {**opened, **rewards}).items():
        rewards[key] = score(session, part, found, reward)
    rewards = {use.key: rewards[use.key] for use in uses}
    add(True, uses)
    return found, rewards


def taught(
    session: Session, part: Slice, members: Sequence[Member], uses: Sequence[RewardUse],
    rewards: Mapping[str, OpenReward],
) -> dict[str, OpenReward]:  # fmt: skip
    """The rewards of a round that learn from it, by label; they learn from `members` as the others scored them."""
    plain = [use for use in uses if not rewards[use.key].reward.learns]
    lesson = {
        "slice": [*part.where], "members": [[m.policy, m.source, m.n] for m in members],
        "rewards": [rewards[use.key].row for use in plain], "uses": [use.model_dump(mode="json") for use in plain],
    }  # fmt: skip
    labels = {use.key: (rewards[use.key].row, rewards[use.key].whole_groups) for use in plain}

    def groups() -> Iterator[Group]:
        for _, group in session.store.groups(part, members, labels):
            yield compose(group, plain)

    return {use.key: session.taught(rewards[use.key], lesson, groups) for use in uses if use not in plain}
