"""Speed of `hf/causal-lm` against plain `transformers.generate` on the same prompts, in the same run.

    python benchmarks/speed/generate_hf.py [--model smollm2] [--prompts 32] [--samples 4] [--dtype auto] [--repeats 3]

The prompts are what tuning asks: a system prompt with worked examples that all share (400 tokens), a message of about
100 tokens each; every sample writes exactly `--new` tokens, so both sides do the same work. The best of the
repeats counts. Prints one JSON object.

Measured with the defaults, one thread of an AVX512-BF16 server core, other work beside it: 314 against 33 tokens/s
(9.4 times; one run).
"""

from __future__ import annotations

import argparse
import json
import random
import time

import tao_hub

WORDS = (  # noqa: SIM905
    "the order lamp kettle arrived broken late please refund customer Monday parcel blue three invoice number "
    "missing wrong size color thanks regards delivery address changed again waiting reply photo attached box"
).split()
EXAMPLE = """
Message: Hi, this is Paula Smith. The two garden chairs of order B-{number} came without screws on 3 May.
Answer: {{"customer": "Paula Smith", "order": "B-{number}", "product": "garden chair", "quantity": 2}}
"""


def make_prompts(count: int, tokenizer: object) -> list[tao_hub.Prompt]:
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


def run_ours(generator: object, prompts: list[tao_hub.Prompt], samples: int, new: int) -> tuple[int, float]:
    requests = [tao_hub.Request(prompt, samples, seed) for seed, prompt in enumerate(prompts)]
    started = time.perf_counter()
    done = dict(generator.generate(requests, tao_hub.Sampling(1.0, new)))
    return sum(c.output_tokens for answers in done.values() for c in answers), time.perf_counter() - started


def run_plain(model: object, tokenizer: object, prompts: list[tao_hub.Prompt], samples: int, new: int, rows: int):
    """Batches of `rows` samples through `generate(num_return_sequences=…)`, left-padded, longest first."""
    chats = [[{"role": m.role, "content": m.content} for m in prompt.messages] for prompt in prompts]
    started = time.perf_counter()
    texts = [tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in chats]
    texts.sort(key=len, reverse=True)
    count, size = 0, max(1, rows // samples)
    for start in range(0, len(texts), size):
        batch = tokenizer(
            texts[start : start + size],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        ).to(model.device)
        out = model.generate(
            **batch, do_sample=True, top_k=0, num_return_sequences=samples, max_new_tokens=new, min_new_tokens=new
        )
        count += out.shape[0] * new
    return count, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--new", type=int, default=60)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of both sides (default: torch's choice)")
    parser.add_argument("--only-ours", action="store_true")
    options = parser.parse_args()

    import torch
    from tao_generate_hf import loading, models
    from tao_generate_hf.generator import CausalLM

    if options.threads:
        torch.set_num_threads(options.threads)
    ours = CausalLM(CausalLM.Options(model=options.model, dtype=options.dtype))
    ours.stops = frozenset()  # every row writes `--new` tokens
    path, device = models.resolve(options.model), loading.choose_device("auto")
    dtype = loading.choose_dtype(options.dtype, device)
    plain, tokenizer = loading.load(path, None, dtype, device)
    prompts = make_prompts(options.prompts, tokenizer)
    run_ours(ours, prompts[:2], 1, 2), run_plain(plain, tokenizer, prompts[:2], 1, 2, 128)  # warm up
    speeds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(options.repeats):
        tokens, seconds = run_ours(ours, prompts, options.samples, options.new)
        speeds["ours"].append(tokens / seconds)
        if not options.only_ours:
            tokens, seconds = run_plain(plain, tokenizer, prompts, options.samples, options.new, 128)
            speeds["plain"].append(tokens / seconds)
    best = {name: round(max(found), 1) for name, found in speeds.items() if found}
    result = {
        **{f"{name}_tokens_per_second": value for name, value in best.items()},
        "ratio": round(best["ours"] / best["plain"], 2) if "plain" in best else None,
        "all": {name: [round(v, 1) for v in found] for name, found in speeds.items()},
        "prompts": options.prompts,
        "samples": options.samples,
        "new_tokens": options.new,
        "dtype": dtype,
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
