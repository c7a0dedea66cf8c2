"""A run's report as a page, markdown, JSON or terminal output: rendering only, every number comes from the data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tao_hub import figures
from tao_hub.field_table import field_table

if TYPE_CHECKING:
    from jinja2 import Environment
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

TEMPLATES = Path(__file__).parent / "templates"
VERDICTS = {
    "improved": ("▲", "green"), "regressed": ("▼", "red"), "inconclusive": ("●", "dim"),
    "kept": ("✓", "green"), "lost": ("✗", "red"), "not shown": ("✗", "yellow"), "not measured": ("✗", "yellow"),
}  # fmt: skip


def render_html(data: Mapping[str, Any]) -> str:
    """One self-contained page: styles inline, drawings as SVG, no script and nothing loaded. All text is escaped."""
    environment = _environment(autoescape=True)
    return environment.get_template("report.html.j2").render(_view(data))


def render_markdown(data: Mapping[str, Any]) -> str:
    """Markdown with tables (GitHub flavour). Text from models stands in fences or escaped cells."""
    text = _environment(autoescape=False).get_template("report.md.j2").render(_view(data))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def render_json(data: Mapping[str, Any]) -> str:
    """The data itself, indented; a number that is not finite becomes null."""
    return json.dumps(_finite(data), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not figures.is_number(value) else value


def _view(data: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates draw: the tidied data and the figures made from it."""
    safe = figures.tidy(data)
    safe["primary"] = safe.get("primary") or {}
    return {
        "data": safe, "headline": figures.headline(safe), "curves": _curves(safe), "forest": figures.forest(safe),
        "fields": figures.fields(safe), "adds": figures.adds(safe), "costs": figures.costs(safe),
        "stages": figures.stages(safe), "plain": figures.plain_metrics(safe), "facts": _facts(safe),
        "gates": _gate_rows(safe), "boards": figures.boards(safe),
    }  # fmt: skip


