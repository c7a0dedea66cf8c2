"""A reward model in the loop, on *backoffice*: it learns from judged candidates of *other* questions.

    python benchmarks/sql/reward_model.py questions --out work     # other questions with queries: the labels
    python benchmarks/sql/reward_model.py train --out work [-- --loss bradley-terry …]
    python benchmarks/sql/reward_model.py back --out work          # a generative one: p(question | query)
    python benchmarks/sql/reward_model.py pick --out work          # best of 8 by it, on dev and test
    python benchmarks/sql/reward_model.py tune --out work --seeds 0 1 2 3 4
    python benchmarks/sql/reward_model.py recycle --out work       # a second one, from a tuned policy's candidates, too

`train` lets the shipped policy answer the other questions, has `sql/match` judge what it wrote, and gives the run to
`tao-hub train-reward`; `back` learns from the right ones of the same candidates, by the trainer `cycle/backward`, and
--model back uses it. Queries of dev and test are read to measure only; those of the prompts, which the grammar can
write again, say only what the other questions must not ask.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import base
import judged
from picking import against, compared, gain, mean, pairs_right, picked, value
from tao_demo import make_backoffice
from tao_demo.office.grammar import draw
from tao_demo.office.plan import MAX_TOKENS, plan
from tao_demo.office.suite import TINY, database

import tao_hub
from tao_hub import Group, Message, Prompt, Ref, Sampling, Session
from tao_hub.cli import cli

OFFICE = Ref("backoffice")
RIGHT = {"name": "sql/match", "label": "right", "options": {"semantics": "strict", "workers": 2}}
RECIPE = ["--loss", "bce", "--epochs", "2", "--learning-rate", "1e-3", "--batch-size", "16", "--max-length", "128"]
WEIGHTS = {"consistency": 1.0, "rm": 4.0, "schema": 8.0}  # recipe and weight of rm: chosen on held-out other questions
ARMS = {
    "consistency": ("consistency",), "consistency+rm": ("consistency", "rm"),
    "consistency+schema": ("consistency", "schema"), "all": ("consistency", "rm", "schema"),
}  # fmt: skip


def questions(out: Path, train: int, held: int, seed: int = 11) -> None:
    """Other questions with their queries, as a folder that `sql/folder` reads.

    None has the words, nearly the words or the query of a question of the suite, nor a composition that the seed pairs
    must not have either: the suite's test and prompts have those.
    """
    asked = judged.Asked()
    rng, repeated = random.Random(f"other/{seed}"), 0
    rows: list[dict[str, str]] = []
    with closing(sqlite3.connect(database())) as db:
        while len(rows) < train + held:
            made = draw(rng)
            if make_backoffice.unseen(made) or not make_backoffice.answerable(db, made):
                continue
            if asked.repeats(made.text, made.sql):
                repeated += 1
                continue
            asked.add(made.text)
            rows.append({"id": f"other-{len(rows):04}", "question": made.text, "query": made.sql})
    folder = Path(others(out).options["path"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(database(), folder / "backoffice.sqlite")
    for split, part in (("train", rows[:train]), ("held", rows[train:])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    print(json.dumps({"labels": {"train": train, "held": held}, "left out as repetitions": repeated}))


def others(out: Path) -> Ref:
    return Ref("sql/folder", {"path": str(out.resolve() / "other")})


def judged_run(session: Session, out: Path, policy: str, options: argparse.Namespace) -> str:
    """The run in which a policy answers the other questions and their queries judge; its update, which learns the right
    answers, is the other use of these labels: measured beside the rest."""
    like = plan(policy, rounds=1, prompts=options.train, n=options.n, lora=False, compose=False).as_dict()
    measured = [{**use, "suite": OFFICE.name, "limit": options.limit} for use in like["eval"]]
    train = {**like["train"], "min_total": 1.0}
    if policy:  # of a tuned policy only the candidates are wanted
        train["options"] = {**train["options"], "epochs": 1}
    suite = {"suite": others(out).name, "suite_options": dict(others(out).options), "split": "train"}
    asked = {**like, **suite, "rewards": [RIGHT], "train": train, "eval": measured, "allow_labels": True}
    return tao_hub.tune(session, tao_hub.load_plan(asked), command="benchmarks/sql/reward_model.py")


def with_golds(session: Session, out: Path, runs: Sequence[str], copies: int) -> list[str]:
    """The runs' questions as a source of train-reward: beside the wrong candidates the query that judged them, and
    `copies` of each question with other values."""
    if not copies:
        return []
    suite, _ = session.suite(others(out))
    golds = {p.text: str(p.reference) for p in suite.prompts("train")}
    file = out / "judged.jsonl"
    held = [p.text for p in suite.prompts("held")]
    groups = [group for run in runs for group in tao_hub.run_groups(session, run)]
    rows = judged.write(file, groups, golds, held, copies)
    print(f"{file.name}: {rows} rows of {len(golds)} labelled questions")
    return ["--data", str(file)]


def train_reward(out: Path, runs: Sequence[str], name: str, more: Sequence[str]) -> Path:
    """The command `tao-hub train-reward` itself."""
    model = out / name
    shutil.rmtree(model, ignore_errors=True)
    asked = ["--store", out / "tao-hub.db", "--out", model, "--base", TINY, "--reward", RIGHT["label"]]
    asked += ["--drop-overlap", *(text for run in runs for text in ("--from-run", run)), *RECIPE, *more]
    cli.main(["train-reward", *map(str, asked)], standalone_mode=False)
    return model


def train_back(out: Path, copies: int) -> None:
    """A model of the way back from the right candidates that `train` had judged; `copies` of each with other values."""
    rows = map(json.loads, (out / "judged.jsonl").read_text(encoding="utf-8").splitlines())
    best = [(row["prompt"], max(zip(row["scores"], row["responses"]), default=(0.0, ""))) for row in rows]
    right = [(Prompt(tuple(Message(**m) for m in told)), sql) for told, (score, sql) in best if score == 1.0]
    learned = base.varied([p for p, _ in right], [sql for _, sql in right], database(), copies, 0)
    shutil.rmtree(out / "back", ignore_errors=True)
    base.way_back(out / "back", learned, 0)
    print(f"back: {len(right)} right candidates, {len(learned)} with other values")


def opinions(model: Path) -> dict[str, Ref]:
    """Rewards by label: the model of verdicts, or that of the way back, and those that ask no model."""
    rm = Ref("model/preference", {"model": str(model.resolve()), "scale": "probability"})
    if model.name == "back":
        rm = Ref("cycle/back-translation", {"model": str(model.resolve())})
    return {"rm": rm, **{name: Ref(f"sql/{name}", {"workers": 2}) for name in ("executes", "consistency", "schema")}}


def candidates(
    session: Session, suite: Ref, split: str, policy: str, rewards: dict[str, Ref], options: argparse.Namespace
) -> list[Group]:
    """Groups of n drawn candidates and those that `sql/repair` makes of them, with scores and the verdict "right"."""
    part = session.slice(suite, split, options.limit)
    owner = session.policy(session.hub.policy(policy, {"dtype": "float32"}))
    sampling = Sampling(1.0, MAX_TOKENS, seed=100)  # fresh: no run draws with this seed
    members = [tao_hub.generate(session, part, owner, Ref("core/direct"), sampling, options.n, suite)]
    members.append(tao_hub.combine(session, part, owner, members, {}, Ref("sql/repair"), suite))
    named = {**rewards, "right": Ref(RIGHT["name"], RIGHT["options"])}
    opened = {k: tao_hub.score(session, part, members, session.reward(ref, suite)) for k, ref in named.items()}
    labels = {label: (reward.row, reward.whole_groups) for label, reward in opened.items()}
    return [group for _, group in session.store.groups(part, members, labels)]


def pick(session: Session, out: Path, options: argparse.Namespace) -> None:
    """Strict accuracy of the picked candidates; the model's (and all) against each other way, paired."""
    places = [(others(out), "held")] if options.choose else [(OFFICE, "dev"), (OFFICE, "test")]
    rewards = opinions(out / options.model)
    parts = {split: candidates(session, suite, split, str(TINY), rewards, options) for suite, split in places}
    if "test" in parts:
        parts |= judged.by_composition(parts["test"])
        parts["dev and test"] = parts["dev"] + parts["test"]
    for name, groups in parts.items():
        for mended in (False, True) if groups else ():
            compared(groups, f"{name}, best of {options.n}{', mended ones, too' * mended}", weights(options), mended)


