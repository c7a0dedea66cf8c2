"""rules/schema: the answer is JSON that a JSON schema accepts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import jsonschema
import pydantic
import referencing
import regex

import tao_hub

MAX_ERRORS = 100  # of one answer
PATTERN_SECONDS = 1.0  # what one `pattern` of a schema may take on text that a model wrote


class Schema(tao_hub.Reward):
    """1.0 where the answer parses as strict JSON and is valid under `schema`, else 0.0 with the first error.

    The dialect is that of `$schema`, else draft 2020-12. References leave the schema itself for nothing: no file, no
    network. Parts: 0 or 1 for each of the schema's properties that the answer has.
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
            return schema

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        schema = self.options.json_schema
        base = jsonschema.validators.validator_for(schema, _DEFAULT)
        bounded = jsonschema.validators.extend(base, {"pattern": _pattern})
        self._properties = frozenset(schema.get("properties", ()))
        self._validator = bounded(schema, registry=referencing.Registry())

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        return [self._score(candidate.response) for _, candidate in pairs]

    def _score(self, response: str) -> tao_hub.Score:
        try:
            value = tao_hub.parse_json(response, self.options.max_chars, self.options.max_depth)
        except ValueError as error:
            return tao_hub.Score(0.0, why=str(error))
        try:
            errors = list(islice(self._validator.iter_errors(value), MAX_ERRORS))
        except TimeoutError:
            return tao_hub.Score.failed(f"a pattern took over {PATTERN_SECONDS} s", type="TimeoutError")
        why = f"{errors[0].json_path}: {errors[0].message}"[:300] if errors else "valid"
        wrong = {error.path[0] for error in errors if error.path}
        fields = value if isinstance(value, dict) else {}
        parts = {name: float(name not in wrong) for name in fields if name in self._properties}
        return tao_hub.Score(float(not errors), why=why, parts=parts)


_DEFAULT = jsonschema.Draft202012Validator


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    """The keyword `pattern`, in bounded time: the text is hostile."""
    if validator.is_type(value, "string") and not regex.search(pattern, value, timeout=PATTERN_SECONDS):
        yield jsonschema.ValidationError(f"{value!r:.100} does not match {pattern!r}")
