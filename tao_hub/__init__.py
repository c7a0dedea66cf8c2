"""TAO Hub: tune a language model from inputs alone, with pluggable rewards, and report what it gained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Every public name is imported on first use, so that `tao-hub --help` stays as fast as click itself.
_HOMES = {
    "types": "Candidate Completion Delta Group Message Prompt Ref Report Request Round Sampling Score "
    "canonical_json digest",
    "errors": "GateFailed LabelLeak PluginError StoreError TaoHubError UsageError",
    "components": "Component Engine Generator GroupReward Options Progress Reward Strategy Suite Trainer",
    "hookspecs": "hookimpl",
    "home": "home_folder model_path",
    "interrupts": "held_interrupts",
    "lock": "take_lock",
    "records": "dump_record find_record normalise_text parse_json parse_record value_key",
    "plugins": "Hub",
    "store": "Store",
    "config": "Plan load_plan parse_options",
    "session": "Policy Session",
    "loop": "combine compare draw evaluate generate rounds_done run_round score tune update",
    "learning": "Drawn",
    "commands.stages": "command_line open_session show_report tune_and_report",
    "commands.progress": "Bar",
    "commands.files": "OutputFile",
    "rows": "score_rows",
    "scoring": "score_group score_pairs",
    "ablations": "without",
    "ways": "Ways comparison",
    "repeats": "repeated",
    "scaling": "sweep",
    "synthesis": "Synthesis synthesize",
    "overlap": "find_overlap",
    "recycle": "evaluated_suites mark_measured run_groups",
    "runs": "run_report",
    "leaderboard": "board leaderboard",
    "best_of_n": "best_of_n_kl best_of_n_sizes best_of_n_trend best_of_n_value",
    "stats": "bootstrap_interval kendall_tau_b paired_delta proportion_interval",
    "sure": "sure_fields",
    "figures": "tidy",
    "report": "print_report render_html render_markdown",
}
_LAZY = {name: home for home, names in _HOMES.items() for name in names.split()}
_LAZY["eval"] = "loop"  # the command's name; `evaluate` is the same function without hiding the builtin

if TYPE_CHECKING:
    from .ablations import without
    from .best_of_n import best_of_n_kl, best_of_n_sizes, best_of_n_trend, best_of_n_value
    from .commands.files import OutputFile
    from .commands.progress import Bar
    from .commands.stages import command_line, open_session, show_report, tune_and_report
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
    from .config import Plan, load_plan, parse_options
    from .errors import GateFailed, LabelLeak, PluginError, StoreError, TaoHubError, UsageError
    from .figures import tidy
    from .home import home_folder, model_path
    from .hookspecs import hookimpl
    from .interrupts import held_interrupts
    from .leaderboard import board, leaderboard
    from .learning import Drawn
    from .lock import take_lock
    from .loop import combine, compare, draw, evaluate, generate, rounds_done, run_round, score, tune, update
    from .overlap import find_overlap
    from .plugins import Hub
    from .records import dump_record, find_record, normalise_text, parse_json, parse_record, value_key
    from .recycle import evaluated_suites, mark_measured, run_groups
    from .repeats import repeated
    from .report import print_report, render_html, render_markdown
    from .rows import score_rows
    from .runs import run_report
    from .scaling import sweep
    from .scoring import score_group, score_pairs
    from .session import Policy, Session
    from .stats import bootstrap_interval, kendall_tau_b, paired_delta, proportion_interval
    from .store import Store
    from .sure import sure_fields
    from .synthesis import Synthesis, synthesize
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

__all__ = [  # noqa: RUF022 - grouped by home
    "Candidate", "Completion", "Delta", "Group", "Message", "Prompt", "Ref", "Report", "Request", "Round", "Sampling",
    "Score", "canonical_json", "digest",
    "GateFailed", "LabelLeak", "PluginError", "StoreError", "TaoHubError", "UsageError",
    "Component", "Engine", "Generator", "GroupReward", "Options", "Progress", "Reward", "Strategy", "Suite", "Trainer",
    "Bar", "OutputFile", "dump_record", "find_record", "normalise_text", "parse_json", "parse_record", "value_key",
    "hookimpl", "home_folder", "model_path", "Hub", "Store", "Plan", "load_plan", "parse_options", "Policy", "Session",
    "held_interrupts", "rounds_done", "take_lock",
    "tune_and_report", "without",
    "command_line", "open_session", "show_report",
    "combine", "compare", "draw", "Drawn", "evaluate", "generate", "run_round", "score", "score_group",
    "score_pairs", "score_rows", "tune", "update",
    "Ways", "comparison", "repeated", "sweep", "Synthesis", "synthesize",
    "board", "evaluated_suites", "find_overlap", "leaderboard", "mark_measured", "run_groups", "run_report",
    "print_report", "render_html", "render_markdown",
    "best_of_n_kl", "best_of_n_sizes", "best_of_n_trend", "best_of_n_value", "bootstrap_interval", "kendall_tau_b",
    "paired_delta", "proportion_interval", "sure_fields", "tidy",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), "evaluate" if name == "eval" else name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