def tune(session: Session, out: Path, options: argparse.Namespace) -> None:
    """One run per seed and arm. All arms hold all rewards, those of others with weight 0, so that they choose among the
    same drawn candidates, scored once per seed, and those that `sql/repair` makes of each arm's best ones."""
    runs: dict[str, list[str]] = {arm: [] for arm in options.arms}
    for seed in options.seeds:
        asked_for = {"prompts": options.prompts, "limit": options.limit, "n": options.n, "epochs": options.epochs,
                     "compose": False}
        like = plan(rounds=1, seed=seed, **asked_for).as_dict()
        for arm in options.arms:
            rewards = []
            for label, ref in opinions(out / options.model).items():
                weight = weights(options)[label] if label in ARMS[arm] else 0.0
                gate = 1.0 if label == "executes" else None
                use = {"name": ref.name, "label": label, "weight": weight, "gate": gate, "options": dict(ref.options)}
                rewards.append(use)
            asked = tao_hub.load_plan({**like, "rewards": rewards})
            runs[arm].append(tao_hub.tune(session, asked, command="benchmarks/sql/reward_model.py tune"))
            print(json.dumps({"seed": seed, "arm": arm, "run": runs[arm][-1]}), flush=True)
    for split in ("dev", "test", "human"):
        found = {arm: base.item_means(session, names, split) for arm, names in runs.items()}
        for arm, (before, after) in found.items():
            told = {"split": split, "arm": arm, "base": mean(before), "tuned": mean(after)}
            told |= {"over base": gain(before, after)}
            told |= {f"over {other}": gain(found[other][1], after) for other in list(found)[: list(found).index(arm)]}
            told["seeds"] = [round(mean(base.item_means(session, [name], split)[1]), 4) for name in runs[arm]]
            print(json.dumps(told), flush=True)


