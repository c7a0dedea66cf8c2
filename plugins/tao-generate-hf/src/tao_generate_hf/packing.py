"""Linear layers whose weights lie as the processor's bfloat16 products want them: laid out once, not at each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

LARGE = 1 << 29  # parameters: above, a second copy of the weights takes too much room


def pack(model: Any) -> bool:
    """Give each linear layer of `model` a packed copy of its weights to compute by; False where that is not possible.

    oneDNN lays the weights out anew in each call, which costs as much as some ten rows of a decoding step. The
    operators are those that PyTorch's own compiler freezes linear layers into; where they are missing or compute
    something else, the layers stay as they are. Results are the same numbers.
    """
    if model.device.type != "cpu" or model.dtype != torch.bfloat16:
        return False
    if sum(p.numel() for p in model.parameters()) > LARGE:
        return False
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    try:
        with torch.inference_mode():
            forwards = [_forward(layer) for layer in layers]
            same = all(_same(layer, forward) for layer, forward in zip(layers, forwards))
    except (AttributeError, RuntimeError, TypeError):  # another build of PyTorch, or other signatures
        return False
    if same:
        for layer, forward in zip(layers, forwards):
            layer.forward = forward
    return same


def _forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    ops = torch.ops.mkldnn
    weight, bias = ops._reorder_linear_weight(layer.weight.detach()), layer.bias

    def forward(x: Tensor) -> Tensor:
        out: Tensor = ops._linear_pointwise(x, weight, bias, "none", [], "")
        return out

    return forward


def _same(layer: nn.Linear, forward: Callable[[Tensor], Tensor]) -> bool:
    x = torch.ones(1, 1, layer.in_features, dtype=layer.weight.dtype)
    return torch.allclose(forward(x), layer(x), rtol=0.02, atol=0.02)
