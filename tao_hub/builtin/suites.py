"""core/jsonl: prompts from JSON lines files, read lazily."""

from __future__ import annotations

import gzip
import json
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from .. import components
from ..components import Suite
from ..records import parse_json
from ..types import Message, Prompt, Ref

SUFFIXES = (".jsonl", ".jsonl.gz")
KEYS = {"id", "prompt", "reference", "meta"}
ROLES = ("system", "user", "assistant")
MAX_LINE = 16_000_000


class Metric(components.Options):
    """A reward by name."""

    name: str = pydantic.Field(description="Qualified name of the reward")
    options: dict[str, Any] = pydantic.Field({}, description="Its options")


class Jsonl(Suite):
    """One file (its split is the file's name) or a folder of SPLIT.jsonl[.gz].

    A row is {"id"?, "prompt": str | [{"role", "content"}, …], "reference"?, "meta"?}; its id, which no other row of the
    file has, defaults to the line number. Blank lines are skipped; any other line that is no row is a ValueError naming
    file, line and what was found.
    """

    class Options(components.Options):
        path: str = pydantic.Field(description="A .jsonl or .jsonl.gz file, or a folder of SPLIT.jsonl[.gz]")
        metric: Metric = pydantic.Field(
            Metric(name="rules/exact", options={}),
            description='The reward that judges answers: {"name": …, "options": {…}}',
        )
        system: str = pydantic.Field("", description="System message put before prompts that have none")
        examples: list[dict[str, str]] = pydantic.Field(
            [], description='Worked examples for few-shot prompts: [{"input": …, "output": …}]'
        )

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.metric = Ref(self.options.metric.name, dict(self.options.metric.options))

    def splits(self) -> Sequence[str]:
        return tuple(self._files())

    def prompts(self, split: str) -> Iterator[Prompt]:
        files = self._files()
        if split not in files:
            raise ValueError(f"{self.options.path} has no split {split!r}; there are {', '.join(files)}")
        return self._read(files[split])

    def options_for(self, component: str) -> Mapping[str, Any]:
        examples = self.options.examples
        return {"examples": examples} if examples and component == "core/few-shot" else {}

    def _files(self) -> dict[str, Path]:
        """Split → file, in order of name. Raises FileNotFoundError, and ValueError where two files are one split."""
        path = Path(self.options.path).expanduser()
        if not path.exists():
            cure = "set it with --suite-option path=… (in a plan: suite_options)"
            raise FileNotFoundError(f"no file or folder {path}: {cure}")
        found = sorted(path.iterdir()) if path.is_dir() else [path]
        files: dict[str, Path] = {}
        for file in found:
            split = next((file.name.removesuffix(suffix) for suffix in SUFFIXES if file.name.endswith(suffix)), "")
            if not split or not file.is_file():
                continue
            if split in files:
                raise ValueError(f"split {split!r} is in both {files[split]} and {file}: remove one")
            files[split] = file
        if not files:
            raise FileNotFoundError(f"{path} holds no .jsonl or .jsonl.gz file")
        return files

    def _read(self, file: Path) -> Iterator[Prompt]:
        number, lines_of = 0, dict[str, int]()
        try:
            with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.removeprefix(BOM_UTF8).strip():
                        prompt = self._prompt(line, number)
                        if (other := lines_of.setdefault(prompt.id, number)) != number:
                            cure = "give each row its own, or leave ids out"
                            raise ValueError(f'"id" {_show(prompt.id)} is that of line {other}, too: {cure}')
                        yield prompt
        except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{file}, line {number or 1}: {error}") from error

    def _prompt(self, line: bytes, number: int) -> Prompt:
        row = _parse(line)
        if not isinstance(row, dict):
            raise ValueError(f"expected an object, found {_show(row)}")
        if unknown := sorted(row.keys() - KEYS):
            raise ValueError(f"unknown key {unknown[0]!r}: a row has {', '.join(sorted(KEYS))}; put the rest into meta")
        if "prompt" not in row:
            raise ValueError(f'no "prompt", found the keys {", ".join(row) or "(none)"}')
        name, meta = row.get("id", number), row.get("meta") or {}
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            raise ValueError(f'"id" must be a string or an integer, found {_show(name)}')
        if not isinstance(meta, dict):
            raise ValueError(f'"meta" must be an object, found {_show(meta)}')
        return Prompt(self._messages(row["prompt"]), id=str(name), reference=row.get("reference"), meta=meta)

    def _messages(self, prompt: Any) -> tuple[Message, ...]:
        given = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if not isinstance(given, list) or not given:
            raise ValueError(f'"prompt" must be a string or a list of messages, found {_show(prompt)}')
        for m in given:
            well_formed = isinstance(m, dict) and m.keys() == {"role", "content"} and isinstance(m["content"], str)
            if not well_formed or m["role"] not in ROLES:
                raise ValueError(f'a message is {{"role": {" | ".join(ROLES)}, "content": str}}, found {_show(m)}')
        messages = tuple(Message(m["role"], m["content"]) for m in given)
        if self.options.system and messages[0].role != "system":
            messages = (Message("system", self.options.system), *messages)
        return messages


def _parse(line: bytes) -> Any:
    """The JSON of a line. Raises ValueError that says what it is instead, where that is plain."""
    if line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\0" in line[:4]:
        raise ValueError("this is UTF-16, expected UTF-8: save the file as UTF-8")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = f"byte 0x{line[error.start]:02x} at column {error.start + 1}"
        raise ValueError(f"not UTF-8 ({bad}): save the file as UTF-8, as `iconv -f latin1 -t utf-8` does") from error
    try:
        return parse_json(text, max_chars=MAX_LINE)
    except ValueError as error:
        whole = text.strip()
        if whole.startswith("[") or whole == "{":
            raise ValueError(f"{error}; a JSONL file has one object a line, no array and none over lines") from error
        raise


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]
