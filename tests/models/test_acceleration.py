"""Hand-written ways of computing and torch's own operators agree."""

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.models import Recognizer
from kinema.models.acceleration import accelerate, accelerated
from kinema.runtime.device import RuntimeOptions, pick_device
from tests.models.families import RECOGNIZERS, TRANSFORMERS, small_model


@pytest.fixture(autouse=True)
def accelerated_afterwards() -> Iterator[None]:
    yield
    accelerate(True)


def gradients(model: Recognizer, clips: Tensor) -> Tensor:
    """All gradients of a step in one vector, float64."""
    F.cross_entropy(model(clips.to(model.fc.weight.dtype)), torch.tensor([0, 3])).backward()
    return torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_a_step_is_as_near_to_float64_as_torchs(name: str) -> None:
    """The error of torch's own operators says how much rounding matters to this network; ten of it allow for chance."""
    torch.manual_seed(0)
    model = small_model(name, width=16, dropout=0.0, drop_path=0.0, zero_init_residual=None).train()
    clips = torch.randn(2, 8, 64, 64 if name in TRANSFORMERS else 80, 3).movedim(-1, 1)
    exact = gradients(deepcopy(model).double(), clips)
    errors = {}
    for kernels in (True, False):
        pick_device(RuntimeOptions(device="cpu", kernels=kernels))
        assert accelerated() == kernels
        errors[kernels] = (gradients(deepcopy(model), clips) - exact).norm() / exact.norm()
    assert errors[True] < 10 * errors[False] + 1e-6
    assert errors[True] < 0.1


def test_without_kernels_torchs_operators_are_called() -> None:
    model = small_model("slowonly").train()
    clips = torch.randn(2, 4, 32, 32, 3).movedim(-1, 1)
    calls = {}
    for kernels in (True, False):
        accelerate(kernels)
        with torch.profiler.profile() as profile:
            model(clips)
        calls[kernels] = {event.key: event.count for event in profile.key_averages()}.get("aten::batch_norm", 0)
    layers = sum(isinstance(module, torch.nn.BatchNorm3d) for module in model.modules())
    assert calls[True] < calls[False] == layers
