"""The model card: what it was trained on, what it is worth, where it is not better than length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def card(name: str, result: Mapping[str, Any]) -> str:
    """Markdown with the front matter that the Hugging Face hub reads."""
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-classification\ntags:\n- reward-model\n- tao-hub\n---\n",
        f"# {name}\n", _summary(result), "## Scores\n", _scores(result), "## Held-out metrics\n", _metrics(result),
        _plots(result["metrics"]),
        "## Data\n", _data(result), "## Contamination\n", _contamination(result), "## Licence\n", _licence(result),
    ]  # fmt: skip
    return "\n".join(parts)


def _summary(result: Mapping[str, Any]) -> str:
    options = result["options"]
    members = f", {options['ensemble']} members" if options["ensemble"] > 1 else ""
    how = "head on a frozen body" if options["frozen"] else (
        f"LoRA of rank {options['lora_rank']}, merged" if options["lora_rank"] else "all weights"
    )  # fmt: skip
    verdict = result["metrics"].get("verdict", "no held-out pairs: not measured")
    return (
        f"A reward model: {result['architecture']} from `{options['base']}`, loss {options['loss']}, {how}{members}, "
        f"{result['rows']['train']} training rows, seed {options['seed']}.\n\n**Held out: {verdict}.**\n"
    )


def _scores(result: Mapping[str, Any]) -> str:
    c = result["contract"]
    biases = [a["bias"] for a in c["attributes"]] or [c["bias"]]
    plus = "" if not any(biases) else f" {biases[0]:+.4g}" if len(biases) == 1 else " + bias"
    logit = f"(logit{plus})" if plus else "logit"
    meant = {
        "bce": f"σ({logit} / T) is the probability that the answer is right.",
        "regression": f"The raw logit{plus} estimates the rating.",
    }.get(c["loss"], "σ((a − b) / T) is the probability that a response with logit a is preferred to one with b.")
    if plus:
        meant += " This class's head has no place for a bias, so the logits lack it."
    cut = result["truncation"]
    return (
        f"{_value(c, meant)}\n\nText layout `{c['layout']}`, at most {c['max_length']} tokens; of "
        f"what is longer both ends are kept ({cut['texts']} of {cut['of']} training texts, {cut['tokens']} tokens "
        "cut). "
        f"{_LAYOUTS[c['layout']]}\n\nIn TAO Hub: `model/preference -o model=FOLDER`. In `transformers`: "
        "`AutoModelForSequenceClassification.from_pretrained(FOLDER)`, "
        f"`.logits[:, {':' if c['attributes'] else '0'}]`.\n"
    )


def _value(c: Mapping[str, Any], meant: str) -> str:
    heads = c["attributes"]
    if not heads:
        centre = "" if c["loss"] == "bce" else f"; the mean held-out logit is {c['centre']:.4g}"
        return (
            f"One logit per text, without bounds. {meant} T = {c['temperature']:.4g}, fitted on held-out rows{centre}."
        )
    lines = [f"One logit for each of {len(heads)} attributes, without bounds. {meant} Each has a T of its own.\n"]
    centre = "−bias / T" if c["loss"] == "bce" else "mean held-out logit / T"
    lines += [f"| output | attribute | weight | T | bias | {centre} |", "|---" * 6 + "|"]
    for i, a in enumerate(heads):
        numbers = " | ".join(f"{a[key]:.4g}" for key in ("temperature", "bias", "centre"))
        lines.append(f"| {i} | {a['name']} | {a['weight']:g} | {numbers} |")
    told = "fitted on held-out comparisons of whole answers" if c["temperature"] != 1 else "since none was fitted"
    lines.append(f"\nThe value is Σ weight · logit / T, divided by {c['temperature']:.4g} ({told}).")
    if c["gate"]:
        lines.append("A gate on the prompt gives the weights (`gate.safetensors`); those above are where it started.")
    return "\n".join(lines)


_LAYOUTS = {
    "chat": "The prompt and the answer go through the tokenizer's chat template.",
    "segments": "The prompt is the first segment, the answer the second: `tokenizer(prompt, answer)`.",
    "plain": "The prompt, an empty line, the answer, the end token.",
}


def _metrics(result: Mapping[str, Any]) -> str:
    m = result["metrics"]
    heads = m.get("attributes", {})
    parts = [_judged(m, "The weighted sum, on rows that compare whole answers" if heads else "")]
    parts += [_judged(found, f"Attribute {name}") for name, found in heads.items()]
    if gate := m.get("gate"):
        parts.insert(1, _gate(gate))
    return "\n".join(parts)


def _plots(m: Mapping[str, Any]) -> str:
    """Links to the drawings of the whole (`plots.write_plots`)."""
    found = m.get("calibration")
    shown = ["![Calibration on held-out rows](calibration.svg)"] * bool(found and found["bins"])
    shown += ["![The best of n by the model](best-of-n.svg)"] * bool(m.get("curve"))
    return "\n\n".join(shown) + "\n" if shown else ""


def _gate(gate: Mapping[str, Any]) -> str:
    mean = ", ".join(f"{name} {weight:.3g}" for name, weight in gate["weights"].items())
    told = f"The gate's mean weights over held-out prompts: {mean}."
    if over := gate.get("over_fixed"):
        better = "better" if over["low"] > 0 else "not better"
        told += (
            f" With the fixed weights the accuracy is {_percent(gate['fixed'])}; the gate is {better} than they are: "
            f"{100 * over['delta']:+.1f} ({100 * over['low']:+.1f} to {100 * over['high']:+.1f})."
        )
    return told + "\n"


def _judged(m: Mapping[str, Any], title: str) -> str:
    lines = [f"### {title}\n"] if title else []
    if "accuracy" not in m:
        return "\n".join([*lines, "No held-out prompt has two responses to compare.\n"])
    lines += ["| domain | pairs | prompts | accuracy | length alone | over length | verdict |", "|---" * 7 + "|"]
    for domain, row in [("all", m), *m["domains"].items()]:
        over = row["over_length"]
        lines.append(
            f"| {domain} | {row['accuracy']['n']} | {row['accuracy']['prompts']} | {_percent(row['accuracy'])} | "
            f"{_percent(row['length_only'])} | {100 * over['delta']:+.1f} ({100 * over['low']:+.1f} to "
            f"{100 * over['high']:+.1f}) | {row['verdict']} |"
        )
    lines.append(f"\nIntervals are 95%, clustered by prompt. Length alone: {m['length_only']['rule']}.")
    told = [f"{name}: {_percent(row)}" for name, row in m["baselines"].items()]
    told.append(f"the longer response scores higher in {100 * m['prefers_longer']:.1f}% of pairs")
    if m["length_matched"]:
        told.append(f"pairs of like length (n = {m['length_matched']['n']}): {_percent(m['length_matched'])}")
    if m["length_correlation"] is not None:
        told.append(f"Spearman's correlation of score and length: {m['length_correlation']:+.2f}")
    if r := m["ranking"]:
        told.append(f"best of {r['mean_n']:.1f}: {_percent(r['best_of_n'])}, chance {100 * r['chance']:.1f}")
        told.append(f"Kendall's τ-b: {r['kendall_tau_b']:+.2f}")
    lines += ["", *(f"- {t[0].upper()}{t[1:]}." for t in told), "", _calibration(m["calibration"])]
    if m["curve"]:
        lines += ["", _curve(m["curve"])]
    return "\n".join(lines) + "\n"


def _curve(found: Mapping[str, Any]) -> str:
    lines = ["| best of n by the model | KL, nats | held-out score | by chance | best possible |", "|--:" * 5 + "|"]
    for p in found["points"]:
        value = f"{p['value']:.3f} ({p['low']:.3f}–{p['high']:.3f})"
        lines.append(f"| {p['n']} | {p['kl']:.2f} | {value} | {p['chance']:.3f} | {p['best']:.3f} |")
    gain = found["gain"]
    told = (
        f"\nOver-optimisation ({found['prompts']} held-out prompts): {found['verdict']}; from one answer to the best "
        f"of {found['points'][-1]['n']} {gain['delta']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f}), best at n = "
        f"{found['peak']}. A ranking counts 1 for its best answers, 0 for the others."
    )
    return "\n".join([*lines, told])


def _calibration(c: Mapping[str, Any] | None) -> str:
    if c is None:
        return "Too few held-out pairs to calibrate on."
    kept = ", ".join(
        f"{s['confidence']:g}: {100 * s['accuracy']:.1f}% right of {100 * s['coverage']:.0f}% judged"
        for s in c["selective"] if s["accuracy"] is not None
    )  # fmt: skip
    return (
        f"Calibration (cross-fitted, n = {c['n']}): NLL {c['nll_before']:.3f} → {c['nll_after']:.3f} nats, ECE "
        f"{c['ece_before']:.3f} → {c['ece_after']:.3f}. With abstention below a confidence of "
        f"{kept or 'any: nothing left'}."
    )


def _data(result: Mapping[str, Any]) -> str:
    columns = ("source", "read", "after cap", "kept", "trained on", "held out", "weight", "rows per epoch", "digest")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for s in result["sources"]:
        after = s["capped"] if s["cap"] else "no cap"
        lines.append(
            f"| {s['name']} | {s['read']} | {after} | {s['kept']} | {s['train']} | {s['held_out']} | {s['weight']:g} | "
            f"{s['per_epoch']} | `{s['digest']}` |"
        )
    left = ", ".join(f"{count} {kind}" for kind, count in result["problems"].items()) or "none"
    rows = result["rows"]
    lines.append(
        f"\n{rows['train']} rows trained on, {rows['per_epoch']} an epoch by the weights; {rows['held_out']} held out, "
        f"each once whatever its weight, split by prompt. Problems: {left}"
    )
    lines.append("(each is named in `data-problems.jsonl`).\n")
    return "\n".join(lines)


def _contamination(result: Mapping[str, Any]) -> str:
    c = result["contamination"]
    total = sum(c["suites"].values())
    checked = ", ".join(f"{place} ({n})" for place, n in c["suites"].items()) or "none"
    lines = [
        f"No training or held-out prompt occurs in the {total} prompts of the registered evaluation suites that could "
        "be read here (equal words, or 13 words in a row in common beside a template that more than a tenth of a "
        "suite's prompts have): "
        f"{checked}. {c['refused']} rows were left out for that reason."
    ]
    if c["unread"]:
        lines.append("Not readable here, so not checked: " + ", ".join(c["unread"]) + ".")
    if c["not_checked"]:
        lines.append("Not checked, as the user said: " + ", ".join(c["not_checked"]) + ".")
    return "\n\n".join(lines) + "\n"


def _licence(result: Mapping[str, Any]) -> str:
    return (
        f"The weights derive from `{result['options']['base']}` and from the data above: the terms of both hold. "
        f"{result['licence'] or 'No licence was named when it was trained (--licence TEXT).'}\n"
    )


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['value']:.1f} ({100 * row['low']:.1f}–{100 * row['high']:.1f})"
