"""What a sandbox process does with DuckDB files: queries on a read-only, locked connection. Loaded by worker.py."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb

sys.setrecursionlimit(5_000)  # trees of queries are deep
FETCHED = 1_000  # rows at once
DEPTH = 200  # of expressions
# Functions of their arguments only: no randomness, clock, settings, sequences, catalogs, files or SQL in text.
FUNCTIONS = frozenset(
    """
    !~~ !~~* % & && * ** + - -> ->> / // << <=> <@ >> @> ^ ^@ | || ~ ~~ ~~* ~~~ !
    abs acos acosh add age aggregate any_value apply approx_count_distinct approx_quantile arbitrary arg_max
    arg_max_null arg_min arg_min_null argmax argmin array_agg array_aggr array_aggregate array_append array_apply
    array_cat array_concat array_contains array_distinct array_extract array_filter array_has array_has_all
    array_has_any array_indexof array_intersect array_length array_position array_prepend array_reduce array_reverse
    array_reverse_sort array_select array_slice array_sort array_to_string array_transform array_unique array_value
    array_where array_zip ascii asin asinh atan atan2 atanh avg base64 bin bit_and bit_count bit_length bit_or bit_xor
    bool_and bool_or cardinality cbrt ceil ceiling century char_length character_length chr coalesce concat concat_ws
    contains corr cos cosh cot count count_if count_star countif covar_pop covar_samp cume_dist damerau_levenshtein
    date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth
    dayofweek dayofyear days_in_month decade decode degrees dense_rank divide element_at encode ends_with entropy
    enum_code epoch epoch_ms epoch_ns epoch_us era even exp factorial favg fdiv filter first first_value flatten floor
    fmod format fsum gamma gcd generate_series geometric_mean geomean greatest greatest_common_divisor group_concat
    grouping grouping_id hamming hash hex histogram hour ifnull ilike_escape instr isfinite isinf isnan isodow isoyear
    jaccard jaro_similarity jaro_winkler_similarity json json_array json_array_length json_contains json_exists
    json_extract json_extract_path json_extract_path_text json_extract_string json_group_array json_group_object
    json_keys json_object json_type json_valid json_value julian kurtosis kurtosis_pop lag last last_day last_value
    lcase lcm lead least least_common_multiple left left_grapheme len length length_grapheme levenshtein lgamma
    like_escape list list_aggr list_aggregate list_any_value list_append list_apply list_avg list_cat list_concat
    list_contains list_count list_distinct list_element list_extract list_filter list_first list_has list_has_all
    list_has_any list_indexof list_intersect list_last list_max list_median list_min list_mode list_pack
    list_position list_prepend list_product list_reduce list_resize list_reverse list_reverse_sort list_select
    list_slice list_sort list_stddev_pop list_stddev_samp list_string_agg list_sum list_transform list_unique
    list_value list_var_pop list_var_samp list_where list_zip listagg ln log log10 log2 lower lpad ltrim mad make_date
    make_time make_timestamp map map_concat map_contains map_entries map_extract map_extract_value map_from_entries
    map_keys map_values max max_by md5 mean median microsecond millennium millisecond min min_by minute mod mode month
    monthname multiply nfc_normalize not_ilike_escape not_like_escape nth_value ntile nullif octet_length ord overlay
    parse_filename percent_rank pi position pow power prefix printf product quantile quantile_cont quantile_disc
    quarter radians range rank rank_dense reduce regexp_escape regexp_extract regexp_extract_all regexp_full_match
    regexp_matches regexp_replace regexp_split_to_array regr_avgx regr_avgy regr_count regr_intercept regr_r2
    regr_slope regr_sxx regr_sxy regr_syy repeat replace reverse right right_grapheme round round_even row row_number
    row_to_json rpad rtrim second sem sha1 sha256 sign signbit sin sinh skewness split split_part sqrt starts_with
    stddev stddev_pop stddev_samp str_split str_split_regex strftime string_agg string_split string_split_regex
    string_to_array strip_accents strlen strpos strptime struct_concat struct_extract struct_insert struct_keys
    struct_pack struct_values substr substring substring_grapheme subtract suffix sum sum_no_overflow sumkahan tan
    tanh time_bucket timezone to_base to_base64 to_binary to_centuries to_days to_decades to_hex to_hours to_json
    to_microseconds to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years
    translate trim trunc try_strptime typeof ucase unbin unhex unicode unnest unpivot_list upper url_decode url_encode
    var_pop var_samp variance wavg week weekday weekofyear weighted_avg xor year yearweek
    """.split()  # noqa: SIM905
)
TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest"})
# What DuckDB takes for a function where no column has the name.
VALUES = frozenset(
    """
    current_catalog current_database current_date current_localtime current_localtimestamp current_role current_schema
    current_time current_timestamp current_user get_current_time localtime localtimestamp session_user user
    """.split()  # noqa: SIM905
)
SYSTEM = ("information_schema", "pg_catalog")
ASIDE = ("system", "temp")  # catalogs
SETTINGS: dict[str, Any] = {
    "enable_external_access": "false", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
    "allow_community_extensions": "false", "allow_unsigned_extensions": "false", "python_enable_replacements": "false",
    "temp_directory": "", "threads": "1",
}  # fmt: skip
PLAIN = (
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
    "UHUGEINT", "FLOAT", "DOUBLE", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP", "UUID", "NULL", '"NULL"',
)  # fmt: skip

# Functions of Spark SQL as macros, spark_NAME each: what spark_functions.py is to SQLite. Lists, whose order Spark
# leaves open, are sorted.
SPARK = r"""
timestamp(x) AS TRY_CAST(CASE
  WHEN regexp_full_match(CAST(x AS VARCHAR), '\s*\d{4}\s*') THEN trim(CAST(x AS VARCHAR)) || '-01-01'
  WHEN regexp_full_match(CAST(x AS VARCHAR), '\s*\d{4}-\d{1,2}\s*') THEN trim(CAST(x AS VARCHAR)) || '-01'
  WHEN regexp_full_match(CAST(x AS VARCHAR), '\s*\d{4}-\d{1,2}-\d{1,2}([ T]\d{1,2}:\d{1,2}(:\d{1,2}(\.\d{1,6})?)?'
    || '(Z|\+00(:00)?)?)?\s*')
  THEN regexp_replace(regexp_replace(trim(CAST(x AS VARCHAR)), '(Z|\+00(:00)?)$', ''),
    '([ T]\d{1,2}:\d{1,2})$', '\1:00') END AS TIMESTAMP)
