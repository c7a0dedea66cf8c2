"""Which engine runs a database's SQL, and what has to be installed for it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

Engine = Literal["sqlite", "duckdb", "postgres"]  # as sqlglot names their dialects
Place = Path | str  # a database file, or the address of a server

SERVERS = ("postgresql://", "postgres://")
MODULES = {"duckdb": "duckdb", "postgres": "psycopg"}
TITLES = {"sqlite": "SQLite", "duckdb": "DuckDB", "postgres": "PostgreSQL"}


class MissingLibrary(ModuleNotFoundError):
    """An engine's library is not installed; the message names the command that installs it."""


class NoCopies(ValueError):
    """Perturbed copies are asked for of a database that cannot be copied."""


def engine_of(place: Place) -> Engine:
    """By the address or the file's ending: .duckdb is DuckDB's, all others are SQLite's."""
    if is_server(place):
        return "postgres"
    return "duckdb" if str(place).casefold().endswith(".duckdb") else "sqlite"


def is_server(place: Place) -> bool:
    return str(place).startswith(SERVERS)


def need(engine: Engine) -> None:
    """Raises MissingLibrary where the engine's library is not installed."""
    module = MODULES.get(engine)
    if module is not None and importlib.util.find_spec(module) is None:
        raise MissingLibrary(
            f"{TITLES[engine]} databases need the package {module}: pip install 'tao-reward-sql[{engine}]'"
        )
