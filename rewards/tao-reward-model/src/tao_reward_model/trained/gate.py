"""Which attributes count for which prompt: a gate over their scores, learnt from comparisons of whole answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FILE = "gate.safetensors"
LEAST = 1e-3  # share of an attribute that weighs 0: the gate can still find a use for it
STEPS = 200


@dataclass(frozen=True)
class Gate:
    """`weight` (A, H), `bias` (A,), `scale`: scale · softmax(weight · state + bias) are a prompt's weights."""

    weight: np.ndarray
    bias: np.ndarray
    scale: float

    def weights(self, states: np.ndarray) -> np.ndarray:
        """(P, H) states of prompts → (P, A) weights, none negative; each row sums to the scale."""
        logits = states @ self.weight.T + self.bias
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(self.scale * shares / shares.sum(1, keepdims=True))

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"weight": self.weight, "bias": self.bias, "scale": np.array([self.scale])}, folder / FILE)

    @staticmethod
    def load(folder: Path) -> Gate:
        from safetensors.numpy import load_file

        saved = load_file(folder / FILE)
        return Gate(saved["weight"], saved["bias"], float(saved["scale"][0]))


def fit_gate(
    states: np.ndarray, scores: np.ndarray, wholes: Sequence[tuple[float, ...]], weights: Sequence[float], l2: float
) -> Gate:
    """The gate under which comparisons of whole answers are most likely (Bradley–Terry), by L-BFGS.

    `states` (G, H) are the prompts', `scores` (M, A) the attributes' of all responses, one group after another,
    `wholes` the scores of the whole in each group. It starts from the fixed `weights` for every prompt, and
    l2·H/(2G)·‖weight‖² over states scaled to unit variance keeps it near one weighting for all. Half the squared steps
    of the bias and of the scale's logarithm, over G, keep both finite where nothing contradicts (normal priors). This
    is the gate of ArmoRM (Wang et al. 2024, arXiv 2406.12845: frozen heads, softmax over the prompt's state), linear.
    """
    import torch

    from .losses import batch_of, group_loss

    spread = max(float(states.std(0).mean()), 1e-6)
    seen = torch.tensor((states - states.mean(0)) / spread)
    owner = torch.tensor([g for g, whole in enumerate(wholes) for _ in whole])
    told, groups = torch.tensor(scores), batch_of(list(wholes), [None] * len(wholes))
    groups = {name: t.double() if t.is_floating_point() else t for name, t in groups.items()}
    begin, reach = np.log(np.maximum(np.array(weights) / sum(weights), LEAST)), float(np.log(sum(weights)))
    weight = torch.zeros(len(begin), states.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(begin, requires_grad=True)
    scale = torch.tensor(reach, dtype=torch.float64, requires_grad=True)  # its logarithm, as of the shares
    penalty = l2 * states.shape[1] / (2 * len(wholes))
    solver = torch.optim.LBFGS([weight, bias, scale], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        shares = torch.softmax(seen @ weight.T + bias, 1)
        values = scale.exp() * (shares[owner] * told).sum(1)
        moved = ((bias - torch.from_numpy(begin)) ** 2).sum() + (scale - reach) ** 2
        loss = group_loss(values, groups, "bradley-terry") + penalty * (weight**2).sum() + moved / (2 * len(wholes))
        loss.backward()
        return loss

    solver.step(closure)
    found = weight.detach().numpy() / spread
    return Gate(found, bias.detach().numpy() - found @ states.mean(0), float(scale.detach().exp()))
