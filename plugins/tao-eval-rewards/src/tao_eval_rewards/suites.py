"""The public preference benchmarks as suites that read their files as downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

import tao_hub

from . import files, judgebench, llmbar, pandalm, rewardbench, rewardbench2, rmbench
from .files import Row
from .items import Item, Judged, Outcome, PreferenceSuite


class Options(tao_hub.Options):
    """Options of every benchmark here."""

    path: str = pydantic.Field(description="The benchmark's file or folder, or a folder that holds several benchmarks")


class Benchmark(PreferenceSuite):
    """A benchmark on disk: `folders` are the names its folder has where several lie side by side."""

    Options: Any = Options
    folders: Sequence[str] = ()
    cure = ""
    """What to fetch."""

    def root(self) -> Path:
        """The benchmark's own file or folder. Raises FileNotFoundError saying what to fetch."""
        path = Path(self.options.path).expanduser()
        own = [path / name for name in self.folders if (path / name).is_dir()]
        if not path.exists():
            raise FileNotFoundError(f"no file or folder {path}. {self.cure}")
        return own[0] if own else path

    def files(self) -> Mapping[str, Sequence[Path]]:
        """Split → its files."""
        root = self.root()
        found = [root] if root.is_file() else files.below(root)
        splits: dict[str, list[Path]] = {}
        for file in found:
            if name := self.split_of(file):
                splits.setdefault(name, []).append(file)
        if not splits:
            raise FileNotFoundError(f"{root} holds no file of this benchmark. {self.cure}")
        return splits

    def split_of(self, file: Path) -> str:
        """The split a file belongs to; "" if it is none of this benchmark's."""
        return "test"

    def seen(self, split: str) -> list[dict[str, Any]]:
        """The whole benchmark: none of its splits is there to be trained on."""
        return [{"path": str(self.root().absolute())}]

    def splits(self) -> Sequence[str]:
        return tuple(self.files())

    def rows(self, split: str, *needed: str) -> Iterator[tuple[str, Path, Row]]:
        """(where, file, row) of a split. Raises ValueError for an unknown split and for rows that miss a key."""
        found = self.files()
        if split not in found:
            raise ValueError(f"no split {split!r}: there are {', '.join(found)}")
        for file in found[split]:
            for where, row in files.read(file, needed):
                yield where, file, row


class RewardBench(Benchmark):
    """RewardBench: rows {"prompt", "chosen", "rejected", "subset", "id"}. Prior sets may lie beside it, with their name
    as `subset`."""

    folders = ("reward-bench", "rewardbench")
    cure = "Fetch data/filtered-*.parquet of the dataset allenai/reward-bench, and give its folder as path"

    def split_of(self, file: Path) -> str:
        return "" if files.stem(file).startswith("raw") else "filtered"

    def items(self, split: str) -> Iterator[Item]:
        for number, (where, _, row) in enumerate(self.rows(split, "prompt", "chosen", "rejected", "subset")):
            pair = (last_turn(row["chosen"], where), last_turn(row["rejected"], where))
            yield Item(f"{row['subset']}:{row.get('id', '')}:{number}", prompt_of(row["prompt"], where), pair,
                       str(row["subset"]), 1)  # fmt: skip

    def measure(self, judged: Sequence[Judged]) -> Outcome:
        return rewardbench.measure(judged)


class RewardBench2(Benchmark):
    """RewardBench 2: rows {"id", "prompt", "chosen": [right …], "rejected": [wrong …], "subset"}."""

    folders = ("reward-bench-2", "rewardbench-2", "rewardbench2")
    cure = "Fetch data/test-*.parquet of the dataset allenai/reward-bench-2, and give its folder as path"

    def items(self, split: str) -> Iterator[Item]:
        for where, _, row in self.rows(split, "id", "prompt", "chosen", "rejected", "subset"):
            right, wrong = texts(row["chosen"], where), texts(row["rejected"], where)
            subset = next((s for s in rewardbench2.SUBSETS if s.lower() == str(row["subset"]).lower()), row["subset"])
            name = str(row["id"]) if subset == "Ties" else f"{subset}:{row['id']}"
            yield Item(name, prompt_of(row["prompt"], where), (*right, *wrong), str(subset), len(right))

    def measure(self, judged: Sequence[Judged]) -> Outcome:
        return rewardbench2.measure(judged)


class RMBench(Benchmark):
    """RM-Bench: rows {"id", "prompt", "chosen": [concise, detailed, markdown], "rejected": the same, "domain"}; without
    a domain the file's name is it (chat_filtered.json). total_dataset.json alone is enough."""

    folders = ("rm-bench", "RM-Bench", "rmbench")
    cure = "Fetch total_dataset.json of the dataset THU-KEG/RM-Bench, and give its folder as path"

    def files(self) -> Mapping[str, Sequence[Path]]:
        found = [f for some in super().files().values() for f in some]
        whole = [f for f in found if files.stem(f).startswith("total_dataset")]
        return {"test": whole or found}

    def items(self, split: str) -> Iterator[Item]:
        for where, file, row in self.rows(split, "id", "prompt", "chosen", "rejected"):
            right, wrong = texts(row["chosen"], where), texts(row["rejected"], where)
            if (len(right), len(wrong)) != (len(rmbench.STYLES),) * 2:
                raise ValueError(f"{where}: expected three styles each, found {len(right)} and {len(wrong)}")
            domain = str(row.get("domain") or files.stem(file).removesuffix("_filtered"))
            prompt = prompt_of(row["prompt"], where)
            yield Item(f"{domain}:{row['id']}", prompt, (*right, *wrong), domain, len(right))

    def measure(self, judged: Sequence[Judged]) -> Outcome:
        return rmbench.measure(judged)


