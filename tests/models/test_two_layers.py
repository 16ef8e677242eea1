"""PEM's layers, computed in blocks of rows, against torch's own operators in float64."""

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from kinema.models import two_layers
from kinema.models.acceleration import accelerate
from kinema.models.bsn import PEM, PEMOptions


@pytest.fixture(autouse=True)
def accelerated_afterwards() -> Iterator[None]:
    yield
    accelerate(True)


def step(model: PEM, features: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Output and gradients, float64."""
    out = model(features)
    (out * torch.linspace(-1, 2, out.numel()).view(out.shape)).sum().backward()
    return out.detach().double(), [parameter.grad.double() for parameter in model.parameters()]


@pytest.mark.parametrize("shape", [(2500,), (1024,), (3, 7), (1,)])
def test_a_step_is_as_near_to_float64_as_torchs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, features = PEM(PEMOptions(feature_channels=32, hidden=48)), torch.rand(*shape, 32)
    exact, gradients = step(deepcopy(model).double(), features.double())
    errors = {}
    for kernels in (True, False):
        accelerate(kernels)
        assert two_layers.fits(model.fc1, features) == kernels
        own = deepcopy(model)
        out, found = step(own, features)
        assert out.shape == shape
        pairs = [(out, exact), *zip(found, gradients, strict=True)]
        errors[kernels] = max(float((one - other).norm() / other.norm()) for one, other in pairs)
    assert errors[True] < 10 * errors[False] + 1e-6


def test_torchs_operators_are_called_where_blocks_do_not_apply() -> None:
    model = PEM(PEMOptions())
    features = torch.rand(5, 32)
    assert two_layers.fits(model.fc1, features)
    assert not two_layers.fits(model.fc1, features.clone().requires_grad_())
    with torch.no_grad():
        assert not two_layers.fits(model.fc1, features)
    with torch.autocast("cpu", torch.bfloat16):
        assert not two_layers.fits(model.fc1, features)
    model.fc1.register_forward_hook(lambda *_: None)
    assert not two_layers.fits(model.fc1, features)
