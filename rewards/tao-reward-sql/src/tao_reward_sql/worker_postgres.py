"""What a sandbox process does with a PostgreSQL server: queries in read-only transactions. Loaded by worker.py."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import psycopg
import sqlglot
from psycopg import errors
from psycopg.types.string import TextLoader
from sqlglot import exp
from sqlglot.errors import SqlglotError

FETCHED = 500  # rows at once
CONNECT = 10  # seconds
DEPTH = 200  # of brackets
# Functions of their arguments only: no randomness, clock, settings, sequences, catalogs, files or SQL in text.
FUNCTIONS = frozenset(
    """
    abs acos age array_agg array_append array_cat array_dims array_length array_lower array_position array_positions
    array_prepend array_remove array_replace array_to_json array_to_string array_upper ascii asin atan atan2 avg bit_and
    bit_count bit_length bit_or bit_xor bool_and bool_or btrim cardinality cast cbrt ceil ceiling char_length
    character_length chr coalesce concat concat_ws corr cos cosh cot count covar_pop covar_samp cume_dist date date_bin
    date_part date_trunc degrees dense_rank div every exp extract factorial first_value floor format gcd generate_series
    generate_subscripts greatest grouping hashtext initcap isfinite json_agg json_array_elements
    json_array_elements_text json_array_length json_build_array json_build_object json_each json_each_text
    json_extract_path json_extract_path_text json_object json_object_agg json_object_keys json_strip_nulls json_typeof
    jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object
    jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_object jsonb_object_agg
    jsonb_object_keys jsonb_strip_nulls jsonb_typeof justify_days justify_hours justify_interval lag last_value lcm lead
    least left length ln log log10 lower ltrim make_date make_interval make_time make_timestamp make_timestamptz max md5
    min min_scale mod mode nth_value ntile nullif num_nonnulls num_nulls numeric octet_length overlay percent_rank
    percentile_cont percentile_disc pi position power quote_ident quote_literal quote_nullable radians rank
    regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regexp_split_to_table regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx
    regr_sxy regr_syy replace reverse right round row row_number row_to_json rtrim scale sha256 sign sin sinh split_part
    sqrt starts_with stddev stddev_pop stddev_samp string_agg string_to_array string_to_table strpos substr substring
    sum tan tanh text timestamp to_char to_date to_hex to_json to_jsonb to_number to_timestamp translate trim
    trim_array trim_scale trunc unnest upper var_pop var_samp variance width_bucket
    """.split()  # noqa: SIM905
)
# Words that stand before a bracket and call nothing.
SYNTAX = frozenset(
    """
    all and any array as asc between bit by case char character collate cube cross decimal desc distinct else end except
    exists filter first float following from full group groups having ilike in inner intersect interval is isnull join
    last lateral left like limit materialized natural not notnull nulls of offset on or order ordinality outer over
    partition preceding precision range recursive right rollup rows select sets similar some symmetric then time to
    union using values varbit varchar varying when where window with within zone
    """.split()  # noqa: SIM905
)
VALUES = frozenset(
    """
    current_catalog current_date current_role current_schema current_time current_timestamp current_user localtime
    localtimestamp session_user system_user user
    """.split()  # noqa: SIM905
)
# Refused wherever it stands, in a text, too: should the two parsers ever disagree on where a text ends.
HOSTILE = re.compile(
    r"\b(?:pg_\w*|lo_\w+|dblink\w*|set_config|current_setting|\w+_to_xml\w*|xpath\w*|reg(?:class|proc\w*|oper\w*|type|role"
    r"|namespace|config|dictionary)|nextval|setval|currval|lastval|txid_\w+|inet_\w+|u&(?=[\"'])|information_schema)",
    re.IGNORECASE,
)
RELATIONS = """
SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
POWERS = """
SELECT current_user, r.rolsuper OR EXISTS (SELECT 1 FROM pg_roles o WHERE o.rolname IN
('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program') AND pg_has_role(o.oid, 'MEMBER'))
FROM pg_roles r WHERE r.rolname = current_user
"""
SETTINGS = {
    "default_transaction_read_only": "on", "client_connection_check_interval": "1000", "timezone": "UTC",
    "datestyle": "ISO", "intervalstyle": "postgres", "bytea_output": "hex", "standard_conforming_strings": "on",
    "max_parallel_workers_per_gather": "0", "jit": "off", "lock_timeout": "1000", "extra_float_digits": "1",
}  # fmt: skip
UNWANTED = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Command, exp.Into, exp.Lock, exp.TableSample)
AS_TEXT = ("date", "time", "timetz", "timestamp", "timestamptz", "interval", "json", "jsonb", "uuid")


