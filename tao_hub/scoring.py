"""Call a reward so that no failure of its own becomes a score: timeouts, retries one by one, every answer checked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from .components import GroupReward, Reward
from .types import Candidate, Group, Prompt, Score


def score_pairs(
    reward: Reward, pairs: Sequence[tuple[Prompt, Candidate]], timeout: float, who: str = ""
) -> list[Score]:
    """One Score per pair, in order. A batch that fails is retried pair by pair, so one poison pair costs one pair.

    `timeout` is in seconds per call of `score_batch`; a call that takes longer is left behind on its thread.
    """
    seen = pairs if reward.uses_reference else [(p.without_reference(), c) for p, c in pairs]
    try:
        answers = list(limited(lambda: list(reward.score_batch(seen)), timeout))
        if len(answers) != len(pairs):
            raise ValueError(f"returned {len(answers)} scores for {len(pairs)} candidates")
    except Exception as error:
        if len(pairs) == 1:
            return [_failed(error, who)]
        return [score_pairs(reward, [pair], timeout, who)[0] for pair in pairs]
    return [checked(answer, who) for answer in answers]


def score_group(reward: GroupReward, group: Group, timeout: float, who: str = "") -> list[Score]:
    """One Score per candidate of the group; if the reward fails, every candidate keeps that error."""
    prompt = group.prompt if reward.uses_reference else group.prompt.without_reference()
    seen = Group(prompt, group.candidates, group.scores)
    try:
        answers = list(limited(lambda: list(reward.score_group(seen)), timeout))
        if len(answers) != len(group.candidates):
            raise ValueError(f"returned {len(answers)} scores for a group of {len(group.candidates)}")
    except Exception as error:
        return [_failed(error, who)] * len(group.candidates)
    return [checked(answer, who) for answer in answers]


def checked(answer: Any, who: str = "") -> Score:
    """A reward's answer as a Score: NaN, infinity, a string, None or a bool become an error that says so."""
    if isinstance(answer, Score):
        return answer
    try:
        if isinstance(answer, (bool, str)) or answer is None:
            raise TypeError(f"a score must be a finite float or a Score, found {type(answer).__name__} {answer!r:.80}")
        return Score(float(answer))
    except Exception as error:
        return _failed(error, who)


def _failed(error: BaseException, who: str) -> Score:
    return Score.failed(f"{who}: {error}" if who else str(error), type=type(error).__name__)


def limited(call: Callable[[], Any], timeout: float) -> Any:
    """The result of `call`, or TimeoutError after `timeout` seconds.

    The call runs on a daemon thread: Python cannot stop it, but nothing waits for it and exit is not held up.
    """
    box: list[Any] = []

    def run() -> None:
        try:
            box.append((True, call()))
        except BaseException as error:
            box.append((False, error))

    thread = threading.Thread(target=run, daemon=True, name="tao-hub reward")
    thread.start()
    thread.join(timeout)
    if not box:
        raise TimeoutError(f"no answer in {timeout:g} s (raise --timeout if the reward is slow)")
    done, result = box[0]
    if not done:
        if isinstance(result, Exception):
            raise result
        raise RuntimeError(f"{type(result).__name__}: {result}")  # SystemExit of a plugin must not end the run
    return result
