"""One row of preference data: a prompt and N responses, scored, ranked or compared; and what is wrong with a row."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tao_hub
from tao_hub import Message

ROLES = ("system", "user", "assistant", "tool")
SHAPES = (
    "{prompt, chosen, rejected[, margin]}, {prompt, responses, scores} or {prompt, responses, ranking}; of attributes "
    "{prompt, responses, attributes: {NAME: scores}} or {prompt, chosen, rejected, attribute: NAME}"
)
LONG = 100_000  # characters of a response from which it is reported as long
SHOWN = 5  # problems of a kind that an error message lists
# what stops the command unless --skip-invalid: the row is not what was meant
MALFORMED = frozenset({"not JSON", "wrong encoding", "not an object", "missing field", "wrong type", "wrong count",
                       "not finite", "bad ranking", "unknown attribute", "no attribute",
                       "attributes only"})  # fmt: skip
_TURN = re.compile(r"\n\n(Human|Assistant): ?")


class BadRow(ValueError):
    """A row that cannot be used: `kind` is one of a few names that are counted."""

    def __init__(self, kind: str, found: str) -> None:
        super().__init__(f"{kind}: {found}")
        self.kind, self.found = kind, found


@dataclass(frozen=True)
class Ranked:
    """A prompt with its responses. Higher `scores` are better, equal ones a tie; `graded` if they are a scale of
    their own (ratings, verdicts) and not only an order. `margin` is how much better the first of two responses is.
    `attributes` are scores by name; a row that has them may have no `scores` of the whole."""

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    scores: tuple[float, ...]
    graded: bool = False
    margin: float | None = None
    source: str = ""
    domain: str = ""
    where: str = ""
    attributes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Identity of the prompt."""
        return tao_hub.Prompt(self.prompt).digest

    @property
    def asked(self) -> str:
        """What the users said (all messages where they said nothing), for comparing prompts."""
        said = [m.content for m in self.prompt if m.role == "user" and m.content.strip()]
        return "\n".join(said or [m.content for m in self.prompt])

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(better, worse) for all responses that differ in score."""
        order = range(len(self.scores))
        return [(i, j) for i in order for j in order if self.scores[i] > self.scores[j]]

    def of(self, name: str) -> Ranked:
        """The row as one attribute sees it. Only a pair without `scores` has a margin, and is no scale."""
        graded = self.graded or bool(self.scores)
        margin = None if self.scores else self.margin
        return replace(self, scores=self.attributes[name], graded=graded, margin=margin, attributes={})

    @property
    def trained(self) -> list[Ranked]:
        """What heads learn from: the row as each attribute sees it, or itself where it has none."""
        return [self.of(name) for name in self.attributes] or [self]

    @property
    def orders(self) -> dict[str, tuple[float, ...]]:
        """Scores by attribute, those of the whole under ""."""
        return {**({"": self.scores} if self.scores else {}), **self.attributes}


@dataclass
class Problems:
    """What was wrong with rows, each named by file and line; nothing is dropped without an entry here."""

    found: list[dict[str, str]] = field(default_factory=list)

    def add(self, kind: str, where: str, found: str) -> None:
        self.found.append({"kind": kind, "where": where, "found": found[:300]})

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(p["kind"] for p in self.found).most_common())

    def refuse_malformed(self) -> None:
        """Raise UsageError that lists malformed rows, if there are any."""
        bad = [p for p in self.found if p["kind"] in MALFORMED]
        if bad:
            listed = "\n".join(f"  {p['where']}: {p['kind']}: {p['found']}" for p in bad[: 4 * SHOWN])
            more = f"\n  … and {len(bad) - 4 * SHOWN} more" if len(bad) > 4 * SHOWN else ""
            raise tao_hub.UsageError(
                f"{len(bad)} rows are no preference data:\n{listed}{more}\nA row is {SHAPES}; mend them, or leave them "
                "out with --skip-invalid"
            )


def parse(row: Any, where: str, source: str = "", domain: str = "") -> Ranked:
    """The row as a group. Raises BadRow.

    Without a prompt, `chosen` and `rejected` are whole dialogues (messages, or "\\n\\nHuman: … \\n\\nAssistant: …" text
    as in HH-RLHF) that part in their last turn only.
    """
    if not isinstance(row, Mapping):
        raise BadRow("not an object", f"found {type(row).__name__}")
    if "responses" in row:
        made = _listed(row)
    elif "chosen" in row or "rejected" in row:
        made = _pair(row)
    else:
        raise BadRow("missing field", f"no chosen and rejected, no responses; found {sorted(map(str, row))}")
    named = row.get("domain") if isinstance(row.get("domain"), str) else None
    made = replace(made, source=source, domain=named or domain or source, where=where)
    _check_texts(made)
    return made


def _pair(row: Mapping[str, Any]) -> Ranked:
    for name in ("chosen", "rejected"):
        if row.get(name) is None:
            raise BadRow("missing field", f"{name!r} is missing; found {sorted(map(str, row))}")
    if row.get("prompt") is None or _longer(row["chosen"]) or _longer(row["rejected"]):
        prompt, chosen, rejected = _dialogues(row["chosen"], row["rejected"])
    else:
        prompt = _messages(row["prompt"])
        chosen, rejected = _response(row["chosen"], "chosen"), _response(row["rejected"], "rejected")
    margin = None if row.get("margin") is None else _number(row["margin"], "margin")
    if chosen == rejected:
        raise BadRow("equal pair", f"chosen and rejected are the same {len(chosen)} characters")
    name, named = row.get("attribute"), _attributes(row.get("attributes"), 2)
    if name is None:
        return Ranked(prompt, (chosen, rejected), (1.0, 0.0), margin=margin, attributes=named)
    if not isinstance(name, str) or named:
        raise BadRow("wrong type", f"'attribute' must be one name, without 'attributes' beside it; found {name!r:.40}")
    return Ranked(prompt, (chosen, rejected), (), margin=margin, attributes={name: (1.0, 0.0)})


def _listed(row: Mapping[str, Any]) -> Ranked:
    if row.get("prompt") is None:
        raise BadRow("missing field", f"'prompt' is missing; found {sorted(map(str, row))}")
    if not isinstance(row["responses"], Sequence) or isinstance(row["responses"], str) or not row["responses"]:
        found = "an empty one" if row["responses"] == [] else type(row["responses"]).__name__
        raise BadRow("wrong type", f"'responses' must be a list of texts, found {found}")
    responses = tuple(_response(r, "responses") for r in row["responses"])
    graded, whole, named = row.get("scores") is not None, None, _attributes(row.get("attributes"), len(responses))
    if graded:
        whole = _scores(row["scores"], len(responses))
    elif row.get("ranking") is not None:
        whole = _ranking(row["ranking"], len(responses))
    elif not named:
        found = f"neither 'scores' nor 'ranking' nor 'attributes' beside 'responses'; found {sorted(row)}"
        raise BadRow("missing field", found)
    columns = [*([] if whole is None else [whole]), *named.values()]
    first: dict[str, int] = {}
    for i, text in enumerate(responses):  # the same response twice says nothing more, or contradicts itself
        told = [(c[first[text]], c[i]) for c in columns if c[first.setdefault(text, i)] != c[i]]
        if told:
            raise BadRow("opposite labels", f"one response has the scores {told[0][0]:g} and {told[0][1]:g}")
    if len(first) == 1 and len(responses) > 1:
        raise BadRow("equal pair", f"all {len(responses)} responses are the same")
    kept = [tuple(c[i] for i in first.values()) for c in columns]
    scores = () if whole is None else kept.pop(0)
    return Ranked(
        _messages(row["prompt"]), tuple(first), scores, graded or whole is None, attributes=dict(zip(named, kept))
    )


def _attributes(value: Any, count: int) -> dict[str, tuple[float, ...]]:
    """Scores by name; a name without a value is an attribute that the row does not rate."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        found = f"'attributes' must be an object as {{NAME: [a number per response]}}, found {type(value).__name__}"
        raise BadRow("wrong type", found)
    return {str(name): _scores(v, count, f"attributes.{name}") for name, v in value.items() if v is not None}


