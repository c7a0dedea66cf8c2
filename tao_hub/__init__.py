"""TAO Hub: tune a language model from inputs alone, with pluggable rewards, and report what it gained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import GateFailed, LabelLeak, PluginError, StoreError, TaoHubError, UsageError
from .types import (
    Candidate,
    Completion,
    Delta,
    Group,
    Message,
    Prompt,
    Ref,
    Report,
    Request,
    Round,
    Sampling,
    Score,
    canonical_json,
    digest,
)

__version__ = "0.1.0"

# Names that need pydantic, pluggy or sqlite-utils are imported on first use, so that `tao-hub --help` stays fast.
_LAZY = {
    "Options": "components",
    "Component": "components",
    "Suite": "components",
    "Strategy": "components",
    "Generator": "components",
    "Reward": "components",
    "GroupReward": "components",
    "Trainer": "components",
    "Engine": "components",
    "Progress": "components",
    "hookimpl": "hookspecs",
}

if TYPE_CHECKING:
    from .components import (
        Component,
        Engine,
        Generator,
        GroupReward,
        Options,
        Progress,
        Reward,
        Strategy,
        Suite,
        Trainer,
    )
    from .hookspecs import hookimpl


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "Candidate", "Completion", "Component", "Delta", "Engine", "GateFailed", "Generator", "Group", "GroupReward",
    "LabelLeak", "Message", "Options", "PluginError", "Progress", "Prompt", "Ref", "Report", "Request", "Reward",
    "Round", "Sampling", "Score", "StoreError", "Strategy", "Suite", "TaoHubError", "Trainer", "UsageError",
    "canonical_json", "digest", "hookimpl",
]  # fmt: skip