to_date(x) AS CAST(spark_timestamp(x) AS DATE)
year(x) AS year(spark_timestamp(x))
month(x) AS month(spark_timestamp(x))
day(x) AS day(spark_timestamp(x))
quarter(x) AS quarter(spark_timestamp(x))
dayofweek(x) AS dayofweek(spark_timestamp(x)) + 1
weekday(x) AS isodow(spark_timestamp(x)) - 1
dayofyear(x) AS dayofyear(spark_timestamp(x))
weekofyear(x) AS weekofyear(spark_timestamp(x))
hour(x) AS hour(spark_timestamp(x))
minute(x) AS minute(spark_timestamp(x))
second(x) AS second(spark_timestamp(x))
last_day(x) AS last_day(spark_to_date(x))
date_format(x, form) AS strftime(spark_timestamp(x), form)
datediff(a, b) AS date_diff('day', spark_to_date(b), spark_to_date(a))
date_add(x, n) AS CAST(spark_to_date(x) + CAST(n AS INTEGER) AS DATE)
add_months(x, n) AS CAST(spark_to_date(x) + to_months(CAST(n AS INTEGER)) AS DATE)
months_between(a, b) AS round(
  (spark_year(a) - spark_year(b)) * 12 + spark_month(a) - spark_month(b)
  + CASE WHEN spark_day(a) = spark_day(b)
    OR (spark_to_date(a) = spark_last_day(a) AND spark_to_date(b) = spark_last_day(b)) THEN 0.0::DOUBLE
    ELSE ((spark_day(a) - spark_day(b)) * 86400 + (spark_hour(a) - spark_hour(b)) * 3600
      + (spark_minute(a) - spark_minute(b)) * 60 + spark_second(a) - spark_second(b)) / (31 * 86400)::DOUBLE END, 8)
substring_index(x, d, n) AS CASE WHEN x IS NULL OR d IS NULL OR n IS NULL THEN NULL WHEN d = '' OR n = 0 THEN ''
  WHEN n > 0 THEN array_to_string(string_split(CAST(x AS VARCHAR), d)[1:n], d)
  ELSE array_to_string(string_split(CAST(x AS VARCHAR), d)[
    greatest(len(string_split(CAST(x AS VARCHAR), d)) + n, 0) + 1:], d) END
split_at(x, d, i) AS CASE WHEN i >= 0 THEN string_split(CAST(x AS VARCHAR), d)[i + 1] END
split_part(x, d, i) AS CASE WHEN d <> '' THEN split_part(CAST(x AS VARCHAR), d, i)
  WHEN i IN (1, -1) THEN CAST(x AS VARCHAR) WHEN d = '' THEN '' END
initcap(x) AS array_to_string(list_transform(
  string_split(lower(CAST(x AS VARCHAR)), ' '), lambda w: upper(w[1]) || w[2:]), ' ')
