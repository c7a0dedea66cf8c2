"""rules/schema: the answer is JSON that a JSON schema accepts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from itertools import islice
from typing import Any

import jsonschema
import pydantic
import referencing
import regex

import tao_hub

MAX_ERRORS = 100  # of one answer
PATTERN_SECONDS = 1.0  # what all patterns of a schema together may take on one answer: a model wrote it


class Schema(tao_hub.Reward):
    """1.0 where the answer parses as strict JSON and is valid under `schema`, else 0.0 with the first error.

    The dialect is that of `$schema`, else draft 2020-12. References leave the schema itself for nothing: no file, no
    network. Parts: 0 or 1 for each of the schema's properties that the answer has. Patterns are searched in bounded
    time; a schema with both `patternProperties` and `unevaluatedProperties` is refused, which have no bound together.
    """

    class Options(tao_hub.Options):
        json_schema: dict[str, Any] = pydantic.Field(alias="schema", description="JSON schema, as an object")
        max_chars: int = pydantic.Field(20_000, gt=0, description="Longer answers are invalid")
        max_depth: int = pydantic.Field(32, gt=0, le=64, description="Answers nested deeper are invalid")

        @pydantic.field_validator("json_schema")
        @classmethod
        def _is_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
            try:
                jsonschema.validators.validator_for(schema, _DEFAULT).check_schema(schema)
            except jsonschema.SchemaError as error:
                raise ValueError(f"no JSON schema: {error.json_path}: {error.message}") from None
            _check_bounds(schema)
            return schema

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        schema = self.options.json_schema
        base = jsonschema.validators.validator_for(schema, _DEFAULT)
        bounded = jsonschema.validators.extend(base, _BOUNDED)
        self._properties = frozenset(schema.get("properties", ()))
        self._validator = bounded(_of_one_dialect(schema), registry=referencing.Registry())

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        return [self._score(candidate.response) for _, candidate in pairs]

    def _score(self, response: str) -> tao_hub.Score:
        try:
            value = tao_hub.parse_json(response, self.options.max_chars, self.options.max_depth)
        except ValueError as error:
            return tao_hub.Score(0.0, why=str(error))
        token = _left.set([PATTERN_SECONDS])
        try:
            errors = list(islice(self._validator.iter_errors(value), MAX_ERRORS))
        except TimeoutError:
            return tao_hub.Score.failed(f"the patterns took over {PATTERN_SECONDS} s", type="TimeoutError")
        finally:
            _left.reset(token)
        why = f"{errors[0].json_path}: {errors[0].message}"[:300] if errors else "valid"
        wrong = {error.path[0] for error in errors if error.path}
        fields = value if isinstance(value, dict) else {}
        parts = {name: float(name not in wrong) for name in fields if name in self._properties}
        return tao_hub.Score(float(not errors), why=why, parts=parts)


_DEFAULT = jsonschema.Draft202012Validator


_DATA = ("const", "enum", "default", "examples")  # keywords whose values are no schemas
_left: ContextVar[list[float]] = ContextVar("left")  # seconds that patterns may still take on this answer


def _search(pattern: str, text: str) -> bool:
    """Whether the pattern occurs in the text. Raises TimeoutError when the answer's time is used up."""
    left = _left.get()
    if left[0] <= 0:
        raise TimeoutError
    start = time.perf_counter()
    try:
        return regex.search(pattern, text, timeout=left[0]) is not None
    finally:
        left[0] -= time.perf_counter() - start


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(value, "string") and not _search(pattern, value):
        yield jsonschema.ValidationError(f"{value!r:.100} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], value: Any, schema: Any
) -> Iterator[jsonschema.ValidationError]:
    if validator.is_type(value, "object"):
        for pattern, wanted in patterns.items():
            for name in [name for name in value if _search(pattern, name)]:
                yield from validator.descend(value[name], wanted, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, wanted: Any, value: Any, schema: Mapping[str, Any]
) -> Iterator[jsonschema.ValidationError]:
    if not validator.is_type(value, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    more = [name for name in value if name not in named and not any(_search(p, name) for p in patterns)]
    if validator.is_type(wanted, "object"):
        for name in more:
            yield from validator.descend(value[name], wanted, path=name)
    elif not wanted and more:
        yield jsonschema.ValidationError(f"Additional properties are not allowed: {', '.join(map(repr, more)):.200}")


# All keywords that search text for patterns; the library's own search has no bound, and holds up all threads.
_BOUNDED = {
    "pattern": _pattern, "patternProperties": _pattern_properties, "additionalProperties": _additional_properties,
}  # fmt: skip


def _check_bounds(schema: Any) -> None:
    """Raises ValueError for the keyword whose search for patterns cannot be replaced."""
    if {"patternProperties", "unevaluatedProperties"} <= {key for part in _parts(schema) for key in part}:
        raise ValueError(
            "patternProperties together with unevaluatedProperties cannot be judged in bounded time: "
            "use additionalProperties"
        )


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """All objects in a schema that may be schemas."""
    if isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            if key not in _DATA:
                yield from _parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _parts(value)


def _of_one_dialect(schema: Any) -> Any:
    """The schema without `$schema`, at which the library would go over to validators of its own, without bounds."""
    if isinstance(schema, list):
        return [_of_one_dialect(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key in _DATA else _of_one_dialect(value)
        for key, value in schema.items() if not (key == "$schema" and isinstance(value, str))
    }  # fmt: skip
