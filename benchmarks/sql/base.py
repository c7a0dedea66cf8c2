"""Base policies that write SQL, from a few labelled pairs: a small Llama from scratch, or LoRA on a pretrained model.

Used by backoffice.py and geoquery.py beside it. The labels of the base are the only ones.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import tao_hub
from tao_hub import Candidate, Group, Message, Prompt, Ref, Score

TEMPLATE = (  # the schema is always the same one: a model trained for it needs the question only
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|q|>' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|sql|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|sql|>' }}{% endif %}"
)
# words take the space before them along; names and numbers do not, so that they are the same in question and query
PIECES = r" ?[a-z_]+| ?[A-Z_]+(?![a-z])|[A-Z][a-z]+|\d+|\s|[^\w\s]"


def untrained(
    folder: Path, texts: Iterable[str], seed: int = 0, vocab: int = 1600, hidden: int = 160, layers: int = 4
) -> Path:
    """A random Llama in `folder` with a byte-level BPE tokenizer made from `texts`."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False),
    ])  # fmt: skip
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|end|>", "<|q|>", "<|sql|>"]
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=special, initial_alphabet=alphabet)
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers,
        num_attention_heads=5, num_key_value_heads=5, max_position_embeddings=256, tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|q|>"), eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def groups(prompts: Sequence[Prompt], queries: Sequence[str]) -> list[Group]:
    """Labelled pairs as the trainers take them: one candidate each, with the highest total."""
    return [
        Group(p.without_reference(), (Candidate(p.digest, sql),), ({},), (Score(1.0),), ("",))
        for p, sql in zip(prompts, queries)
    ]


def varied(prompts: Sequence[Prompt], queries: Sequence[str], database: Path, copies: int, seed: int) -> list[Group]:
    """The pairs, and `copies` of each with other values and numbers, where something in it can be exchanged."""
    from tao_reward_sql.values import vary

    rng = Random(seed)
    asked, answers = list(prompts), list(queries)
    for prompt, sql in zip(prompts, queries):
        for _ in range(copies):
            made = vary(prompt.text, [sql], database, rng)
            if made is not None:
                asked.append(with_text(prompt, made[0]))
                answers.append(made[1][0])
            else:
                asked.append(prompt)
                answers.append(sql)
    return groups(asked, answers)


def small(
    out: Path, prompts: Sequence[Prompt], queries: Sequence[str], questions: Iterable[str], database: Path,
    copies: int, seed: int,
) -> Path:  # fmt: skip
    """A small Llama from scratch that has learnt the pairs and `copies` of each with other values of their columns put
    in; its tokenizer also knows the `questions` and the database's values."""
    from tao_reward_sql.values import values_of

    texts = [*questions, *3 * list(queries), *(value for some in values_of(database).of.values() for value in some)]
    start = untrained(out.with_name("untrained"), texts, seed)
    options = {
        "lora_rank": 0, "learning_rate": 2e-3, "epochs": 3, "batch_size": 32, "dtype": "float32", "seed": seed,
    }  # fmt: skip
    train(start, varied(prompts, queries, database, copies, seed), out, options)
    return out


