"""A batch as one row of tokens in which what all examples begin with stands once, and attention that knows it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface

MOST_WEIGHTS = 1 << 22  # of a layer's attention that are kept for the backward pass
ATTENTION = "tao_trl_shared_prefix"  # the name is global in transformers: other plugins have theirs


class Layout(NamedTuple):
    """The shape of such a row: `prefix` shared tokens, then `rows` rests of `rest` tokens (padded on the right)."""

    prefix: int  # P
    rows: int  # B
    rest: int  # S


def hidden_states(model: Any, ids: torch.Tensor, prefix: int) -> torch.Tensor:
    """Last hidden states (B, S, H) of the tokens after the first `prefix` columns of right-padded `ids` (B, P + S).

    Those columns must be alike in all rows; they are computed once. The model must attend by `ATTENTION`.
    """
    layout = Layout(prefix, ids.shape[0], ids.shape[1] - prefix)
    columns = torch.arange(ids.shape[1], device=ids.device)
    positions = torch.cat([columns[:prefix], columns[prefix:].repeat(layout.rows)])
    row = torch.cat([ids[0, :prefix], ids[:, prefix:].flatten()])  # (P + B·S,)
    outputs = model.base_model(input_ids=row[None], position_ids=positions[None], use_cache=False, shared_prefix=layout)
    states: torch.Tensor = outputs.last_hidden_state[0, prefix:]
    return states.unflatten(0, (layout.rows, layout.rest))


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    shared_prefix: Layout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention over a `Layout`: queries (1, heads, P + B·S, D) → (1, P + B·S, heads, D).

    A token sees exactly what stands before it in its own example, so the result is that of the padded batch.
    """
    if shared_prefix is None:
        raise ValueError(f"{ATTENTION} attends over a Layout only; elsewhere use attn_implementation='sdpa'")
    p, b, s = shared_prefix
    past = torch.ones(p + s, p + s, dtype=torch.bool, device=query.device).tril()

    def rests(x: torch.Tensor) -> torch.Tensor:
        return x[0, :, p:].unflatten(1, (b, s)).transpose(0, 1)  # (B, heads, S, D), a view

    def whole(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :, :p].expand(b, -1, -1, -1), rests(x)], dim=2)  # (B, kv heads, P + S, D)

    def grouped(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        groups = q.shape[1] // k.shape[1]  # query heads that share a key head stand one after the other as queries
        packed = q.unflatten(1, (-1, groups)).flatten(2, 3)
        out = attend(packed, k, v, mask.repeat(groups, 1), scaling or query.shape[-1] ** -0.5, dropout)
        return out.unflatten(2, (groups, -1)).flatten(1, 2).transpose(1, 2).flatten(0, 1)  # (B·S, heads, D)

    others = grouped(rests(query), whole(key), whole(value), past[p:])
    if not p:
        return others[None], None
    first = grouped(query[:, :, :p], key[:, :, :p], value[:, :, :p], past[:p, :p])
    return torch.cat([first, others])[None], None


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, scale: float, dropout: float = 0.0
) -> torch.Tensor:
    """Attention of queries (B, kv heads, Q, D) over keys (B, kv heads, L, D) that `mask` (Q, L) lets them see.

    On processors the kernel that keeps no weights is several times slower, backwards above all, than the three
    products written out (benchmarks/speed/attention.py), so these are used as long as their weights take little room.
    """
    few = q.shape[0] * q.shape[1] * mask.numel() <= MOST_WEIGHTS
    if q.device.type != "cpu" or dropout or not few:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, dropout_p=dropout)
    hidden = torch.zeros(mask.shape, dtype=q.dtype).masked_fill_(~mask, -math.inf)
    shape, (q, k, v) = q.shape[:2], (x.flatten(0, 1) for x in (q, k, v))
    weights = torch.baddbmm(hidden.expand(len(q), -1, -1), q, k.mT, alpha=scale).softmax(-1)
    return torch.bmm(weights, v).unflatten(0, shape)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, lambda *args, **kwargs: None)  # the layout says who sees whom


def usable(model: Any, tolerance: float = 1e-3) -> bool:
    """Whether `model` gives the same states over a `Layout` as over a padded batch; tried on a few tokens.

    Architectures whose layers carry more than keys and values (windows, recurrences, their own masks) do not; the
    answer costs two short forward passes in float32: what bfloat16 rounds on its way is more than what would tell a
    model that differs. The model is left with the attention and the dtype it had.
    """
    before, dtype = model.config._attn_implementation, model.dtype
    ids = torch.arange(3, 3 + 24).repeat(2, 1).to(model.device)
    ids[1, 16:] += 24
    ids %= model.get_input_embeddings().num_embeddings
    training = model.training
    model.eval().float()
    try:
        with torch.no_grad():
            expected = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, 8:].float()
            model.set_attn_implementation(ATTENTION)
            found = hidden_states(model, ids, 8).float()
        return bool((found - expected).norm() <= tolerance * expected.norm())
    except Exception:  # whatever it is that this architecture does not take
        return False
    finally:
        model.set_attn_implementation(before)
        model.to(dtype).train(training)
