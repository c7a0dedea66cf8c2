"""A query without its conditions, and what words can speak of in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .sketch import Outline, Sketch


@dataclass(frozen=True)
class Frame:
    """An outline with its tables and columns; `prior` is log p of them."""

    outline: Outline
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    prior: float = 0.0

    @classmethod
    def of(cls, sketch: Sketch) -> Frame:
        return cls(sketch.outline, sketch.tables, sketch.columns)

    @property
    def shown(self) -> list[tuple[str, str]]:
        """The columns outside WHERE, with their tables."""
        return [(self.tables[owner], name) for owner, name in zip(self.outline.owners, self.columns)]

    @property
    def parts(self) -> list[Any]:
        """What words can speak of."""
        tables = (("table", number, name) for number, name in enumerate(self.tables))
        return [self.outline, *tables, *(("column", *column) for column in self.shown)]

    @property
    def asked(self) -> list[Any]:
        """What a question's first words speak of: "which state …" shows states, "how many …" is a count."""
        found: list[Any] = [("select", self.outline.select, self.outline.after)]
        for role, (table, name) in zip(self.outline.roles, self.shown):
            found += [("asked", role, name), ("asked", role, table, name)]
        return found
