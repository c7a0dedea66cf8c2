"""The errors users see: each says what was wrong, what was found, and what cures it."""

from __future__ import annotations


class TaoHubError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line ends with."""

    exit_code = 2


class UsageError(TaoHubError):
    """Bad input or bad options."""


class PluginError(TaoHubError):
    """A plugin is broken, unknown, or clashes with another."""


class StoreError(TaoHubError):
    """The store cannot be opened, is newer than this program, or is being written by another process."""


class LabelLeak(UsageError):
    """Labels would reach the tuning: a reward that uses references, or tuning prompts that occur in an eval split."""


class GateFailed(TaoHubError):
    """The job ran, and a gate said no."""

    exit_code = 1


class NoRound(UsageError):
    """A reward that learns from a round's candidates is to score without one."""

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} learns from a round's candidates: use it in [[rewards]] of a plan")


class NothingToLearn(UsageError):
    """No candidate of a round was good enough to learn from."""
