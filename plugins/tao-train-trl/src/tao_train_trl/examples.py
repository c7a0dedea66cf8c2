"""Scored groups → what is learned: one (prompt, best answer) pair per group, as token ids."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tao_hub import Group, Message


@dataclass(frozen=True)
class Pair:
    """A plain prompt and the answer to learn for it."""

    messages: tuple[Message, ...]
    response: str


@dataclass
class Chosen:
    """The pairs to learn from, and how many groups gave none, by reason."""

    pairs: list[Pair] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    groups: int = 0


def choose(groups: Iterable[Group], min_score: float | None, most: int | None, seed: int) -> Chosen:
    """The best candidate of each group whose total is at least `min_score`; of these the `most` with the highest
    totals, in the order of their groups (of equals, a seeded draw).

    Raises ValueError, saying why each group gave nothing, if there is no pair at all.
    """
    chosen = Chosen()
    totals: list[float] = []
    for group in groups:
        chosen.groups += 1
        best = group.best()
        if best is None:
            chosen.left_out[_why_none(group)] += 1
            continue
        total = group.totals[best]
        if min_score is not None and total is not None and total.value is not None and total.value < min_score:
            chosen.left_out["whose best total is below min_score"] += 1
            continue
        totals.append(total.value if total is not None and total.value is not None else 0.0)
        chosen.pairs.append(Pair(group.prompt.messages, group.candidates[best].response))
    if not chosen.pairs:
        raise ValueError(nothing(chosen))
    if most is not None and len(chosen.pairs) > most:
        draw = random.Random(seed)
        ranked = sorted(range(len(totals)), key=lambda i: (-totals[i], draw.random()))
        kept = sorted(ranked[:most])
        chosen.left_out["over max_examples"] = len(chosen.pairs) - most
        chosen.pairs = [chosen.pairs[i] for i in kept]
    return chosen


def nothing(chosen: Chosen) -> str:
    """What to say when no group has anything to learn from."""
    if not chosen.groups:
        return "nothing to learn from: there are no groups; generate and score candidates first"
    reasons = ", ".join(f"{count} {reason}" for reason, count in chosen.left_out.most_common())
    return (
        f"nothing to learn from in {chosen.groups} groups: {reasons}. More candidates per prompt, a higher "
        "max_tokens, looser gates or a lower min_score would leave some; `tao-hub show` says why each was refused"
    )


def _why_none(group: Group) -> str:
    if not group.candidates:
        return "without candidates"
    reasons = set()
    for i, candidate in enumerate(group.candidates):
        total = group.totals[i] if i < len(group.totals) else None
        if candidate.error:
            reasons.add("failed in generation")
        elif candidate.truncated:
            reasons.add("truncated")
        elif i < len(group.rejected) and group.rejected[i]:
            reasons.add("rejected")
        elif total is None or total.value is None:
            reasons.add("unscored")
    return "with every candidate " + " or ".join(sorted(reasons))


def tokenize(tokenizer: Any, pairs: Sequence[Pair], stop: int, longest: int) -> tuple[list[dict[str, list[int]]], int]:
    """Rows of `input_ids` and `labels` (-100 on the prompt), and how many were left out as longer than `longest`.

    Prompt and answer are tokenized apart, as at inference, and the answer ends with `stop`, which is a label like
    any other even where it is also the padding token. Nothing is ever cut.
    """
    rows, too_long = [], 0
    for pair in pairs:
        # a template writes its own special tokens
        text, special = render(tokenizer, pair.messages), not tokenizer.chat_template
        prompt = list(tokenizer(text, add_special_tokens=special)["input_ids"])
        answer = [*tokenizer(pair.response, add_special_tokens=False)["input_ids"], stop]
        if len(prompt) + len(answer) > longest:
            too_long += 1
        else:
            rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return rows, too_long


def render(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The prompt as text: by the chat template, or without one each content and an empty line."""
    if not tokenizer.chat_template:
        return "".join(f"{message.content}\n\n" for message in messages)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def stop_token(tokenizer: Any, generation_config: Any) -> int:
    """The id that ends an answer: what the chat template writes after one, if generation stops there, else eos.

    Raises ValueError where neither exists.
    """
    eos = getattr(generation_config, "eos_token_id", None)
    stops = [*(eos if isinstance(eos, (list, tuple)) else [eos]), tokenizer.eos_token_id]
    if tokenizer.chat_template:
        probe = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
        tail = str(tokenizer.apply_chat_template(probe, tokenize=False)).rpartition("answer")[2]
        written = tokenizer(tail, add_special_tokens=False)["input_ids"]
        if written and written[0] in stops:
            return int(written[0])
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no eos token, so the model could not learn where an answer ends")
    return int(tokenizer.eos_token_id)
