"""Suites of one's own rows: chosen and rejected answers, transcripts, or many candidates with grades."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tao_hub

from . import best_of_n, files, pairwise
from .items import Item, Judged, Outcome
from .suites import Benchmark, prompt_of, texts

TURN = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


class Own(Benchmark):
    """One file (its split is the file's name) or a folder of them."""

    def split_of(self, file: Path) -> str:
        return files.stem(file)

    def seen(self, split: str) -> list[dict[str, Any]]:
        """The split's own files: others of the folder may well be there to be trained on."""
        return [{"path": str(file.absolute())} for file in self.files()[split]]


class Pairs(Own):
    """Rows {"prompt": text or messages, "chosen": text or a list, "rejected": the same, "id"?, "category"?,
    "reference"?, "meta"?, "rewordings"?}: every chosen answer is better than every rejected one; rewordings say what
    the first chosen one says, for `tao-hub rewards audit`."""

    cure = 'Write JSON lines of {"prompt": …, "chosen": …, "rejected": …} and give the file or its folder as path'

    def items(self, split: str) -> Iterator[Item]:
        for number, (where, _, row) in enumerate(self.rows(split, "prompt", "chosen", "rejected"), 1):
            better, worse = texts(row["chosen"], where), texts(row["rejected"], where)
            prompt = prompt_of(row["prompt"], where, row.get("reference"), row.get("meta"))
            name = str(row.get("id", number))
            reworded = tuple(texts(row["rewordings"], where)) if row.get("rewordings") else ()
            category = str(row.get("category") or "")
            yield Item(name, prompt, (*better, *worse), category, len(better), 0, reworded)

    def measure(self, judged: Sequence[Judged]) -> Outcome:
        return pairwise.measure(judged)


class HH(Own):
    """Anthropic's HH-RLHF: rows {"chosen", "rejected"}, two transcripts that part at an answer of the assistant."""

    folders = ("hh-rlhf", "hh")
    cure = "Fetch the .jsonl.gz files of the dataset Anthropic/hh-rlhf, and give their folder as path"

    def items(self, split: str) -> Iterator[Item]:
        for number, (where, _, row) in enumerate(self.rows(split, "chosen", "rejected"), 1):
            asked, pair = part(str(row["chosen"]), str(row["rejected"]), where)
            yield Item(str(number), tao_hub.Prompt(asked), pair, "", 1)

    def measure(self, judged: Sequence[Judged]) -> Outcome:
        return pairwise.measure(judged)


class Candidates(Own):
    """Rows {"prompt", "responses": [several], "gold"?: [a grade each], "id"?, "category"?, "reference"?, "meta"?};
    without grades they come from another reward, `--gold`."""

    cure = 'Write JSON lines of {"prompt": …, "responses": […], "gold": […]} and give the file or its folder as path'

    def items(self, split: str) -> Iterator[Item]:
        for number, (where, _, row) in enumerate(self.rows(split, "prompt", "responses"), 1):
            responses = texts(row["responses"], where)
            grades = row.get("gold")
            if grades is not None and not (isinstance(grades, list) and len(grades) == len(responses)
                                           and all(_is_number(g) for g in grades)):  # fmt: skip
                raise ValueError(f"{where}: gold must be one number per response, found {str(grades)[:80]}")
            prompt = prompt_of(row["prompt"], where, row.get("reference"), row.get("meta"))
            label = None if grades is None else tuple(float(g) for g in grades)
            best = label.index(max(label)) if label else 0
            category = str(row.get("category") or "")
            yield Item(str(row.get("id", number)), prompt, tuple(responses), category, label, best)

    def measure(self, judged: Sequence[Judged]) -> Outcome:
        return best_of_n.measure(judged)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def part(chosen: str, rejected: str, where: str) -> tuple[tuple[tao_hub.Message, ...], tuple[str, str]]:
    """Two transcripts → the turns they share, and what each goes on with from the assistant's turn where they part."""
    both = [_turns(text) for text in (chosen, rejected)]
    same = 0
    while same < min(map(len, both)) - 1 and both[0][same] == both[1][same]:
        same += 1
    while same and both[0][same][0] != "Assistant":
        same -= 1
    if not same:
        raise ValueError(f"{where}: the transcripts share no question; found {chosen[:60]!r} and {rejected[:60]!r}")
    asked = tuple(tao_hub.Message(ROLES[who], text) for who, text in both[0][:same])
    first, second = (_joined(turns[same:]) for turns in both)
    return asked, (first, second)


def _turns(text: str) -> list[tuple[str, str]]:
    pieces = TURN.split(text)  # what stands before the first turn, then role and text in turn
    return [(who, said.strip()) for who, said in zip(pieces[1::2], pieces[2::2])]


def _joined(turns: Sequence[tuple[str, str]]) -> str:
    return turns[0][1] + "".join(f"\n\n{who}: {said}" for who, said in turns[1:])
