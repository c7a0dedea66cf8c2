"""`rules/schema`: what it accepts, which errors it tells, and what text cannot do to its patterns."""

from __future__ import annotations

import json
import time
from typing import Any

import jsonschema
import pydantic
import pytest
from tao_reward_rules.schema import Schema
from test_rules import build, score, value

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string", "pattern": "^[a-z]*$"}},
    "required": ["a"],
    "additionalProperties": False,
}


def test_schema_gives_the_path_of_the_first_error() -> None:
    schema = build(Schema, schema=SCHEMA)
    assert value(schema, '{"a": 1, "b": "x"}') == 1
    wrong = score(schema, '{"a": "1"}')
    assert wrong.value == 0
    assert wrong.why.startswith("$.a: ")
    assert value(schema, '{"a": 1, "c": 1}') == 0
    assert value(schema, "[]") == 0


def test_schema_bounds_the_time_of_its_patterns() -> None:
    schema = build(Schema, schema={"type": "string", "pattern": r"(a|aa)+$"})
    found = score(schema, json.dumps("a" * 100 + "!"))
    assert found.error is not None
    assert found.error["type"] == "TimeoutError"


ENDLESS, HOSTILE = r"(a|aa)+$", "a" * 100 + "!"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PATTERNED: dict[str, tuple[dict[str, Any], Any]] = {
    "names by pattern": ({"patternProperties": {ENDLESS: {}}}, {HOSTILE: 1}),
    "names by none": ({"patternProperties": {ENDLESS: {}}, "additionalProperties": False}, {HOSTILE: 1}),
    "other names": ({"additionalProperties": {"type": "integer"}, "patternProperties": {ENDLESS: True}}, {HOSTILE: 1}),
    "names that are judged": ({"propertyNames": {"pattern": ENDLESS}}, {HOSTILE: 1}),
    "a schema in itself": (
        {"$schema": DIALECT, "properties": {"a": {"pattern": ENDLESS}, "b": {"$ref": "#"}}}, {"b": {"a": HOSTILE}}),
    "a part with a dialect": ({"items": {"$schema": DIALECT, "pattern": ENDLESS}}, [HOSTILE]),
}  # fmt: skip


@pytest.mark.parametrize("where", PATTERNED)
def test_schema_bounds_the_time_of_patterns_wherever_they_stand(where: str) -> None:
    schema, answer = PATTERNED[where]
    start = time.perf_counter()
    found = score(build(Schema, schema=schema), json.dumps(answer))
    assert found.error is not None
    assert found.error["type"] == "TimeoutError"
    assert time.perf_counter() - start < 30


def test_schema_bounds_the_time_of_an_answer_not_of_each_of_its_values() -> None:
    start = time.perf_counter()
    found = score(build(Schema, schema={"items": {"pattern": ENDLESS}}), json.dumps([HOSTILE] * 150))
    assert found.error == {"type": "TimeoutError", "message": "the patterns took over 1.0 s"}
    assert time.perf_counter() - start < 60


def test_schema_judges_names_by_pattern_as_the_library_does() -> None:
    both = {"properties": {"a": {}}, "patternProperties": {"^n_": {"type": "integer"}, "x$": {"minimum": 3}}}
    answers = [{}, {"a": 1}, {"n_1": 1}, {"n_1": "1"}, {"n_x": 2}, {"n_x": 3}, {"b": 1}, {"b": "1"}, {"b": None}, 7]
    for more in ({}, {"additionalProperties": False}, {"additionalProperties": {"type": "string"}}):
        schema = {**both, **more}
        right = jsonschema.Draft202012Validator(schema)
        for answer in answers:
            assert value(build(Schema, schema=schema), json.dumps(answer)) == right.is_valid(answer), (schema, answer)
    reserved = {"properties": {"$schema": {"const": {"$schema": "x"}}}, "additionalProperties": False}
    named = build(Schema, schema=reserved)
    assert value(named, '{"$schema": {"$schema": "x"}}') == 1
    assert score(named, '{"b": 1}').why == "$: Additional properties are not allowed: 'b'"


def test_patterns_that_are_none_or_cannot_be_bounded_are_refused_with_the_options() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"'\(' is not a 'regex'"):
        build(Schema, schema={"pattern": "("})
    with pytest.raises(pydantic.ValidationError, match="bounded time: use additionalProperties"):
        build(Schema, schema={"allOf": [{"patternProperties": {"a": {}}}], "unevaluatedProperties": False})


def test_what_is_no_schema_is_refused_and_nothing_is_fetched() -> None:
    with pytest.raises(pydantic.ValidationError, match="no JSON schema"):
        build(Schema, schema={"type": "objekt"})
    with pytest.raises(Exception, match=r"(?i)unresolvable"):
        score(build(Schema, schema={"$ref": "http://localhost:9/x.json"}), "1")
