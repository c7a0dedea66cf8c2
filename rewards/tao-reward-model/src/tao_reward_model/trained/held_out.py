"""A saved folder scores the held-out rows: its metrics, and the temperatures that go into its contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tao_hub
from tao_hub import Progress

from . import folder, measure
from .baselines import word_gaps
from .gate import Gate, fit_gate
from .options import TrainOptions
from .prepare import Prepared
from .rows import Ranked


def measured(ready: Prepared, options: TrainOptions, made: Path, progress: Progress) -> dict[str, Any]:
    """Score the held-out rows with the saved folder, calibrate, and put the temperatures into its contract.

    With attributes each is measured on the rows that rate it, their weighted sum on rows that score the whole, too.
    """
    from .scorer import Scorer, combined

    texts = [(row.prompt, text) for row in ready.split.held_out for text in row.responses]
    progress.start("measure", len(texts), "texts")
    scorer = Scorer(made, device=options.device)
    raw = scorer.score(texts, progress.advance)
    progress.finish()
    heads, attributes = _calibrated(ready, scorer.contract.attributes, raw.attributes, options.loss)
    values, loss = combined(raw.logits, "mean"), options.loss
    if heads:  # the sum of calibrated scores; comparisons of the whole are all that can tell its own temperature
        loss = "bradley-terry"
        scores = raw.attributes / np.array([head.temperature for head in heads])  # (N, A)
        fixed = values = scores @ np.array([head.weight for head in heads])
    if options.gate:
        gate = _gate(ready, scorer, heads, options, made)
        weights = gate.weights(scorer.states([tuple(prompt) for prompt, _ in texts]))
        values = (scores * weights).sum(1)
    metrics, temperature, centre = _head(ready, "", values, loss, 0.0 if heads else scorer.contract.bias)
    if heads:
        if options.gate:
            metrics["gate"] = _against(ready, values, fixed, heads, weights)
        else:
            centre = sum(head.weight * head.centre for head in heads)
        metrics["attributes"] = attributes
        verdicts = (f"{name}: {m.get('verdict', 'not measured')}" for name, m in attributes.items())
        metrics.setdefault("verdict", "; ".join(verdicts))
    changes = {"temperature": temperature, "centre": centre, "attributes": heads, "gate": options.gate}
    contract = scorer.contract.model_copy(update=changes)
    folder.write_contract(made, contract)
    return {"metrics": metrics, "contract": contract.model_dump()}


def _calibrated(
    ready: Prepared, heads: Sequence[folder.Attribute], logits: np.ndarray, loss: str
) -> tuple[list[folder.Attribute], dict[str, Any]]:
    """The attributes with temperature and centre, and the metrics of each; `logits` (N, A)."""
    made, metrics = [], {}
    for head, own in zip(heads, logits.T):
        metrics[head.name], temperature, centre = _head(ready, head.name, own, loss, head.bias)
        made.append(head.model_copy(update={"temperature": temperature, "centre": centre / temperature}))
    return made, metrics


def _gate(ready: Prepared, scorer: Any, heads: list[folder.Attribute], options: TrainOptions, made: Path) -> Gate:
    """Learnt from the training rows that compare whole answers, as the saved folder scores them."""
    rows = [row for row in ready.split.train if row.pairs]
    raw = scorer.score([(row.prompt, text) for row in rows for text in row.responses])
    scores = raw.attributes / np.array([head.temperature for head in heads])
    states = scorer.states([row.prompt for row in rows])
    gate = fit_gate(states, scores, [row.scores for row in rows], [head.weight for head in heads], options.l2)
    gate.save(made)
    return gate


def _against(
    ready: Prepared, values: np.ndarray, fixed: np.ndarray, heads: list[folder.Attribute], weights: np.ndarray
) -> dict[str, Any]:
    """The gate beside the fixed weights, on held-out comparisons of whole answers."""
    pairs, others = (measure.pairs_of(_judged(ready, "", some)) for some in (values, fixed))
    told: dict[str, Any] = {"weights": {h.name: float(w) for h, w in zip(heads, weights.mean(0))}}
    if len(pairs):
        right, before = ((some.gap > 0).astype(float) for some in (pairs, others))
        gain = tao_hub.paired_delta(before.tolist(), right.tolist(), pairs.cluster.tolist())
        told["fixed"] = measure.share(before, pairs.cluster)
        told["over_fixed"] = {"delta": gain.delta, "low": gain.low, "high": gain.high, "p": gain.p}
    return told


def _judged(ready: Prepared, name: str, values: np.ndarray) -> list[measure.Judged]:
    """The held-out rows that rate the attribute ("": the whole), with one value per response."""
    judged, start = [], 0
    for row, cluster in zip(ready.split.held_out, ready.split.held_out_clusters):
        end = start + len(row.responses)
        if name in row.orders:
            judged.append(measure.Judged(_seen(row, name), tuple(values[start:end].tolist()), cluster))
        start = end
    return judged


def _head(
    ready: Prepared, name: str, values: np.ndarray, loss: str, bias: float
) -> tuple[dict[str, Any], float, float]:
    """(metrics, temperature, centre) of one logit per held-out response, on the rows that rate the attribute ("": the
    whole). The centre of verdicts is where the probability is one half, that of comparisons the mean logit."""
    judged = _judged(ready, name, values + bias)
    train = [_seen(row, name) for row in ready.split.train if name in row.orders]
    pairs = measure.pairs_of(judged)
    words = word_gaps(train, [j.row for j in judged])
    metrics = _metrics(judged, pairs, measure.length_signs(train), {} if words is None else {"words": words})
    found = measure.calibrate(judged, pairs, loss) if judged else None
    metrics["calibration"] = found
    centre = 0.0 - bias if loss == "bce" else float(values.mean())
    return metrics, found["temperature"] if found else 1.0, centre


def _seen(row: Ranked, name: str) -> Ranked:
    return row.of(name) if name else row


def _metrics(
    judged: Sequence[measure.Judged], pairs: measure.Pairs, signs: Mapping[str, int], others: dict[str, Any]
) -> dict[str, Any]:
    metrics: dict[str, Any] = {
        "ranking": measure.ranking(judged), "curve": measure.curve(judged),
        "length_correlation": measure.with_length(judged),
    }  # fmt: skip
    if not len(pairs):
        return metrics
    domains = sorted(set(pairs.domain.tolist()))
    metrics |= measure.accuracy(pairs, signs, others)
    metrics["domains"] = {
        d: measure.accuracy(pairs.where(pairs.domain == d), signs, {n: g[pairs.domain == d] for n, g in others.items()})
        for d in (domains if len(domains) > 1 else [])
    }
    return metrics