def _scores(value: Any, count: int, name: str = "scores") -> tuple[float, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise BadRow("wrong type", f"{name!r} must be a list of numbers, found {type(value).__name__}")
    if len(value) != count:
        raise BadRow("wrong count", f"{len(value)} {name} for {count} responses")
    return tuple(_number(v, name) for v in value)


def _ranking(value: Any, count: int) -> tuple[float, ...]:
    """Indices from best to worst, tied ones in a list of their own → a score per response."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise BadRow("wrong type", f"'ranking' must be a list of indices, found {type(value).__name__}")
    scores: dict[int, float] = {}
    for place, level in enumerate(value):
        for index in level if isinstance(level, Sequence) and not isinstance(level, str) else [level]:
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count or index in scores:
                raise BadRow("bad ranking", f"{index!r} is no index of {count} responses, or stands twice")
            scores[index] = float(-place)
    if len(scores) != count:
        raise BadRow("wrong count", f"the ranking has {len(scores)} of {count} responses")
    return tuple(scores[i] for i in range(count))


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool):
        return float(value)  # a verdict
    if not isinstance(value, (int, float)):
        raise BadRow("wrong type", f"{name!r} must be a number, found {type(value).__name__} {value!r:.40}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadRow("not finite", f"{name!r} is {value!r:.40}")
    return number


def _longer(value: Any) -> bool:
    """Whether it is a dialogue of several messages."""
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 1


def _response(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and len(value) == 1:
        (message,) = _messages(value, name)
        return message.content
    raise BadRow("wrong type", f"{name!r} must be text or one assistant message, found {type(value).__name__}")


def _messages(value: Any, name: str = "prompt") -> tuple[Message, ...]:
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, Sequence) or not value:
        raise BadRow("wrong type", f"{name!r} must be text or a list of messages, found {type(value).__name__}")
    for m in value:
        if not (isinstance(m, Mapping) and m.get("role") in ROLES and isinstance(m.get("content"), str)):
            raise BadRow("wrong type", f"a message is role (one of {', '.join(ROLES)}) and content, found {m!r:.80}")
    return tuple(Message(m["role"], m["content"]) for m in value)


def _dialogues(chosen: Any, rejected: Any) -> tuple[tuple[Message, ...], str, str]:
    """(prompt, chosen response, rejected response) of two dialogues that share all but the last answer."""
    first, second = (_turns(d) for d in (chosen, rejected))
    if not first or not second or first[-1].role != "assistant" or second[-1].role != "assistant":
        raise BadRow("missing field", "no 'prompt', and chosen and rejected are no dialogues that end with an answer")
    if first[:-1] != second[:-1]:
        raise BadRow("different prompts", "chosen and rejected differ before their last answer")
    if len(first) < 2:
        raise BadRow("empty prompt", "the dialogue is an answer only")
    return first[:-1], first[-1].content, second[-1].content


def _turns(dialogue: Any) -> tuple[Message, ...]:
    if not isinstance(dialogue, str):
        return _messages(dialogue, "chosen and rejected")
    pieces = _TURN.split(dialogue)
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(Message(roles[who], text.strip()) for who, text in zip(pieces[1::2], pieces[2::2]))


def _check_texts(row: Ranked) -> None:
    if not any(m.content.strip() for m in row.prompt):
        raise BadRow("empty prompt", "the prompt has no text")
    if blank := [i for i, text in enumerate(row.responses) if not text.strip()]:
        raise BadRow("empty response", f"response {blank[0]} of {len(row.responses)} has no text")
    for text in (*(m.content for m in row.prompt), *row.responses):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:  # half of a surrogate pair, escaped in JSON
            raise BadRow("wrong encoding", f"{error.reason} at character {error.start}") from None
