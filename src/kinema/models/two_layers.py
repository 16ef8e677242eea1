"""Two linear layers with a ReLU between them and one output, computed in blocks of rows that stay in the cache.

Of PEM's 8000 proposals in a batch, the hidden layer takes 8 MiB. torch writes it three times in the forward pass (bias,
product, ReLU) and twice in the backward pass (its gradient, masked by the ReLU). Here, each pass computes it block by
block, and none is kept.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kinema.models.acceleration import replaceable

_ROWS = 1024
"""Rows of a block: 1 MiB of a hidden layer of 256 channels."""


def fits(layer: nn.Linear, x: Tensor) -> bool:
    """Return whether `relu_then_one` applies to the first layer and its input."""
    return replaceable(layer, x) and not x.requires_grad and layer.bias is not None


def relu_then_one(x: Tensor, weight: Tensor, bias: Tensor, last_weight: Tensor, last_bias: Tensor) -> Tensor:
    """Return `linear(linear(x, weight, bias).relu(), last_weight, last_bias)`, (…, 1), of an `x` without gradient.

    Args:
        x: (…, C).
        weight: (H, C).
        bias: (H,).
        last_weight: (1, H).
        last_bias: (1,).
    """
    out: Tensor = _ReluThenOne.apply(x.flatten(0, -2), weight, bias, last_weight, last_bias)
    return out.view(*x.shape[:-1], 1)


class _ReluThenOne(Function):
    """With rows a = (x, 1), weights W = (weight, bias) and v = last_weight: v · ReLU(W a) + last_bias.

    Where g is the output's gradient and m the mask of the ReLU, all gradients follow from S = Σ g m aᵀ, summed over the
    rows: that of W is S with row j times v_j, and that of v_j the sum of row j of W ∘ S, as ReLU(W a) = m ∘ W a.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, last_weight: Tensor, last_bias: Tensor
    ) -> Tensor:  # fmt: skip
        rows, weights = torch.cat([x, x.new_ones(len(x), 1)], 1), torch.cat([weight.t(), bias[None]])
        out, block = x.new_empty(len(x)), x.new_empty(min(_ROWS, len(x)), len(bias))
        for part, target in zip(rows.split(_ROWS), out.split(_ROWS), strict=True):
            hidden = torch.mm(part, weights, out=block[: len(part)]).relu_()
            torch.mv(hidden, last_weight[0], out=target)
        ctx.save_for_backward(rows, weights, last_weight)
        return out.add_(last_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor, Tensor, Tensor]:
        rows, weights, last_weight = ctx.saved_tensors
        sums, weighted = torch.zeros_like(weights), rows * grad[:, None]
        block = rows.new_empty(min(_ROWS, len(rows)), weights.shape[1])
        for part, of_part in zip(rows.split(_ROWS), weighted.split(_ROWS), strict=True):
            # 0 or 1, but for outputs between 0 and 1e-38; a comparison takes twice as long as these two.
            mask = torch.mm(part, weights, out=block[: len(part)]).mul_(1e38).clamp_(0, 1)
            sums.addmm_(of_part.t(), mask)
        of_weights = (sums * last_weight).t()
        return None, of_weights[:, :-1], of_weights[:, -1], (sums * weights).sum(0, keepdim=True), grad.sum()[None]
