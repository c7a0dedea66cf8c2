"""Which of a small policy's candidates is right? Picking without labels, on backoffice's dev and test questions.

    python benchmarks/sql/pick.py --n 16

Draws from the shipped base policy; picks one query a question at random, by sql/consistency, by sql/schema, by both,
by both after sql/repair, and by both and sql/lexicon with what sql/compose adds before that; strict execution accuracy
beside greedy decoding, with paired tests.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from tao_demo.office.plan import LEXICON, REWARDS
from tao_demo.office.suite import TINY, Backoffice

import tao_hub
from tao_hub import Candidate, Group, Prompt, Ref, Request, Sampling, Score, Strategy
from tao_hub.stats import binary_delta

WEIGHT = {str(reward["label"]): float(str(reward.get("weight", 1.0))) for reward in (*REWARDS, LEXICON)}


def value(score: float | Score) -> float:
    """A score's number; an error is no reason to pick."""
    return float(score) if not isinstance(score, Score) else score.value or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    hub, suite = tao_hub.Hub(), Backoffice()
    prompts = [p for split in ("dev", "test") for p in suite.prompts(split)]
    plain = [p.without_reference() for p in prompts]
    generator = hub.generator(Ref("hf/causal-lm", {"model": str(TINY), "dtype": "float32"}))
    greedy = dict(generator.generate([Request(p) for p in plain], Sampling(max_tokens=100)))
    drawn = dict(generator.generate(
        [Request(p, options.n, i) for i, p in enumerate(plain)], Sampling(1.0, 100, seed=options.seed)
    ))  # fmt: skip
    found = {"workers": 2, **suite.options_for("sql/match")}
    consistency, schema = (hub.reward(Ref(f"sql/{name}", found)) for name in ("consistency", "schema"))
    repair = hub.strategy(Ref("sql/repair", suite.options_for("sql/repair")))
    compose = hub.strategy(Ref("sql/compose", suite.options_for("sql/compose")))
    lexicon = hub.reward(Ref("sql/lexicon", suite.options_for("sql/lexicon")))
    match = hub.reward(Ref("sql/match", found))

    def judged(group: Group, words: bool = False) -> Group:
        pairs = [(group.prompt, c) for c in group.candidates]
        votes = consistency.score_group(group)  # type: ignore[attr-defined]
        scores = tuple({"consistency": Score(value(v)), "schema": Score(value(f))}
                       for v, f in zip(votes, schema.score_batch(pairs)))  # fmt: skip
        if words:
            told = lexicon.score_batch(pairs)
            scores = tuple({**one, "lexicon": Score(value(score))} for one, score in zip(scores, told))
        totals = tuple(Score(sum(WEIGHT[k] * value(s) for k, s in one.items())) for one in scores)
        return replace(group, scores=scores, totals=totals, rejected=("",) * len(scores))

    def right(answers: Sequence[str]) -> list[float]:
        pairs = [(p, Candidate(p.digest, answer)) for p, answer in zip(prompts, answers)]
        return [value(s) for s in match.score_batch(pairs)]

    def grown(group: Group, strategy: Strategy, words: bool = False) -> Group:
        more = tuple(strategy.combine(group))
        return judged(replace(group, candidates=group.candidates + more, scores=(), totals=(), rejected=()), words)

    groups, mended, composed = [], [], []
    for i, prompt in enumerate(plain):
        group = judged(Group(prompt, tuple(Candidate(prompt.digest, c.text) for c in drawn[i])))
        groups.append(group)
        mended.append(grown(group, repair))
        composed.append(grown(grown(group, compose, words=True), repair, words=True))

    def pick(among: Sequence[Group], key: Callable[[Group, int], float]) -> list[str]:
        return [g.candidates[max(range(len(g.candidates)), key=lambda i: key(g, i))].response for g in among]

    def total(g: Group, i: int) -> float:
        score = g.totals[i]
        return value(score) if score is not None else 0.0

    rng = random.Random(options.seed)
    ways: dict[str, list[float]] = {
        "greedy": right([greedy[i][0].text for i in range(len(plain))]),
        "at random": right(pick(groups, lambda g, i: rng.random())),
        "by sql/consistency": right(pick(groups, lambda g, i: value(g.scores[i]["consistency"]))),
        "by sql/schema": right(pick(groups, lambda g, i: value(g.scores[i]["schema"]))),
        "by both": right(pick(groups, total)),
        "by both, mended": right(pick(mended, total)),
        "by all, composed": right(pick(composed, total)),
    }
    print(f"{len(prompts)} questions, {options.n} candidates each")
    for name, some in (("drawn", groups), ("mended", mended), ("composed", composed)):
        pairs: list[tuple[Prompt, Candidate]] = [(p, c) for p, g in zip(prompts, some) for c in g.candidates]
        able = iter(map(value, match.score_batch(pairs)))
        print(f"any right, {name}: {sum(max(next(able) for _ in g.candidates) for g in some) / len(some):.1%}")
    for name, hits in ways.items():
        line = f"{name:20} {sum(hits) / len(hits):.1%}"
        for other in ("greedy", "at random"):
            if name not in ("greedy", "at random"):
                d, _gains, _losses = binary_delta(ways[other], hits)
                line += f"  {other} {d.delta:+.1%} [{d.low:.1%}, {d.high:.1%}] p {d.p:.2g}"
        print(line)


if __name__ == "__main__":
    main()
