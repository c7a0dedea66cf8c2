"""JSON records in text that a model wrote: strict parsing, extraction, and when two values are the same."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Hashable, Mapping
from typing import Any

MAX_CHARS = 100_000
MAX_DEPTH = 64
MAX_FIELDS = 256
MAX_NAME = 200

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)  # linear: no two branches can match the same text
_TYPOGRAPHY = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "‐": "-", "‑": "-", "–": "-", "—": "-", "−": "-"})


def parse_json(text: str, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH) -> Any:
    """The value that `text` holds as strict JSON (RFC 8259): no NaN, no infinity (1e999), no repeated key.

    Raises ValueError that starts with "not JSON: ", also for text over the size or nesting bound.
    """
    if len(text) > max_chars:
        raise ValueError(f"not JSON: {len(text)} characters, at most {max_chars} are read")
    if _too_deep(text, max_depth):
        raise ValueError(f"not JSON: nested more than {max_depth} deep")
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {str(error)[:200]}") from None


def parse_record(text: str, max_chars: int = MAX_CHARS, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """The JSON object that `text` is, as `parse_json` reads it; at most 256 fields with names of 200 characters.

    Raises ValueError that starts with "not JSON: " or "not a record: ".
    """
    value = parse_json(text, max_chars, max_depth)
    if not isinstance(value, dict):
        raise ValueError(f"not a record: found a JSON {_json_type(value)}, expected an object")
    if len(value) > MAX_FIELDS or any(len(name) > MAX_NAME for name in value):
        raise ValueError(f"not a record: more than {MAX_FIELDS} fields, or a name over {MAX_NAME} characters")
    return value


def find_record(text: str, max_chars: int = MAX_CHARS) -> dict[str, Any] | None:
    """The first balanced top-level `{…}` in the first `max_chars` characters of `text` that is a record, or None.

    An object inside one that never closes is a part of something lost, so it is not taken. Linear time.
    """
    text = text[:max_chars]
    start = text.find("{")
    while start >= 0:
        end = _closing(text, start)
        if end is None:
            return None
        try:
            return parse_record(text[start:end])
        except ValueError:
            start = text.find("{", end)
    return None


def dump_record(record: Mapping[str, Any]) -> str:
    """`record` as one line of JSON in its own key order; characters stay readable unless they cannot be encoded."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which no file or database takes
        return json.dumps(record, allow_nan=False)
    return text


def normalise_text(text: str) -> str:
    """Text as it is compared: NFKC, no case, plain quotes and dashes, no invisible characters, single spaces.

    Look-alike letters of another script stay different letters.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_TYPOGRAPHY)).casefold()
        text = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return " ".join(text.casefold().split())


def value_key(value: Any) -> Hashable:
    """A hashable that is equal for JSON values that mean the same: texts normalised, 2 and 2.0 one number, order of
    keys without meaning; true is not 1, "2" is not 2."""
    if isinstance(value, str):
        return ("text", normalise_text(value))
    if isinstance(value, bool) or value is None:
        return (_json_type(value), value)
    if isinstance(value, (int, float)):
        return ("number", value)
    if isinstance(value, Mapping):
        return ("object", frozenset((name, value_key(item)) for name, item in value.items()))
    return ("array", tuple(value_key(item) for item in value))


def _closing(text: str, start: int) -> int | None:
    """Where the bracket that opens at `start` is closed (the index after it)."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        mark = token.group()
        if mark in "{[":
            depth += 1
        elif mark in "}]":
            depth -= 1
            if depth == 0:
                return token.end()
    return None


def _too_deep(text: str, limit: int) -> bool:
    if text.count("{") + text.count("[") <= limit:
        return False
    depth = 0
    for token in _TOKEN.finditer(text):
        mark = token.group()
        depth += (mark in "{[") - (mark in "}]")
        if depth > limit:
            return True
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name, value in pairs:
        if name in record:
            raise ValueError(f"key {name!r:.60} appears twice")
        record[name] = value
    return record


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"number {text:.40} is out of range")
    return number


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON value")


def _json_type(value: Any) -> str:
    names = {bool: "boolean", type(None): "null", str: "string", dict: "object", list: "array"}
    return names.get(type(value), "number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)
