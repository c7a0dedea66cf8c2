"""Checkpoints to start from, as stock classes with one output: encoders, sentence encoders, decoders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tao_hub
from tao_hub import UsageError

from ..encoder import encoder_path

POOL_SCALE = 50.0  # how much louder the mean is than the first token's own state in the pooling layer
NEAR_LINEAR = 0.2  # tanh of so small a multiple of a normalised state is nearly linear


def base_folder(name: str) -> str:
    """`minilm`, a folder, a name of `tao-hub models`, or a hub id → what `from_pretrained` takes."""
    if name == "minilm":
        return encoder_path(name)
    path = Path(tao_hub.model_path(name))
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UsageError(f"{name} is no checkpoint: expected a folder with config.json")
        return str(path)
    if "/" not in name or name.startswith((".", "/")):
        raise UsageError(f"there is no base {name!r}: minilm, a folder, a name of `tao-hub models`, or a hub id")
    return name


def load_base(name: str, seed: int, outputs: Sequence[str] = ()) -> tuple[Any, Any]:
    """(model with one output, or one for each name, in float32; tokenizer whose padding token is not its end token).

    The head is drawn from the seed. A sentence encoder of BERT's shape that pools by the mean gets one more stock
    layer that does so (`pool_by_mean`), since the stock class reads the first token.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = base_folder(name)
    local = Path(folder).is_dir()
    labels: dict[str, Any] = {"num_labels": len(outputs) or 1}
    if outputs:
        labels = {"id2label": dict(enumerate(outputs)), "label2id": {label: i for i, label in enumerate(outputs)}}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=local)
        torch.manual_seed(seed)
        with quiet():
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, local_files_only=local, ignore_mismatched_sizes=True, **labels
            )
    except (OSError, ValueError) as error:
        raise UsageError(f"base {name}: {str(error).splitlines()[0][:300]}") from error
    model.config.problem_type = "regression"
    if model.config.model_type == "bert" and _pools_by_mean(folder):
        model = pool_by_mean(model)
    _set_padding(model, tokenizer)
    return model, tokenizer


def pool_by_mean(model: Any) -> Any:
    """A BertForSequenceClassification whose pooled state is nearly the mean of the last layer's token states.

    One stock layer more: queries and keys are zero, so the first token attends to all tokens alike; values are the
    states; the output is so loud that the layer norm forgets the first token's own state; the feed-forward is zero.
    The pooler multiplies by `NEAR_LINEAR`. All of it can be trained like any other layer.
    """
    import torch
    from transformers import BertForSequenceClassification

    config = model.config
    config.num_hidden_layers += 1
    with quiet():
        wider = BertForSequenceClassification(config)
    missing = wider.load_state_dict(model.state_dict(), strict=False)
    if missing.unexpected_keys:
        raise ValueError(f"the pooling layer does not fit: {missing.unexpected_keys[:3]}")
    layer, pooler = wider.bert.encoder.layer[-1], wider.bert.pooler.dense
    eye = torch.eye(config.hidden_size)
    with torch.no_grad():
        for name, parameter in [*layer.named_parameters(), *pooler.named_parameters()]:
            parameter.fill_(1.0 if "LayerNorm.weight" in name else 0.0)
        layer.attention.self.value.weight.copy_(eye)
        layer.attention.output.dense.weight.copy_(POOL_SCALE * eye)
        # the feed-forward is zero, but not dead: its output can grow from a first half that is drawn
        torch.nn.init.normal_(layer.intermediate.dense.weight, std=config.initializer_range)
        pooler.weight.copy_(NEAR_LINEAR * eye)
    return wider


def head_of(model: Any) -> tuple[Any, str]:
    """The last linear layer, and its name: "score" of decoders, "classifier" or its "out_proj" of encoders."""
    for name in ("score", "classifier"):
        head = getattr(model, name, None)
        if head is not None:
            return (head.out_proj, f"{name}.out_proj") if hasattr(head, "out_proj") else (head, name)
    raise UsageError(f"{type(model).__name__} has no head called score or classifier")


def is_encoder(model: Any) -> bool:
    return head_of(model)[1] != "score"


def longest(model: Any) -> int:
    """Tokens that the model has positions for."""
    positions = getattr(model.config, "max_position_embeddings", None) or 1 << 20
    return int(positions) - (2 if model.config.model_type in ("roberta", "xlm-roberta", "camembert") else 0)


def _set_padding(model: Any, tokenizer: Any) -> None:
    """Decoders find the end of a text by the padding id, so it must not be the end token's (or absent)."""
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        added = tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
        if added and len(tokenizer) > model.get_input_embeddings().num_embeddings:
            with quiet():
                model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    tokenizer.padding_side = "right"
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.config.pad_token_id = tokenizer.pad_token_id


def _pools_by_mean(folder: str) -> bool:
    pooling = Path(folder) / "1_Pooling" / "config.json"
    if not pooling.is_file():
        return False
    told = json.loads(pooling.read_text(encoding="utf-8"))
    return bool(told.get("pooling_mode_mean_tokens") or told.get("pooling_mode") == "mean")


class quiet:
    """No progress bars and no warnings of transformers: the command line draws and says its own."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.bars, self.level = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        if self.bars:
            logging.enable_progress_bar()
        logging.set_verbosity(self.level)
