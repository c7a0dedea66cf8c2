"""Errors raised inside a plugin's component, told as that plugin's: the seam through which the core calls it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import PluginError, TaoHubError
from .types import Candidate, Prompt, Ref

if TYPE_CHECKING:
    from .components import Component
    from .plugins import Entry

# Methods by kind. Not here: what the loop keeps as data (`score_batch`, `generate`, `answer`), and `Engine.map`, whose
# items come from the core.
METHODS = {
    "suite": ("splits", "prompts", "texts", "options_for"),
    "strategy": ("variants", "follow", "combine", "vary", "proposals", "worked_examples"),
    "generator": ("policy_digest",),
    "reward": ("read", "learn", "content_digest"),
    "trainer": ("update",),
    "engine": (),
}
# Documented in `components`: their callers tell these with what was asked for.
PLAIN: dict[str, tuple[type[Exception], ...]] = {
    "prompts": (ValueError, OSError), "texts": (ValueError, OSError), "learn": (ValueError,),
}  # fmt: skip
GIVES = {"policy_digest": str, "content_digest": str, "worked_examples": int, "update": Ref}
GIVES_SEVERAL = {
    "splits": str, "texts": str, "prompts": Prompt, "variants": Prompt, "proposals": Prompt, "combine": Candidate,
}  # fmt: skip

GUARDED = "__tao_hub_guarded__"
WHO = "__tao_hub_who__"  # where a component keeps it: a name that no plugin uses itself
_inside: ContextVar[tuple[int, ...]] = ContextVar("inside", default=())  # components whose methods run now


def guard(component: Component, entry: Entry) -> None:
    """From now on what a method of `component` raises is a PluginError that names `entry`; the original is its cause.

    So is an answer of another type than the method is to give. What a component calls of itself stays as it is, so
    that its own handlers work; and so does one that no hub built.
    """
    from .components import Component as Base

    cls = type(component)
    for name in (*METHODS[entry.kind], "close"):
        owner = next(c for c in cls.__mro__ if name in vars(c))
        own = vars(owner)[name]
        if isinstance(own, FunctionType) and not hasattr(own, GUARDED):
            # In place, so that `type(it).follow is Strategy.follow` holds; but not in a class of another library.
            setattr(owner if issubclass(owner, Base) else cls, name, _guarded(own, name))
    component.__dict__[WHO] = _Who(entry.kind, entry.name, entry.plugin.label, entry.plugin.name)


class _Who(NamedTuple):
    """Whose component it is."""

    kind: str
    name: str
    label: str
    plugin: str

    def failed(self, method: str, error: BaseException) -> PluginError:
        """What to raise for `error` of a method: who, what, where, and the cure. What a plugin says about options and
        data, by a ValueError or an OSError, has its cure in it."""
        told = f"{self.kind} {self.name!r} of {self.label} failed in `{method}`: {type(error).__name__}: {error}"
        if isinstance(error, (ValueError, OSError)):
            return PluginError(told)
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
        without = "" if self.plugin == "core" else f", or go without it: `tao-hub --block {self.plugin} …`"
        return PluginError(f"{told}{where}. If its options and data are right, tell its authors{without}")


def _guarded(function: Callable[..., Any], method: str) -> Callable[..., Any]:
    @wraps(function)
    def call(self: Component, *args: Any, **kwargs: Any) -> Any:
        who = self.__dict__.get(WHO)
        if who is None or id(self) in _inside.get():
            return function(self, *args, **kwargs)
        with _told(self, who, method):
            found = function(self, *args, **kwargs)
            if method not in GIVES_SEVERAL:
                return _checked(found, GIVES.get(method, object))
            if isinstance(found, str) or not isinstance(found, Iterable):
                raise TypeError(f"gave {type(found).__name__} {found!r:.80} where several were asked")
            if isinstance(found, Sequence):
                return [_checked(item, GIVES_SEVERAL[method]) for item in found]
        return _one_by_one(self, who, method, found)

    setattr(call, GUARDED, True)
    return call


def _one_by_one(component: Component, who: _Who, method: str, found: Iterable[Any]) -> Iterator[Any]:
    with _told(component, who, method):
        items = iter(found)
    while True:
        with _told(component, who, method):
            try:
                item = _checked(next(items), GIVES_SEVERAL[method])
            except StopIteration:
                return
        yield item


def _checked(found: Any, wanted: type) -> Any:
    if not isinstance(found, wanted):
        raise TypeError(f"gave {type(found).__name__} {found!r:.80} where {wanted.__name__} was asked")
    return found


@contextmanager
def _told(component: Component, who: _Who, method: str) -> Iterator[None]:
    token = _inside.set((*_inside.get(), id(component)))
    try:
        yield
    except TaoHubError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, PLAIN.get(method, ())):
            raise
        raise who.failed(method, error) from error
    finally:
        _inside.reset(token)
