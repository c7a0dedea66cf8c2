"""What `tao-hub models` prints."""

from __future__ import annotations

import json
from typing import Any

import click

from . import loading, models


def rows() -> list[dict[str, Any]]:
    """One row per model: name, path, size in bytes, and its digest or what is wrong with it."""
    found: list[dict[str, Any]] = []
    for model in models.registered().values():
        row: dict[str, Any] = {
            "name": model.name,
            "path": str(model.path),
            "bytes": None,
            "digest": None,
            "error": None,
        }
        if models.is_checkpoint(model.path):
            _, adapter = loading.resolve_adapter(model.path, None)
            row |= {"bytes": model.size, "digest": loading.content_digest(model.path, adapter)}
        else:
            row["error"] = f"gone; `tao-hub models remove {model.name}`"
        found.append(row)
    return found


def print_models(as_json: bool) -> None:
    found = rows()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found:
        click.echo(f"no models in {models.home()}; bring one: `tao-hub models add smollm2`")
    else:
        wide = max(len(row["name"]) for row in found)
        for row in found:
            size = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:,.0f} MB"
            click.echo(f"{row['name']:<{wide}}  {size:>10}  {row['digest'] or row['error']}  {row['path']}")
