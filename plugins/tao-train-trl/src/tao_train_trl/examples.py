"""Scored groups → what is learned from, as text and then as token ids."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any

from tao_hub import Group, Message, Prompt, sure_fields
from tao_hub.types import canonical_json


@dataclass(frozen=True)
class Pair:
    """A plain prompt and the answer to learn for it; `unsure` are the stretches of it that are not learnt, as
    [start, end) in characters."""

    messages: tuple[Message, ...]
    response: str
    unsure: tuple[tuple[int, int], ...] = ()


@dataclass
class Learned:
    """The examples to learn from (dataclasses of JSON values), and how many groups gave none, by reason.

    `seen` goes into the record: what was counted on the way. `unit` says what an example is, to people.
    """

    examples: list[Any] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    groups: int = 0
    seen: dict[str, Any] = field(default_factory=dict)
    unit: str = "answers"
    prompts: list[Prompt] = field(default_factory=list)  # where new candidates are drawn too

    def content(self) -> str:
        """Digest of the examples in their order."""
        total = blake2b(digest_size=16)
        for example in [*self.examples, *self.prompts]:
            total.update(canonical_json(asdict(example)).encode("utf-8", "surrogatepass"))
        return total.hexdigest()


def choose(
    groups: Iterable[Group],
    min_score: float | None,
    most: int | None,
    seed: int,
    min_parts: Mapping[str, float] | None = None,
    null_parts: Mapping[str, float] | None = None,
    enough_parts: Mapping[str, float] | None = None,
) -> Learned:
    """The best candidate of each group whose total is at least `min_score`; of these the `most` with the highest
    totals, in the order of their groups (of equals, a seeded draw). Variations of an answer (`[[vary]]`) are learnt
    where it is, and not counted.

    With `min_parts` (reward → least part) only the sure fields of an answer are learnt (see `tao_hub.sure_fields`),
    and the `most` are those with the most sure fields, then with the highest totals. Groups that none of its rewards
    scored, those of another task, give whole answers.
    Raises ValueError, saying why each group gave nothing, if there is no pair at all.
    """
    chosen = Learned()
    ranks: list[tuple[int, float]] = []
    origins: list[tuple[str, bool]] = []  # of each example: the digest of the prompt it is of, and whether it varies it
    learnt = held = heard = 0
    judged = {name for key in min_parts or {} for name in (key, key.rpartition(".")[0])}
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
        response, unsure, sure = group.candidates[best].response, (), 0
        spoken = bool(judged) and not judged.isdisjoint(group.scores[best])
        heard += spoken
        fields = field_spans(response) if spoken else {}
        if min_parts and fields:
            null = {name for name, span in fields.items() if response[slice(*span)] == "null"}
            names = sure_fields(group.scores[best], fields, min_parts, null, null_parts, enough_parts)
            held, learnt, sure = held + len(fields), learnt + len(names), len(names)
            if not names:
                chosen.left_out["without a sure field"] += 1
                continue
            unsure = tuple(span for name, span in fields.items() if name not in names)
        ranks.append((sure, total.value if total is not None and total.value is not None else 0.0))
        origin = group.prompt.varied_from
        origins.append((origin or group.prompt.digest, bool(origin)))
        chosen.examples.append(Pair(group.prompt.messages, response, unsure))
    if not chosen.examples:
        raise ValueError(nothing(chosen))
    if min_parts and not heard:
        raise ValueError(f"min_parts: {', '.join(min_parts)}: no candidate has a score of a reward with such a label")
    if min_parts:
        chosen.seen["fields"] = {"all": held, "sure": learnt}
    own = [i for i, (_, varies) in enumerate(origins) if not varies]
    if most is not None and len(own) > most:
        draw = random.Random(seed)
        ranked = sorted(own, key=lambda i: (-ranks[i][0], -ranks[i][1], draw.random()))
        kept = {origins[i][0] for i in ranked[:most]}
        chosen.left_out["over max_examples"] = len(own) - most
        chosen.examples = [pair for pair, (origin, _) in zip(chosen.examples, origins) if origin in kept]
    return chosen


def field_spans(text: str) -> dict[str, tuple[int, int]]:
    """Where the value of each field of a JSON object stands in `text`, as [start, end); {} where it is no object."""
    decoder, spans = json.JSONDecoder(), {}
    at = _blank(text, 0)
    try:
        while text[at] == ("," if spans else "{"):
            name, at = decoder.raw_decode(text, _blank(text, at + 1))
            at = _blank(text, at)
            if text[at] != ":" or not isinstance(name, str):
                return {}
            start = _blank(text, at + 1)
            _, end = decoder.raw_decode(text, start)
            spans[name] = (start, end)
            at = _blank(text, end)
        return spans if text[at] == "}" else {}
    except (ValueError, IndexError, RecursionError):
        return {}


def _blank(text: str, at: int) -> int:
    """The first place from `at` on that holds no white space."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def nothing(learned: Learned) -> str:
    """What to say when no group has anything to learn from."""
    if not learned.groups:
        return "nothing to learn from: there are no groups; generate and score candidates first"
    reasons = ", ".join(f"{count} {reason}" for reason, count in learned.left_out.most_common())
    return (
        f"nothing to learn from in {learned.groups} groups: {reasons}. More candidates per prompt, a higher "
        "max_tokens, looser gates or a lower min_score would leave some; `tao-hub show` says why each was refused"
    )


