"""Key/value memories of a decoding batch: one that keeps the shared prompt prefix once, one for any architecture.

Attention of one new token over a batch is bound by the memory it reads. A usual cache copies the prefix that all
prompts share (system prompt, worked examples) into each row and the prompt into each of its samples. Here keys and
values lie in three parts, each stored once for all rows that share it, and the softmax runs over their joined scores,
so the result is that of plain attention:

    prefix (1, heads, P, dim)   one copy for the whole call
    prompt (g, heads, L, dim)   one copy for all rows of a prompt, padded on the left
    own    (R, heads, T, dim)   what each row has written so far

A row is one context, however many samples have it: rows branch when their samples part (`select`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

ATTENTION = "tao_shared_prefix"
PREFILL_TOKENS = {"cpu": 1024}  # prompt tokens per forward pass: enough to saturate, few enough for the cache
SCORES = 1 << 27  # attention scores of one row held at once; above, a kernel that does not hold them takes over
CACHED = 1 << 20  # scores of several rows computed at once on a CPU: what stays in its cache
BLOCK = 32  # columns by which `own` grows

Layers = list[tuple[Tensor, Tensor]]  # keys and values of each layer
Part = tuple[Tensor, Tensor, "Tensor | None", "Places | None"]  # keys, values, what is added to the scores, whose


class Places(NamedTuple):
    """How n rows stand in g groups of r places each, where they do not do so evenly."""

    fill: Tensor  # (g * r,): which row stands in each place; one that is left over repeats some row
    spot: Tensor  # (n,): in which place each row stands


class Memory(Protocol):
    """What the decoding loop needs: logits (rows, vocabulary) for the prompts, then for one token per row."""

    offset: int
    """Leading tokens of all prompts that it holds already."""
    branches: bool
    """Whether a row can become two cheaply."""

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read the prompts; then there is one row of each."""

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token per row."""

    def select(self, parents: Sequence[int]) -> None:
        """Row i goes on from what row `parents[i]` has read; a row may have several children or none."""


def pad_left(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids (g, L) and how many columns of each row are padding (g). The padding id is never seen by the loss
    or by attention: masks go by length, because pad is eos for many models."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    return ids, torch.tensor([width - len(p) for p in prompts], device=device)


class SharedMemory:
    """The three parts described above, for models whose layers all use full attention through the attention
    interface of transformers (Llama, Qwen, SmolLM and most others). `model` must run with `ATTENTION`."""

    branches = True

    def __init__(self, model: Any, prefix: Sequence[int] = (), like: SharedMemory | None = None) -> None:
        """`like`: a memory of the same model whose prefix is taken over instead of computed."""
        self.model = model
        self.prefix: Layers = like.prefix if like else []
        self.prompt: Layers = []
        self.own: Layers = []  # with room for more rows and columns
        self.owners: list[int] = []  # of each row: its prompt
        self.places: Places | None = None
        self.hidden: Tensor | None = None  # (g, 1, 1, L): -inf where the prompt part is padding
        self.unwritten = torch.empty(0)  # (1, 1, 1, T): -inf where `own` has room left
        self.positions = torch.empty(0)  # (R,): position of the next token
        self.written = 0  # columns of `own` in use
        self.reading: Layers = []  # what a prefill collects
        self.padding = torch.zeros(1, dtype=torch.long)  # of the prefill under way, (c,)
        self.causal: Tensor | None = None  # its mask, (c, 1, L, L)
        self.offset = like.offset if like else len(prefix)
        if prefix and not like:
            ids = torch.tensor([list(prefix)], device=model.device)
            self._forward(ids, torch.arange(len(prefix), device=model.device)[None])
            self.prefix, self.reading = self.reading, []

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        ids, padding = pad_left(prompts, self.model.device)
        g, width = ids.shape
        columns = torch.arange(width, device=ids.device)
        positions = (columns - padding[:, None]).clamp(min=0) + self.offset
        chunks: list[Layers] = []
        logits = []
        for part in torch.arange(g).split(max(1, PREFILL_TOKENS.get(ids.device.type, 8192) // width)):
            first = int(padding[part].min())  # sorted by length, so a part may be narrower than the batch
            self.padding, self.causal = padding[part] - first, None
            logits.append(self._forward(ids[part, first:], positions[part, first:]))
            chunks.append(self.reading)
            self.reading = []
        self.causal = None
        for layer in range(len(chunks[0])):  # layer by layer, so that no second copy of all is ever held
            keys, values = (torch.cat([_widen(c[layer][i], width) for c in chunks]) for i in (0, 1))
            for chunk in chunks:
                chunk[layer] = (keys[:0], values[:0])
            self.prompt.append((keys, values))
        if bool(padding.any()):
            self.hidden = _minus_infinity(columns < padding[:, None], self.model.dtype)[:, None, None]
        self.positions = positions[:, -1] + 1
        self.owners = list(range(g))
        return torch.cat(logits)

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        if not self.own or self.written == self.own[0][0].shape[2]:
            self._grow(len(tokens), self.written + BLOCK)
        self.unwritten[..., self.written] = 0
        self.written += 1
        logits = self._forward(tokens[:, None], self.positions[:, None])
        self.positions = self.positions + 1
        return logits

    @torch.inference_mode()
    def select(self, parents: Sequence[int]) -> None:
        device = self.positions.device
        moved = [(i, parent) for i, parent in enumerate(parents) if i != parent]
        if self.own and len(parents) > len(self.own[0][0]):
            self._grow(len(parents) * 3 // 2, self.own[0][0].shape[2])
        if self.own and moved:
            to, source = torch.tensor(moved, device=device).unbind(1)
            for part in (part for layer in self.own for part in layer):
                part[to, :, : self.written] = part[source, :, : self.written]
        self.positions = self.positions[torch.tensor(parents, device=device)]
        self.owners = [self.owners[parent] for parent in parents]
        self._arrange(device)

    def _arrange(self, device: torch.device) -> None:
        """Say whose prompt is whose, once rows are no longer one per prompt; prompts that nobody has any more go."""
        live = sorted(set(self.owners))
        if 2 * len(live) <= len(self.prompt[0][0]):
            kept = torch.tensor(live, device=device)
            self.prompt = [(k[kept], v[kept]) for k, v in self.prompt]
            self.hidden = None if self.hidden is None else self.hidden[kept]
            renamed = {owner: i for i, owner in enumerate(live)}
            self.owners = [renamed[owner] for owner in self.owners]
        groups = len(self.prompt[0][0])
        if self.owners == list(range(groups)):
            self.places = None
            return
        seen, inside = [0] * groups, []
        for owner in self.owners:
            inside.append(seen[owner])
            seen[owner] += 1
        spot = torch.tensor([owner * max(seen) + i for owner, i in zip(self.owners, inside)], device=device)
        fill = torch.zeros(groups * max(seen), dtype=torch.long, device=device)
        self.places = Places(fill.index_copy(0, spot, torch.arange(len(spot), device=device)), spot)

    def update(self, keys: Tensor, values: Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Called by the model for each layer: keys and values (rows, heads, new tokens, dim)."""
        if self.written:
            own_keys, own_values = self.own[layer]
            own_keys[: len(keys), :, self.written - 1] = keys[:, :, 0]
            own_values[: len(keys), :, self.written - 1] = values[:, :, 0]
        else:
            self.reading.append((keys.contiguous(), values.contiguous()))
        return keys, values

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, layer: int, scale: float) -> Tensor:
        """Attention of the new tokens over all they may see. Query and result: (rows, query heads, tokens, dim)."""
        parts: list[Part] = [(*self.prefix[layer], None, None)] if self.prefix else []
        if self.written:
            # all columns of `own`, because a slice of them would be copied for each product
            own_keys, own_values = (part[: len(query)] for part in self.own[layer])
            parts += [(*self.prompt[layer], self.hidden, self.places), (own_keys, own_values, self.unwritten, None)]
            return _attend(query, parts, scale)
        rows, heads, tokens, _ = query.shape
        each = heads * tokens * (self.offset + tokens)
        if each > SCORES:
            return self._attend_long(query, [*parts, (keys, values, None, None)], scale)
        size = max(1, CACHED // each) if query.device.type == "cpu" else max(1, SCORES // each)
        mask = self._mask(tokens, query)
        out = []
        for q, k, v, m in zip(*(x.split(size) for x in (query, keys, values, mask.expand(rows, -1, -1, -1)))):
            out.append(_attend(q, [*parts, (k, v, m, None)], scale))
        return torch.cat(out) if len(out) > 1 else out[0]

    def _mask(self, width: int, like: Tensor) -> Tensor:
        """(c, 1, L, L): each token sees itself and what came before it, but no padding."""
        if self.causal is None:
            columns = torch.arange(width, device=like.device)
            unseen = (columns[:, None] < columns) | (columns < self.padding.to(like.device)[:, None, None])
            unseen &= columns[:, None] != columns  # else the rows of padding tokens would see nothing: NaN
            self.causal = _minus_infinity(unseen, like.dtype)[:, None]
        return self.causal

    def get_seq_length(self, layer: int = 0) -> int:
        return self.offset

    @torch.inference_mode()
    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        out = self.model(
            input_ids=ids,
            position_ids=positions,
            past_key_values=self,
            tao_memory=self,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1]

    def _attend_long(self, query: Tensor, parts: Sequence[Part], scale: float) -> Tensor:
        """The same without holding the scores, for prompts so long that these would not fit."""
        rows, heads, tokens, _ = query.shape
        keys = torch.cat([k.expand(rows, -1, -1, -1) for k, *_ in parts], 2)
        values = torch.cat([v.expand(rows, -1, -1, -1) for _, v, *_ in parts], 2)
        shared = heads // keys.shape[1]
        keys, values = keys.repeat_interleave(shared, 1), values.repeat_interleave(shared, 1)
        if keys.shape[2] == tokens and not bool(self.padding.any()):
            return F.scaled_dot_product_attention(query, keys, values, is_causal=True, scale=scale)
        mask = F.pad(self._mask(tokens, query), (keys.shape[2] - tokens, 0))
        return F.scaled_dot_product_attention(query, keys, values, mask, scale=scale)

    def _grow(self, rows: int, width: int) -> None:
        """Room for more rows or columns. Zeros, because what a weight of zero multiplies must be finite."""
        for layer, (prompt_keys, _) in enumerate(self.prompt):
            _, heads, _, dim = prompt_keys.shape
            keys = prompt_keys.new_zeros(rows, heads, width, dim)
            values = torch.zeros_like(keys)
            if self.written:
                for new, old in zip((keys, values), self.own[layer]):
                    new[: len(old), :, : self.written] = old[:rows, :, : self.written]
                self.own[layer] = (keys, values)
            else:
                self.own.append((keys, values))
        columns = torch.arange(width, device=keys.device)
        self.unwritten = _minus_infinity(columns >= self.written, keys.dtype)[None, None, None]


def _widen(keys: Tensor, width: int) -> Tensor:
    """Padding on the left up to `width` columns."""
    return F.pad(keys, (0, 0, width - keys.shape[2], 0))


def _minus_infinity(where: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(where.shape, dtype=dtype, device=where.device).masked_fill_(where, torch.finfo(dtype).min)


def _attend(query: Tensor, parts: Sequence[Part], scale: float) -> Tensor:
    """Attention of (R, query heads, tokens, dim) over the joined parts, each stored for g groups of R/g rows."""
    rows, heads, tokens, dim = query.shape
    kv_heads = parts[0][0].shape[1]
    query = (query * scale).reshape(rows, kv_heads, -1, dim)  # queries that share keys: (heads / kv heads) * tokens
    scores = []
    for keys, _, mask, places in parts:
        part = _gather(query, len(keys), places) @ keys.transpose(-1, -2)  # (g, kv heads, R/g * shared, L)
        if mask is not None:
            part.unflatten(2, (-1, tokens)).add_(mask[:, :, None])
        scores.append(_scatter(part, query, places))
    weights = torch.cat(scores, -1).softmax(-1)  # (R, kv heads, shared, all); float32 inside the kernel
    out, start = torch.zeros_like(query), 0
    for keys, values, _, places in parts:
        stop = start + keys.shape[2]
        out += _scatter(_gather(weights[..., start:stop], len(keys), places) @ values, query, places)
        start = stop
    return out.view(rows, heads, tokens, dim)


def _gather(rows: Tensor, groups: int, places: Places | None) -> Tensor:
    """(R, heads, shared, d) → (g, heads, r * shared, d): rows with the same keys become one matrix."""
    if places is not None:
        rows = rows[places.fill]
    elif len(rows) == groups:
        return rows
    return rows.unflatten(0, (groups, -1)).transpose(1, 2).flatten(2, 3)


def _scatter(parts: Tensor, like: Tensor, places: Places | None) -> Tensor:
    """The inverse of `_gather`: (g, heads, r * shared, d) → (R, heads, shared, d)."""
    if places is None and len(parts) == len(like):
        return parts
    rows = parts.unflatten(2, (-1, like.shape[2])).transpose(1, 2).flatten(0, 1)
    return rows if places is None else rows[places.spot]


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function transformers calls; raises ValueError for what it cannot compute (soft caps, sinks)."""
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None or kwargs.get("position_bias") is not None:
        raise ValueError("attention with soft caps, sinks or biases is not plain attention")
    out = kwargs["tao_memory"].attend(query, key, value, module.layer_idx, scaling)
    return out.transpose(1, 2), None


class PaddedMemory:
    """The cache of transformers itself, left-padded: any architecture, nothing shared between rows."""

    branches = False  # each time, the whole cache would be copied

    def __init__(self, model: Any) -> None:
        self.model = model
        self.offset = 0
        self.cache: Any = None
        self.mask = torch.empty(0)  # (R, columns so far)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        from transformers import DynamicCache

        ids, padding = pad_left(prompts, self.model.device)
        self.mask = (torch.arange(ids.shape[1], device=ids.device) >= padding[:, None]).long()
        self.cache = DynamicCache(config=self.model.config)
        return self._forward(ids, (self.mask.cumsum(-1) - 1).clamp(min=0))

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        return self._forward(tokens[:, None], self.mask.sum(-1, keepdim=True) - 1)

    @torch.inference_mode()
    def select(self, parents: Sequence[int]) -> None:
        rows = torch.tensor(parents, device=self.mask.device)
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    @torch.inference_mode()
    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        last = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        out = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions.clamp(max=last - 1 if last else None),  # rows that ended at the edge idle on
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1]


def prepare(model: Any) -> None:
    """Switch a model to `ATTENTION` if that computes what its own attention computes, tried on two short prompts."""
    from transformers import AttentionInterface

    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if kinds != {"full_attention"} or windowed:
        return
    AttentionInterface.register(ATTENTION, shared_prefix_attention)
    prompts, new = [[5, 6, 7, 8, 9], [5, 6, 9]], torch.tensor([3, 4, 3, 4], device=model.device)
    expected = _probe(PaddedMemory(model), prompts, new)
    original = model.config._attn_implementation
    try:
        model.set_attn_implementation(ATTENTION)
        found = _probe(SharedMemory(model, prompts[0][:2]), [p[2:] for p in prompts], new)
        if (found - expected).abs().max() < 0.05:
            return
    except Exception:  # whatever an unusual architecture stumbles over, its own attention works
        pass
    model.set_attn_implementation(original)


def _probe(memory: Memory, prompts: Sequence[Sequence[int]], new: Tensor) -> Tensor:
    """Probabilities after the prompts and one more token, two rows each."""
    before = memory.prefill(prompts)
    memory.select([i for i in range(len(prompts)) for _ in range(2)])
    return torch.cat([before, memory.step(new)]).float().softmax(-1)


def open_memory(model: Any, prefix: Sequence[int], like: Memory | None = None) -> Memory:
    """An empty memory for a batch of prompts that start with `prefix`; `like` is an earlier one for the same prefix."""
    if model.config._attn_implementation != ATTENTION:
        return PaddedMemory(model)
    return SharedMemory(model, prefix, like if isinstance(like, SharedMemory) else None)
