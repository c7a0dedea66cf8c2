"""How many wrong queries pass as right, and how many right ones as wrong: mutants and rewrites of Spider's golds.

    python benchmarks/sql/mutants.py --data ../shared/data/spider [--golds 600] [--json]

Mutants change what a gold query means (operator, condition, column, aggregate, order, DISTINCT, JOIN); rewrites do not
(aliases, join order, IN as EXISTS, order of columns and of conditions). A mutant that gives gold's result on the
database, on the copies it is judged with and on `--witnesses` further ones counts as equivalent and is left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp
from tao_reward_sql.perturb import copies
from tao_reward_sql.sandbox import Limits, Sandbox
from tao_reward_sql.verdict import judge, judge_all

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
    place = [node for node in tree.walk()].index(old)
    node = [node for node in copied.walk()][place]
    if new is None:
        node.pop()
    else:
        node.replace(new.copy())
    return copied


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
        if len(joins) != 1 or joins[0].side or not joins[0].args.get("on") or select.find(exp.Star, bfs=False) and any(
            isinstance(e, exp.Star) for e in select.expressions
        ):  # fmt: skip
            continue
        copied = swapped(tree, joins[0].this, first.this)
        place = [node for node in tree.walk()].index(first.this)
        [node for node in copied.walk()][place].replace(joins[0].this.copy())
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
    """x IN (SELECT y FROM …) as x IN (SELECT y FROM (SELECT y AS v FROM …) WHERE v = x): a subquery of another shape."""
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


def golds(data: Path, most: int, draw: random.Random) -> list[tuple[str, str]]:
    found = []
    for name in ("dev.json.gz", "train_spider_syn.json.gz"):
        with gzip.open(data / name, "rt", encoding="utf-8") as file:
            rows = list(dict.fromkeys((row["db_id"], row["query"]) for row in json.load(file)))
        draw.shuffle(rows)
        found += rows
    return found[:most]


def measure(
    found: Sequence[tuple[str, str]], files: dict[str, Path], columns: dict[str, Columns], options: argparse.Namespace
) -> dict[str, Any]:
    draw = random.Random(options.seed)
    rules = {"bird_ex": ("bird_ex", 0), "spider_ts": ("spider_ts", 0), "strict": ("strict", 0)}
    rules |= {f"strict + {k}": ("strict", k) for k in (3, 12)}
    passed: dict[str, Counter[str]] = defaultdict(Counter)
    refused: dict[str, Counter[str]] = defaultdict(Counter)
    kinds: Counter[str] = Counter()
    same: Counter[str] = Counter()
    equivalent, odd = 0, []
    with Sandbox(2, Limits(seconds=2.0)) as sandbox:
        for name, gold in found:
            file = files[name]
            try:
                tree = sqlglot.parse_one(gold, dialect="sqlite")
            except sqlglot.errors.SqlglotError:
                continue
            if not sandbox.run(file, gold).ok:
                continue
            judged = copies(file, 12, options.copies)
            mutants: dict[str, Change] = {
                "operator": operator, "condition": condition, "column": column(columns[name]), "aggregate": aggregate,
                "order": order, "distinct": distinct, "join": join,
            }  # fmt: skip
            for kind, change in mutants.items():
                texts = list(dict.fromkeys(t.sql("sqlite") for t in change(tree, draw)))
                for text in draw.sample(texts, min(len(texts), 1)):
                    if not sandbox.run(file, text).ok:
                        continue  # a mutant that fails is told apart by anybody
                    verdicts = {
                        rule: judge_all(sandbox, [file, *judged[:k]], gold, text, semantics).name == "match"
                        for rule, (semantics, k) in rules.items()
                    }
                    if verdicts["strict + 12"]:
                        witnesses = copies(file, options.witnesses, options.copies, seed=1)
                        if judge_all(sandbox, witnesses, gold, text).name == "match":
                            equivalent += 1
                            continue
                    kinds[kind] += 1
                    for rule, match in verdicts.items():
                        passed[rule][kind] += match
            if not fixed(tree):
                continue
            for kind, change in REWRITES.items():
                texts = list(dict.fromkeys(t.sql("sqlite") for t in change(tree, draw)))
                for text in draw.sample(texts, min(len(texts), 1)):
                    ran = sandbox.run(file, text)
                    if not ran.ok or judge(sandbox, file, gold, gold).name != "match":
                        continue
                    same[kind] += 1
                    for rule, (semantics, k) in rules.items():
                        verdict = judge_all(sandbox, [file, *judged[:k]], gold, text, semantics)
                        if verdict.name != "match":
                            refused[rule][kind] += 1
                            if rule == "strict + 12":
                                odd.append({"kind": kind, "gold": gold, "rewrite": text, "why": verdict.why})
    n, m = sum(kinds.values()), sum(same.values())
    table = {}
    for rule in rules:
        wrong, right = sum(passed[rule].values()), sum(refused[rule].values())
        table[rule] = {
            "mutants_passed": wrong, "share": wrong / n, "ci": proportion_interval(wrong, n),
            "by_kind": {k: f"{passed[rule][k]}/{kinds[k]}" for k in kinds},
            "rewrites_refused": right, "refused_share": right / m, "refused_ci": proportion_interval(right, m),
            "refused_by_kind": {k: f"{refused[rule][k]}/{same[k]}" for k in same},
        }  # fmt: skip
    return {"golds": len(found), "mutants": n, "equivalent": equivalent, "rewrites": m, "rules": table, "refused": odd}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dev.json.gz and databases.zip")
    parser.add_argument("--golds", type=int, default=800)
    parser.add_argument("--witnesses", type=int, default=40, help="further copies that show a mutant to be different")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        options.copies = Path(scratch) / "copies"
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
        found = measure([(db, sql) for db, sql in wanted if db in files], files, columns, options)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['mutants']} mutants ({found['equivalent']} equivalent left out), {found['rewrites']} rewrites")
    for rule, row in found["rules"].items():
        print(
            f"{rule:12} passes {100 * row['share']:4.1f}% of mutants, refuses {100 * row['refused_share']:4.2f}% of rewrites"
        )


if __name__ == "__main__":
    main()
