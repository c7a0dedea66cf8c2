"""Load each entry point alone, roll back a broken one, resolve names, list what is broken and why."""

from __future__ import annotations

import functools
import hashlib
import json
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pluggy

from .blame import guard
from .errors import PluginError, UsageError
from .hookspecs import GROUP, KINDS, Hooks
from .types import Ref

if TYPE_CHECKING:
    from .components import Component, Engine, Generator, Reward, Strategy, Suite, Trainer

DEFAULT_GENERATOR = "hf/causal-lm"  # what a bare `--policy NAME` means
SERVED = "openai/chat"


@dataclass(frozen=True)
class Entry:
    """A registered component: its class is imported on first use."""

    kind: str
    name: str  # qualified: plugin/name
    target: str | type
    summary: str
    plugin: Plugin

    @property
    def short(self) -> str:
        return self.name.split("/", 1)[1]

    def load(self) -> type[Component]:
        """The class itself. Raises PluginError if it cannot be imported or is no component of this kind."""
        loaded: Any = self.target
        if isinstance(loaded, str):
            module, _, attribute = loaded.partition(":")
            try:
                loaded = getattr(import_module(module), attribute)
            except (Exception, SystemExit) as error:
                raise PluginError(
                    f"{self.kind} {self.name!r} of {self.plugin.label} cannot be imported: "
                    f"{type(error).__name__}: {error} (see `tao-hub plugins`)"
                ) from error
        base = _base(self.kind)
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise PluginError(
                f"{self.kind} {self.name!r} of {self.plugin.label}: {self.target} is no tao_hub.{base.__name__}"
            )
        return loaded


@dataclass
class Plugin:
    """One entry point: loaded, or broken with the reason."""

    name: str
    distribution: str
    version: str
    target: str
    entries: list[Entry] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    error: str = ""
    hint: str = ""
    editable: str = ""  # package whose source files are part of the identity (editable installs only)

    @property
    def source(self) -> str:
        """Digest of the plugin's Python files if it is an editable install, so that changed code is a new identity."""
        return source_digest(self.editable) if self.editable else ""

    @property
    def label(self) -> str:
        return f"{self.distribution} {self.version}"