int(x) AS TRY_CAST(trunc(TRY_CAST(x AS DECIMAL(38, 9))) AS BIGINT)
collect_list(x) AS coalesce(list_sort(list(x) FILTER (WHERE x IS NOT NULL)), [])
collect_set(x) AS coalesce(list_sort(list(DISTINCT x) FILTER (WHERE x IS NOT NULL)), [])
"""


class Forbidden(Exception):
    """The query has what no query may have; the message names it."""


class Database:
    """One hardened connection."""

    def __init__(self, path: str, limits: dict[str, Any]) -> None:
        memory = f"{limits['memory'] // 2_000_000}MB"
        self.db = duckdb.connect(path, read_only=True, config=SETTINGS | {"memory_limit": memory})
        with contextlib.suppress(duckdb.Error):
            self.db.execute("SET TimeZone = 'UTC'")
        self.db.execute(f"SET max_expression_depth = {DEPTH}")
        for macro in re.split(r"\n(?=\w)", SPARK.strip()):
            self.db.execute(f"CREATE TEMP MACRO spark_{macro}")
        columns = "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
        self.columns: dict[str, set[str]] = {}
        for table, column in self.db.execute(columns).fetchall():
            self.columns.setdefault(table.casefold(), set()).add(column.casefold())
        internal = "SELECT view_name FROM duckdb_views() WHERE internal"
        self.internal = {name.casefold() for (name,) in self.db.execute(internal).fetchall()} - set(self.columns)
        own = "SELECT function_name FROM duckdb_functions() WHERE NOT internal AND function_type = 'macro'"
        self.functions = FUNCTIONS | {name.casefold() for (name,) in self.db.execute(own).fetchall()}
        self.db.execute("SET lock_configuration = true")  # last: nothing above may be undone

    def close(self) -> None:
        self.db.close()

    def run(self, sql: str, seconds: float, most_rows: int, most_bytes: int) -> dict[str, Any]:
        answer: dict[str, Any] = {"rows": [], "columns": 0, "truncated": False, "kind": "", "error": ""}
        started = time.monotonic()
        alarm = threading.Timer(seconds, self.db.interrupt)
        alarm.daemon = True
        alarm.start()
        try:
            tree = self._tree(sql)
            tables, reads = read_by(tree, self.columns)
            answer |= {"tables": sorted(tables), "reads": sorted(reads)}
            self._fetch(sql, answer, most_rows, most_bytes)
        except Forbidden as error:
            answer |= {"kind": "forbidden", "error": f"forbidden: {error}"[:500], "rows": []}
        except (MemoryError, duckdb.OutOfMemoryException):
            answer |= {"kind": "memory", "error": "needs more memory than the sandbox gives", "rows": []}
        except (duckdb.Error, ValueError, OverflowError, RecursionError, RuntimeError) as error:
            told = f"{type(error).__name__}: {error}"[:500]
            answer |= {"kind": _kind(error), "error": told, "rows": []}
        finally:
            alarm.cancel()
        answer["seconds"] = time.monotonic() - started
        return answer

    def _tree(self, sql: str) -> dict[str, Any]:
        """DuckDB's own tree of the one SELECT that `sql` holds. Raises Forbidden for all else."""
        quoted = sql.replace("'", "''")  # as a parameter it would import pandas, where that is installed
        (text,) = self.db.execute(f"SELECT json_serialize_sql('{quoted}')").fetchone() or ("{}",)
        told = json.loads(text)
        if told.get("error"):
            if "Only SELECT" in told["error_message"]:
                raise Forbidden("no SELECT")
            raise ValueError(told["error_message"])
        if len(told["statements"]) != 1:
            raise Forbidden(f"{len(told['statements'])} statements")
        tree: dict[str, Any] = told["statements"][0]["node"]
        for node in nodes(tree):
            self._admit(node)
        return tree

    def _admit(self, node: dict[str, Any]) -> None:
        """Raises Forbidden for a node that reads more than tables, or is not the same twice."""
        kind = node.get("type")
        function = node.get("function_name")
        if function is not None and function.casefold() not in self.functions:
            raise Forbidden(f"function {function}")
        if kind == "TABLE_FUNCTION" and node["function"].get("function_name") not in TABLE_FUNCTIONS:
            raise Forbidden(f"table function {node['function'].get('function_name')}")
        if kind == "BASE_TABLE":
            schema, catalog = node["schema_name"].casefold(), node["catalog_name"].casefold()
            if schema in SYSTEM or catalog in ASIDE or node["table_name"].casefold() in self.internal:
                raise Forbidden(f"reads {node['table_name']}")
        if kind in ("SHOW_REF", "VALUE_PARAMETER", "POSITIONAL_REFERENCE"):
            raise Forbidden(str(kind))
        if node.get("sample"):
            raise Forbidden("a random sample")
        if kind == "COLUMN_REF" and len(node["column_names"]) == 1:
            name = node["column_names"][0].casefold()
            if name in VALUES and not any(name in columns for columns in self.columns.values()):
                raise Forbidden(f"function {name}")

    def _fetch(self, sql: str, answer: dict[str, Any], most_rows: int, most_bytes: int) -> None:
        cursor = self.db.execute(sql)
        kinds = [str(d[1]) for d in cursor.description or ()]
        if any(kind not in PLAIN and not kind.startswith("DECIMAL") for kind in kinds):
            cursor = self.db.execute(_as_text(sql, kinds))
        answer["columns"] = len(kinds)
        size = 0
        while rows := cursor.fetchmany(min(FETCHED, most_rows + 1 - len(answer["rows"]))):
            for row in rows:
                plain = tuple(map(_plain, row))
                size += sum(len(v) if isinstance(v, (str, bytes)) else 8 for v in plain)
                if len(answer["rows"]) >= most_rows or size > most_bytes:
                    answer["truncated"] = True
                    return
                answer["rows"].append(plain)


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """All objects of a tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def read_by(tree: dict[str, Any], columns: dict[str, set[str]]) -> tuple[set[str], set[tuple[str, str]]]:
    """(tables, (table, column) pairs) that a query reads, of the database's `columns` by table; lower case.

    Common table expressions that nobody uses count for nothing. A column without a table's name is one of each table
    that has it.
    """
    reading = Reading(columns)
    reading.visit(tree, {})
    tables = {table for _, table in reading.used}
    aliases = {alias for alias, _ in reading.used}
    reads = set()
    for *before, last in reading.asked:
        owner = next((name for name in before if name in aliases), "")
        for alias, table in reading.used:
            if owner and alias != owner:
                continue
            wanted = columns[table] if last == "*" else {n for n in (*before, last) if n in columns[table]}
            reads |= {(table, column) for column in wanted}
    return tables, reads | {(table, "") for table in tables if not any(t == table for t, _ in reads)}


class Reading:
    """Tables and columns that a tree names, as it is walked."""

    def __init__(self, columns: dict[str, set[str]]) -> None:
        self.columns = columns
        self.used: list[tuple[str, str]] = []
        """(alias, table)"""
        self.asked: list[list[str]] = []
        """Parts of the names of columns; "*" for all."""
        self._seen: set[int] = set()

    def visit(self, node: Any, scope: dict[str, Any]) -> None:
        """`scope`: what the names of common table expressions mean here, with the scope that they have."""
        if isinstance(node, list):
            for item in node:
                self.visit(item, scope)
        if not isinstance(node, dict):
            return
        for entry in (node.get("cte_map") or {}).get("map", ()):
            inner = dict(scope)
            scope = {**scope, entry["key"].casefold(): (entry["value"], inner)}
            inner[entry["key"].casefold()] = (entry["value"], inner)  # one may name itself
        kind = node.get("type")
        if kind == "BASE_TABLE":
            self._table(node, scope)
        elif kind == "COLUMN_REF":
            self.asked.append([part.casefold() for part in node["column_names"]])
        elif kind == "STAR":
            self.asked.append([node.get("relation_name", "").casefold(), "*"])
        self.asked += [[name.casefold()] for name in node.get("using_columns") or ()]
        for key, value in node.items():
            if key != "cte_map":
                self.visit(value, scope)

    def _table(self, node: dict[str, Any], scope: dict[str, Any]) -> None:
        name = node["table_name"].casefold()
        if name in scope and not node["schema_name"]:
            value, inner = scope[name]
            if id(value) not in self._seen:
                self._seen.add(id(value))
                self.visit(value, inner)
        elif name in self.columns:
            self.used.append(((node.get("alias") or name).casefold(), name))


def _as_text(sql: str, kinds: list[str]) -> str:
    """The query with columns of other types (lists, structures, intervals, times of zones) as DuckDB writes them."""
    names = [f'"c{i}"' for i in range(len(kinds))]
    told = ", ".join(
        name if kind in PLAIN or kind.startswith("DECIMAL") else f"CAST({name} AS VARCHAR)"
        for name, kind in zip(names, kinds)
    )
    return f"SELECT {told} FROM ({sql.strip().rstrip(';')}\n) AS q({', '.join(names)})"


def _plain(value: Any) -> Any:
    """As SQLite would give it: numbers, text, bytes, NULL, and truth values."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return str(value)
    return str(value)


def _kind(error: Exception) -> str:
    if isinstance(error, duckdb.InterruptException):
        return "timeout"
    text = str(error)
    return "forbidden" if isinstance(error, duckdb.PermissionException) or "has been locked" in text else "error"
