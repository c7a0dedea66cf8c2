"""instructions/followed: the answer follows the verifiable instructions that its prompt gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pydantic

import tao_hub

from .checks import follows, loosened


class Followed(tao_hub.Reward):
    """How far an answer follows the instructions in the prompt's meta, 0–1 (Zhou et al. 2023, arXiv 2311.07911).

    `meta.instruction_id_list` names the instructions, `meta.kwargs` has an object of options for each. They are told in
    the prompt's text too, so this is no reference. An empty answer follows none. Parts: `all` and `share` (strict),
    `loose` and `loose share`, and 0 or 1 for each instruction by its kind, a second one of a kind as "KIND 2". Which
    of them is the value: `mode` and `loose`. A prompt without instructions is an error, not a score.
    """

    class Options(tao_hub.Options):
        mode: Literal["all", "share"] = pydantic.Field(
            "all", description="1 only where all are followed, or the share of them that is"
        )
        loose: bool = pydantic.Field(
            False, description="An instruction counts also where it holds without first or last line, or asterisks"
        )
        max_chars: int = pydantic.Field(50_000, gt=0, description="Longer answers cannot be scored")

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        for prompt, candidate in pairs:
            try:
                yield self._score(candidate.response, instructions_of(prompt))
            except ValueError as error:
                yield tao_hub.Score.failed(error)

    def _score(self, response: str, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> tao_hub.Score:
        if len(response) > self.options.max_chars:
            raise ValueError(f"the answer has {len(response)} characters, more than max_chars={self.options.max_chars}")
        strict = [follows(kind, response, options) for kind, options in asked]
        others = loosened(response)[1:]
        loose = [
            held or any(follows(kind, other, options) for other in others)
            for held, (kind, options) in zip(strict, asked)
        ]
        parts = {"all": all(strict), "share": share(strict), "loose": all(loose), "loose share": share(loose)}
        value = parts[("loose share" if self.options.mode == "share" else "loose") if self.options.loose
                      else self.options.mode]  # fmt: skip
        seen: dict[str, int] = {}
        for (kind, _), held in zip(asked, loose if self.options.loose else strict):
            seen[kind] = seen.get(kind, 0) + 1
            parts[kind if seen[kind] == 1 else f"{kind} {seen[kind]}"] = held
        broken = [kind for (kind, _), held in zip(asked, strict) if not held]
        why = f"not followed: {', '.join(broken)}"[:300] if broken else "all followed"
        return tao_hub.Score(float(value), why=why, parts={name: float(part) for name, part in parts.items()})


def share(held: Sequence[bool]) -> float:
    return sum(held) / len(held)


def instructions_of(prompt: tao_hub.Prompt) -> list[tuple[str, Mapping[str, Any]]]:
    """(kind, options) of each instruction in a prompt's meta. Raises ValueError saying what is missing."""
    kinds, options = prompt.meta.get("instruction_id_list"), prompt.meta.get("kwargs")
    if not isinstance(kinds, (list, tuple)) or not kinds:
        raise ValueError("no instruction_id_list in the prompt's meta: use suite ifeval or self-instruct, or give one")
    if not isinstance(options, (list, tuple)) or len(options) != len(kinds):
        raise ValueError(f"meta.kwargs must be a list of {len(kinds)} objects, one per kind, found {options!r:.200}")
    wrong = next((o for o in options if o is not None and not isinstance(o, Mapping)), None)
    if wrong is not None:
        raise ValueError(f"meta.kwargs holds {wrong!r:.80}, which is no object")
    # Some copies of the data set list all options of all kinds, null where they do not belong.
    return [(str(kind), {k: v for k, v in (o or {}).items() if v is not None}) for kind, o in zip(kinds, options)]
