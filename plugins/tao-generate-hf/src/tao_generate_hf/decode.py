"""The decoding loop: batches of rows (one per sample) over a `Memory`, with draws that do not depend on the batch."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .batching import Node, Row, batches, branch, contexts
from .copying import Track
from .memory import Memory, open_memory

TOP_P_FIRST = 512  # how many of the most probable tokens are looked at before a row is sorted whole
TAIL = 8  # what is left of a batch when it is a TAIL-th of it may be written with others' rest
STEP = 8  # a step costs what so many tokens of a prompt do, whatever its rows


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
    counts: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Tokens (R,) and their natural-log probabilities at temperature 1 (R,), from logits (n, V).

    `counts[i]` rows in a row draw from logits i (None: one each). Sampling inverts the cumulative distribution at one
    uniform number per row: no sort, and nothing else is drawn. `allowed[i]` limits row i to some token ids; its
    probability is still that of the unlimited model.
    """
    limited = {i: ids for i, ids in enumerate(allowed) if ids is not None}
    if limited:
        free = logits if counts is None else logits.repeat_interleave(torch.tensor(counts, device=logits.device), 0)
        masked = free.clone()
        for i, ids in limited.items():
            masked[i] = -math.inf
            masked[i, ids] = free[i, ids]
        tokens, logprobs = choose(masked, temperature, top_p, draws)
        rows = torch.tensor(list(limited), device=logits.device)
        true = free[rows].float().log_softmax(-1).gather(-1, tokens[rows][:, None])[:, 0]
        return tokens, logprobs.index_copy(0, rows, true)
    # a few rows at a time stay in the processor's cache, and their memory is not mapped anew for each step
    size = 16 if logits.device.type == "cpu" else len(logits)
    whose = torch.arange(len(logits)) if counts is None else torch.arange(len(logits)).repeat_interleave(
        torch.tensor(counts)
    )
    ends = np.searchsorted(whose.numpy(), range(0, len(logits) + size, size)).tolist()  # of the rows of each part
    whose = whose.to(logits.device)
    chosen = []
    for i, part in enumerate(logits.split(size)):
        rows = slice(ends[i], ends[i + 1])
        uniform = None if draws is None else draws[rows]
        chosen.append(_choose(part.float(), temperature, top_p, uniform, whose[rows] - i * size))
    return torch.cat([tokens for tokens, _ in chosen]), torch.cat([logprobs for _, logprobs in chosen])


def _choose(
    logits: Tensor, temperature: float, top_p: float, draws: Tensor | None, whose: Tensor
) -> tuple[Tensor, Tensor]:
    if draws is None:
        tokens = logits.argmax(-1)[whose]
    else:
        weights = (logits if temperature == 1 else logits / temperature).softmax(-1)
        tokens = _nucleus(weights, top_p, draws, whose) if top_p < 1 else _invert(weights, draws, whose)
    return tokens, logits.log_softmax(-1)[whose, tokens]


def _invert(weights: Tensor, draws: Tensor, whose: Tensor) -> Tensor:
    """The first index at which the cumulative weight exceeds draw × total: by blocks, then inside the block.

    weights (n, V); draws (R,); whose (R,): the row of weights that each draw is from.
    """
    rows, width = weights.shape
    block = 256
    weights = torch.nn.functional.pad(weights, (0, -width % block)).view(rows, -1, block)
    steps = weights.sum(-1).double().cumsum(-1)[whose]  # (R, blocks)
    target = (draws * steps[:, -1])[:, None]  # (R, 1)
    which = torch.searchsorted(steps, target, right=True).clamp(max=steps.shape[1] - 1)
    before = torch.where(which > 0, steps.gather(1, (which - 1).clamp(min=0)), 0.0)
    inside = weights[whose, which[:, 0]].double()  # (R, block)
    column = torch.searchsorted(inside.cumsum(-1), target - before, right=True)[:, 0]
    # rounding can step past the last token that has any weight: take that one
    last = block - 1 - (inside > 0).flip(-1).int().argmax(-1)
    return which[:, 0] * block + torch.minimum(column, last)


def _nucleus(weights: Tensor, top_p: float, draws: Tensor, whose: Tensor) -> Tensor:
    """Like `_invert`, over the smallest set of most probable tokens that holds `top_p` (Holtzman et al. 2020)."""
    best, order = weights.topk(min(TOP_P_FIRST, weights.shape[1]), -1)
    if bool((best.sum(-1) < top_p).any()):
        best, order = weights.sort(dim=-1, descending=True, stable=True)
    outside = best.cumsum(-1) - best >= top_p
    return order[whose, _invert(best.masked_fill(outside, 0.0), draws, whose)]


