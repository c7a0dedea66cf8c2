"""Preference data on disk → rows: JSONL, JSON, Parquet, folders of them, datasets saved by Hugging Face `datasets`."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tao_hub import UsageError

from .rows import LONG, BadRow, Problems, Ranked, parse

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
KEYS = ("weight", "cap", "domain", "split")


@dataclass(frozen=True)
class Source:
    """Where rows come from. `weight`: how often a row is seen per epoch; `cap`: at most so many rows are taken."""

    path: Path
    weight: float = 1.0
    cap: int | None = None
    domain: str = ""
    split: str = ""

    @property
    def name(self) -> str:
        return self.path.name.split(".")[0] or str(self.path)


def parse_source(text: str) -> Source:
    """`PATH[,weight=W][,cap=N][,domain=NAME][,split=NAME]`. Raises UsageError."""
    path, options = text, {}
    while match := re.search(rf",({'|'.join(KEYS)})=([^,]*)$", path):
        path, options[match[1]] = path[: match.start()], match[2]
    try:
        weight = float(options.get("weight", 1))
        cap = int(options["cap"]) if "cap" in options else None
    except ValueError as error:
        raise UsageError(f"--data {text!r}: {error}") from None
    if not 0 < weight < 1000 or (cap is not None and cap < 1):
        raise UsageError(f"--data {text!r}: weight and cap must be above 0 (and a weight below 1000)")
    found = Path(path).expanduser()
    if not found.exists():
        keys = f"; after the path come {', '.join(f'{key}=' for key in KEYS)}" if "=" in path else ""
        raise UsageError(f"--data {text!r}: there is no {path}{keys}")
    return Source(found, weight, cap, options.get("domain", ""), options.get("split", ""))


def read(source: Source, problems: Problems) -> list[Ranked]:
    """All usable rows; the others go to `problems` with file and line."""
    rows = []
    for where, raw in _raw(source, problems):
        try:
            row = parse(raw, where, source.name, source.domain)
        except BadRow as error:
            problems.add(error.kind, where, error.found)
            continue
        if (longest := max(map(len, row.responses))) > LONG:
            problems.add("long response (kept)", where, f"{longest:,} characters; its two ends are read")
        rows.append(row)
    return rows


def digest(source: Source) -> str:
    """32 hex digits of BLAKE2b over the source's files."""
    total = blake2b(digest_size=16)
    files = [source.path] if source.path.is_file() else sorted(f for f in source.path.rglob("*") if f.is_file())
    for file in files:
        total.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                total.update(chunk)
    return total.hexdigest()


def _raw(source: Source, problems: Problems) -> Iterator[tuple[str, Any]]:
    path = source.path
    if path.is_dir():
        if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
            yield from _saved(source)
            return
        files = sorted(f for f in path.iterdir() if f.name.endswith(SUFFIXES))
        if not files:
            raise UsageError(f"{path} holds no {', '.join(SUFFIXES)} and is no folder saved by `datasets`")
        for file in files:
            yield from _file(file, problems)
        return
    yield from _file(path, problems)


def _file(file: Path, problems: Problems) -> Iterator[tuple[str, Any]]:
    if file.name.endswith((".jsonl", ".jsonl.gz")):
        yield from _lines(file, problems)
    elif file.name.endswith((".json", ".json.gz")):
        yield from _json(file)
    elif file.suffix == ".parquet":
        yield from _parquet(file)
    else:
        raise UsageError(f"{file}: expected one of {', '.join(SUFFIXES)}, or a folder")


def _lines(file: Path, problems: Problems) -> Iterator[tuple[str, Any]]:
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"{file.name}:{number}"
                try:
                    text = line.decode("utf-8-sig")
                except UnicodeDecodeError as error:
                    problems.add("wrong encoding", where, f"no UTF-8: {error.reason} at byte {error.start}")
                    continue
                try:
                    yield where, json.loads(text)
                except (ValueError, RecursionError) as error:
                    problems.add("not JSON", where, f"{error}; found {text[:60].strip()!r}")
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{file}: {error}") from error


def _json(file: Path) -> Iterator[tuple[str, Any]]:
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rb") as stream:
            data = json.loads(stream.read().decode("utf-8-sig"))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise UsageError(f"{file}: {error}") from error
    if not isinstance(data, list):
        raise UsageError(f"{file}: expected a list of rows, found {type(data).__name__}")
    yield from ((f"{file.name}:{number}", row) for number, row in enumerate(data, 1))


def _parquet(file: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow.parquet

    try:
        number = 0
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(1000):
            for row in batch.to_pylist():
                number += 1
                yield f"{file.name}:{number}", _filled(row)
    except (OSError, pyarrow.ArrowException) as error:
        raise UsageError(f"{file}: {str(error)[:300]}") from error


def _saved(source: Source) -> Iterator[tuple[str, Any]]:
    import datasets

    found = datasets.load_from_disk(str(source.path))
    if isinstance(found, datasets.DatasetDict):
        splits: Sequence[str] = [*found]
        name = source.split or ("train" if "train" in found else splits[0] if len(splits) == 1 else "")
        if name not in found:
            raise UsageError(f"{source.path} has the splits {', '.join(splits)}: choose one with ,split=NAME")
        found = found[name]
    for number, row in enumerate(found, 1):
        yield f"{source.name}:{number}", _filled(row)


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    """Columns without what a table fills in for a row that has none."""
    return {name: value for name, value in row.items() if value is not None}
