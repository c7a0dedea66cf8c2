"""Which of a small policy's candidates is right? Picking without labels, on backoffice's dev and test questions.

    python benchmarks/sql/pick.py --n 16

Draws from the shipped base policy; picks one query a question at random, by sql/consistency, by sql/schema, by both,
and by both after sql/repair; strict execution accuracy beside greedy decoding, with paired tests.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from tao_demo.office.plan import REWARDS
from tao_demo.office.suite import TINY, Backoffice

import tao_hub
from tao_hub import Candidate, Group, Prompt, Ref, Request, Sampling, Score
from tao_hub.stats import binary_delta

WEIGHT = {str(reward["label"]): float(str(reward.get("weight", 1.0))) for reward in REWARDS}


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
    match = hub.reward(Ref("sql/match", found))

    def judged(group: Group) -> Group:
        votes = consistency.score_group(group)  # type: ignore[attr-defined]
        fits = schema.score_batch([(group.prompt, c) for c in group.candidates])
        scores = tuple({"consistency": Score(value(v)), "schema": Score(value(f))} for v, f in zip(votes, fits))
        totals = tuple(Score(sum(WEIGHT[k] * value(s) for k, s in one.items())) for one in scores)
        return replace(group, scores=scores, totals=totals, rejected=("",) * len(scores))

    def right(answers: Sequence[str]) -> list[float]:
        pairs = [(p, Candidate(p.digest, answer)) for p, answer in zip(prompts, answers)]
        return [value(s) for s in match.score_batch(pairs)]

    groups, mended = [], []
    for i, prompt in enumerate(plain):
        group = judged(Group(prompt, tuple(Candidate(prompt.digest, c.text) for c in drawn[i])))
        groups.append(group)
        more = tuple(repair.combine(group))
        mended.append(judged(replace(group, candidates=group.candidates + more, scores=(), totals=(), rejected=())))

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
    }
    pairs: list[tuple[Prompt, Candidate]] = [(p, c) for p, g in zip(prompts, mended) for c in g.candidates]
    able = iter(map(value, match.score_batch(pairs)))
    each = [[next(able) for _ in g.candidates] for g in mended]
    print(f"{len(prompts)} questions, {options.n} candidates each")
    print(f"any right {sum(max(e[: options.n]) for e in each) / len(each):.1%}, "
          f"with mended ones {sum(map(max, each)) / len(each):.1%}")  # fmt: skip
    for name, hits in ways.items():
        line = f"{name:20} {sum(hits) / len(hits):.1%}"
        for other in ("greedy", "at random"):
            if name not in ("greedy", "at random"):
                d, _gains, _losses = binary_delta(ways[other], hits)
                line += f"  {other} {d.delta:+.1%} [{d.low:.1%}, {d.high:.1%}] p {d.p:.2g}"
        print(line)


if __name__ == "__main__":
    main()
