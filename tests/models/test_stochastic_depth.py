"""Stochastic depth is torchvision's, draw for draw."""

import pytest
import torch
from torchvision.ops import StochasticDepth as Reference

from kinema.models.stochastic_depth import StochasticDepth


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("shape", [(16, 4, 3), (16, 2, 3, 2, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_equals_torchvisions(rate: float, shape: tuple[int, ...], training: bool) -> None:
    x = torch.rand(shape, requires_grad=True)
    results = []
    for layer in (StochasticDepth(rate), Reference(rate, "row")):
        torch.manual_seed(0)
        y = layer.train(training)(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), x)))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
