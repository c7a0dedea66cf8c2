"""How many wrong queries pass as right, and how many right ones as wrong: mutants and rewrites of Spider's golds.

    python benchmarks/sql/mutants.py --data ../shared/data/spider [--golds 600] [--json]

Mutants change what a gold query means (operator, condition, column, aggregate, order, DISTINCT, JOIN); rewrites do not
(aliases, join order, IN as EXISTS, order of columns and of conditions). A mutant that gives gold's result on the
database, on the copies it is judged with, on `--witnesses` further ones, and on some where values stand at the gold's
constants, counts as equivalent and is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import random
import shutil
import sqlite3
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp
from tao_reward_sql.perturb import copies
from tao_reward_sql.sandbox import Limits, Sandbox
from tao_reward_sql.verdict import Verdict, judge_all

from tao_hub.stats import proportion_interval

OPERATORS: dict[type[exp.Expression], list[type[exp.Expression]]] = {
    exp.GT: [exp.GTE, exp.LT], exp.LT: [exp.LTE, exp.GT], exp.GTE: [exp.GT, exp.LTE], exp.LTE: [exp.LT, exp.GTE],
    exp.EQ: [exp.NEQ], exp.NEQ: [exp.EQ],
}  # fmt: skip
AGGREGATES = (exp.Max, exp.Min, exp.Avg, exp.Sum)
Change = Callable[[exp.Expression, random.Random], Iterator[exp.Expression]]
Columns = dict[str, list[str]]


def swapped(tree: exp.Expression, old: exp.Expression, new: exp.Expression | None) -> exp.Expression:
    """A copy of `tree` with the node `old` replaced by `new` (None: taken out)."""
    copied = tree.copy()
    node = list(copied.walk())[_place(tree, old)]
    if new is None:
        node.pop()
    else:
        node.replace(new.copy())
    return copied


def _place(tree: exp.Expression, wanted: exp.Expression) -> int:
    return next(i for i, node in enumerate(tree.walk()) if node is wanted)


# -- mutants: each yields queries that should mean something else ---------------------------------------------------


def operator(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
    for node in tree.find_all(*OPERATORS):
        if node.find_ancestor(exp.Join):
            continue
        other = draw.choice(OPERATORS[type(node)])
        yield swapped(tree, node, other(this=node.this.copy(), expression=node.expression.copy()))


def condition(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
    for where in tree.find_all(exp.Where, exp.Having):
        if isinstance(where.this, exp.And):
            yield swapped(tree, where.this, draw.choice([where.this.this, where.this.expression]))
        else:
            yield swapped(tree, where, None)


def aggregate(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
    for node in tree.find_all(*AGGREGATES):
        other = draw.choice([a for a in AGGREGATES if not isinstance(node, a)])
        yield swapped(tree, node, other(this=node.this.copy()))


def order(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
    for node in tree.find_all(exp.Ordered):
        other = node.copy()
        other.set("desc", not node.args.get("desc"))
        yield swapped(tree, node, other)


def distinct(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
    for select in tree.find_all(exp.Select):
        if select.args.get("distinct"):
            yield swapped(tree, select.args["distinct"], None)
    for count in tree.find_all(exp.Count):
        if isinstance(count.this, exp.Distinct):
            yield swapped(tree, count.this, count.this.expressions[0])


def join(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
    for select in tree.find_all(exp.Select):
        joins = select.args.get("joins") or []
        if not joins:
            continue
        gone = joins[-1].this.alias_or_name.casefold()
        if not any(c.table.casefold() == gone and not c.find_ancestor(exp.Join) for c in select.find_all(exp.Column)):
            yield swapped(tree, joins[-1], None)


def column(columns: Columns) -> Change:
    """Another column of the same table in place of a selected one."""

    def change(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
        for select in tree.find_all(exp.Select):
            tables = {t.alias_or_name.casefold(): t.name.casefold() for t in select.find_all(exp.Table)}
            for item in select.expressions:
                for node in item.find_all(exp.Column):
                    table = tables.get(node.table.casefold()) if node.table else next(iter(tables.values()), "")
                    others = [c for c in columns.get(table or "", []) if c.casefold() != node.name.casefold()]
                    if others and node.name != "*":
                        other = node.copy()
                        other.set("this", exp.to_identifier(draw.choice(others)))
                        yield swapped(tree, node, other)

    return change


MUTANTS: dict[str, Change] = {
    "operator": operator, "condition": condition, "aggregate": aggregate, "order": order, "distinct": distinct,
    "join": join,
}  # fmt: skip


# -- rewrites: each yields queries that mean the same ---------------------------------------------------------------


def aliases(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
    names = {t.alias for t in tree.find_all(exp.Table) if t.alias}
    if not names:
        return
    copied = tree.copy()
    for node in copied.walk():
        if isinstance(node, exp.Table) and node.alias:
            node.set("alias", exp.TableAlias(this=exp.to_identifier("z_" + node.alias)))
        elif isinstance(node, exp.Column) and node.table in names:
            node.set("table", exp.to_identifier("z_" + node.table))
    yield copied


def join_order(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
    for select in tree.find_all(exp.Select):
        joins = select.args.get("joins") or []
        first = select.args.get("from_") or select.args.get("from")
        starred = any(isinstance(e, exp.Star) for e in select.expressions)
        if len(joins) != 1 or joins[0].side or not joins[0].args.get("on") or starred:
            continue
        copied = swapped(tree, joins[0].this, first.this)
        list(copied.walk())[_place(tree, first.this)].replace(joins[0].this.copy())
        yield copied


def column_order(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
    if isinstance(tree, exp.Select) and len(tree.expressions) > 1 and not tree.find(exp.Star):
        copied = tree.copy()
        copied.set("expressions", [e.copy() for e in reversed(tree.expressions)])
        yield copied


def mirrored(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
    """a > b as b < a, and x AND y as y AND x."""
    for node in tree.find_all(exp.GT, exp.LT):
        other = exp.LT if isinstance(node, exp.GT) else exp.GT
        yield swapped(tree, node, other(this=node.expression.copy(), expression=node.this.copy()))
    for node in tree.find_all(exp.And):
        yield swapped(tree, node, exp.And(this=node.expression.copy(), expression=node.this.copy()))


def in_as_exists(tree: exp.Expression, draw: random.Random) -> Iterator[exp.Expression]:
    """x IN (SELECT y FROM …) as EXISTS (SELECT 1 FROM (SELECT y AS v FROM …) WHERE v = x)."""
    for node in tree.find_all(exp.In):
        inner = node.args.get("query")
        query = inner.this if isinstance(inner, exp.Subquery) else inner
        if not isinstance(query, exp.Select) or len(query.expressions) != 1 or isinstance(node.parent, exp.Not):
            continue
        text = f"EXISTS (SELECT 1 FROM (SELECT {query.expressions[0].sql('sqlite')} AS v_ {_rest(query)}) AS q_ WHERE "
        yield swapped(tree, node, sqlglot.parse_one(f"{text} q_.v_ = {node.this.sql('sqlite')})", dialect="sqlite"))


def _rest(query: exp.Select) -> str:
    bare = query.copy()
    bare.set("expressions", [exp.Literal.number(1)])
    bare.set("distinct", None)
    return bare.sql("sqlite").split("SELECT 1 ", 1)[1]


REWRITES: dict[str, Change] = {
    "aliases": aliases, "join order": join_order, "column order": column_order, "mirrored": mirrored,
    "IN as EXISTS": in_as_exists,
}  # fmt: skip


# -- the measurement ------------------------------------------------------------------------------------------------


def fixed(tree: exp.Expression) -> bool:
    """Whether SQL itself says what the result is: no bare column beside an aggregate, no LIMIT without an order."""
    for select in tree.find_all(exp.Select):
        if select.args.get("limit") and not select.args.get("order"):
            return False
        grouped = select.args.get("group")
        keys = {g.sql().casefold().rpartition(".")[2] for g in grouped.expressions} if grouped else set()
        shown = [*select.expressions, *(select.args["order"].expressions if select.args.get("order") else [])]
        mixed = grouped or any(e.find(exp.AggFunc) for e in shown)
        for item in shown if mixed else []:
            for node in item.find_all(exp.Column):
                if not node.find_ancestor(exp.AggFunc) and node.name.casefold() not in keys:
                    return False
        if grouped and any(isinstance(e, exp.Star) for e in select.expressions):
            return False
    return True


def boundaries(file: Path, gold: exp.Expression, columns: Columns, folder: Path, draw: random.Random) -> list[Path]:
    """Copies in which values compared with a constant often equal it or are one beside it: what perturbation, which
    only moves values that are there, never shows."""
    near: dict[str, list[Any]] = defaultdict(list)  # column → values to try in it
    for node in gold.find_all(*OPERATORS, exp.Between, exp.Like):
        between = isinstance(node, exp.Between)
        for constant in (node.args["low"], node.args["high"]) if between else (node.expression, node.this):
            if not isinstance(constant, exp.Literal):
                continue
            values: list[Any] = [constant.this]
            if not constant.is_string:
                values = [float(constant.this) + step for step in (-1, 0, 1)]
                values = [int(value) if value == int(value) else value for value in values]
            for compared in node.find_all(exp.Column):
                near[compared.name.casefold()] += values
    made = []
    for number in range(3 if near else 0):
        target = folder / f"witness-{number}.sqlite"
        shutil.copy(file, target)
        with contextlib.closing(sqlite3.connect(target)) as db:
            for table, names in columns.items():
                for name in names:
                    if name.casefold() in near:
                        _scatter(db, table, name, near[name.casefold()], draw)
            db.commit()
        made.append(target)
    return made


def _scatter(db: sqlite3.Connection, table: str, column: str, values: list[Any], draw: random.Random) -> None:
    change = f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?'
    for (row,) in db.execute(f'SELECT rowid FROM "{table}"').fetchall():
        if draw.random() < 0.5:
            with contextlib.suppress(sqlite3.IntegrityError):
                db.execute(change, [draw.choice(values), row])


def golds(data: Path, most: int, draw: random.Random) -> list[tuple[str, str]]:
    found = []
    for name in ("dev.json.gz", "train_spider_syn.json.gz"):
        with gzip.open(data / name, "rt", encoding="utf-8") as file:
            rows = list(dict.fromkeys((row["db_id"], row["query"]) for row in json.load(file)))
        draw.shuffle(rows)
        found += rows
    return found[:most]


RULES = {
    "bird_ex": ("bird_ex", 0), "spider_ts": ("spider_ts", 0), "strict": ("strict", 0), "strict + 3": ("strict", 3),
    "strict + 12": ("strict", 12),
}  # fmt: skip


class Measurement:
    """Counts of mutants that pass and of rewrites that are refused, per rule and kind."""

    def __init__(self, sandbox: Sandbox, scratch: Path, witnesses: int, seed: int) -> None:
        self.sandbox, self.scratch, self.witnesses = sandbox, scratch, witnesses
        self.draw = random.Random(seed)
        self.kinds: Counter[str] = Counter()
        self.same: Counter[str] = Counter()
        self.passed: dict[str, Counter[str]] = defaultdict(Counter)
        self.refused: dict[str, Counter[str]] = defaultdict(Counter)
        self.equivalent = 0
        self.odd: list[dict[str, str]] = []

    def look_at(self, file: Path, gold: str, columns: Columns) -> None:
        try:
            tree = sqlglot.parse_one(gold, dialect="sqlite")
        except sqlglot.errors.SqlglotError:
            return
        if not self.sandbox.run(file, gold).ok:
            return
        for kind, change in {**MUTANTS, "column": column(columns)}.items():
            for text in self._one(change, tree):
                if self.sandbox.run(file, text).ok:  # a mutant that fails is told apart by anybody
                    self._mutant(kind, file, tree, gold, text, columns)
        if fixed(tree):
            for kind, change in REWRITES.items():
                for text in self._one(change, tree):
                    if self.sandbox.run(file, text).ok:
                        self._rewrite(kind, file, gold, text)

    def _one(self, change: Change, tree: exp.Expression) -> list[str]:
        texts = list(dict.fromkeys(t.sql("sqlite") for t in change(tree, self.draw)))
        return self.draw.sample(texts, min(len(texts), 1))

    def _verdicts(self, file: Path, gold: str, text: str) -> dict[str, Verdict]:
        judged = copies(file, 12, self.scratch)
        return {
            rule: judge_all(self.sandbox, [file, *judged[:k]], gold, text, semantics)
            for rule, (semantics, k) in RULES.items()
        }

    def _mutant(
        self, kind: str, file: Path, tree: exp.Expression, gold: str, text: str, columns: Columns
    ) -> None:
        verdicts = self._verdicts(file, gold, text)
        if verdicts["strict + 12"].name == "match":
            here = Path(tempfile.mkdtemp(dir=self.scratch))  # the sandbox remembers results by path
            further = copies(file, self.witnesses, self.scratch, seed=1)
            further += boundaries(file, tree, columns, here, self.draw)
            if judge_all(self.sandbox, further, gold, text).name == "match":
                self.equivalent += 1
                return
        self.kinds[kind] += 1
        for rule, verdict in verdicts.items():
            self.passed[rule][kind] += verdict.name == "match"

    def _rewrite(self, kind: str, file: Path, gold: str, text: str) -> None:
        self.same[kind] += 1
        for rule, verdict in self._verdicts(file, gold, text).items():
            if verdict.name != "match":
                self.refused[rule][kind] += 1
                if rule == "strict + 12":
                    self.odd.append({"kind": kind, "gold": gold, "rewrite": text, "why": verdict.why})

    def result(self) -> dict[str, Any]:
        n, m = sum(self.kinds.values()), sum(self.same.values())
        table = {}
        for rule in RULES:
            wrong, right = sum(self.passed[rule].values()), sum(self.refused[rule].values())
            table[rule] = {
                "mutants_passed": wrong, "share": wrong / n, "ci": proportion_interval(wrong, n),
                "by_kind": {k: f"{self.passed[rule][k]}/{count}" for k, count in self.kinds.items()},
                "rewrites_refused": right, "refused_share": right / m, "refused_ci": proportion_interval(right, m),
                "refused_by_kind": {k: f"{self.refused[rule][k]}/{count}" for k, count in self.same.items()},
            }  # fmt: skip
        return {"mutants": n, "equivalent": self.equivalent, "rewrites": m, "rules": table, "refused": self.odd}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dev.json.gz and databases.zip")
    parser.add_argument("--golds", type=int, default=800)
    parser.add_argument("--witnesses", type=int, default=40, help="further copies that show a mutant to be different")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        with zipfile.ZipFile(options.data / "databases.zip") as archive:
            archive.extractall(scratch)
        files = {file.stem: file for file in Path(scratch).rglob("*.sqlite")}
        with gzip.open(options.data / "tables.json.gz", "rt", encoding="utf-8") as file:
            schemas = json.load(file)
        columns: dict[str, Columns] = {}
        for schema in schemas:
            tables = [t.casefold() for t in schema["table_names_original"]]
            columns[schema["db_id"]] = {
                t: [c for i, c in schema["column_names_original"] if i == k] for k, t in enumerate(tables)
            }
        wanted = golds(options.data, options.golds, random.Random(options.seed))
        (scratch_copies := Path(scratch) / "copies").mkdir()
        with Sandbox(2, Limits(seconds=2.0)) as sandbox:
            measurement = Measurement(sandbox, scratch_copies, options.witnesses, options.seed)
            for name, gold in wanted:
                if name in files:
                    measurement.look_at(files[name], gold, columns[name])
        found = measurement.result()
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['mutants']} mutants ({found['equivalent']} equivalent left out), {found['rewrites']} rewrites")
    for rule, row in found["rules"].items():
        wrong, right = 100 * row["share"], 100 * row["refused_share"]
        print(f"{rule:12} passes {wrong:4.1f}% of mutants, refuses {right:4.2f}% of rewrites")


if __name__ == "__main__":
    main()
