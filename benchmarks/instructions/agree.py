"""How often `instructions/followed` and lm-eval's own checker decide alike, answer by answer.

    pip install lm-eval langdetect nltk immutabledict    # and nltk's data punkt_tab
    python benchmarks/instructions/agree.py --data $TAO_HUB_DATA [--answers 20]

Each prompt of IFEval with so many answers that models gave to AlpacaEval's instructions, some of them written large or
small, quoted, titled, divided or cut (seed 0): they follow an instruction by chance only, which is all that comparing
checkers needs. langdetect has a fixed seed on both sides. Prints a JSON object: pairs, equal verdicts of prompt-level
strict and loose, verdicts that differ by kind of instruction, and how near the counts of sentences are.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections import Counter
from pathlib import Path

import langdetect
from lm_eval.tasks.ifeval import instructions_util, utils
from tao_reward_instructions.checks import follows
from tao_reward_instructions.followed import Followed, instructions_of
from tao_reward_instructions.suites import IFEval
from tao_reward_instructions.text import count_sentences

import tao_hub


def answers(data: Path) -> list[str]:
    found = set()
    for file in sorted((data / "alpaca_eval").glob("*annotations.json.gz")):
        for row in json.loads(gzip.decompress(file.read_bytes())):
            found |= {row["output_1"], row["output_2"]}
    return sorted(found)


def varied(text: str, rng: random.Random) -> str:
    """The answer, or one that has more of what instructions ask for."""
    changes = (
        str.upper, str.lower, '"{}"'.format, "<<A title>>\n{}".format, "{}\nP.S. More soon.".format,
        lambda t: t.replace("\n\n", "\n***\n"), lambda t: f"{t[: len(t) // 2]}\n******\n{t[len(t) // 2 :]}",
        lambda t: "My answer is no.",
    )  # fmt: skip
    return rng.choice(changes)(text) if rng.random() < 0.6 else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds ifeval and alpaca_eval")
    parser.add_argument("--answers", type=int, default=20, help="for each prompt")
    options = parser.parse_args()
    langdetect.DetectorFactory.seed = 0
    rng, texts, reward = random.Random(0), answers(options.data), Followed()
    same, differ, kinds = Counter[str](), Counter[str](), Counter[str]()
    for prompt in IFEval(IFEval.Options(path=str(options.data / "ifeval"))).prompts("test"):
        asked = instructions_of(prompt)
        given = utils.InputExample(1, [k for k, _ in asked], prompt.text, [dict(o) for _, o in asked])
        for text in (varied(t, rng) for t in rng.sample(texts, options.answers)):
            strict = utils.test_instruction_following_strict(given, text)
            loose = utils.test_instruction_following_loose(given, text)
            (score,) = reward.score_batch([(prompt, tao_hub.Candidate(prompt.digest, text))])
            same["pairs"] += 1
            same["strict"] += score.parts["all"] == strict.follow_all_instructions
            same["loose"] += score.parts["loose"] == loose.follow_all_instructions
            for (kind, kwargs), verdict in zip(asked, strict.follow_instruction_list):
                kinds["all"] += 1
                kinds["followed"] += verdict
                differ[kind] += follows(kind, text, kwargs) != verdict
    counts = [count_sentences(t) - instructions_util.count_sentences(t) for t in rng.sample(texts, 800)]
    sentences = {"texts": len(counts), "equal": counts.count(0), "within one": sum(abs(c) <= 1 for c in counts)}
    differ = +differ
    print(json.dumps({**same, "instructions": kinds, "differing": differ, "sentences": sentences}, indent=1))


if __name__ == "__main__":
    main()