class Hub:
    """All plugins of this environment, and the one place where names become components.

    `entry_points` (for tests) replaces the installed ones of group `tao_hub`; `block` names entry points or
    distributions that are left out (never the core).
    """

    def __init__(self, entry_points: Iterable[metadata.EntryPoint] | None = None, block: Iterable[str] = ()) -> None:
        self.plugins: list[Plugin] = []
        self._entries: dict[tuple[str, str], Entry] = {}
        self._command_hooks: list[tuple[Plugin, Callable[..., Any]]] = []
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(Hooks)
        blocked = set(block)
        found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
        for point in sorted(set(found), key=lambda p: (p.name != "core", p.name, _distribution(p)[0])):
            name, version = _distribution(point)
            if point.name != "core" and blocked & {point.name, name}:
                continue
            self.plugins.append(plugin := Plugin(point.name, name, version, point.value))
            self._load(point, plugin)

    # -- loading ------------------------------------------------------------------------------------------------

    def _load(self, point: metadata.EntryPoint, plugin: Plugin) -> None:
        """Load one entry point; on any failure nothing of it stays registered."""
        registered = None
        try:
            twin = next((p for p in self.plugins if p is not plugin and p.name == plugin.name and not p.error), None)
            if twin:
                raise PluginError(
                    f"entry point name {plugin.name!r} is taken by {twin.label}; "
                    f"rename it in {plugin.distribution} or uninstall one of the two"
                )
            registered = point.load()
            self._manager.register(registered, name=plugin.name)
            self._manager.check_pending()
            staged, commands = self._call_hooks(registered, plugin)
            plugin.editable = _editable_package(point)
        except BaseException as error:  # a plugin may even call sys.exit at import
            if isinstance(error, KeyboardInterrupt):
                raise
            plugin.error = f"{type(error).__name__}: {error}"
            plugin.hint = _where(error)
            if registered is not None and self._manager.is_registered(registered):
                self._manager.unregister(registered)
            return
        plugin.entries = staged
        self._entries.update({(e.kind, e.name): e for e in staged})
        self._command_hooks += [(plugin, hook) for hook in commands]

    def _call_hooks(self, module: Any, plugin: Plugin) -> tuple[list[Entry], list[Callable[..., Any]]]:
        staged: list[Entry] = []
        for kind, plural in KINDS.items():

            def register(name: str, target: str | type, *, summary: str = "", kind: str = kind) -> None:
                staged.append(_entry(kind, name, target, summary, plugin, staged))

            for hook in self._implementations(f"register_{plural}", module):
                hook(register)
        return staged, self._implementations("register_commands", module)

    def _implementations(self, hook: str, module: Any) -> list[Callable[..., Any]]:
        caller = getattr(self._manager.hook, hook)
        return [impl.function for impl in caller.get_hookimpls() if impl.plugin is module]

    def add_commands(self, cli: Any) -> None:
        """Let plugins add their commands to the click group `cli`; a clash or failure breaks that plugin only."""
        for plugin, hook in self._command_hooks:
            before = dict(cli.commands)
            try:
                hook(cli)
                taken = [n for n, c in before.items() if cli.commands.get(n) is not c]
                taken += [n for n in cli.commands if n not in before and n in getattr(cli, "core_commands", ())]
                if taken:
                    raise PluginError(f"command {taken[0]!r} is taken; {plugin.distribution} must use another name")
            except (Exception, SystemExit) as error:
                cli.commands.clear()
                cli.commands.update(before)
                plugin.error, plugin.hint = f"{type(error).__name__}: {error}", _where(error)
            else:
                plugin.commands = [n for n in cli.commands if n not in before]

    # -- names --------------------------------------------------------------------------------------------------

    def entries(self, kind: str) -> list[Entry]:
        return sorted((e for (k, _), e in self._entries.items() if k == kind), key=lambda e: e.name)

    def find(self, kind: str, name: str) -> Entry:
        """The entry of a qualified name (`rules/exact`) or of an unambiguous short one (`exact`)."""
        if (kind, name) in self._entries:
            return self._entries[kind, name]
        hits = [e for e in self.entries(kind) if e.short == name]
        if own := [e for e in hits if e.name == f"core/{name}"]:  # what was installed since changes no plan
            hits = own
        if len(hits) == 1:
            return hits[0]
        if hits:
            both = " and ".join(f"{e.name} ({e.plugin.label})" for e in hits)
            raise PluginError(f"{kind} {name!r} is ambiguous: {both}; use the qualified name")
        raise PluginError(self._unknown(kind, name))

    def _unknown(self, kind: str, name: str) -> str:
        broken = [p for p in self.plugins if p.error]
        for p in broken:
            if name.split("/")[0] == p.name:
                return f"{kind} {name!r}: its plugin {p.label} is broken: {p.error} (see `tao-hub plugins`)"
        names = [e.name for e in self.entries(kind)]
        known = ", ".join(names) or "none"
        alike = get_close_matches(name, [*names, *(e.short for e in self.entries(kind))], 1, 0.75)
        meant = f" (did you mean {alike[0]!r}?)" if alike else ""
        note = f"; broken plugins: {', '.join(p.label for p in broken)}" if broken else ""
        return f"unknown {kind} {name!r}{meant}; known: {known}{note}. Install the plugin that brings it"

    def resolve(self, kind: str, ref: Ref, suite: Suite | None = None) -> Ref:
        """The same Ref with its qualified name and the option defaults that the suite brings."""
        entry = self.find(kind, ref.name)
        brought = suite.options_for(entry.name) if suite is not None else {}
        return Ref(entry.name, {**brought, **ref.options})

    def build(self, kind: str, ref: Ref) -> Component:
        """Import the class, validate the options, construct. Raises PluginError or UsageError, naming the plugin; so do
        the component's methods from then on (see `blame`)."""
        entry = self.find(kind, ref.name)
        cls = entry.load()
        options = self._options(entry, cls, ref.options)
        try:
            component = cls(options)
        except (PluginError, UsageError):
            raise
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
            raise PluginError(f"{kind} {entry.name!r} of {entry.plugin.label}: {found}") from error
        guard(component, entry)
        return component

    def check_options(self, kind: str, ref: Ref) -> None:
        """Import the class and validate the options, no more. Raises PluginError or UsageError, naming the plugin."""
        entry = self.find(kind, ref.name)
        self._options(entry, entry.load(), ref.options)

    def _options(self, entry: Entry, cls: type[Component], given: Mapping[str, Any]) -> Any:
        import pydantic

        try:
            return cls.Options.model_validate(dict(given))
        except pydantic.ValidationError as error:
            lines = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'options'}: {e['msg']}" for e in error.errors())
            raise UsageError(
                f"options of {entry.kind} {entry.name!r} ({entry.plugin.label}): {lines}. "
                f"See `tao-hub {KINDS[entry.kind]} show {entry.name}`"
            ) from error
        except Exception as error:
            raise PluginError(
                f"options of {entry.kind} {entry.name!r} ({entry.plugin.label}) failed: {type(error).__name__}: {error}"
            ) from error

    def identity(self, kind: str, ref: Ref) -> dict[str, Any]:
        """What makes a component the same one: name, plugin version, source digest if editable, options."""
        entry = self.find(kind, ref.name)
        return {
            "kind": kind,
            "name": entry.name,
            "distribution": entry.plugin.distribution,
            "version": entry.plugin.version,
            "source": entry.plugin.source,
            "options": dict(ref.options),
        }

    def suite(self, ref: Ref) -> Suite:
        return cast("Suite", self.build("suite", ref))

    def strategy(self, ref: Ref) -> Strategy:
        return cast("Strategy", self.build("strategy", ref))

    def generator(self, ref: Ref) -> Generator:
        return cast("Generator", self.build("generator", ref))

    def reward(self, ref: Ref) -> Reward:
        return cast("Reward", self.build("reward", ref))

    def trainer(self, ref: Ref) -> Trainer:
        return cast("Trainer", self.build("trainer", ref))

    def engine(self, ref: Ref) -> Engine:
        return cast("Engine", self.build("engine", ref))

    def policy(self, text: str | Ref, options: Mapping[str, Any] | None = None) -> Ref:
        """What `--policy TEXT` means: a generator's name, a server's URL, or a model for the default generator.

        As for other components a short name will do, where no file or folder is called so. Raises PluginError for one
        that two plugins bring, and where the generator that is meant is not installed.
        """
        if isinstance(text, Ref):
            return self.resolve("generator", text)
        names = {e.name for e in self.entries("generator")}
        if text in names or (text in {e.short for e in self.entries("generator")} and not Path(text).exists()):
            return Ref(self.find("generator", text).name, dict(options or {}))
        if text.startswith(("http://", "https://")):
            served = [e for e in self.entries("generator") if e.short == "chat"]
            served.sort(key=lambda e: e.name != SERVED)  # another plugin's is taken only where this one is not there
            if not served:
                raise PluginError(f"policy {text}: no installed plugin brings a generator for servers (named …/chat)")
            return Ref(served[0].name, {"url": text, **(options or {})})
        if DEFAULT_GENERATOR not in names:
            raise PluginError(f"policy {text!r} needs the generator {DEFAULT_GENERATOR}: `pip install tao-generate-hf`")
        return Ref(DEFAULT_GENERATOR, {"model": text, **(options or {})})


