"""Speed of `hf/causal-lm` against plain `transformers.generate`: same checkpoint, prompts, sampling, machine and run.

    python benchmarks/speed/generate.py [--model backoffice] [--prompts 500] [--samples 16] [--dtype float32] [--json]
    python benchmarks/speed/generate.py --model smollm2 --prompts 32 --samples 4 --new 60 --full
    python benchmarks/speed/generate.py --quick

"backoffice" is the small policy that `tao-hub quickstart --suite backoffice` tunes, with the suite's prompts; another
model gets chats of a shared system prompt (400 tokens) and messages of about 100. Answers end where they end; with
`--full` each has exactly `--new` tokens. Plain is `generate(num_return_sequences=…)`, left-padded, longest first, with
the fastest of the batch sizes in `--rows`. The sides take turns; the medians of the repeats count, and a token counts
once, up to the one that ends its answer.

Beside it: the matrix products' ceiling (what this many threads give to large products, over two operations per weight
and token; sides that compute what samples share only once may pass it); the largest difference of our samples'
log-probabilities from a teacher-forced pass of the plain model; and whether both sides write answers of like lengths
and first tokens (two-sample tests, pooled over the prompts; p below 0.001 would say they do not).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import Counter
from typing import Any

import torch
from tao_generate_hf import decode, loading, models
from tao_generate_hf.batching import Row
from tao_generate_hf.generator import CausalLM, render

import tao_hub

WORDS = (  # noqa: SIM905
    "the order lamp kettle arrived broken late please refund customer Monday parcel blue three invoice number "
    "missing wrong size color thanks regards delivery address changed again waiting reply photo attached box"
).split()
EXAMPLE = """
Message: Hi, this is Paula Smith. The two garden chairs of order B-{number} came without screws on 3 May.
Answer: {{"customer": "Paula Smith", "order": "B-{number}", "product": "garden chair", "quantity": 2}}
"""
Prompts = list[tao_hub.Prompt]
Written = list[list[int]]  # token ids of each sample, up to the one that ends it


def make_prompts(count: int) -> Prompts:
    """`count` chats: the same system prompt of about 400 tokens, messages of 60 to 140."""
    draw = random.Random(0)
    system = "Answer with one JSON record: customer, order, product, quantity." + "".join(
        EXAMPLE.format(number=1000 + i) for i in range(5)
    )
    found = []
    for i in range(count):
        text = " ".join(draw.choice(WORDS) for _ in range(draw.randint(50, 110))) + f" order A-{1000 + i}"
        found.append(tao_hub.Prompt((tao_hub.Message("system", system), tao_hub.Message("user", text))))
    return found


def open_task(name: str, count: int) -> tuple[str, Prompts]:
    """The checkpoint and the prompts that a name stands for."""
    if name != "backoffice":
        return str(models.resolve(name)), make_prompts(count)
    from tao_demo.office.suite import TINY, Backoffice

    return str(TINY), list(Backoffice().prompts("prompts"))[:count]


class Ours:
    """`hf/causal-lm`, and the rows it decoded in its last call."""

    def __init__(self, path: str, args: argparse.Namespace) -> None:
        self.generator = CausalLM(CausalLM.Options(model=path, dtype=args.dtype, device="cpu"))
        if args.full:
            self.generator.stops = frozenset()
        self.rows: list[Row] = []
        write = decode._append

        def kept(row: Row, *rest: Any) -> None:  # completions hold the text, not the ids
            write(row, *rest)
            if row.finish_reason:
                self.rows.append(row)

        decode._append = kept

    def run(self, prompts: Prompts, args: argparse.Namespace, seed: int) -> float:
        self.rows.clear()
        requests = [tao_hub.Request(prompt, args.samples, i) for i, prompt in enumerate(prompts)]
        started = args.now()
        done = dict(self.generator.generate(requests, tao_hub.Sampling(1.0, args.new, seed=seed)))
        seconds = args.now() - started
        broken = next((found for found in done.values() if isinstance(found, Exception)), None)
        if broken:
            raise broken
        return seconds


def run_plain(
    model: Any, tokenizer: Any, prompts: Prompts, args: argparse.Namespace, rows: int, stops: list[int]
) -> tuple[Written, float]:
    """Batches of `rows` samples through `generate`, left-padded, longest first."""
    started = args.now()
    texts = sorted((render(tokenizer, prompt.messages) for prompt in prompts), key=len, reverse=True)
    outs, size = [], max(1, rows // args.samples)
    for start in range(0, len(texts), size):
        batch = tokenizer(
            texts[start : start + size], return_tensors="pt", padding=True, padding_side="left",
            add_special_tokens=False,
        )  # fmt: skip
        least = {"min_new_tokens": args.new} if args.full else {}
        out = model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=True, top_k=0, top_p=1.0,
            temperature=1.0, num_return_sequences=args.samples, max_new_tokens=args.new, eos_token_id=stops, **least,
        )  # fmt: skip
        outs.append(out[:, batch["input_ids"].shape[1] :])
    seconds = args.now() - started
    written = []
    for ids in (row for out in outs for row in out.tolist()):
        end = next((i + 1 for i, token in enumerate(ids) if token in stops and not args.full), len(ids))
        written.append(ids[:end])
    return written, seconds


@torch.inference_mode()
def difference(model: Any, rows: list[Row], most: int = 64) -> float:
    """Largest |log p| difference of some rows from a teacher-forced pass of the plain model, each row alone."""
    worst = 0.0
    for row in random.Random(0).sample(rows, min(most, len(rows))):
        ids = torch.tensor([row.context])
        logits = model(ids).logits[0, len(row.prompt) - 1 : -1].float()
        expected = logits.log_softmax(-1).gather(-1, torch.tensor(row.tokens)[:, None])[:, 0]
        worst = max(worst, float((expected - torch.tensor(row.logprobs)).abs().max()))
    return worst


def same_distribution(ours: Written, plain: Written) -> dict[str, float]:
    """p of two-sample tests: Kolmogorov–Smirnov on lengths, chi-square on first tokens (rare ones together)."""
    from scipy import stats

    lengths = stats.ks_2samp([len(ids) for ids in ours], [len(ids) for ids in plain]).pvalue
    counts = [Counter(ids[0] for ids in side) for side in (ours, plain)]
    common = [token for token, n in (counts[0] + counts[1]).most_common() if n >= 10]
    table = [[c[token] for token in common] + [sum(c.values()) - sum(c[t] for t in common)] for c in counts]
    columns = [column for column in zip(*table) if sum(column)]
    first = stats.chi2_contingency([list(row) for row in zip(*columns)]).pvalue if len(columns) > 1 else 1.0
    return {"lengths_p": round(float(lengths), 4), "first_tokens_p": round(float(first), 4)}


def ceiling(model: Any, now: Any) -> tuple[float, float]:
    """(GFLOP/s of large products in the model's dtype, tokens/s they would give with two operations per weight)."""
    a, b = (torch.randn(1024, 1024).to(model.dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    best = 0.0
    for _ in range(5):
        started = now()
        for _ in range(10):
            a @ b
        best = max(best, 10 * 2 * 1024**3 / (now() - started) / 1e9)
    inner = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    weights = inner + model.get_output_embeddings().weight.numel()
    return best, best * 1e9 / (2 * weights)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    path, prompts = open_task(args.model, args.prompts)
    ours = Ours(path, args)
    plain, tokenizer = loading.load(models.resolve(path), None, args.dtype, "cpu")
    stops = sorted(loading.stop_tokens(plain, tokenizer))
    some = prompts[: max(2, len(prompts) // 8)]
    torch.manual_seed(0)
    ours.run(some[:2], args, 0)
    trial = {rows: run_plain(plain, tokenizer, some, args, rows, stops) for rows in args.rows}
    rows = max(trial, key=lambda rows: sum(map(len, trial[rows][0])) / trial[rows][1])
    speeds: dict[str, list[float]] = {"ours": [], "plain": []}
    for repeat in range(args.repeats):
        seconds = ours.run(prompts, args, repeat)
        speeds["ours"].append(sum(len(row.tokens) for row in ours.rows) / seconds)
        written, seconds = run_plain(plain, tokenizer, prompts, args, rows, stops)
        speeds["plain"].append(sum(map(len, written)) / seconds)
    gflops, most = ceiling(plain, args.now)
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    contexts = {row.prompt + tuple(row.tokens[:i]) for row in ours.rows for i in range(len(row.tokens))}
    tokens = [row.tokens for row in ours.rows]
    return {
        "ours_tokens_per_second": round(medians["ours"]), "plain_tokens_per_second": round(medians["plain"]),
        "ratio": round(medians["ours"] / medians["plain"], 2),
        "ceiling_tokens_per_second": round(most), "ceiling_gflops": round(gflops),
        "logprob_difference": difference(plain, ours.rows), **same_distribution(tokens, written),
        "tokens": sum(map(len, tokens)), "distinct_contexts": len(contexts), "plain_rows": rows,
        "all": {name: [round(v) for v in found] for name, found in speeds.items()},
        "model": args.model, "prompts": len(prompts), "samples": args.samples, "new_tokens": args.new,
        "dtype": args.dtype, "threads": torch.get_num_threads(), "clock": args.clock, "torch": torch.__version__,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="backoffice", help="backoffice, or what hf/causal-lm takes")
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--new", type=int, default=100, help="most new tokens")
    parser.add_argument("--full", action="store_true", help="every answer has --new tokens, wherever it would end")
    parser.add_argument("--dtype", default="float32", choices=loading.DTYPES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 128, 256], help="plain's batches: the best counts")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of both sides (default: torch's choice)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: for a machine that others use")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help="12 prompts × 8, once: does it run, are the equalities so")
    args = parser.parse_args()
    if args.quick:
        args.prompts, args.samples, args.repeats, args.rows = min(args.prompts, 12), min(args.samples, 8), 1, [64]
    if args.threads:
        torch.set_num_threads(args.threads)
    args.now = time.process_time if args.clock == "cpu" else time.perf_counter
    result = measure(args)
    if args.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:26} {value}")


if __name__ == "__main__":
    main()
