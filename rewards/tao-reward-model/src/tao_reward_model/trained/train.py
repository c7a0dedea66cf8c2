"""Preferences → a reward model's folder with its card, measured as it was saved."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tao_hub import Hub, Progress, UsageError, digest

from . import folder, processes, registry
from .card import card
from .held_out import measured
from .options import TrainOptions
from .plots import write_plots
from .prepare import Loaded, Prepared, Wishes, load, prepare, write_problems
from .rows import Problems, Ranked
from .unfinished import finish_member, finished_member, partial, unfinished


def train(
    data: Sequence[str], options: TrainOptions, out: Path, *, wishes: Wishes | None = None, more: Sequence[Loaded] = (),
    problems: Problems | None = None, name: str = "", licence: str = "", hub: Hub | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Read, train, measure, write `out` (at once, when all is done); returns what the card is made from.

    `data` are sources as `--data` takes them, `more` rows from elsewhere. Raises UsageError for bad data or an `out`
    that is there already, LabelLeak for prompts that occur in an evaluation suite. Same rows, options and machine: same
    weights, interrupted or not: a training that was stopped or killed is gone on with from its last checkpoint. Of
    several processes that were started together the others train along and return {}.
    """
    progress = progress or Progress()
    processes.check(options.frozen, options.batch_size, options.accumulate)
    if options.device == "cuda" and not options.on_gpu:
        raise UsageError("--device cuda: torch sees no GPU here; take --device cpu, or a torch that is built for CUDA")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already; give a new folder: what it scored is kept under its content")
    if name:
        registry.check_name(name)
    problems = problems or Problems()
    ready = prepare([*load(data, problems), *more], options, wishes or Wishes(), hub or Hub(), problems)
    processes.begin(options.on_gpu)
    if processes.rank():
        return _help(ready, options, out)
    with unfinished(out, _key(ready, options)) as work:
        made = work / "model"
        made.mkdir(exist_ok=True)
        processes.wait()  # the others look into the folder, too
        result = {**ready.counts, "options": options.model_dump(), "licence": licence}
        result |= _build(ready, options, made, work, progress)
        processes.end()
        result |= measured(ready, options, made, progress)
        write_problems(problems, made / "data-problems.jsonl")
        write_plots(result["metrics"], made)
        title = name or out.name
        (made / "README.md").write_text(card(title, result), encoding="utf-8")
        (made / "metrics.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for file in made.rglob("*.safetensors"):
            file.chmod(0o644)  # safetensors writes for the owner alone
        if out.is_dir():
            out.rmdir()
        os.replace(made, out)
    result |= {"out": str(out), "digest": folder.digest(out)}
    if name:
        result["name"] = registry.register(name, out, result["digest"], _summary(result))
    return result


def _help(ready: Prepared, options: TrainOptions, out: Path) -> dict[str, Any]:
    """What the other processes do: train along, and write nothing."""
    processes.wait()
    work = partial(out)
    _build(ready, options, work / "model", work, Progress())
    processes.end()
    return {}


def _key(ready: Prepared, options: TrainOptions) -> str:
    """What decides the weights: rows and their weights, options, and the base's content."""
    from .bases import base_folder

    base = Path(base_folder(options.base))
    rows = [
        [r.source, r.key, r.responses, r.scores, r.margin, {name: list(s) for name, s in r.attributes.items()}]
        for r in ready.split.train
    ]
    return digest([
        options.model_dump(exclude={"checkpoint_minutes"}), {s.name: s.weight for s in ready.sources}, rows,
        folder.digest(base) if base.is_dir() else "",
    ])  # fmt: skip


def _build(ready: Prepared, options: TrainOptions, made: Path, work: Path, progress: Progress) -> dict[str, Any]:
    """Train all members and save them; returns architecture, losses and how much was cut."""
    from .bases import is_encoder, load_base, longest
    from .layout import Layout

    names = list(options.heads)
    model, tokenizer = load_base(options.base, options.seed, names)
    kind = options.layout
    if kind == "auto":
        kind = "segments" if is_encoder(model) else "chat" if tokenizer.chat_template else "plain"
    if kind == "chat" and not tokenizer.chat_template:
        raise UsageError(f"base {options.base} has no chat template: --layout plain or segments")
    layout = Layout(kind, min(options.max_length, longest(model)))
    contract = folder.Contract(
        layout=kind, max_length=layout.max_length, loss=options.loss, base=options.base,
        attributes=[folder.Attribute(name=name, weight=weight) for name, weight in options.heads.items()],
    )  # fmt: skip
    items, truncation = _encoded(ready.epoch, layout, tokenizer, options)
    if options.frozen:
        contract, losses = _frozen(model, items, options, made, contract, progress), []
    else:
        contract, losses = _members(model, items, options, made, work, contract, progress)
    if not processes.rank():
        tokenizer.save_pretrained(made)
        folder.write_contract(made, contract)
    return {
        "architecture": type(model).__name__, "contract": contract.model_dump(), "losses": losses,
        "truncation": truncation,
    }  # fmt: skip


def _encoded(
    rows: Sequence[Ranked], layout: Any, tokenizer: Any, options: TrainOptions
) -> tuple[list[Any], dict[str, int]]:
    from .fit import Item

    distinct = {id(row): row for row in rows}  # a row of weight 2 is encoded once
    texts = layout.encode_all(tokenizer, [(row.prompt, text) for row in distinct.values() for text in row.responses])
    left = iter(texts)
    known = {
        key: Item(
            tuple(next(left) for _ in row.responses), row.scores, None if row.attributes and row.scores else row.margin,
            tuple(_target(row, name, options.pointwise) for name in options.heads),
        )
        for key, row in distinct.items()
    }  # fmt: skip
    items = [known[id(row)] for row in rows]
    cut = [t.cut for t in texts if t.cut]
    return items, {"texts": len(cut), "of": len(texts), "tokens": sum(cut)}


def _target(row: Ranked, name: str, pointwise: bool) -> tuple[float, ...] | None:
    """What the row teaches the head of an attribute; None where it does not rate it, or calls all responses equal."""
    if name not in row.attributes:
        return None
    own = row.of(name)
    return own.scores if (own.graded if pointwise else own.pairs) else None


def _members(
    model: Any, items: Sequence[Any], options: TrainOptions, made: Path, work: Path, contract: folder.Contract,
    progress: Progress,
) -> tuple[folder.Contract, list[list[float]]]:  # fmt: skip
    """Members of other seeds: the first lies in the folder itself, the others beside it."""
    from .bases import load_base, quiet
    from .fit import fit

    names, losses = [], []
    for member in range(options.ensemble):
        names.append("." if member == 0 else f"members/{member}")
        place = work / f"member-{member}"
        steps = finished_member(place)
        if steps is None:
            seed = options.seed + member
            if member:
                model = load_base(options.base, seed, list(options.heads))[0]
            note = f"member {member + 1} of {options.ensemble}" if options.ensemble > 1 else "reward model"
            trained, steps = fit(model, items, options, seed, place, progress, note)
            if not processes.rank():
                with quiet():
                    trained.save_pretrained(made / names[-1])
                finish_member(place, steps)
            processes.wait()
        losses.append(steps)
    return contract.model_copy(update={"members": names}), losses


def _frozen(
    model: Any, items: Sequence[Any], options: TrainOptions, made: Path, contract: folder.Contract, progress: Progress
) -> folder.Contract:
    from safetensors.torch import save_file

    from .bases import quiet
    from .frozen import features, fit_heads, put

    model.eval()
    progress.start("encode", sum(len(i.tokens) for i in items), "texts")
    texts = [(t, number) for number, item in enumerate(items) for t in item.tokens]
    states = features(model, [t for t, _ in texts], progress.advance, [number for _, number in texts])
    progress.finish()
    heads, left = put(model, *fit_heads(states, items, options))
    if options.pointwise:  # of comparisons only differences mean something
        contract = contract.with_biases(left)
    with quiet():
        model.save_pretrained(made)
    if options.ensemble > 1:
        save_file(heads, made / folder.HEADS)
    return contract.model_copy(update={"heads": options.ensemble > 1})


def _summary(result: dict[str, Any]) -> str:
    """One line for the list of rewards."""
    names = ", ".join(s["name"] for s in result["sources"])
    accuracy = result["metrics"].get("accuracy")
    told = f"{100 * accuracy['value']:.1f}% of {accuracy['n']} held-out pairs, " if accuracy else ""
    return f"trained on {names}: {told}{result['metrics'].get('verdict', 'not measured')}"