def _entry(kind: str, name: str, target: str | type, summary: str, plugin: Plugin, staged: list[Entry]) -> Entry:
    if not name or "/" in name or name != name.strip():
        raise PluginError(f"{kind} name {name!r}: use letters, digits and dashes; the plugin's name is put before it")
    if isinstance(target, str) and ":" not in target:
        raise PluginError(f"{kind} {name!r}: target {target!r} must be 'module:Class'")
    qualified = f"{plugin.name}/{name}"
    if any(e.kind == kind and e.name == qualified for e in staged):
        raise PluginError(f"registers {kind} {name!r} twice")
    return Entry(kind, qualified, target, summary, plugin)


def _base(kind: str) -> type[Component]:
    from . import components

    return cast("type[Component]", getattr(components, kind.capitalize()))


def _distribution(point: metadata.EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("(no distribution)", "?")


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""


def _editable_package(point: metadata.EntryPoint) -> str:
    """The package to digest if its code may change under one version: an editable install, or a source tree."""
    if point.dist is None:
        return ""
    told = json.loads(point.dist.read_text("direct_url.json") or "{}")
    # A source tree on the path (`python -m` in a checkout) hides the installed metadata behind its own egg-info.
    if not told.get("dir_info", {}).get("editable") and point.dist.read_text("SOURCES.txt") is None:
        return ""
    return point.module if point.name == "core" else point.module.split(".")[0]


@functools.cache
def source_digest(package: str) -> str:
    """Digest of the Python files of an imported package (or module)."""
    module = import_module(package)
    roots = [Path(p) for p in getattr(module, "__path__", [])] or [Path(str(module.__file__))]
    total = hashlib.blake2b(digest_size=16)
    for root in roots:
        files = sorted(root.rglob("*.py")) if root.is_dir() else [root]
        for file in files:
            total.update(file.name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()
