"""A file that a command writes when its work is done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class OutputFile(click.Path):
    """Type of a click option: a path to write to, made a `Path`. What would stop that (no such folder, a folder of that
    name, no right to write) is told as a usage error before the work begins, not after it."""

    name = "file"

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        folder = Path(os.fsdecode(path)).parent
        if not folder.is_dir():
            self.fail(f"the folder {folder} does not exist: mkdir -p {folder}", param, ctx)
        if not os.access(folder, os.W_OK):
            self.fail(f"nothing can be written into the folder {folder}", param, ctx)
        return path
