"""The generator `hf/causal-lm`: requests → batches that share their prompts' prefix → completions."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

import tao_hub
from tao_hub import Completion, Message, Prompt, Request, Sampling

from . import loading, models
from .batching import Row, batches, prefix_groups
from .copying import Copying, Ends

Answers = list[Completion]
ROOM = 1 << 30  # bytes of keys and values in a batch on a processor
MOST_ROWS, WORK = 2048, 1 << 32
"""Rows in a batch there, and multiply-adds that one of its steps may take, at most. A small model decodes many rows at
once, so that what lies between its products (Python, small operations) is shared by many (docs/results/speed.md)."""


class CausalLM(tao_hub.Generator):
    """Any causal language model of transformers, prompted through its chat template.

    A tokenizer without a chat template gets the messages plainly, each as its content and an empty line.
    A request that cannot be served (longer than the context, refused by the chat template) yields its exception in
    place of its completions; the others go on.
    """

    class Options(tao_hub.Options):
        model: str = Field(
            description="name of `tao-hub models`, checkpoint folder, .gguf file, or hub id (owner/name)"
        )
        adapter: str | None = Field(None, description="folder of a LoRA adapter (peft) to put on the model")
        dtype: str = Field(
            "auto",
            pattern="^(auto|float32|bfloat16|float16)$",
            description="auto: bfloat16 where the processor multiplies it natively, else float32 (env TAO_HUB_DTYPE)",
        )
        device: str = Field("auto", description="auto (cuda if there is one), cpu, cuda, cuda:1, …")
        batch_tokens: int | None = Field(
            None,
            gt=0,
            description="most tokens in memory per batch, rows × length (default: 1 GiB of them, at least 65536; "
            "on GPUs 524288)",
        )
        threads: int | None = Field(None, gt=0, description="CPU threads (default: torch's own choice)")
        lanes: int | None = Field(
            None, gt=0, description="batches decoded at once (default: one per thread for small models on a CPU)"
        )

    stops: frozenset[int] | None = None
    """Ids that end an answer; None: those the checkpoint names. Benchmarks set it to nothing."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        path = models.resolve(self.options.model)
        base, self._adapter = loading.resolve_adapter(path, self.options.adapter)
        self._path: Path = path if base is None else models.resolve(base)
        self._loaded: tuple[Any, Any] | None = None
        self._digest = ""
        self._ends: Ends | None = None

    def policy_digest(self) -> str:
        if not self._digest:
            self._digest = loading.content_digest(self._path, self._adapter)
        return self._digest

    def close(self) -> None:
        self._loaded = None
        loading.give_back_memory()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Any]]:
        """See `tao_hub.Generator.generate`. The draws of a sample depend on its seeds and index only; so do the
        samples, up to the rounding of batched matrix products (which bfloat16 shows and float32 hardly ever does)."""
        import torch

        from .lanes import decode_in_lanes, lanes_for

        if self.options.threads:
            torch.set_num_threads(self.options.threads)
        model, tokenizer = self._load()
        waiting: dict[int, list[Row]] = {}
        for index, prompt in enumerate(self._tokenize(tokenizer, requests, context_length(model))):
            if isinstance(prompt, Exception) or requests[index].n < 1:
                yield index, prompt if isinstance(prompt, Exception) else []
            else:
                limit = min(sampling.max_tokens, context_length(model) - len(prompt))
                copying = self._copying(tokenizer, requests[index].prompt)
                waiting[index] = _rows(index, requests[index], prompt, limit, sampling, copying)
        on_cpu = model.device.type == "cpu"
        room = max(65_536, ROOM // token_bytes(model))
        tokens = self.options.batch_tokens or (room if on_cpu else 524_288)
        every = [row for rows in waiting.values() for row in rows]
        lanes = self.options.lanes or lanes_for(model, len(every))
        most = max(64 * (2 if lanes == 1 else 1), min(MOST_ROWS, WORK // parameters(model))) if on_cpu else 1024
        groups = [
            (prefix, deque(batches(rows, len(prefix), tokens // lanes, rows_at_once(len(rows), lanes, most))))
            for prefix, rows in prefix_groups(every)
        ]
        stops = loading.stop_tokens(model, tokenizer) if self.stops is None else self.stops
        owed = {index: len(rows) for index, rows in waiting.items()}
        for row in decode_in_lanes(model, groups, stops, sampling.temperature, sampling.top_p, lanes):
            owed[row.request] -= 1
            if not owed[row.request]:
                yield row.request, _answers(tokenizer, waiting.pop(row.request), stops)

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from .memory import prepare
            from .packing import pack

            device = loading.choose_device(self.options.device)
            dtype = loading.choose_dtype(self.options.dtype, device)
            model, tokenizer = loading.load(self._path, self._adapter, dtype, device)
            prepare(model)
            pack(model)
            self._loaded = model, tokenizer
        return self._loaded

    def _copying(self, tokenizer: Any, prompt: Prompt) -> Copying | None:
        """What copy decoding needs, if the prompt asks for it (see `copying`)."""
        if not prompt.meta.get("copy_from"):
            return None
        if self._ends is None:
            self._ends = Ends(tokenizer)
        return Copying(tokenizer, prompt.meta, self._ends)

    def _tokenize(self, tokenizer: Any, requests: Sequence[Request], room: int) -> list[tuple[int, ...] | Exception]:
        texts: list[str | Exception] = []
        for request in requests:
            try:
                texts.append(render(tokenizer, request.prompt.messages))
            except Exception as error:  # a chat template may refuse what it is given
                texts.append(ValueError(f"the chat template refuses this prompt: {error}"))
        good = [text for text in texts if isinstance(text, str)]
        special = not tokenizer.chat_template  # a template writes its own special tokens
        ids = iter(tokenizer(good, add_special_tokens=special)["input_ids"] if good else [])
        found: list[tuple[int, ...] | Exception] = []
        for text in texts:
            prompt = text if isinstance(text, Exception) else tuple(next(ids))
            if not isinstance(prompt, Exception) and not 0 < len(prompt) < room:
                prompt = ValueError(f"the prompt has {len(prompt)} tokens, but this model takes 1 to {room - 1}")
            found.append(prompt)
        return found


def rows_at_once(rows: int, lanes: int, most: int) -> int:
    """Most rows in a batch, `most` at the most, such that all lanes get like shares."""
    return math.ceil(rows / (lanes * math.ceil(rows / (lanes * most))))


def parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def token_bytes(model: Any) -> int:
    """Bytes of keys and values per token: of a model with full attention; others have less."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * dim * model.dtype.itemsize)


def context_length(model: Any) -> int:
    """Tokens of prompt and answer together."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30)


def render(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The prompt as text: by the chat template, or without one each content and an empty line."""
    if not tokenizer.chat_template:
        return "".join(f"{message.content}\n\n" for message in messages)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def _rows(
    index: int, request: Request, prompt: tuple[int, ...], limit: int, sampling: Sampling, copying: Copying | None
) -> list[Row]:
    from .decode import uniforms

    rows = [Row(index, sample, prompt, limit, copying=copying) for sample in range(request.n)]
    if sampling.temperature > 0:
        for row in rows:
            row.draws = uniforms(sampling.seed, request.seed, row.sample, limit)
    return rows


def _answers(tokenizer: Any, rows: Sequence[Row], stops: frozenset[int]) -> Answers | Exception:
    if any(row.finish_reason == "memory" for row in rows):
        return MemoryError(f"no memory for one prompt of {len(rows[0].prompt)} tokens and its answer")
    if any(row.finish_reason == "broken" for row in rows):
        return RuntimeError("the model gave no finite probabilities; its weights are broken")
    texts = tokenizer.batch_decode(
        [[t for t in row.tokens if t not in stops] for row in rows], skip_special_tokens=True
    )
    return [
        Completion(
            text=text,
            finish_reason=row.finish_reason,
            prompt_tokens=len(row.prompt),
            output_tokens=len(row.tokens),
            logprobs=tuple(row.logprobs),
            seconds=row.seconds,
        )
        for row, text in zip(rows, texts)
    ]