def _curves(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Quality over rounds of the primary comparison, and of each task where there are several."""
    primary = data["primary"]
    own = [{**primary, **task, "suite": task["label"]} for task in figures.rows(data, "tasks")]
    drawn = [figures.curve({**data, "primary": one}) for one in ([primary] if primary or not own else []) + own]
    return [curve for curve in drawn if curve]


def _environment(autoescape: bool) -> Environment:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=autoescape, trim_blocks=True, lstrip_blocks=True,
        finalize=lambda value: figures.MISSING if value is None else value,
    )  # fmt: skip
    shown = (figures.number, figures.percent, figures.duration, figures.latency, figures.memory, figures.level)
    for show in shown:
        environment.filters[show.__name__] = show
    environment.filters.update(between=figures.between, cell=cell, fence=fence, field_table=field_table)
    environment.globals["symbols"] = {word: symbol for word, (symbol, _) in VERDICTS.items()}
    return environment


def cell(value: Any) -> str:
    """Text safe inside a markdown table cell or line: one line, markup and HTML escaped, at most 300 characters."""
    text = figures.MISSING if value is None else " ".join(str(value).split())
    text = text if len(text) <= 300 else text[:300] + "…"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", text)


def fence(text: Any) -> str:
    """Text in a code fence longer than any run of backticks inside it."""
    body = str(text)
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", body)), default=0))
    return f"{ticks}text\n{body}\n{ticks}"


# --- terminal --------------------------------------------------------------------------------------------------------


def print_report(data: Mapping[str, Any], console: Console) -> None:
    """Print headline, deltas, costs, rewards, rounds and a few examples; made for 80 columns and more."""
    from rich.text import Text

    view = {**_view(data), "narrow": console.width < WIDE}
    safe = view["data"]
    title = Text(str(safe.get("title") or safe.get("run") or "report"), style="bold")
    facts = [str(safe[key]) for key in ("run", "status", "created") if safe.get(key)]
    console.print(title.append("  " + " · ".join(facts), style="dim") if facts else title)
    if view["headline"]:
        _print_headline(view["headline"], console)
    console.print(Text(" · ".join(_facts(safe)), style="dim"))
    for board in view["boards"]:
        for drawn in _board(board, str(safe.get("of") or "policy"), console.width < WIDEST):
            console.print()
            console.print(drawn)
    for draw in (_gates, _deltas, _spread, _quality, _gap, _compute, _external, _adds, _rounds, _rewards):
        table = draw(view)
        if table is not None:
            console.print()
            console.print(table)
    for warning in safe.get("warnings") or []:
        console.print(Text(f"warning: {warning}", style="yellow"))
    for example in figures.rows(safe, "examples")[:3]:
        console.print()
        _print_example(example, console)


def _facts(data: Mapping[str, Any]) -> list[str]:
    facts = []
    for key, one, many in (("labels_used", "label used", "labels used"),
                           ("worked_examples", "worked example", "worked examples")):  # fmt: skip
        if data.get(key) is not None:
            facts.append(f"{figures.number(data[key])} {one if data[key] == 1 else many}")
    if data.get("seconds") is not None:
        facts.append(figures.duration(data["seconds"]))
    if data.get("peak_memory_mb") is not None:
        facts.append(f"peak {figures.memory(data['peak_memory_mb'])}")
    if data.get("seed") is not None:
        facts.append(f"seed {data['seed']}")
    return facts


def _verdict(word: Any) -> Text:
    from rich.text import Text

    symbol, style = VERDICTS.get(str(word), ("", ""))
    return Text(f"{symbol} {word}".strip() if word else figures.MISSING, style=style)


def _print_headline(head: Mapping[str, Any], console: Console) -> None:
    from rich.text import Text

    primary = head["primary"]
    where = " ".join(str(primary[key]) for key in ("suite", "split", "metric") if primary.get(key))
    line = Text(f"{where}{' (sealed)' if primary.get('sealed') else ''}: ")
    line.append(f"{head['levels'][0]} → {head['levels'][1]}", style="bold")
    line.append(f"  {head['delta']} {head['interval']}  p {head['p']}  n {figures.number(head['n'])}  ")
    console.print(line.append_text(_verdict(head.get("verdict"))))
    if head["cost"]:
        console.print(Text(head["cost"], style="dim"))


BESIDE = 5  # parts of a metric in one table of the terminal
WIDE = 100  # columns; with fewer, an interval stands below its delta: a number that is cut is a wrong number
WIDEST = 120  # with fewer, what answers cost stands below a board


def _table(title: str, *columns: str) -> Table:
    """A plain table whose columns are left aligned when their name ends with "<", else right aligned."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        left = name.endswith("<")
        table.add_column(name.rstrip("<"), justify="left" if left else "right", overflow="fold", no_wrap=not left)
    return table


def _add(table: Table, *cells: Any) -> None:
    """Text objects, never strings: rich would read markup in strings."""
    from rich.text import Text

    table.add_row(*(value if isinstance(value, Text) else Text(str(value)) for value in cells))


def _deltas(view: Mapping[str, Any]) -> Table | None:
    from rich.text import Text

    if not view["forest"]:
        return None
    narrow = view["narrow"]
    interval = () if narrow else ("interval",)
    table = _table("Deltas on identical items", "compared<", "levels", "delta", *interval, "p", "n", "verdict")
    table.columns[0].min_width = 14 if narrow else 24
    for group in view["forest"]:
        for item in group["rows"]:
            row = item["row"]
            if item["part"]:
                continue  # the page has them all
            compared = f"{row.get('before_label', 'before')} → {row.get('after_label', 'after')}"
            on = " ".join(str(row[key]) for key in ("suite", "split", "metric") if row.get(key))
            delta = [item["delta"], item["interval"]]
            cells = (f"{item['before']} → {item['after']}", *(["\n".join(delta)] if narrow else delta), item["p"])
            _add(table, Text.assemble(compared, ("\n" + on, "dim")), *cells, figures.number(row.get("n")),
                 _verdict(row.get("verdict")))  # fmt: skip
    return table


def _gate_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Retention gates in words: levels, delta with its one-sided bounds, and what might be lost."""
    plain, drawn = figures.plain_metrics(data), []
    for row in figures.rows(data, "gates"):
        own = str(row.get("metric")) in plain
        delta, bounds = figures.change({**row, "low": row.get("lower"), "high": row.get("upper")}, own)
        levels = {key: figures.level(row.get(key), own) for key in ("before", "after")}
        margin = figures.number(row["margin"]) if own else f"{figures.number(100 * row['margin'])} pp"
        drawn.append({"row": row, "delta": delta, "bounds": bounds, "margin": margin, **levels})
    return drawn


def _gates(view: Mapping[str, Any]) -> Table | None:
    if not view["gates"]:
        return None
    table = _table("Retention", "measured<", "levels", "delta", "bounds", "may lose", "n", "verdict")
    for item in view["gates"]:
        on = " ".join(str(item["row"][key]) for key in ("suite", "split", "metric"))
        cells = (f"{item['before']} → {item['after']}", item["delta"], item["bounds"], item["margin"])
        _add(table, on, *cells, figures.number(item["row"].get("n")), _verdict(item["row"]["verdict"]))
    return table


def _board(drawn: Mapping[str, Any], of: str, narrow: bool = False) -> Iterator[Table]:
    """Ranks and values; what answers cost, on a narrow screen below them; and the metric's parts, if it has some."""
    board = drawn["board"]
    title = f"{board['suite']} {board['split']} · {board['metric']} · n {figures.number(board['n'])}"
    told = {"errors": "errors", "truncated": "cut off", "output_tokens": "tokens", "latency_s": "latency"}
    shown = {key: name for key, name in told.items() if any(item["row"].get(key) for item in drawn["rows"])}
    table = _table(title, "rank<", f"{of}<", str(board["metric"]), "behind", "p", *(() if narrow else shown.values()))
    table.columns[0].min_width, table.columns[1].min_width = 4, 16
    costs = _table("cost", f"{of}<", *shown.values())
    costs.columns[0].min_width = 24
    for item in drawn["rows"]:
        row, value = item["row"], f"{item['bar']['text']}\n{item['bar']['interval']}"
        form = {"latency_s": figures.latency}
        counts = [form.get(key, figures.number)(row.get(key)) for key in shown]
        _add(costs, str(row["label"]), *counts)
        _add(table, item["rank"], str(row["label"]), value, f"{item['delta']}\n{item['behind']}".strip(), item["p"],
             *(() if narrow else counts))  # fmt: skip
    yield from (table, costs) if narrow and shown else (table,)
    for start in range(0, len(drawn["parts"]), BESIDE):
        some = slice(start, start + BESIDE)
        table = _table("" if start else "by part", f"{of}<", *map(str, drawn["parts"][some]))
        table.columns[0].min_width = 16
        for item in drawn["rows"]:
            _add(table, str(item["row"]["label"]), *item["parts"][some])
        yield table


def _spread(view: Mapping[str, Any]) -> Table | None:
    found = figures.rows(view["data"], "spread")
    if not found:
        return None
    table = _table("Other seeds", "measured<", "level per seed<", "mean", "interval over seeds", "sd")
    for row in found:
        plain = row["metric"] in view["plain"]
        on = " ".join(str(row[key]) for key in ("suite", "split", "metric"))
        levels = ", ".join(figures.level(value, plain) for value in row["levels"])
        mean, deviation = (figures.level(row[key], plain) for key in ("mean", "sd"))
        _add(table, on, levels, mean, figures.between(row, plain), deviation)
    return table


def _quality(view: Mapping[str, Any]) -> Table | None:
    if not view["costs"]:
        return None
    table = _table("Quality and cost", "policy<", "value", "interval", "n", "errors", "cut off", "tokens", "latency")
    for row in view["costs"]:
        plain = row.get("metric") in view["plain"]
        counts = (figures.number(row.get(key)) for key in ("n", "errors", "truncated", "output_tokens"))
        _add(table, row.get("label", figures.MISSING), figures.level(row.get("value"), plain),
             figures.between(row, plain), *counts, figures.latency(row.get("latency_s")))  # fmt: skip
    return table


def _gap(view: Mapping[str, Any]) -> Table | None:
    found = figures.rows(view["data"], "gap")
    if not found:
        return None
    title = "Of what fine-tuning on labels gained, tuning without labels gained"
    table = _table(title, "split<", "share", "interval", "n")
    for row in found:
        _add(table, row["split"], figures.percent(row.get("value")), figures.between(row, False), row["n"])
    return table


def _compute(view: Mapping[str, Any]) -> Table | None:
    found = figures.rows(view["data"], "sweep")
    if not found:
        return None
    table = _table("Tuning compute", str(view["data"]["over"]), "candidates", "generated tokens", "level per seed<")
    plain = (view["data"].get("primary") or {}).get("metric") in view["plain"]
    for row in found:
        levels = ", ".join(figures.level(value, plain) for value in row["levels"])
        _add(table, *(figures.number(row[key]) for key in ("size", "candidates", "tokens")), levels)
    return table


def _external(view: Mapping[str, Any]) -> Table | None:
    found = figures.rows(view["data"], "external")
    if not found:
        return None
    table = _table("Other systems, as given", "system<", "split<", "metric<", "value", "source<")
    for row in found:
        texts = [str(row.get(key) or figures.MISSING) for key in ("label", "split", "metric", "source")]
        _add(table, *texts[:3], figures.number(row["value"]), texts[3])
    return table


def _adds(view: Mapping[str, Any]) -> Table | None:
    if not view["adds"]:
        return None
    table = _table("What each reward adds", "reward<", "without", "with", "delta", "interval", "p", "n")
    for item in view["adds"]:
        levels = (bar["text"] for bar in item["bars"])
        moved = (item["delta"], item["interval"], item["p"], figures.number(item["row"].get("n")))
        _add(table, item["row"].get("reward", figures.MISSING), *levels, *moved)
    return table


def _rounds(view: Mapping[str, Any]) -> Table | None:
    found = figures.rows(view["data"], "rounds")
    if not found:
        return None
    time = ("time",) if any(item.get("seconds") is not None for item in found) else ()
    table = _table("Rounds", "round", "prompts", "candidates", "chosen", *time)
    for item in found:
        counts = [figures.number(item.get(key)) for key in ("number", "prompts", "candidates", "chosen")]
        _add(table, *counts, *(figures.duration(item.get("seconds")) for _ in time))
    return table


def _rewards(view: Mapping[str, Any]) -> Table | None:
    found = [(item, row) for item in figures.rows(view["data"], "rounds") for row in figures.rows(item, "rewards")]
    if not found:
        return None
    table = _table("Rewards by round", "round", "reward<", "mean of all", "of chosen", "errors")
    last = None
    for item, row in found:
        number = "" if item is last else figures.number(item.get("number"))
        numbers = (figures.number(row.get(key)) for key in ("mean_all", "mean_chosen", "errors"))
        _add(table, number, row.get("label", figures.MISSING), *numbers)
        last = item
    return table


def _print_example(example: Mapping[str, Any], console: Console) -> None:
    from rich.text import Text

    marks = {True: ("✓", "green"), False: ("✗", "red")}
    console.print(Text(f"example {example.get('id', '')}", style="bold"))
    lines = [("prompt", example.get("prompt"), None), ("reference", example.get("reference"), None)]
    lines += [
        (str(row.get("label", "")), row.get("text"), row.get("right")) for row in figures.rows(example, "answers")
    ]
    for name, text, right in lines:
        if text is None:
            continue
        symbol, style = marks.get(right, (" ", "")) if isinstance(right, bool) else (" ", "")
        body = " ".join(str(text).split())
        body = body if len(body) <= 240 else body[:240] + "…"
        console.print(Text.assemble((f"{symbol} {name}: ", style), body))
