"""Builds a tiny random Llama with its own tokenizer and chat template in a folder: a real checkpoint in a second."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = (
    "system user assistant You answer with one JSON record and nothing else.",
    'Hello, my order A-1024 of 3 red lamps arrived broken. {"order": "A-1024", "product": "red lamp", "quantity": 3}',
    "The kettle is late, where is it? Please send two more on Monday, thank you. Regards, Anna",
)


def make_tiny_llama(
    folder: str | Path,
    seed: int = 0,
    *,
    hidden: int = 32,
    layers: int = 2,
    texts: Iterable[str] = TEXTS,
    context: int = 512,
    vocab: int = 400,
) -> Path:
    """Write a random Llama (4 query heads over 2 key heads, tied embeddings, pad = eos) and return `folder`.

    The tokenizer is a byte-level BPE trained on `texts`, so it can write any text; the chat template is ChatML.
    The same arguments give the same bytes.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = Path(folder)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=special, initial_alphabet=alphabet)
    bpe.train_from_iterator([*TEXTS, *texts], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
