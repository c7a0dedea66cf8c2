"""Speed of reward models: our scoring beside a plain transformers loop, our training beside TRL's RewardTrainer.

    python benchmarks/speed/reward_model.py [--model tiny] [--pairs 2000] [--rows 800] [--repeats 3] [--json]
    python benchmarks/speed/reward_model.py --model minilm --pairs 400 --rows 160
    python benchmarks/speed/reward_model.py --only grouped --group 8 --prompt-words 60
    python benchmarks/speed/reward_model.py --quick

"tiny" is a Llama of 1.9 million parameters (the backoffice policy with a drawn head); others are what `tao-hub
train-reward --base` takes. Texts are drawn: prompts of 8 to 60 words with four responses each whose lengths spread
like those of real ones (log-normal), none over-long. **Scoring**: text pairs to scores, tokenization included; plain is
the loop of a model card: batches of `--batch` in the order given, padded to their longest. **Grouped** (decoders): the
same with `--group` responses a prompt, which read it once; beside the plain loop, our own way with each text whole
(`alone`). **Training**: tokenized
pairs (the words of the better response tell it), one pass, the same optimizer and schedule; TRL with its own collation,
without gradient checkpointing, as ours, and in the same precision (its default is bfloat16 products, too, which ours
are where the processor has them). The sides take turns; the medians of the repeats count. Beside
them: the largest difference of scores, and the loss on held-out pairs before and after both trainings.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from clock import Clock
from tao_reward_model.encoder import half
from tao_reward_model.trained import bases, folder
from tao_reward_model.trained.fit import RATES, WARMUP, Item, fit
from tao_reward_model.trained.forward import logits
from tao_reward_model.trained.layout import Layout, Tokens
from tao_reward_model.trained.options import TrainOptions
from tao_reward_model.trained.scorer import Scorer
from transformers import PrinterCallback

from tao_hub import Message

WORDS = (  # noqa: SIM905
    "list the employees order by salary count name city total average when who is paid most sold stock late group "
    "number product customer region date hired before after how many does each have of in with more than"
).split()
GOOD, BAD = "select", "missing"
CANDIDATES = 4
Pairs = list[tuple[list[Message], str]]


def text(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(WORDS, k=count))


def make_pairs(count: int, longest: int, seed: int, group: int = CANDIDATES, asked: int = 60) -> Pairs:
    """Prompts of 8 to `asked` words with `group` responses each, side by side; a text has at most `longest` words."""
    draw = random.Random(seed)
    pairs = []
    while len(pairs) < count:
        prompt = [Message("user", text(draw, draw.randint(8, min(asked, longest))))]
        for _ in range(group):
            pairs.append((prompt, text(draw, min(longest, max(3, round(draw.lognormvariate(3.0, 0.8)))))))
    return pairs[:count]


def make_items(layout: Layout, tokenizer: Any, count: int, longest: int, seed: int) -> list[Item]:
    """Tokenized preferences; without segment ids, which TRL does not give either."""
    draw, items = random.Random(seed), []
    for i, (prompt, response) in enumerate(make_pairs(count, longest, seed)):
        words = response.split()
        sides = []
        for mark in (GOOD, BAD):
            several = [draw.choice([mark, GOOD, BAD]) if draw.random() < 0.3 else word for word in words]
            sides.append(" ".join([*several, mark] if i % 8 else several))
        items.append(Item(tuple(Tokens(layout.encode(tokenizer, prompt, s).ids) for s in sides), (1.0, 0.0)))
    return items


def save(name: str, out: Path, longest: int) -> tuple[Any, Any, Layout]:
    """A reward model's folder with a drawn head; returns the model, its tokenizer, its layout."""
    model, tokenizer = bases.load_base(name, 0)
    kind = "segments" if bases.is_encoder(model) else "chat" if tokenizer.chat_template else "plain"
    layout = Layout(kind, min(longest, bases.longest(model)))
    with bases.quiet():
        model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    folder.write_contract(out, folder.Contract(layout=kind, max_length=layout.max_length, base=name))
    return model.eval(), tokenizer, layout


