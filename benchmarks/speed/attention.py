"""Attention of a training step on a processor: torch's kernel beside the products written out, forwards and backwards.

    python benchmarks/speed/attention.py [--rows 8] [--prefix 87] [--rest 131] [--layers 30] [--repeats 8]

The shapes are SmolLM2's (9 query heads, 3 key heads, 64 wide, bfloat16), the batch one of *inbox*: `rows` examples of
`rest` tokens after `prefix` shared ones. Prints one JSON object: milliseconds of one layer (the median of the repeats,
the two ways in turns; in a repeat `layers` go forwards, then all of them backwards), and how far apart the results are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch
from tao_train_trl import shared_prefix
from torch.nn import functional as F

HEADS, KEY_HEADS, WIDTH = 9, 3, 64
Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def timed(attend: Attention, inputs: tuple[torch.Tensor, ...], slope: torch.Tensor, layers: int) -> tuple[float, float]:
    """Milliseconds a layer, forwards and backwards; as in training, all layers go forwards first."""
    for x in inputs:
        x.grad = None
    began = time.perf_counter()
    outs = [attend(*inputs) for _ in range(layers)]
    between = time.perf_counter()
    for out in reversed(outs):
        out.backward(slope)
    ended = time.perf_counter()
    return 1e3 * (between - began) / layers, 1e3 * (ended - between) / layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--prefix", type=int, default=87)
    parser.add_argument("--rest", type=int, default=131)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(0)
    whole, shared = args.prefix + args.rest, HEADS // KEY_HEADS
    sizes = (shared * args.rest, whole, whole)
    inputs = tuple(
        torch.randn(args.rows, KEY_HEADS, n, WIDTH, dtype=torch.bfloat16).requires_grad_() for n in sizes
    )  # queries that share a key head stand one after the other
    mask = torch.ones(whole, whole, dtype=torch.bool).tril()[args.prefix :].repeat(shared, 1)
    slope = torch.randn_like(inputs[0])
    ways: dict[str, Attention] = {
        "kernel": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
        "products": lambda q, k, v: shared_prefix.attend(q, k, v, mask, WIDTH**-0.5),
    }
    apart = float((ways["kernel"](*inputs) - ways["products"](*inputs)).abs().max().detach())
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, attend in ways.items():
            taken[name].append(timed(attend, inputs, slope, args.layers))
    found = {
        name: {"forward_ms": round(median(t[0] for t in ts), 2), "backward_ms": round(median(t[1] for t in ts), 2)}
        for name, ts in taken.items()
    }
    print(json.dumps({"threads": torch.get_num_threads(), **found, "largest_difference": apart}))


if __name__ == "__main__":
    main()