class Forbidden(Exception):
    """The query has what no query may have; the message names it."""


class Database:
    """One connection to a server, made again where it was lost."""

    def __init__(self, path: str, limits: dict[str, Any]) -> None:
        self.address, self.limits = path, limits
        self._connect()

    def _connect(self) -> None:
        self.seconds = 0.0
        settings = SETTINGS | {"work_mem": f"{self.limits['heap'] // 2_000}kB"}
        self.db = psycopg.connect(self.address, autocommit=True, client_encoding="UTF8", connect_timeout=CONNECT)
        for name, value in settings.items():
            with contextlib.suppress(psycopg.Error):  # which older servers do not know
                self.db.execute("SELECT set_config(%s, %s, false)", [name, value])
        for name in AS_TEXT:
            self.db.adapters.register_loader(name, TextLoader)
        name, mighty = self.db.execute(POWERS).fetchone() or ("?", True)
        if mighty:
            self.db.close()
            raise PermissionError(
                f"the role {name} may read or write the server's files: connect as one that may only read tables "
                "(CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader)"
            )
        self.columns: dict[str, set[str]] = {}
        for table, column in self.db.execute(RELATIONS).fetchall():
            self.columns.setdefault(table.casefold(), set()).add(column.casefold())

    def close(self) -> None:
        self.db.close()

    def run(self, sql: str, seconds: float, most_rows: int, most_bytes: int) -> dict[str, Any]:
        answer: dict[str, Any] = {"rows": [], "columns": 0, "truncated": False, "kind": "", "error": ""}
        started = time.monotonic()
        try:
            tables, reads = self._admitted(sql)
            answer |= {"tables": sorted(tables), "reads": sorted(reads)}
            if self.db.closed:
                self._connect()
            if seconds != self.seconds:
                self.db.execute(f"SET statement_timeout = {max(1, int(seconds * 1000))}")
                self.seconds = seconds
            self._fetch(sql, answer, most_rows, most_bytes)
        except Forbidden as error:
            answer |= {"kind": "forbidden", "error": f"forbidden: {error}"[:500], "rows": []}
        except MemoryError:
            answer |= {"kind": "memory", "error": "needs more memory than the sandbox gives", "rows": []}
        except (psycopg.Error, SqlglotError, ValueError, OverflowError, RecursionError) as error:
            kind = "crash" if self.db.closed else _kind(error)
            answer |= {"kind": kind, "error": f"{type(error).__name__}: {error}"[:500], "rows": []}
        answer["seconds"] = time.monotonic() - started
        return answer

    def _fetch(self, sql: str, answer: dict[str, Any], most_rows: int, most_bytes: int) -> None:
        self.db.execute("BEGIN READ ONLY")
        size = 0
        try:
            with self.db.cursor() as cursor, contextlib.closing(_stream(cursor, sql)) as rows:
                for row in rows:
                    plain = tuple(map(_plain, row))
                    size += sum(len(v) if isinstance(v, (str, bytes)) else 8 for v in plain)
                    if len(answer["rows"]) >= most_rows or size > most_bytes:
                        answer["truncated"] = True
                        break
                    answer["rows"].append(plain)
                answer["columns"] = len(cursor.description or ())
        finally:
            if not self.db.closed:
                self.db.execute("ROLLBACK")

    def _admitted(self, sql: str) -> tuple[set[str], set[tuple[str, str]]]:
        """(tables, (table, column) pairs) that the one query in `sql` reads. Raises Forbidden for all else."""
        own = set(self.columns).union(*self.columns.values())
        for found in HOSTILE.finditer(sql):
            if found.group().casefold() not in own:
                raise Forbidden(found.group())
        tokens = sqlglot.tokenize(sql, read="postgres")
        depth = deepest = 0
        for token in tokens:
            depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
            deepest = max(deepest, depth)
        if deepest > DEPTH:
            raise ValueError(f"brackets {deepest} deep, at most {DEPTH}")
        trees = [tree for tree in sqlglot.parse(sql, read="postgres") if tree is not None]
        if len(trees) != 1:
            raise Forbidden(f"{len(trees)} statements")
        tree = trees[0]
        if not isinstance(tree, exp.Query):
            raise Forbidden(f"a {tree.key.upper()} statement")
        named = {alias.name.casefold() for alias in tree.find_all(exp.TableAlias, exp.CTE)}
        for node in tree.walk():
            if isinstance(node, UNWANTED):
                raise Forbidden(node.key.upper())
            if isinstance(node, exp.Func):
                named -= (
                    {node.name.casefold()} if isinstance(node, exp.Anonymous) else set(map(str.lower, node.sql_names()))
                )
        _admit_words(tokens, named)
        return read_by(tree, self.columns)


