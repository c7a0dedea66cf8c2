"""Prompt and response → token ids, the same way in training and in scoring; over-long ones keep both ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tao_hub import Message

PROMPT_SHARE = 0.25  # of the tokens, that a prompt may always have
TOGETHER = 1024  # texts tokenized in one call
WIDE = 16  # characters per token that are looked at: what lies further inside is cut before it is tokenized


@dataclass(frozen=True)
class Tokens:
    """Ids of one prompt with one response; `types` are segment ids where the model has them; `cut` tokens are gone
    (of what was too long to be tokenized at all, one per four characters)."""

    ids: list[int]
    types: list[int] | None = None
    cut: int = 0


@dataclass(frozen=True)
class Layout:
    """How a text pair is written. `kind`: "chat" is the tokenizer's chat template, "segments" the two segments of an
    encoder, "plain" the prompt, an empty line, the response and the end token."""

    kind: str
    max_length: int

    def __post_init__(self) -> None:
        if self.kind not in ("chat", "segments", "plain"):
            raise ValueError(f"layout {self.kind!r} is none of chat, segments, plain")

    def encode(self, tokenizer: Any, prompt: Sequence[Message], response: str) -> Tokens:
        """At most `max_length` ids. The prompt may have a quarter and what the response leaves; of what is too long
        the first and the last half of its share stay, so an end-of-turn token is always the last."""
        wide = 2 * WIDE * self.max_length
        shortened = [Message(m.role, both_ends(m.content, wide)) for m in prompt]
        made: Tokens = getattr(self, f"_{self.kind}")(tokenizer, shortened, both_ends(response, wide))
        unseen = sum(max(0, len(text) - wide) for text in (*(m.content for m in prompt), response))
        return replace(made, cut=made.cut + unseen // 4) if unseen else made

    def encode_all(self, tokenizer: Any, texts: Sequence[tuple[Sequence[Message], str]]) -> list[Tokens]:
        """What `encode` gives for each prompt and response, tokenized many at once and each prompt once."""
        made: list[Tokens] = []
        for start in range(0, len(texts), TOGETHER):
            made += self._together(tokenizer, texts[start : start + TOGETHER])
        return made

    def _together(self, tokenizer: Any, texts: Sequence[tuple[Sequence[Message], str]]) -> list[Tokens]:
        if self.kind == "segments":
            prompts = {id(prompt): flat(prompt) for prompt, _ in texts}
            asked = list(dict.fromkeys([*prompts.values(), *(response for _, response in texts)]))
            known = dict(zip(asked, tokenizer(asked, add_special_tokens=False, verbose=False)["input_ids"]))
            frame = _frame(tokenizer)
            whole = [_framed(frame, known[prompts[id(p)]], known[r], tokenizer) for p, r in texts]
        else:
            written = [getattr(self, f"_{self.kind}_text")(tokenizer, prompt, response) for prompt, response in texts]
            whole = [Tokens(ids) for ids in tokenizer(written, add_special_tokens=False, verbose=False)["input_ids"]]
        # what is too long is cut one by one, where it is known which token is whose
        return [
            made if len(made.ids) <= self.max_length and not self._too_wide(prompt, response)
            else self.encode(tokenizer, prompt, response)
            for made, (prompt, response) in zip(whole, texts)
        ]  # fmt: skip

    def _too_wide(self, prompt: Sequence[Message], response: str) -> bool:
        return max([len(response), *(len(m.content) for m in prompt)]) > 2 * WIDE * self.max_length

    def _segments(self, tokenizer: Any, prompt: Sequence[Message], response: str) -> Tokens:
        first = tokenizer(flat(prompt), add_special_tokens=False, verbose=False)["input_ids"]
        second = tokenizer(response, add_special_tokens=False, verbose=False)["input_ids"]
        frame = _frame(tokenizer)
        (first, second), cut = self._fit(first, second, len(frame) - 2)
        return _framed(frame, first, second, tokenizer, cut)

    def _chat(self, tokenizer: Any, prompt: Sequence[Message], response: str) -> Tokens:
        text = self._chat_text(tokenizer, prompt, response)
        before = tokenizer.apply_chat_template(_turns(prompt), tokenize=False, add_generation_prompt=True)
        return self._joined(tokenizer, text, len(before) if text.startswith(before) else 0)

    def _chat_text(self, tokenizer: Any, prompt: Sequence[Message], response: str) -> str:
        answer = {"role": "assistant", "content": response}
        return str(tokenizer.apply_chat_template([*_turns(prompt), answer], tokenize=False))

    def _plain(self, tokenizer: Any, prompt: Sequence[Message], response: str) -> Tokens:
        before = flat(prompt) + "\n\n"
        return self._joined(tokenizer, self._plain_text(tokenizer, prompt, response), len(before))

    def _plain_text(self, tokenizer: Any, prompt: Sequence[Message], response: str) -> str:
        return f"{flat(prompt)}\n\n{response}{tokenizer.eos_token or ''}"

    def _joined(self, tokenizer: Any, text: str, start: int) -> Tokens:
        """Ids of a text whose response starts at a character; tokenized as one, as every other library would."""
        found = tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
        ids = found["input_ids"]
        middle = next((i for i, (at, _) in enumerate(found["offset_mapping"]) if at >= start), len(ids))
        (first, second), cut = self._fit(ids[:middle], ids[middle:], 0)
        return Tokens([*first, *second], None, cut)

    def _fit(self, first: list[int], second: list[int], special: int) -> tuple[tuple[list[int], list[int]], int]:
        room = self.max_length - special
        share = min(len(first), max(int(room * PROMPT_SHARE), room - len(second)))
        kept = both_ends(first, share), both_ends(second, room - share)
        return kept, len(first) + len(second) - len(kept[0]) - len(kept[1])


def both_ends(whole: Any, keep: int) -> Any:
    """A text or a list, cut in its middle to at most `keep` items."""
    if len(whole) <= keep:
        return whole
    head = keep // 2
    return whole[:head] + whole[len(whole) - (keep - head) :]


def flat(prompt: Sequence[Message]) -> str:
    """A prompt as one text: a lone user message as it is, turns with their role before each."""
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    return "\n\n".join(f"{m.role}: {m.content}" for m in prompt)


def _turns(prompt: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in prompt]


Frame = list[tuple[int, "int | None", int]]


def _framed(frame: Frame, first: list[int], second: list[int], tokenizer: Any, cut: int = 0) -> Tokens:
    """Two segments as the tokenizer itself would put them together."""
    ids: list[int] = []
    types: list[int] = []
    for token, owner, kind in frame:
        part = [token] if owner is None else (first, second)[owner]
        ids += part
        types += [kind] * len(part)
    return Tokens(ids, types if "token_type_ids" in tokenizer.model_input_names else None, cut)


def _frame(tokenizer: Any) -> Frame:
    """(id, 0 or 1 where a segment goes or None, segment id) of a pair, as the tokenizer itself puts it together."""
    made = tokenizer("a", "b")
    owners = made.sequence_ids(0)
    types = made.get("token_type_ids") or [owner or 0 for owner in owners]
    frame: Frame = []
    for token, owner, kind in zip(made["input_ids"], owners, types):
        if owner is None or not frame or frame[-1][1] != owner:
            frame.append((token, owner, kind))
    return frame