@torch.inference_mode()
def score_plain(model: Any, tokenizer: Any, kind: str, pairs: Pairs, batch: int) -> list[float]:
    found: list[float] = []
    for start in range(0, len(pairs), batch):
        some = pairs[start : start + batch]
        if kind == "segments":
            given: list[Any] = [[prompt[0].content for prompt, _ in some], [response for _, response in some]]
        elif kind == "chat":
            turns = [
                [{"role": "user", "content": p[0].content}, {"role": "assistant", "content": r}] for p, r in some
            ]
            given = [tokenizer.apply_chat_template(turns, tokenize=False)]
        else:
            given = [[f"{p[0].content}\n\n{r}{tokenizer.eos_token or ''}" for p, r in some]]
        inputs = tokenizer(*given, padding=True, return_tensors="pt", add_special_tokens=kind == "segments")
        known = {k: v for k, v in inputs.items() if kind == "segments" or k != "token_type_ids"}
        found += model(**known).logits[:, 0].tolist()
    return found


def train_ours(name: str, items: Sequence[Item], args: argparse.Namespace, work: Path, clock: Clock) -> Any:
    options = TrainOptions(base=name, batch_size=args.batch, device="cpu")
    return fit(bases.load_base(name, 0)[0], items, options, 0, work, clock, "")[0]


def train_trl(name: str, items: Sequence[Item], args: argparse.Namespace, work: Path, clock: Clock) -> Any:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    model, tokenizer = bases.load_base(name, 0)
    rate = RATES["encoder" if bases.is_encoder(model) else "decoder"]
    config = RewardConfig(
        str(work), num_train_epochs=1, learning_rate=rate, lr_scheduler_type="linear", max_grad_norm=1.0,
        warmup_steps=math.ceil(WARMUP * len(items) / args.batch), per_device_train_batch_size=args.batch,
        weight_decay=0.01, center_rewards_coefficient=0.01, use_cpu=True, bf16=half(), gradient_checkpointing=False,
        max_length=None, report_to="none", save_strategy="no", disable_tqdm=True, seed=0, logging_steps=1,
    )  # fmt: skip
    rows = [{"chosen_ids": i.tokens[0].ids, "rejected_ids": i.tokens[1].ids} for i in items]
    data = Dataset.from_list(rows)
    trainer = RewardTrainer(model, config, train_dataset=data, processing_class=tokenizer, callbacks=[clock])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.model.eval()


def loss_on(model: Any, items: Sequence[Item]) -> float:
    """Mean Bradley–Terry loss in nats."""
    found = logits(model, [t for item in items for t in item.tokens])[:, 0].view(-1, 2)
    return float(-torch.nn.functional.logsigmoid(found[:, 0] - found[:, 1]).mean())


def scoring(args: argparse.Namespace, name: str, work: Path) -> dict[str, Any]:
    model, tokenizer, layout = save(name, work, args.longest)
    pairs = make_pairs(args.pairs, args.words, 0)
    scorer = Scorer(work, device="cpu")
    scorer.score(pairs[:8]), score_plain(model, tokenizer, layout.kind, pairs[:8], 8)
    speeds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(args.repeats):
        started = args.now()
        raw = scorer.score(pairs)
        speeds["ours"].append(len(pairs) / (args.now() - started))
        started = args.now()
        plain = score_plain(model, tokenizer, layout.kind, pairs, args.batch)
        speeds["plain"].append(len(pairs) / (args.now() - started))
    if raw.cut.any():
        raise SystemExit(f"{int((raw.cut > 0).sum())} texts do not fit into {layout.max_length} tokens: lower --words")
    medians = {side: statistics.median(found) for side, found in speeds.items()}
    return {
        "scored_per_second": round(medians["ours"], 1), "plain_scored_per_second": round(medians["plain"], 1),
        "scoring_ratio": round(medians["ours"] / medians["plain"], 2),
        "score_difference": float(abs(raw.logits[:, 0] - plain).max()), "layout": layout.kind,
    }  # fmt: skip