def _admit_words(tokens: Sequence[Any], named: set[str]) -> None:
    """Raises Forbidden for a function, or what stands for one, that is not known to be harmless. `named`: what the
    query gives names to, as in AS x(a, b)."""
    for token, following in zip(tokens, [*tokens[1:], None]):
        word, kind = token.text.casefold(), token.token_type.name
        if kind.endswith("STRING"):
            continue
        if word in VALUES and kind != "IDENTIFIER":
            raise Forbidden(f"function {word}")
        known = word in FUNCTIONS or word in named or (word.split(" ")[-1] in SYNTAX and kind != "IDENTIFIER")
        called = following is not None and following.token_type.name == "L_PAREN"
        if called and not known and re.match(r"[^\W\d]", word):
            raise Forbidden(f"function {token.text}")


def read_by(tree: Any, columns: dict[str, set[str]]) -> tuple[set[str], set[tuple[str, str]]]:
    """(tables, (table, column) pairs) that a query reads, of the database's `columns` by table; lower case.

    Common table expressions that nobody uses count for nothing. A column without a table's name is one of each table
    that has it.
    """
    ctes = {cte.alias.casefold(): cte.this for cte in tree.find_all(exp.CTE)}
    used: list[tuple[str, str]] = []  # (alias, table)
    asked: list[tuple[str, str]] = []  # (table's name or alias, column)
    waiting, seen = [tree], set()
    while waiting:
        for node in _live(waiting.pop()):
            if isinstance(node, exp.Table):
                name = node.name.casefold()
                if name in ctes and not node.db:
                    waiting += [ctes[name]] if name not in seen else []
                    seen.add(name)
                elif name in columns:
                    used.append((node.alias_or_name.casefold(), name))
            elif isinstance(node, exp.Column):
                asked.append((node.table.casefold(), node.name.casefold()))
            elif isinstance(node, exp.Star) and not isinstance(node.parent, (exp.Column, exp.Count)):
                asked.append(("", "*"))
            elif isinstance(node, exp.Join):
                asked += [("", using.name.casefold()) for using in node.args.get("using") or ()]
    aliases = {alias for alias, _ in used}
    reads = set()
    for owner, column in asked:
        for alias, table in used:
            if owner not in aliases or owner == alias:
                reads |= {(table, name) for name in columns[table] if column in ("*", name)}
    tables = {table for _, table in used}
    return tables, reads | {(table, "") for table in tables if not any(t == table for t, _ in reads)}


def _live(tree: Any) -> Iterator[Any]:
    """All nodes but those of common table expressions."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(child for child in node.iter_expressions() if not isinstance(child, exp.With))


def _stream(cursor: psycopg.Cursor[Any], sql: str) -> Any:
    """Rows as they come. The extended protocol, which `stream` uses, takes one statement only."""
    size = FETCHED if psycopg.capabilities.has_stream_chunked() else 1
    return cursor.stream(sql.encode(), size=size)


def _plain(value: Any) -> Any:
    """As SQLite would give it: numbers, text, bytes, NULL, and truth values."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, (list, tuple)):
        return "{" + ",".join("NULL" if v is None else str(_plain(v)) for v in value) + "}"
    return str(value)


def _kind(error: Exception) -> str:
    if isinstance(error, errors.QueryCanceled):
        return "timeout"
    if isinstance(error, (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)):
        return "forbidden"
    full = (errors.OutOfMemory, errors.ProgramLimitExceeded, errors.DiskFull, errors.ConfigurationLimitExceeded)
    return "memory" if isinstance(error, full) else "error"
