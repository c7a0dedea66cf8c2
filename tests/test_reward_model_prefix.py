"""Responses that share a prompt read it once, and have the scores of the plain way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tao_reward_model.trained import bases, folder, forward, prefix
from tao_reward_model.trained.frozen import features
from tao_reward_model.trained.layout import Layout, Tokens
from tao_reward_model.trained.scorer import Scorer
from tiny import make_tiny_llama
from tiny_bert import make_tiny_bert
from transformers import AutoModelForSequenceClassification, MistralConfig, Qwen3Config

from tao_hub import Message

LONG = "The kettle is late, where is it? Please send two more on Monday, thank you. " * 3


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder with a drawn head of three outputs, as a reward model's folder."""
    place = tmp_path_factory.mktemp("llama")
    model, tokenizer = bases.load_base(str(make_tiny_llama(place / "base", layers=3)), 0, ["a", "b", "c"])
    model.save_pretrained(place / "rm")
    tokenizer.save_pretrained(place / "rm")
    heads = [folder.Attribute(name=name) for name in "abc"]
    folder.write_contract(place / "rm", folder.Contract(layout="chat", max_length=160, attributes=heads))
    return place / "rm"


def plainly(scorer: Scorer, texts: Any) -> np.ndarray:
    """Each text by itself, without a batch, padding, or anything kept of its prompt."""
    tokens = scorer.layout.encode_all(scorer.tokenizer, texts)
    with torch.inference_mode():
        found = [scorer.models[0](input_ids=torch.tensor([t.ids]), use_cache=False).logits for t in tokens]
    return torch.cat(found).double().numpy()


PROMPTS = [
    (Message("user", "is it?"),),
    (Message("system", LONG), Message("user", "where?")),
    (Message("user", LONG),),
    (Message("user", LONG * 4),),  # over-long: cut to what each response leaves
]


def test_scores_are_those_of_the_plain_way_whatever_the_batch_the_order_and_the_padding(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix, "LEAST", 1)  # also where it would not pay
    scorers = [Scorer(llama, device="cpu", batch_tokens=size) for size in (8192, 400, 1)]
    asked = st.tuples(st.sampled_from(PROMPTS), st.text(alphabet="abc defé\n", max_size=80) | st.just("to be " * 60))

    @settings(deadline=None, max_examples=25)
    @given(st.lists(asked, min_size=1, max_size=24), st.randoms(use_true_random=False))
    def check(texts: list[Any], draw: Any) -> None:
        wanted = plainly(scorers[0], texts)
        order = draw.sample(range(len(texts)), len(texts))
        for scorer in scorers:
            assert np.abs(scorer.score(texts).attributes - wanted).max() <= 1e-5
            mixed = scorer.score([texts[i] for i in order]).attributes
            assert np.abs(mixed - wanted[order]).max() <= 1e-5

    check()


def test_a_prompt_is_read_once_for_all_its_responses(llama: Path) -> None:
    scorer, read = Scorer(llama, device="cpu"), []
    scorer.models[0].model.embed_tokens.register_forward_hook(lambda _, given, __: read.append(given[0].numel()))
    texts = [(prompt, "yes " * n) for prompt in PROMPTS[1:3] for n in range(1, 9)]
    whole = sum(len(t.ids) for t in scorer.layout.encode_all(scorer.tokenizer, texts))
    scorer.score(texts)
    assert sum(read) < 0.5 * whole
    read.clear()
    scorer.score([texts[0], texts[8]])  # each prompt has one response
    assert len(read) == 1


def test_only_tokens_before_the_scored_one_are_shared_and_only_where_it_saves_enough() -> None:
    def lists(*several: list[int]) -> list[Tokens]:
        return [Tokens(ids) for ids in several]

    long = list(range(10, 150))
    made = prefix.groups_of(lists([*long, 1], [*long, 2, 3], [7], [*long, 4], long[:5]), [0, 0, 1, 0, 2], pad_id=0)
    assert made == [prefix.Group((0, 1, 3), 140)]
    assert prefix.groups_of(lists(long, long), "aa", pad_id=0) == [prefix.Group((0, 1), 139)]
    # where padding is the end token, models read the score before it
    assert prefix.groups_of(lists([*long, 0], [*long, 0, 0]), "aa", pad_id=0) == [prefix.Group((0, 1), 139)]
    assert prefix.groups_of(lists(long[:90], long[:90]), "aa", pad_id=0) == []
    assert prefix.groups_of([Tokens(long, [0] * 140)] * 2, "aa", pad_id=0) == []


def small(kind: type, **more: Any) -> Any:
    config = kind(
        vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=256, pad_token_id=0, **more,
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config).eval()


def test_other_decoders_share_and_what_cannot_keeps_the_plain_way(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    asked = torch.randint(1, 100, (60,), generator=draw).tolist()
    tokens = [Tokens([*asked, *torch.randint(1, 100, (n,), generator=draw).tolist()]) for n in (1, 9, 4, 30, 2)]
    models = {
        "qwen": (small(Qwen3Config), True), "whole": (small(MistralConfig, sliding_window=None), True),
        "window": (small(MistralConfig, sliding_window=16), False),
    }  # fmt: skip
    for model, shares in models.values():
        assert prefix.applies(model) is shares
        together = forward.logits(model, tokens, prompts=[0] * 5)
        assert (together - forward.logits(model, tokens)).abs().max() <= 1e-5
        states = features(model, tokens, prompts=[0] * 5)  # of a frozen body: without its head
        assert states.shape == (5, 32)
        assert (states - features(model, tokens)).abs().max() <= 1e-5
    encoder, tokenizer = bases.load_base(str(make_tiny_bert(tmp_path / "bert")), 0)
    assert not prefix.applies(encoder)
    pairs = [((Message("user", "why is the sky blue " * 10),), text) for text in ("yes", "no", "it is not")]
    made = Layout("segments", 96).encode_all(tokenizer, pairs)
    assert torch.equal(forward.logits(encoder, made, prompts=[0] * 3), forward.logits(encoder, made))