def _why_none(group: Group) -> str:
    if not group.candidates:
        return "without candidates"
    reasons = {state(group, i) for i in range(len(group.candidates))}
    return "with every candidate " + " or ".join(sorted(reasons))


def state(group: Group, i: int) -> str:
    """Why candidate `i` is no answer to learn: failed in generation, truncated, rejected, unscored; "" if it is one."""
    candidate, total = group.candidates[i], group.totals[i] if i < len(group.totals) else None
    if candidate.error:
        return "failed in generation"
    if candidate.truncated:
        return "truncated"
    if i < len(group.rejected) and group.rejected[i]:
        return "rejected"
    return "unscored" if total is None or total.value is None else ""


def tokenize(tokenizer: Any, pairs: Sequence[Any], stop: int, longest: int) -> tuple[list[dict[str, Any]], int]:
    """Rows of `input_ids` and `labels` (-100 on the prompt), and how many were left out as longer than `longest`."""
    rows, too_long = [], 0
    for pair in pairs:
        prompt = prompt_ids(tokenizer, pair.messages)
        answer = answer_ids(tokenizer, pair.response, stop)
        if len(prompt) + len(answer) > longest:
            too_long += 1
        else:
            learnt = _without(tokenizer, pair, answer) if pair.unsure else answer
            rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + learnt})
    return rows, too_long


def _without(tokenizer: Any, pair: Pair, answer: Sequence[int]) -> list[int]:
    """The labels of an answer: its token ids, and -100 for each token that touches an unsure stretch."""
    if not tokenizer.is_fast:
        raise ValueError("min_parts needs a fast tokenizer: this one does not say where a token stands in the text")
    found = tokenizer(pair.response, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    doubted = [any(a < end and b > start for start, end in pair.unsure) for a, b in found]
    return [-100 if skip else token for token, skip in zip(answer, doubted)] + list(answer[len(found) :])


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The prompt's token ids, as at inference. Prompt and answer are tokenized apart; nothing is ever cut."""
    special = not tokenizer.chat_template  # a template writes its own special tokens
    return list(tokenizer(render(tokenizer, messages), add_special_tokens=special)["input_ids"])


def answer_ids(tokenizer: Any, response: str, stop: int | None) -> list[int]:
    """The answer's token ids; it ends with `stop`, a label like any other even where it is also the padding token.
    None: the answer was cut, it does not end."""
    ids = list(tokenizer(response, add_special_tokens=False)["input_ids"])
    return ids if stop is None else [*ids, stop]


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
