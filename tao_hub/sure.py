"""Which fields of an answer are sure: no reward doubts them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .types import Score

Bounds = dict[tuple[str, str], float]  # (label, field; "": every field) → least part


def sure_fields(
    scores: Mapping[str, Score],
    fields: Iterable[str],
    min_parts: Mapping[str, float],
    null: Iterable[str] = (),
    null_parts: Mapping[str, float] | None = None,
    enough_parts: Mapping[str, float] | None = None,
) -> set[str]:
    """The fields that no reward of `min_parts` doubts: each of their parts for it is at least the given value.

    A key is the label of a reward, or `label.field` for another bound on one field. A reward without a part for a
    field says nothing of it; a field that no such reward speaks of is sure. A field of `null` is judged by the bounds
    of `null_parts` alone, where one of them names it. A field to which a reward gives at least what `enough_parts`
    says is sure whatever the others doubt. Raises ValueError for a label that is no reward of the group.
    """
    bounds, for_null = _bounds("min_parts", scores, min_parts), _bounds("null_parts", scores, null_parts or {})
    enough = _bounds("enough_parts", scores, enough_parts or {})
    named = {field for _, field in for_null}
    empty = set(null) & named
    return {
        name for name in fields
        if _settled(scores, name, enough) or _passes(scores, name, for_null if name in empty else bounds)
    }  # fmt: skip


def _bounds(option: str, scores: Mapping[str, Score], least: Mapping[str, float]) -> Bounds:
    bounds: Bounds = {}
    for key, value in least.items():
        label, _, field = (key, "", "") if key in scores else key.rpartition(".")
        if label not in scores:
            raise ValueError(f"{option}: {key!r} names no reward; there are {', '.join(sorted(scores)) or 'none'}")
        bounds[label, field] = value
    return bounds


def _passes(scores: Mapping[str, Score], name: str, bounds: Bounds) -> bool:
    return all(part is None or part >= least for least, part in _spoken(scores, name, bounds))


def _settled(scores: Mapping[str, Score], name: str, bounds: Bounds) -> bool:
    return any(part is not None and part >= least for least, part in _spoken(scores, name, bounds))


def _spoken(scores: Mapping[str, Score], name: str, bounds: Bounds) -> Iterable[tuple[float, float | None]]:
    """(bound, part) of each reward whose bounds speak of the field."""
    for label in {label for label, _ in bounds}:
        least = bounds.get((label, name), bounds.get((label, "")))
        if least is not None:
            yield least, scores[label].parts.get(name)