def recycle(out: Path, options: argparse.Namespace) -> None:
    """The model, and one that also saw a tuned policy answer the same other questions, on fresh candidates of that
    policy: pairs of a right and a wrong one, and the pick."""
    with opened(out) as session:
        tuned = tao_hub.run_report(session, options.run).data["tuned"]["policy"]
        runs = [judged_run(session, out, policy, options) for policy in ("", tuned)]
        data = with_golds(session, out, runs, options.copies)
    train_reward(out, runs, "rm-2", [*data, *options.more])
    names = (options.model, "rm-2")
    rewards = {**{name: opinions(out / name)["rm"] for name in names}, "executes": opinions(out)["executes"]}
    with opened(out) as session:
        for suite, split in ((others(out), "held"), (OFFICE, "dev")):
            groups = candidates(session, suite, split, tuned, rewards, options)
            for mended in (False, True):
                ordered = [[pairs_right(g, name, mended) for g in groups] for name in names]
                both = [(one, two) for one, two in zip(*ordered) if one is not None and two is not None]
                told = f"{split}{', mended ones, too' * mended}: {len(both)} of {len(groups)} questions with pairs"
                if both:
                    one, two = ([pair[i] for pair in both] for i in (0, 1))
                    told += f", in order {mean(one):.1%} → {mean(two):.1%} {gain(one, two)}"
                print(told)
                top = [picked(groups, value(name), mended) for name in names]
                print(f"  picked right {mean(top[0]):.1%} → {mean(top[1]):.1%} {against(*top)}", flush=True)


def weights(options: argparse.Namespace) -> dict[str, float]:
    return WEIGHTS if options.weight is None else {**WEIGHTS, "rm": options.weight}


def opened(out: Path) -> Session:
    return tao_hub.open_session(out / "tao-hub.db")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["questions", "train", "back", "pick", "tune", "recycle"])
    parser.add_argument("--out", type=Path, default=Path("backoffice-rm"))
    parser.add_argument("--train", type=int, default=1200, help="other questions that are learnt from")
    parser.add_argument("--held", type=int, default=300, help="other questions that are kept to choose by")
    parser.add_argument("--choose", action="store_true", help="pick: on those")
    parser.add_argument("--copies", type=int, default=2, help="of a labelled question, other values in; 0: runs alone")
    parser.add_argument("--model", default="rm", help="folder in --out: rm, or back")
    parser.add_argument("--weight", type=float, help=f"of the model (default: {WEIGHTS['rm']:g})")
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--prompts", type=int, default=800)
    parser.add_argument("--epochs", type=float, default=4, help="tune: of the update")
    parser.add_argument("--limit", type=int, help="only so many questions of what is measured")
    parser.add_argument("--run", default="", help="recycle: whose tuned policy; default: the newest run's")
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    options = parser.parse_args(given[:end])
    options.more = given[end + 1 :]  # options of tao-hub train-reward
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    if options.what == "questions":
        questions(out, options.train, options.held)
    elif options.what == "train":
        with opened(out) as session:
            run = judged_run(session, out, "", options)
            for split in ("dev", "test"):
                before, after = base.item_means(session, [run], split)
                told = f"{mean(before):.1%} → {mean(after):.1%} {against(before, after)}"
                print(f"the base having learnt its own right answers: {split} {told}")
            data = with_golds(session, out, [run], options.copies)
        train_reward(out, [run], options.model, [*data, *options.more])
    elif options.what == "back":
        train_back(out, options.copies)
    elif options.what == "recycle":
        recycle(out, options)
    else:
        with opened(out) as session:
            (pick if options.what == "pick" else tune)(session, out, options)


if __name__ == "__main__":
    main()
