"""Suites whose prompts hold verifiable instructions: IFEval, and Self-Instruct's seed tasks with such attached."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pydantic

import tao_hub

from .attach import draw, draw_kinds
from .checks import CHECKS

Row = Mapping[str, Any]


class Verifiable(tao_hub.Suite):
    """Prompts whose answers `instructions/followed` judges; they have no reference."""

    metric = tao_hub.Ref("instructions/followed", {"mode": "all"})
    metric_name = "prompt-level strict"
    metric_parts = ("share", "loose", "loose share")


class IFEval(Verifiable):
    """IFEval (Zhou et al. 2023, arXiv 2311.07911): one split, test.

    A file of rows {"key", "prompt", "instruction_id_list", "kwargs"}. The metric is prompt-level strict accuracy, its
    parts are the share of a prompt's instructions that is followed (the paper's instruction-level accuracy weighs each
    instruction alike, this each prompt) and both of them loosely. The answer is greedy, and so long as `max_tokens` of
    the evaluation lets it be.
    """

    class Options(tao_hub.Options):
        path: str = pydantic.Field(
            "", description="input_data.jsonl[.gz] or its folder (default: the folder ifeval of $TAO_HUB_DATA)"
        )

    def splits(self) -> Sequence[str]:
        return ("test",)

    def prompts(self, split: str) -> Iterator[tao_hub.Prompt]:
        if split != "test":
            raise ValueError(f"no split {split!r}: IFEval has test only; tune on the suite self-instruct")
        for row in read(located(self.options.path, "ifeval", "input_data.jsonl"), IFEVAL):
            yield asked(str(row["key"]), row["prompt"], row["instruction_id_list"], row["kwargs"])


class SelfInstruct(Verifiable):
    """Seed tasks of Self-Instruct (Wang et al. 2023, arXiv 2212.10560), each with one to three verifiable instructions.

    One split, prompts. Outputs of the tasks are not read. Kinds that contradict each other never meet; which are drawn,
    with what words and numbers, depends on `seed`, the task and the copy only. Left out are classification tasks (their
    answer is one word), tasks that are longer than `longest`, and tasks or prompts that equal or nearly equal a prompt
    of IFEval where its file is there. Copy by copy: the first n prompts are n different tasks as long as there are any.
    """

    class Options(tao_hub.Options):
        path: str = pydantic.Field(
            "", description="seed_tasks.jsonl[.gz] or its folder (default: the folder self-instruct of $TAO_HUB_DATA)"
        )
        ifeval: str = pydantic.Field(
            "", description="IFEval's file or folder, which no prompt may repeat (default: ifeval of $TAO_HUB_DATA)"
        )
        copies: int = pydantic.Field(6, ge=1, description="Prompts of each task, with other instructions")
        longest: int = pydantic.Field(600, ge=1, description="Characters of a task with its input, at most")
        skip: list[str] = pydantic.Field([], description="Kinds of instructions that are not drawn")
        seed: int = pydantic.Field(0, description="Of the instructions that are drawn")

        @pydantic.field_validator("skip")
        @classmethod
        def _known(cls, kinds: list[str]) -> list[str]:
            if unknown := [kind for kind in kinds if kind not in CHECKS]:
                raise ValueError(f"no verifiable instruction {unknown[0]!r}; there are {', '.join(CHECKS)}")
            if len(set(kinds)) == len(CHECKS):
                raise ValueError("all kinds are skipped: there is nothing left to draw")
            return kinds

    def splits(self) -> Sequence[str]:
        return ("prompts",)

    def prompts(self, split: str) -> Iterator[tao_hub.Prompt]:
        if split != "prompts":
            raise ValueError(f"no split {split!r}: self-instruct has prompts only; measure on the suite ifeval")
        options, tasks = self.options, self._tasks()
        made = [self._made(name, text, copy) for copy in range(options.copies) for name, text in tasks.items()]
        texts = {prompt.id: prompt.text for prompt in made}
        repeated = self._repeated({**tasks, **texts})
        seen: set[str] = set()
        for prompt in made:
            if prompt.id in repeated or prompt.id.split("/")[0] in repeated or prompt.text in seen:
                continue
            seen.add(prompt.text)
            yield prompt

    def _tasks(self) -> dict[str, str]:
        """Name → instruction with its first input, of the tasks that are answered by writing."""
        found = {}
        for row in read(located(self.options.path, "self-instruct", "seed_tasks.jsonl"), SEED_TASK):
            given = row["instances"][0].get("input", "") if row["instances"] else ""
            text = f"{row['instruction'].strip()}\n\n{given.strip()}".strip()
            if not row.get("is_classification") and len(text) <= self.options.longest:
                found[str(row["id"])] = text
        return found

    def _made(self, name: str, text: str, copy: int) -> tao_hub.Prompt:
        rng = Random(f"{self.options.seed}/{name}/{copy}")
        kinds = draw_kinds(rng, [kind for kind in CHECKS if kind not in self.options.skip])
        drawn = [draw(kind, rng, text) for kind in kinds]
        told = " ".join(sentence if sentence.endswith((".", ":", "***")) else f"{sentence}\n" for _, sentence in drawn)
        return asked(f"{name}/{copy}", f"{text}\n\n{told.strip()}", kinds, [options for options, _ in drawn])

    def _repeated(self, texts: Mapping[str, str]) -> set[str]:
        """Names of the texts that equal or nearly equal a prompt of IFEval; none where its file is not there."""
        try:
            file = located(self.options.ifeval, "ifeval", "input_data.jsonl")
        except FileNotFoundError:
            if self.options.ifeval:
                raise
            return set()
        held_out = [(str(row["key"]), row["prompt"]) for row in read(file, IFEVAL)]
        return set(tao_hub.find_overlap(texts.items(), held_out))


IFEVAL = {"key": (str, int), "prompt": str, "instruction_id_list": list, "kwargs": list}
SEED_TASK = {"id": (str, int), "instruction": str, "instances": list}


def asked(name: str, text: str, kinds: Sequence[str], options: Sequence[Any]) -> tao_hub.Prompt:
    meta = {"instruction_id_list": list(kinds), "kwargs": list(options)}
    return tao_hub.Prompt((tao_hub.Message("user", text),), id=name, meta=meta)


def located(path: str, folder: str, name: str) -> Path:
    """The file of a data set. Raises FileNotFoundError saying where it was looked for and how to name it."""
    data = os.environ.get("TAO_HUB_DATA")
    if not path and not data:
        raise FileNotFoundError(f"{name}: give its folder with --suite-option path=DIR, or set TAO_HUB_DATA")
    start = Path(path).expanduser() if path else Path(data or "") / folder
    for file in (start, start / name, start / f"{name}.gz"):
        if file.is_file():
            return file
    raise FileNotFoundError(f"no {name}[.gz] in {start}: give the file or its folder with --suite-option path=…")


def read(file: Path, fields: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of a JSONL file that have these fields of these types. Raises ValueError naming file, line and fault."""
    number = 0
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
            for line in lines:
                number += 1
                if line.strip():
                    yield _checked(json.loads(line.decode("utf-8")), fields)
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{file}, line {number or 1}: {error}") from None


def _checked(row: Any, fields: Mapping[str, Any]) -> Row:
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, found {row!r:.80}")
    for name, kind in fields.items():
        if not isinstance(row.get(name), kind):
            raise ValueError(f"{name!r} is missing or of the wrong type, found {row.get(name)!r:.80}")
    return row