class JudgeBench(Benchmark):
    """JudgeBench: rows {"pair_id", "source", "question", "response_A", "response_B", "label": "A>B" | "B>A"}; a split
    is the model that responded."""

    folders = ("judgebench", "JudgeBench")
    cure = "Fetch the folder data/ of https://github.com/ScalerLab/JudgeBench, and give it as path"

    def split_of(self, file: Path) -> str:
        found = re.search(r"response_model[=-](.+)", files.stem(file))
        return "" if "judge_name" in file.name else found.group(1) if found else "test"

    def items(self, split: str) -> Iterator[Item]:
        for where, _, row in self.rows(split, "pair_id", "source", "question", "response_A", "response_B", "label"):
            if row["label"] not in (judgebench.FIRST, judgebench.SECOND):
                raise ValueError(f"{where}: label must be A>B or B>A, found {row['label']!r}")
            pair = (str(row["response_A"]), str(row["response_B"]))
            category, best = judgebench.category(row["source"]), int(row["label"] == judgebench.SECOND)
            yield Item(str(row["pair_id"]), prompt_of(row["question"], where), pair, category, row["label"], best)

    def measure(self, judged: Sequence[Judged]) -> Outcome:
        return judgebench.measure(judged)


class LLMBar(Benchmark):
    """LLMBar: SET/dataset.json with rows {"input", "output_1", "output_2", "label": 1 | 2}; a set is a split, and
    *all* is every set."""

    folders = ("llmbar", "LLMBar")
    cure = "Fetch Dataset/LLMBar of https://github.com/princeton-nlp/LLMBar, and give it as path"

    def split_of(self, file: Path) -> str:
        return file.parent.name if files.stem(file) == "dataset" else ""

    def files(self) -> Mapping[str, Sequence[Path]]:
        found = super().files()
        return {"all": [f for some in found.values() for f in some], **found} if len(found) > 1 else found

    def items(self, split: str) -> Iterator[Item]:
        for number, (where, file, row) in enumerate(self.rows(split, "input", "output_1", "output_2", "label")):
            name = self.split_of(file)
            pair, label = (str(row["output_1"]), str(row["output_2"])), int(row["label"])
            yield Item(f"{name}:{number}", prompt_of(row["input"], where), pair, name, label, label - 1)

    def measure(self, judged: Sequence[Judged]) -> Outcome:
        return llmbar.measure(judged)


class PandaLM(Benchmark):
    """PandaLM's test set: rows {"idx", "instruction", "input", "response1", "response2", "annotator1" … 3}."""

    folders = ("pandalm", "PandaLM")
    cure = "Fetch data/testset-v1.json of https://github.com/WeOpenML/PandaLM, and give its folder as path"

    def split_of(self, file: Path) -> str:
        return "test" if files.stem(file).startswith("testset") else ""

    def items(self, split: str) -> Iterator[Item]:
        votes = ("annotator1", "annotator2", "annotator3")
        for where, _, row in self.rows(split, "idx", "instruction", "response1", "response2", *votes):
            asked = "\n\n".join(filter(None, (row["instruction"], row.get("input"))))
            pair = (str(row["response1"]), str(row["response2"]))
            label = pandalm.majority([int(row[v]) for v in votes])
            name = f"{row['idx']}:{row.get('cmp_key', '')}"
            yield Item(name, prompt_of(asked, where), pair, "", label, int(label == 2))

    def measure(self, judged: Sequence[Judged]) -> Outcome:
        return pandalm.measure(judged)


def prompt_of(value: Any, where: str, reference: Any = None, meta: Mapping[str, Any] | None = None) -> tao_hub.Prompt:
    """A prompt from text or a list of {"role", "content"}."""
    if isinstance(value, str):
        return tao_hub.Prompt((tao_hub.Message("user", value),), reference=reference, meta=meta or {})
    fine = isinstance(value, list) and value and all(
        isinstance(m, Mapping) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in value
    )  # fmt: skip
    if not fine:
        raise ValueError(f"{where}: a prompt is text or a list of messages, found {str(value)[:80]!r}")
    turns = tuple(tao_hub.Message(m["role"], m["content"]) for m in value)
    return tao_hub.Prompt(turns, reference=reference, meta=meta or {})


def last_turn(value: Any, where: str) -> str:
    """A response given as text, or as a conversation whose last turn it is."""
    if isinstance(value, list) and value and isinstance(value[-1], Mapping):
        value = value[-1].get("content")
    if not isinstance(value, str):
        raise ValueError(f"{where}: a response must be text, found {str(value)[:80]!r}")
    return value


def texts(value: Any, where: str) -> list[str]:
    """One or more responses: text or a list of texts."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
        raise ValueError(f"{where}: expected one or more responses, found {str(value)[:80]!r}")
    return found
