"""The names and helps of plugin commands, kept per environment so that `tao-hub --help` loads no plugin."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from .home import home_folder


def _file() -> Path:
    return home_folder() / "commands.json"


SITES = ("site-packages", "dist-packages")


def _stamp() -> list[str]:
    """Changes whenever a distribution is installed or removed, or another folder comes onto the path: the folders on it
    and when they changed. The first one is where the program lies, or where it was started."""
    folders = dict.fromkeys([*os.environ.get("PYTHONPATH", "").split(os.pathsep), *sys.path[1:]])
    return [sys.prefix, *(f"{p}:{os.stat(p).st_mtime_ns}" for p in folders if p and os.path.isdir(p))]


def sources(modules: Iterable[str]) -> list[str]:
    """Where the packages of `modules` lie whose code may change without an installation: editable ones, checkouts.

    Found without importing them, so that one that fails to import is known too.
    """
    found = []
    for package in dict.fromkeys(module.partition(".")[0] for module in modules):
        spec = find_spec(package)
        places = [] if spec is None else list(spec.submodule_search_locations or [spec.origin or ""])
        found += [place for place in places if place and not {*SITES} & {*Path(place).parts}]
    return found


def _written(places: Iterable[str]) -> str:
    """Changes whenever Python code in `places` (folders or files) does: files, sizes, times."""
    files = []
    for place in places:
        walked = os.walk(place) if os.path.isdir(place) else [("", [], [place])]
        files += [os.path.join(folder, name) for folder, _, names in walked for name in names if name.endswith(".py")]
    told = ((file, os.stat(file)) for file in sorted(files))
    total = "\n".join(f"{file}:{one.st_mtime_ns}:{one.st_size}" for file, one in told)
    return hashlib.blake2b(total.encode(), digest_size=16).hexdigest()


def read() -> dict[str, str] | None:
    """Command → help, or None if something else is installed, or its code is another, since it was written."""
    try:
        kept = json.loads(_file().read_text(encoding="utf-8")).get(sys.prefix, {})
        fresh = kept["stamp"] == _stamp() and kept["written"] == _written(kept["sources"])
        return dict(kept["helps"]) if fresh else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(helps: dict[str, str], modules: Iterable[str]) -> None:
    """Keep the helps of this environment beside those of others; a cache that cannot be written is no error.

    `modules` are those of the plugins: where their code may change, it belongs to what the helps are kept with.
    """
    path = _file()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {}
    try:
        places = sources(modules)
        kept[sys.prefix] = {"stamp": _stamp(), "sources": places, "written": _written(places), "helps": helps}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(kept), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        print(f"note: {path} cannot be written ({error.strerror}); help stays slower", file=sys.stderr)