def adapter(
    out: Path, prompts: Sequence[Prompt], queries: Sequence[str], database: Path, copies: int, seed: int,
    model: str = "smollm2",
) -> Path:  # fmt: skip
    """LoRA adapters of a pretrained model that has learnt the pairs and `copies` of each. They name the model by its
    registered name and leave the tokenizer to it."""
    options = {"lora_rank": 8, "merge": False, "learning_rate": 1e-3, "epochs": 3, "batch_size": 8, "seed": seed}
    train(model, varied(prompts, queries, database, copies, seed), out, options)
    config = json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": model, "target_modules": sorted(config["target_modules"])}
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for name in ("README.md", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        (out / name).unlink(missing_ok=True)
    return out


def way_back(out: Path, learned: Sequence[Group], seed: int) -> Ref:
    """The reward of a small Llama from scratch that has learnt the groups from answer to question; what is in `out`
    already is taken."""
    if not (out / "config.json").is_file():
        texts = [text for group in learned for text in (group.prompt.text, group.candidates[0].response)]
        start = untrained(out.with_name(f"{out.name}-untrained"), texts, seed)
        options = {"learning_rate": 2e-3, "epochs": 3, "batch_size": 32, "lora_rank": 0, "dtype": "float32"}
        trainer = tao_hub.Hub().trainer(Ref("cycle/backward", {**options, "seed": seed}))
        trainer.update(learned, Ref("hf/causal-lm", {"model": str(start)}), out, tao_hub.Bar())
        trainer.close()
    return Ref("cycle/back-translation", {"model": str(out)})


def with_text(prompt: Prompt, text: str) -> Prompt:
    """The prompt with another last user message and no reference."""
    return Prompt((*prompt.messages[:-1], Message("user", text)), id=prompt.id, meta=prompt.meta)


def item_means(session: tao_hub.Session, runs: Sequence[str], split: str) -> tuple[list[float], list[float]]:
    """The base's and the last round's value of each item of a split, mean over the runs."""
    from tao_hub.history import History

    history = History(session.store)
    found = []
    for name in runs:
        evals = [e for e in history.evals(history.find(name)["id"]) if e["split"] == split]
        first, last = (next(e for e in evals if e["round"] == n) for n in (0, max(e["round"] for e in evals)))
        found.append([[i["value"] or 0.0 for i in history.eval_items(e["id"])] for e in (first, last)])
    before, after = ([sum(values) / len(values) for values in zip(*(run[k] for run in found))] for k in (0, 1))
    return before, after


def mean_over_seeds(session: tao_hub.Session, runs: Sequence[str], split: str) -> dict[str, Any]:
    """The last round against the base on a split, each item's value being its mean over the runs."""
    from tao_hub.stats import compare

    before, after = ({str(i): v for i, v in enumerate(side)} for side in item_means(session, runs, split))
    return dict(compare(before, after, metric="mean over seeds", suite=split).__dict__)


def chosen(session: tao_hub.Session, run: str, number: int) -> dict[int, tuple[str, float]]:
    """Prompt row → the best answer by the rewards in a round, and its total."""
    from tao_hub.history import History

    sql = (
        "SELECT x.prompt, c.response, x.total FROM chosen x JOIN candidates c ON c.id = x.candidate "
        "WHERE x.run = ? AND x.round = ?"
    )
    rows = session.store.rows(sql, [History(session.store).find(run)["id"], number])
    return {row: (response, total) for row, response, total in rows}


def right(match: tao_hub.Reward, asked: Mapping[int, Prompt], answers: Mapping[int, str], golds: Mapping[int, str],
          ) -> dict[str, float]:  # fmt: skip
    """How many of the answers the reward finds right by these golds, all by prompt row; `unscored` ones are not."""
    pairs = [
        (Prompt(asked[row].messages, reference=golds[row], meta=asked[row].meta), Candidate("", answer))
        for row, answer in answers.items()
    ]
    scores = [s if isinstance(s, Score) else Score(s) for s in match.score_batch(pairs)]
    found = {"n": len(scores), "right": sum(s.value or 0.0 for s in scores) / max(1, len(scores))}
    failed = sum(s.value is None for s in scores)
    return {**found, "unscored": failed} if failed else found


def train(start: Path | str, learned: Sequence[Group], out: Path, options: Mapping[str, Any]) -> Ref:
    """Best-of-n's trainer on `learned`; returns the trained policy."""
    shutil.rmtree(out, ignore_errors=True)
    hub = tao_hub.Hub()
    trainer = hub.trainer(Ref("trl/best-of-n", dict(options)))
    policy: Ref = trainer.update(learned, Ref("hf/causal-lm", {"model": str(start)}), out, tao_hub.Bar())
    return policy