def grouped(args: argparse.Namespace, name: str, work: Path) -> dict[str, Any]:
    """Several responses a prompt: read once, each text whole, and the plain loop; {} for encoders, which cannot."""
    model, tokenizer, layout = save(name, work, args.longest)
    if bases.is_encoder(model):
        return {}
    longest = max(args.words, args.prompt_words)
    pairs = make_pairs(args.pairs // args.group * args.group, longest, 0, args.group, args.prompt_words)
    scorer = Scorer(work, device="cpu")
    ways = {
        "ours": lambda some: scorer.score(some).logits[:, 0].tolist(),
        "alone": lambda some: logits(scorer.models[0], layout.encode_all(scorer.tokenizer, some))[:, 0].tolist(),
        "plain": lambda some: score_plain(model, tokenizer, layout.kind, some, args.batch),
    }
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    found: dict[str, list[float]] = {}
    for repeat in range(args.repeats + 1):
        for way, score in ways.items():
            started = args.now()
            found[way] = score(pairs if repeat else pairs[: args.group])  # the first is for warming up
            if repeat:
                speeds[way].append(len(pairs) / (args.now() - started))
    medians = {way: statistics.median(values) for way, values in speeds.items()}
    return {
        "grouped_per_second": round(medians["ours"], 1), "grouped_alone_per_second": round(medians["alone"], 1),
        "grouped_plain_per_second": round(medians["plain"], 1),
        "grouped_ratio": round(medians["ours"] / medians["plain"], 2),
        "grouped_over_alone": round(medians["ours"] / medians["alone"], 2),
        "grouped_difference": max(abs(a - b) for a, b in zip(found["ours"], found["plain"])), "group": args.group,
    }  # fmt: skip


def training(args: argparse.Namespace, name: str, work: Path) -> dict[str, Any]:
    model, tokenizer = bases.load_base(name, 0)
    kind = "segments" if bases.is_encoder(model) else "chat" if tokenizer.chat_template else "plain"
    layout = Layout(kind, min(args.longest, bases.longest(model)))
    items = make_items(layout, tokenizer, args.rows, args.words, 1)
    others = make_items(layout, tokenizer, max(32, args.rows // 4), args.words, 2)
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "trl": []}
    for repeat in range(args.repeats):
        for side, train in (("ours", train_ours), ("trl", train_trl)):
            clock = Clock(args.now)
            trained = train(name, items, args, work / f"{side}-{repeat}", clock)
            found[side].append((len(items) / clock.seconds, loss_on(trained, others)))
    speeds = {side: statistics.median(speed for speed, _ in runs) for side, runs in found.items()}
    return {
        "trained_per_second": round(speeds["ours"], 1), "trl_trained_per_second": round(speeds["trl"], 1),
        "training_ratio": round(speeds["ours"] / speeds["trl"], 2),
        "loss_before": round(loss_on(model.eval(), others), 4),
        "loss": round(found["ours"][-1][1], 4), "trl_loss": round(found["trl"][-1][1], 4),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--pairs", type=int, default=2000, help="scored")
    parser.add_argument("--rows", type=int, default=800, help="preferences trained on")
    parser.add_argument("--group", type=int, default=8, help="responses a prompt of the grouped case")
    parser.add_argument("--prompt-words", type=int, default=60, help="of the longest prompt of the grouped case")
    parser.add_argument("--only", choices=("scoring", "grouped", "training"), help="one of the three cases")
    parser.add_argument("--words", type=int, default=0, help="of the longest text (default: 40, 120 but for tiny)")
    parser.add_argument("--longest", type=int, default=512, help="tokens of a prompt and a response")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: for a machine that others use")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help="small, once: does it run, are the equalities so")
    args = parser.parse_args()
    if args.quick:
        args.pairs, args.rows, args.repeats, args.batch = 48, 96, 1, 16
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    args.now = time.process_time if args.clock == "cpu" else time.perf_counter
    args.words = args.words or (40 if args.model == "tiny" else 120)
    name = args.model
    if name == "tiny":
        from tao_demo.office.suite import TINY

        name = str(TINY)
    with tempfile.TemporaryDirectory() as work:
        result: dict[str, Any] = {}
        for case in (scoring, grouped, training):
            if args.only in (None, case.__name__):
                result |= case(args, name, Path(work) / case.__name__)
    result |= {"model": args.model, "pairs": args.pairs, "rows": args.rows, "batch": args.batch}
    result |= {"threads": torch.get_num_threads(), "clock": args.clock}
    if args.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:24} {value}")


if __name__ == "__main__":
    main()