def decode(
    memory: Memory,
    rows: Sequence[Row],
    prefix: int,
    stops: frozenset[int],
    temperature: float,
    top_p: float,
    stopping: threading.Event | None = None,
    later: list[Row] | None = None,
) -> Iterator[Row]:
    """Yield the rows as they finish, until `stopping` is set. `prefix`: leading tokens that the memory already holds.

    Rows that have written the same so far are computed once (`nodes`), each with draws of its own. `stops`: token ids
    that end an answer (kept as its last token). `later` takes the last few rows, where a step is not worth its cost.
    """
    started = time.perf_counter()
    prompts, nodes = contexts(rows, prefix)
    logits = memory.prefill(prompts)
    if not memory.branches:
        parents = [i for i, node in enumerate(nodes) for _ in node]
        memory.select(parents)
        logits, nodes = logits[parents], [[row] for node in nodes for row in node]
    while True:
        alive = [row for node in nodes for row in node]
        _write(alive, logits, [len(node) for node in nodes], stops, temperature, top_p)
        finished = [row for row in alive if row.finish_reason]
        parents, nodes = branch(nodes, not memory.branches)
        share = (time.perf_counter() - started) / len(alive)
        for row in alive:
            row.seconds += share
        yield from finished
        if not any(nodes) or (stopping is not None and stopping.is_set()):
            return
        started = time.perf_counter()
        if later is not None and _few(nodes, len(rows), prefix):
            later += [row for node in nodes for row in node]
            return
        if parents != list(range(len(logits))):
            memory.select(parents)
        logits = memory.step(torch.tensor([node[0].tokens[-1] if node else 0 for node in nodes], device=logits.device))


def _write(
    alive: Sequence[Row], logits: Tensor, counts: list[int], stops: frozenset[int], temperature: float, top_p: float
) -> None:
    """One token more for each row; `counts[i]` of them draw from logits i."""
    draws = None
    if alive[0].draws is not None:
        draws = torch.tensor([_draw(row) for row in alive], dtype=torch.float64, device=logits.device)
    tokens, logprobs = choose(logits, temperature, top_p, draws, [_allowed(row) for row in alive], counts)
    for row, token, logprob in zip(alive, tokens.tolist(), logprobs.tolist()):
        _append(row, token, logprob, stops)


def _few(nodes: Sequence[Node], rows: int, prefix: int) -> bool:
    """Whether so few of a batch's `rows` are left that reading again what they have written costs less than the steps
    that they may still need."""
    if sum(map(len, nodes)) > rows // TAIL:
        return False
    left = [node[0] for node in nodes if node]
    again = sum(len(row.prompt) + len(row.tokens) - prefix for row in left)
    return again <= STEP * max(row.limit - len(row.tokens) for row in left)


def _allowed(row: Row) -> list[int] | None:
    if row.copying is None:
        return None
    if row.track is None:
        row.track = Track(row.copying)
    return row.track.allowed()


def _draw(row: Row) -> float:
    return float(row.draws[len(row.tokens)]) if row.draws is not None else 0.0


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
    groups: Iterable[tuple[Sequence[int], deque[list[Row]]]],
    stops: frozenset[int],
    temperature: float,
    top_p: float,
    stopping: threading.Event | None = None,
) -> Iterator[Row]:
    """Decode the batches of each (prefix, batches), until `stopping` is set. The batches are taken out.

    A batch that does not fit in memory is halved; a row that does not fit alone finishes as "memory". What the last
    few rows of several batches still have to write is written together.
    """
    for prefix, waiting in groups:
        shared: Memory | None = None
        late: list[Row] = []
        while todo := _next(waiting, late, len(prefix)):
            while todo:
                batch = todo.pop()
                try:
                    memory = shared = open_memory(model, prefix, shared)
                    later = late if memory.branches and (waiting or late) else None
                    yield from decode(memory, batch, memory.offset, stops, temperature, top_p, stopping, later)
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


def _next(waiting: deque[list[Row]], late: list[Row], prefix: int) -> list[list[Row]]:
    """The batch that comes next (several threads may take from `waiting`); after all others that of the late rows."""
    try:
        return [waiting.popleft()]
    except IndexError:
        found = list(batches(late, prefix, 1 << 16, 128))[::-1]
        late.clear()
        return found


def _out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError))
        or "allocate memory" in text
        or "not enough memory" in text
    )
