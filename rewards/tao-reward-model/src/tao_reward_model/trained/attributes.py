"""Named attributes of an answer (helpful, correct, concise): which are trained, and what each weighs in the value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .rows import Problems, Ranked

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
TAKEN = ("logit", "std", "cut")  # parts that every score may have


def weighed(text: str) -> dict[str, float]:
    """`NAME[=WEIGHT],…` → weight by name, 1 where none is given. Raises ValueError saying what was found."""
    found: dict[str, float] = {}
    for piece in filter(None, (p.strip() for p in text.split(","))):
        name, given, number = (p.strip() for p in piece.partition("="))
        if not NAME.fullmatch(name) or name in TAKEN:
            raise ValueError(
                f"{name!r} is no name of an attribute: use a letter, then letters, digits, '_' and '-', and none of "
                f"{', '.join(TAKEN)}"
            )
        if name in found:
            raise ValueError(f"attribute {name!r} is named twice")
        try:
            weight = float(number) if given else 1.0
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise ValueError(f"attribute {name!r} has the weight {number!r}: give a number, as in {name}=0.5")
        found[name] = weight
    if found and not any(found.values()):
        raise ValueError("all attributes weigh 0: give one another weight")
    return found


def asked(rows: Iterable[Ranked], names: Sequence[str], problems: Problems, gate: bool = False) -> list[Ranked]:
    """Rows that rate some of `names` and nothing else; without names (or for a gate), rows that compare answers as a
    whole. A row need not rate all of them: it does not count for the heads of the others.
    """
    kept = []
    for row in rows:
        unknown = [name for name in row.attributes if name not in names]
        if not names and row.attributes:
            if row.scores:
                kept.append(replace(row, attributes={}))
                continue
            told = f"rates only {', '.join(row.attributes)}: train them with --attributes {','.join(row.attributes)}"
            problems.add("attributes only", row.where, told)
        elif unknown:
            told = f"rates {unknown[0]!r}, which is none of {', '.join(names)}: mend it, or add it to --attributes"
            problems.add("unknown attribute", row.where, told)
        elif names and not row.attributes and not gate:
            told = f'no {", ".join(names)}: add "attributes": {{NAME: scores}}, or to a pair "attribute": NAME'
            problems.add("no attribute", row.where, told)
        else:
            kept.append(row)
    return kept
