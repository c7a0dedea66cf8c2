"""Responses that share a prompt read it once: its keys and values are computed once, and each goes on from there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .layout import Tokens
from .padding import batches, pad

LEAST = 128  # tokens that a group must save: two texts with less cost as much as they spare (measured on a CPU)


@dataclass(frozen=True)
class Group:
    """Texts (their places) whose first `length` tokens are the same."""

    places: tuple[int, ...]
    length: int


def applies(model: Any) -> bool:
    """Whether a token's state depends on nothing but what stands before it, and is kept whole: stock decoders that
    attend to all of it. Encoders, sliding windows and recurrent layers keep the plain way, as do models without a
    padding id, which take one text at a time."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer
    from transformers.modeling_layers import GenericForSequenceClassification

    config = model.config.get_text_config()
    if not isinstance(model, GenericForSequenceClassification) or config.pad_token_id is None:
        return False
    if getattr(config, "use_bidirectional_attention", None) or not getattr(config, "is_causal", True):
        return False
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def groups_of(tokens: Sequence[Tokens], prompts: Sequence[Hashable], pad_id: int) -> list[Group]:
    """Texts of equal prompts whose tokens begin alike, where that saves `LEAST` tokens or more."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for i, prompt in enumerate(prompts):
        members[prompt].append(i)
    found = []
    for places in members.values():
        some = [tokens[i].ids for i in places]
        if len(some) < 2 or tokens[places[0]].types is not None:
            continue
        # the token whose state is scored must not be among the shared ones
        length = min(_alike(some), *(_read_at(ids, pad_id) for ids in some))
        if (len(some) - 1) * length >= LEAST:
            found.append(Group(tuple(places), length))
    return found


def _alike(lists: Sequence[list[int]]) -> int:
    """How many first items all have in common: as many as the least and the greatest of them."""
    least, greatest = min(lists), max(lists)
    return next((i for i, (a, b) in enumerate(zip(least, greatest)) if a != b), len(least))


def _read_at(ids: Sequence[int], pad_id: int) -> int:
    """Place of the last token that is no padding: where stock models read the score."""
    return next((i for i in reversed(range(len(ids))) if ids[i] != pad_id), 0)


def scored(
    model: Any, tokens: Sequence[Tokens], groups: Sequence[Group], limit: int, rows: int, kept: int
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """(places, (B, outputs)) of all texts of the groups, in batches of at most `rows` and `limit` padded tokens.

    `kept` bounds the tokens of prompts whose keys and values a batch of responses holds.
    """
    from transformers import DynamicCache

    pad_id, device = model.config.get_text_config().pad_token_id, next(model.parameters()).device
    prompts = [Tokens(tokens[group.places[0]].ids[: group.length]) for group in groups]
    for some in batches(prompts, limit, rows):
        first = {name: t.to(device) for name, t in pad([prompts[i] for i in some], pad_id).items()}
        cache = list(model.base_model(**first, use_cache=True).past_key_values)
        texts = [(row, i, groups[g].length) for row, g in enumerate(some) for i in groups[g].places]
        rests = [Tokens(tokens[i].ids[length:]) for _, i, length in texts]
        seen = first["attention_mask"]
        for batch in batches(rests, limit, max(1, min(rows, kept // seen.shape[1]))):
            rest = {name: t.to(device) for name, t in pad([rests[j] for j in batch], pad_id).items()}
            who = torch.tensor([texts[j][0] for j in batch], device=device)
            after = torch.arange(rest["input_ids"].shape[1], device=device)
            yield [texts[j][1] for j in batch], model(
                input_ids=rest["input_ids"],
                attention_mask=torch.cat([seen[who], rest["attention_mask"]], 1),
                position_ids=seen[who].sum(1, keepdim=True) + after,  # not those of the padding of shorter prompts
                past_key_values=DynamicCache([(layer[0][who], layer[1][who]) for layer in cache]),
            ).logits
