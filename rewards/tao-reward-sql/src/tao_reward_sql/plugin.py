"""Registers the rewards by execution."""

from __future__ import annotations

from typing import Any

import tao_hub


@tao_hub.hookimpl
def register_rewards(register: tao_hub.hookspecs.Register) -> None:
    here = "tao_reward_sql"
    register(
        "match", f"{here}.match:Match", summary="the SQL gives the gold query's result (strict, or as benchmarks do)"
    )
    register("executes", f"{here}.executes:Executes", summary="one query that runs and reads a real table")
    register("schema", f"{here}.schema:Schema", summary="the query's tables, columns and constants fit the question")
    register("lexicon", f"{here}.compose:LexiconReward", summary="the query's parts are what examples' words ask for")
    register("consistency", f"{here}.consistency:Consistency", summary="how many candidates' SQL gives the same result")


@tao_hub.hookimpl
def register_suites(register: tao_hub.hookspecs.Register) -> None:
    here = "tao_reward_sql.suites"
    register("spider", f"{here}:Spider", summary="Spider as downloaded: questions, gold SQL, SQLite databases")
    register("bird", f"{here}:Bird", summary="BIRD or its mini-dev as downloaded")
    register("defog", f"{here}:Defog", summary="Defog's sql-eval: several accepted queries per question")
    register("folder", f"{here}:Folder", summary="your own questions (JSONL) and databases in one folder")


@tao_hub.hookimpl
def register_strategies(register: tao_hub.hookspecs.Register) -> None:
    register("values", "tao_reward_sql.asking:OtherValues", summary="synthesis: questions with other values")
    register("backwards", "tao_reward_sql.backwards:Backwards", summary="synthesis: questions for drawn queries")
    register("compose", "tao_reward_sql.compose:Compose", summary="queries put together from parts of known ones")
    register("repair", "tao_reward_sql.repair:Repair", summary="queries mended where question and query disagree")


@tao_hub.hookimpl
def register_commands(cli: Any) -> None:
    from .command import sql

    cli.add_command(sql)
