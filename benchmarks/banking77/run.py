"""Bank customers' intents: SmolLM2 tuned on messages without labels, judged by a sentence encoder and by votes.

    python benchmarks/banking77/run.py --data $TAO_HUB_DATA/banking77 [--seed 0] [--prompts 1000] [--out banking77]

Data: BANKING77 (Casanueva et al. 2020, arXiv 2003.04807, CC BY 4.0). Tuning sees messages only, and a sentence for each
of the 77 intents made from its name; sentences with their names are the worked examples that show the base how to
answer. Prints a JSON object per line: the accuracy of the encoder alone (the option whose sentence is nearest, of all
77) on the same test messages and how often the prompt's shortlist holds the intent at all, and the tuned model against
the base with the plain and with a few-shot prompt, with a 95% interval and p (McNemar). Last, for each round, how many
answers it learnt from and how many of them are right; the labels are read for that only, when all is tuned.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from tao_reward_model.banking import Banking77, read
from tao_reward_model.banking_intents import DESCRIPTIONS
from tao_reward_model.choice import Choice

import tao_hub

KEPT = ("before", "after", "delta", "low", "high", "p", "gains", "losses", "n", "errors")
TOKENS = 20  # the longest name has 17


def plan(options: argparse.Namespace) -> tao_hub.Plan:
    return tao_hub.load_plan({
        "suite": "banking77", "suite_options": {"path": str(options.data), "shortlist": options.shortlist},
        "policy": "smollm2", "seed": options.seed, "prompts": options.prompts, "rounds": options.rounds,
        "max_tokens": TOKENS, "drop_overlap": True,
        "candidates": [
            # The base hardly ever writes a name, so round 1 learns what is proposed; from round 2 on there are votes.
            {"strategy": "few-shot", "n": 2, "temperature": 0.7, "max_tokens": TOKENS, "last_round": 1},
            {
                "strategy": "direct", "n": options.n, "temperature": options.temperature, "max_tokens": TOKENS,
                "first_round": 2,
            },
        ],
        "combine": [{"strategy": "embed/options"}],
        "rewards": [
            {"name": "embed/choice", "label": "choice", "gate": options.sure, "options": {"choices": DESCRIPTIONS}},
            {
                "name": "rules/consistency", "label": "votes", "weight": options.votes, "first_round": 2,
                "options": {"mode": "whole", "unheard": ["embed/options"]},
            },
        ],
        "train": {"name": "trl/best-of-n", "options": {
            "epochs": options.epochs, "learning_rate": options.learning_rate, "max_examples": options.examples,
        }},
        "eval": [{"split": "test", "limit": options.limit, "sealed": True}],
        "baselines": [{"label": "base, few-shot", "strategy": "few-shot"}],
    })  # fmt: skip


def encoder_alone(options: argparse.Namespace) -> dict[str, Any]:
    """What there is without a language model: the nearest description, and what the shortlist allows at most."""
    suite = Banking77(Banking77.Options(path=str(options.data), shortlist=options.shortlist))
    prompts = list(suite.prompts("test"))[: options.limit]
    names, choice = list(DESCRIPTIONS), Choice(Choice.Options(choices=DESCRIPTIONS))
    nearest = [names[int(cosines.argmax())] for cosines in choice.similarities([p.text for p in prompts])]
    choice.close()
    right = [near == p.reference for near, p in zip(nearest, prompts)]
    listed = [p.reference in p.messages[0].content.split("\n") for p in prompts]
    low, high = tao_hub.proportion_interval(sum(right), len(right))
    accuracy = {"accuracy": sum(right) / len(right), "low": low, "high": high, "n": len(right)}
    found = {"metric": "encoder alone", **accuracy, "intent on the shortlist": sum(listed) / len(listed)}
    whole = Banking77(Banking77.Options(path=str(options.data), shortlist=0)).prompts("test")
    return found | {"prompt tokens": tokens(prompts), "with all 77": tokens(list(islice(whole, len(prompts))))}


def learnt(session: tao_hub.Session, run: str, rounds: int, data: Path) -> Iterator[dict[str, Any]]:
    """What each round learnt from, by the labels of the messages."""
    file = next(f for f in (data / "train.csv", data / "train.csv.gz") if f.is_file())
    labels = dict(read(file))
    groups = list(tao_hub.run_groups(session, run))
    each = len(groups) // rounds
    for number in range(rounds):
        best = [(group, group.best()) for group in groups[number * each : (number + 1) * each]]
        right = [g.candidates[i].response.strip() == labels[g.prompt.text] for g, i in best if i is not None]
        yield {"round": number + 1, "messages": each, "learnt": len(right), "right": sum(right) / max(1, len(right))}


def tokens(prompts: Sequence[tao_hub.Prompt]) -> float:
    """Mean length of the prompts in SmolLM2's tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tao_hub.model_path("smollm2"))
    chats = [[{"role": m.role, "content": m.content} for m in p.messages] for p in prompts]
    texts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
    return fmean(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of train.csv[.gz] (and test.csv)")
    parser.add_argument("--out", type=Path, default=Path("banking77"), help="where the store and the report go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompts", type=int, default=1000, help="messages without labels")
    parser.add_argument("--shortlist", type=int, default=10, help="intents that a prompt lists; 0: all 77")
    parser.add_argument("--n", type=int, default=6, help="candidates a message, from round 2 on")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--sure", type=float, default=0.5, help="least probability that the encoder gives the intent")
    parser.add_argument("--votes", type=float, default=0.5, help="weight of the votes beside the encoder's probability")
    parser.add_argument("--examples", type=int, help="answers learnt from, at most: the surest")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="of the LoRA adapters")
    parser.add_argument("--limit", type=int, default=400, help="test messages")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    common = {"seed": options.seed, "labels_used": 0}
    print(json.dumps({**common, **encoder_alone(options)}), flush=True)
    with tao_hub.open_session(options.out / "tao-hub.db") as session:
        data = tao_hub.tune_and_report(session, plan(options), options.out / f"seed-{options.seed}.html", "banking77")
        found = list(learnt(session, data["run"], options.rounds, options.data))
    for delta in (d for d in data["deltas"] if d["before_label"].startswith("base")):
        row = {"metric": delta["metric"], "against": delta["before_label"], **{k: delta[k] for k in KEPT}}
        print(json.dumps({**common, **row, "seconds": data["seconds"]}), flush=True)
    for row in found:
        print(json.dumps({**common, **row}), flush=True)


if __name__ == "__main__":
    main()
