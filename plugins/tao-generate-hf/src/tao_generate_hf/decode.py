"""The decoding loop: batches of rows (one per sample) over a `Memory`, with draws that do not depend on the batch."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .batching import Row, prompts_of
from .copying import Track
from .memory import Memory, open_memory

TOP_P_FIRST = 512  # how many of the most probable tokens are looked at before a row is sorted whole


def uniforms(seed: int, request_seed: int, sample: int, count: int) -> np.ndarray:
    """`count` numbers of [0, 1), fixed by the seeds and the sample alone (Philox: Salmon et al. 2011)."""
    key = hashlib.blake2b(f"{seed} {request_seed} {sample}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, np.uint64))).random(count)


@torch.inference_mode()
def choose(
    logits: Tensor,
    temperature: float,
    top_p: float,
    draws: Tensor | None,
    allowed: Sequence[list[int] | None] = (),
) -> tuple[Tensor, Tensor]:
    """Tokens (R,) and their natural-log probabilities at temperature 1 (R,), from logits (R, V).

    Sampling inverts the cumulative distribution at one uniform number per row: no sort, and nothing else is drawn.
    `allowed[i]` limits row i to some token ids; its probability is still that of the unlimited model.
    """
    limited = {i: ids for i, ids in enumerate(allowed) if ids is not None}
    if limited:
        free, masked = logits, logits.clone()
        for i, ids in limited.items():
            masked[i] = -math.inf
            masked[i, ids] = free[i, ids]
        tokens, logprobs = choose(masked, temperature, top_p, draws)
        rows = torch.tensor(list(limited), device=logits.device)
        true = free[rows].float().log_softmax(-1).gather(-1, tokens[rows][:, None])[:, 0]
        return tokens, logprobs.index_copy(0, rows, true)
    # a few rows at a time stay in the processor's cache, and their memory is not mapped anew for each step
    size = 16 if logits.device.type == "cpu" else len(logits)
    parts = (
        [(part, None) for part in logits.split(size)] if draws is None else zip(logits.split(size), draws.split(size))
    )
    chosen = [_choose(part.float(), temperature, top_p, uniform) for part, uniform in parts]
    return torch.cat([tokens for tokens, _ in chosen]), torch.cat([logprobs for _, logprobs in chosen])


def _choose(logits: Tensor, temperature: float, top_p: float, draws: Tensor | None) -> tuple[Tensor, Tensor]:
    if draws is None:
        tokens = logits.argmax(-1)
    else:
        weights = (logits if temperature == 1 else logits / temperature).softmax(-1)
        tokens = _nucleus(weights, top_p, draws) if top_p < 1 else _invert(weights, draws)
    return tokens, logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]


def _invert(weights: Tensor, draws: Tensor) -> Tensor:
    """The first index at which the cumulative weight exceeds draw × total: by blocks, then inside the block."""
    rows, width = weights.shape
    block = 256
    weights = torch.nn.functional.pad(weights, (0, -width % block)).view(rows, -1, block)
    steps = weights.sum(-1).double().cumsum(-1)  # (R, blocks)
    target = (draws * steps[:, -1])[:, None]  # (R, 1)
    which = torch.searchsorted(steps, target, right=True).clamp(max=steps.shape[1] - 1)
    before = torch.where(which > 0, steps.gather(1, (which - 1).clamp(min=0)), 0.0)
    inside = weights.gather(1, which[:, :, None].expand(-1, -1, block))[:, 0].double()
    column = torch.searchsorted(inside.cumsum(-1), target - before, right=True)[:, 0]
    # rounding can step past the last token that has any weight: take that one
    last = block - 1 - (inside > 0).flip(-1).int().argmax(-1)
    return which[:, 0] * block + torch.minimum(column, last)


def _nucleus(weights: Tensor, top_p: float, draws: Tensor) -> Tensor:
    """Like `_invert`, over the smallest set of most probable tokens that holds `top_p` (Holtzman et al. 2020)."""
    best, order = weights.topk(min(TOP_P_FIRST, weights.shape[1]), -1)
    if bool((best.sum(-1) < top_p).any()):
        best, order = weights.sort(dim=-1, descending=True, stable=True)
    outside = best.cumsum(-1) - best >= top_p
    chosen = _invert(best.masked_fill(outside, 0.0), draws)
    return order.gather(-1, chosen[:, None])[:, 0]


def decode(
    memory: Memory,
    rows: Sequence[Row],
    prefix: int,
    stops: frozenset[int],
    temperature: float,
    top_p: float,
    stopping: threading.Event | None = None,
) -> Iterator[Row]:
    """Yield the rows as they finish, until `stopping` is set. `prefix`: leading tokens that the memory already holds.

    `stops`: token ids that end an answer (kept as its last token).
    """
    started = time.perf_counter()
    logits = memory.prefill(*prompts_of(rows, prefix))
    alive: list[Row] = list(rows)
    step = 0
    while True:
        draws = None
        if alive[0].draws is not None:
            draws = torch.tensor([_draw(row, step) for row in alive], dtype=torch.float64, device=logits.device)
        tokens, logprobs = choose(logits, temperature, top_p, draws, [_allowed(row) for row in alive])
        awake = [row for row in alive if not row.finish_reason]
        for row, token, logprob in zip(alive, tokens.tolist(), logprobs.tolist()):
            if not row.finish_reason:
                _append(row, token, logprob, stops)
        share = (time.perf_counter() - started) / len(awake)
        for row in awake:
            row.seconds += share
        running = [i for i, row in enumerate(alive) if not row.finish_reason]
        finished = [row for row in awake if row.finish_reason]
        step += 1
        yield from finished
        if not running or (stopping is not None and stopping.is_set()):
            return
        started = time.perf_counter()
        if len(running) <= len(alive) * 3 // 4:  # copying what is left costs about one step
            kept = torch.tensor(running, device=tokens.device)
            memory.keep(kept)
            tokens, alive = tokens[kept], [alive[i] for i in running]
        logits = memory.step(tokens)


def _allowed(row: Row) -> list[int] | None:
    if row.copying is None or row.finish_reason:
        return None
    if row.track is None:
        row.track = Track(row.copying)
    return row.track.allowed()


def _draw(row: Row, step: int) -> float:
    return float(row.draws[step]) if row.draws is not None and step < len(row.draws) else 0.0


def _append(row: Row, token: int, logprob: float, stops: frozenset[int]) -> None:
    row.tokens.append(token)
    if row.track is not None:
        row.track.push(token)
    row.logprobs.append(logprob)
    if not math.isfinite(logprob):
        row.finish_reason = "broken"
    elif token in stops:
        row.finish_reason = "stop"
    elif len(row.tokens) >= row.limit:
        row.finish_reason = "length"


def decode_all(
    model: Any,
    groups: Iterable[tuple[Sequence[int], Iterable[list[Row]]]],
    stops: frozenset[int],
    temperature: float,
    top_p: float,
    stopping: threading.Event | None = None,
) -> Iterator[Row]:
    """Decode the batches of each (prefix, batches), until `stopping` is set. A batch that does not fit in memory is
    halved; a row that does not fit alone finishes as "memory"."""
    for prefix, batches in groups:
        shared: Memory | None = None
        for planned in batches:
            todo = [planned]
            while todo:
                batch = todo.pop()
                try:
                    memory = shared = open_memory(model, prefix, shared)
                    yield from decode(memory, batch, memory.offset, stops, temperature, top_p, stopping)
                    if stopping is not None and stopping.is_set():
                        return
                    continue
                except (MemoryError, RuntimeError) as error:
                    if not _out_of_memory(error):
                        raise
                memory = shared = None  # after the except block, whose traceback holds the tensors
                torch.cuda.empty_cache()
                left = [row for row in batch if not row.finish_reason]
                for row in left:
                    row.restart()
                if len(left) == 1 and len(batch) == 1:
                    left[0].finish_reason = "memory"
                    yield left.pop()
                half = (len(left) + 1) // 2
                todo += [part for part in (left[half:], left[:half]) if part]


def _out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError))
        or "allocate memory" in text
        or "not enough memory" in text
    )
