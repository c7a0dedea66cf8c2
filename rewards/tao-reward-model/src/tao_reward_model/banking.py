"""Suite banking77: what bank customers ask, and which of 77 intents they have."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

import tao_hub

from .banking_intents import DESCRIPTIONS
from .choice import Choice

SYSTEM = "Which intent does the bank's customer have? Reply with its name only, one of these:"
SHOWN = 6  # worked examples in a few-shot prompt, another six for each candidate
CURE = (
    "take train.csv (and test.csv) from banking_data of https://github.com/PolyAI-LDN/task-specific-datasets, and give "
    "their folder with --suite-option path=DIR, or set TAO_HUB_DATA to the folder that holds it as banking77"
)


class Banking77(tao_hub.Suite):
    """BANKING77 (Casanueva et al. 2020, arXiv 2003.04807): the answer is the intent's name, the metric exact match.

    The system message lists the `shortlist` intents whose description is nearest to the message, by the encoder and in
    the order of the alphabet (0: all 77 of them); base and tuned model get the same. Splits: prompts (train.csv; no
    references) and test (test.csv). Where there is no test.csv, three tenths of train.csv stand in, by a hash of the
    text: dev a tenth, test two; such figures are not those of the benchmark's own test. In the order of the hash, since
    the files are sorted by intent.
    """

    metric = tao_hub.Ref("rules/exact", {"normalise_space": True})
    metric_name = "accuracy"

    class Options(tao_hub.Options):
        path: str = pydantic.Field("", description="Folder of train.csv[.gz] (default: banking77 of $TAO_HUB_DATA)")
        shortlist: int = pydantic.Field(10, ge=0, le=77, description="Intents that a prompt lists, the nearest; 0: all")
        encoder: str = pydantic.Field("minilm", description="minilm, or a folder or hub id of a sentence encoder")
        most: int = pydantic.Field(2000, ge=1, description="Messages of the split prompts: each has to be encoded")

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._nearest: dict[str, list[list[str]]] = {}

    def splits(self) -> Sequence[str]:
        return ("prompts", "test") if self._file("test") else ("prompts", "dev", "test")

    def prompts(self, split: str) -> Iterator[tao_hub.Prompt]:
        rows = self._rows(split)
        if split not in self._nearest:  # asked for several times in a run
            self._nearest[split] = list(self._shown([text for text, _ in rows]))
        for number, ((text, intent), names) in enumerate(zip(rows, self._nearest[split])):
            messages = (tao_hub.Message("system", "\n".join([SYSTEM, *names])), tao_hub.Message("user", text))
            gold = None if split == "prompts" else intent
            yield tao_hub.Prompt(messages, id=f"{split}-{number}", reference=gold)

    def texts(self, split: str) -> Iterator[str]:
        """What customers ask, without asking the encoder which intents to list."""
        return (text for text, _ in self._rows(split))

    def options_for(self, component: str) -> Mapping[str, Any]:
        """The sentences: as options for the reward, and as worked examples, which are no customers' messages."""
        if component == "core/few-shot":
            examples = [{"input": sentence, "output": intent} for intent, sentence in DESCRIPTIONS.items()]
            return {"examples": examples, "k": SHOWN, "shuffle": True}
        described = component in ("embed/choice", "embed/options")
        return {"choices": DESCRIPTIONS, "encoder": self.options.encoder} if described else {}

    def _rows(self, split: str) -> list[tuple[str, str]]:
        """(text, intent) of a split, each text once."""
        if split not in self.splits():
            raise ValueError(f"no split {split!r}: there are {', '.join(self.splits())}")
        own = self._file("test")
        file = own if split == "test" and own else self._file("train")
        if file is None:
            raise FileNotFoundError(f"no train.csv[.gz] in {self._folder()}: {CURE}")
        rows = sorted(dict(read(file)).items(), key=lambda row: _hash(row[0]))
        if not own:
            parts = {"prompts": range(7), "dev": range(7, 8), "test": range(8, 10)}
            rows = [(text, intent) for text, intent in rows if int(_hash(text)[-8:], 16) % 10 in parts[split]]
        return rows[: self.options.most] if split == "prompts" else rows

    def _shown(self, texts: Sequence[str]) -> Iterator[list[str]]:
        names, kept = list(DESCRIPTIONS), self.options.shortlist
        if kept in (0, len(names)):
            yield from (sorted(names, key=str.casefold) for _ in texts)
            return
        choice = Choice(Choice.Options(choices=DESCRIPTIONS, encoder=self.options.encoder, pooling="whole"))
        try:
            for cosines in choice.similarities(texts):
                nearest = sorted(range(len(names)), key=lambda i: -cosines[i])[:kept]
                yield sorted((names[i] for i in nearest), key=str.casefold)
        finally:
            choice.close()

    def _folder(self) -> Path:
        if not self.options.path and not os.environ.get("TAO_HUB_DATA"):
            raise FileNotFoundError(f"banking77: {CURE}")
        given = self.options.path or Path(os.environ["TAO_HUB_DATA"]) / "banking77"
        return Path(given).expanduser()

    def _file(self, name: str) -> Path | None:
        folder = self._folder()
        return next((f for f in (folder / f"{name}.csv", folder / f"{name}.csv.gz") if f.is_file()), None)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read(file: Path) -> Iterator[tuple[str, str]]:
    """(text, category) of each row. Raises ValueError naming file, line and what was found."""
    source = None
    try:
        with gzip.open(file, "rt", encoding="utf-8", newline="") if file.suffix == ".gz" else file.open(
            encoding="utf-8", newline=""
        ) as lines:
            source = csv.DictReader(lines)
            for row in source:
                text, intent = (row.get("text") or "").strip(), row.get("category")
                if not text or intent not in DESCRIPTIONS:
                    raise ValueError(f"expected a text and one of 77 intents as category, found {row!r:.120}")
                yield text, intent
    except (ValueError, csv.Error, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{file}, line {source.line_num if source else 1}: {error}") from None
