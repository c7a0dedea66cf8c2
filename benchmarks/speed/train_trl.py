"""Speed of `trl/best-of-n` as it comes against TRL's SFTTrainer as it comes, on the same examples, in the same run.

    python benchmarks/speed/train_trl.py [--model smollm2] [--examples 48] [--repeats 2] [--batch 8] [--clock cpu]

An example is what *inbox* asks: a system prompt of about 95 tokens that all share, a message of about 80 and an answer
of about 60. Both sides see every example once in batches of the same size, without gradient checkpointing (SFTTrainer
would take it by default, and be slower). Loading and saving are not counted. Tokens are those of whole examples, as
SFTTrainer computes them, on both sides. The best of the repeats counts. `--clock cpu` counts the processor's seconds
instead of the wall's, for a machine that others use. Prints one JSON object, with the loss on other examples after.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import torch
import transformers
from clock import Clock
from datasets import Dataset
from tao_train_trl import checkpoint, sft
from tao_train_trl.best_of_n import BestOfN
from tao_train_trl.examples import Pair, stop_token, tokenize
from tao_train_trl.policy import open_policy
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

import tao_hub
from tao_hub import Message, Ref

SYSTEM = """Read the customer's message and answer with one JSON record and nothing else. Its fields are: customer \
(the name of who writes), order (its id as written), product, quantity (a number), date (year-month-day), problem \
(late, broken, wrong, refund or other). Copy what the message says; a field that it does not mention is null. \
Never explain, never add fields, keep this order."""
FILLER = (  # noqa: SIM905
    "parcel invoice number missing wrong size color thanks regards delivery address changed again waiting reply photo "
    "attached box since then nobody answered the phone and my neighbour says it never came near our street at all"
).split()
NAMES = ("Paula Smith", "Omar Haddad", "Ines Duarte", "Tom Becker", "Yuki Mori", "Anna Kowalska")
PRODUCTS = ("red lamp", "kettle", "garden chair", "desk", "blue mug", "wall clock")
PROBLEMS = ("late", "broken", "wrong", "refund", "other")


def make_pairs(count: int, seed: int) -> list[Pair]:
    draw = random.Random(seed)
    pairs = []
    for _ in range(count):
        record = {
            "customer": draw.choice([*NAMES, None]),
            "order": f"A-{draw.randint(1000, 9999)}",
            "product": draw.choice(PRODUCTS),
            "quantity": draw.randint(1, 9),
            "date": f"2024-0{draw.randint(1, 9)}-{draw.randint(10, 28)}",
            "problem": draw.choice(PROBLEMS),
        }
        said = [f"{key} {value}" for key, value in record.items() if value is not None]
        words = [*draw.choices(FILLER, k=draw.randint(15, 45)), *said]
        draw.shuffle(words)
        messages = (Message("system", SYSTEM), Message("user", " ".join(words)))
        pairs.append(Pair(messages, json.dumps(record)))
    return pairs


def train_ours(path: str, pairs: list[Pair], batch: int, clock: Clock, work: Path) -> object:
    options = BestOfN.Options(epochs=1, batch_size=batch, device="cpu")
    trainer = BestOfN(options)
    opened = open_policy(Ref("hf/causal-lm", {"model": path}), options)
    rows, _ = trainer.rows(opened, pairs)
    model, _ = trainer.fit(opened, rows, work, clock, "")
    return model.merge_and_unload() if options.lora_rank else model


def train_plain(path: str, pairs: list[Pair], batch: int, clock: Clock, work: Path) -> object:
    config = SFTConfig(
        str(work), num_train_epochs=1, per_device_train_batch_size=batch, gradient_checkpointing=False, use_cpu=True,
        report_to="none", save_strategy="no", disable_tqdm=True, max_length=2048, learning_rate=1e-4,
    )  # fmt: skip
    model, tokenizer, _ = checkpoint.load(path, None, "float32")
    chats = [[{"role": m.role, "content": m.content} for m in pair.messages] for pair in pairs]
    answers = [[{"role": "assistant", "content": pair.response}] for pair in pairs]
    data = Dataset.from_dict({"prompt": chats, "completion": answers})
    trainer = SFTTrainer(model, config, train_dataset=data, processing_class=tokenizer, callbacks=[clock])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.model


@torch.no_grad()
def loss_on(model: object, path: str, pairs: list[Pair]) -> float:
    """Mean negative log-likelihood per answer token, in nats."""
    tokenizer = checkpoint.load(path, None, "float32")[1]
    rows, _ = tokenize(tokenizer, pairs, stop_token(tokenizer, model.generation_config), 2048)
    total = count = 0.0
    for row in rows:
        ids, labels = (torch.tensor([row[key]]) for key in ("input_ids", "labels"))
        loss, n = sft.completion_loss(model.eval(), ids, torch.ones_like(ids), labels)
        total, count = total + float(loss), count + n
    return total / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--examples", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    now = time.process_time if args.clock == "cpu" else time.perf_counter
    path = tao_hub.model_path(args.model)
    pairs, others = make_pairs(args.examples, 0), make_pairs(16, 1)
    tokenizer = checkpoint.load(path, None, "float32")[1]
    rows, _ = tokenize(tokenizer, pairs, tokenizer.eos_token_id, 2048)
    tokens = sum(len(row["input_ids"]) for row in rows)
    result: dict[str, object] = {
        "tokens": tokens,
        "tokens_per_example": round(tokens / len(rows)),
        "threads": torch.get_num_threads(),
    }
    for name, train in (("ours", train_ours), ("plain", train_plain)):
        best = float("inf")
        for _ in range(args.repeats):
            clock = Clock(now)
            with tempfile.TemporaryDirectory() as work:
                model = train(path, pairs, args.batch, clock, Path(work))
            best = min(best, clock.seconds)
        result[name] = {"tokens_per_second": round(tokens / best), "loss": round(loss_on(model, path, others), 4)}
    result["ratio"] = round(result["ours"]["tokens_per_second"] / result["plain"]["tokens_per_second"], 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
