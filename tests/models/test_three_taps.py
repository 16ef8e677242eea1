"""Convolutions of three taps by Winograd's F(2, 3), against torch's own in float64."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kinema.models import three_taps
from kinema.models.acceleration import accelerate
from kinema.models.bsn import TEM, TEMOptions

INTEL = "vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R)\n"
AMD = "vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n"


@pytest.fixture(autouse=True)
def accelerated_afterwards() -> Iterator[None]:
    yield
    accelerate(True)


@pytest.fixture
def fast_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(three_taps, "_products_are_fast", lambda: True)


def layer_and_input(channels: int = 256, count: int = 2, length: int = 64) -> tuple[nn.Conv1d, Tensor]:
    torch.manual_seed(0)
    return nn.Conv1d(channels, channels, 3, padding=1), torch.randn(count, channels, length)


def step(apply: Callable[[nn.Conv1d, Tensor], Tensor], layer: nn.Conv1d, x: Tensor, weights: Tensor) -> list[Tensor]:
    """Output, and gradients of input, weight and bias."""
    x = x.clone().requires_grad_()
    out = apply(layer, x)
    return [out.detach(), *torch.autograd.grad((out * weights.to(out.dtype)).sum(), [x, *layer.parameters()])]


@given(
    count=st.integers(1, 3), length=st.integers(2, 9), inputs=st.integers(1, 5), outputs=st.integers(1, 5),
    seed=st.integers(0, 99), channels_last=st.booleans(),
)  # fmt: skip
def test_a_step_is_that_of_float64(
    count: int, length: int, inputs: int, outputs: int, seed: int, channels_last: bool
) -> None:
    torch.manual_seed(seed)
    layer, x = nn.Conv1d(inputs, outputs, 3, padding=1), torch.randn(count, inputs, length)
    # Away from the ReLU's edge, where rounding decides about a gradient.
    layer.bias.data += torch.tensor([20.0, -20.0]).repeat(outputs)[:outputs]
    if channels_last:
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    weights = torch.randn(count, outputs, length)
    found = step(three_taps.convolve_relu, layer, x, weights)
    expected = step(lambda own, clip: own(clip).relu(), deepcopy(layer).double(), x.double(), weights)
    assert found[0].shape == (count, outputs, length)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-4)


def test_errors_are_not_above_those_of_torch() -> None:
    """Relative to the largest value; F(2, 3) has at most about twice the rounding errors (section 5.1)."""
    layer, x = layer_and_input(channels=256, count=4, length=100)
    layer.bias.data += 20
    weights = torch.randn(4, 256, 100)
    exact = step(lambda own, clip: own(clip).relu(), deepcopy(layer).double(), x.double(), weights)
    for found, plain, expected in zip(
        step(three_taps.convolve_relu, layer, x, weights),
        step(lambda own, clip: own(clip).relu(), layer, x, weights),
        exact,
        strict=True,
    ):
        assert float((found - expected).norm()) < 3 * float((plain - expected).norm()) + 1e-6 * float(expected.norm())


@pytest.mark.usefixtures("fast_products")
def test_torchs_operators_are_called_where_winograd_does_not_apply() -> None:
    layer, x = layer_and_input()
    assert three_taps.fits(layer, x)
    assert not three_taps.fits(layer, x[:1])  # too few frames
    assert not three_taps.fits(*layer_and_input(channels=64))
    for changed in (
        nn.Conv1d(256, 256, 3),
        nn.Conv1d(256, 256, 3, padding=1, stride=2),
        nn.Conv1d(256, 256, 3, padding=1, groups=2),
        nn.Conv1d(256, 256, 3, padding=1, bias=False),
        nn.Conv1d(256, 256, 3, padding=1, padding_mode="circular"),
        nn.Conv1d(256, 256, 5, padding=2),
    ):
        assert not three_taps.fits(changed, x)
    with torch.no_grad():
        assert not three_taps.fits(layer, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not three_taps.fits(layer, x)
    accelerate(False)
    assert not three_taps.fits(layer, x)


@pytest.mark.parametrize(
    ("capability", "described", "fast"),
    [("AVX2", AMD, True), ("AVX512", AMD, False), ("AVX512", INTEL, True), ("AVX2", INTEL, True)],
)
def test_products_are_fast_unless_amd_has_avx512(
    capability: str, described: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MKL runs its AVX2 code there, at half the speed."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(Path, "exists", lambda _: True)
    monkeypatch.setattr(Path, "read_text", lambda _: described)
    assert three_taps._products_are_fast.__wrapped__() == fast


@pytest.mark.usefixtures("fast_products")
@pytest.mark.parametrize("length", [100, 33])
def test_tem_steps_as_with_torchs_operators(length: int) -> None:
    torch.manual_seed(0)
    model, features = TEM(TEMOptions(feature_channels=256, hidden=256)), torch.randn(4, 256, length)
    for layer in (model.conv1, model.conv2):
        layer.bias.data += 20  # away from the ReLU's edge
    gradients = []
    for kernels in (True, False):
        accelerate(kernels)
        assert three_taps.fits(model.conv1, features) == kernels
        own = deepcopy(model)
        outputs = own(features)
        assert all(output.shape == (4, length) for output in outputs)
        sum((output * torch.linspace(-1, 2, length)).sum() for output in outputs).backward()
        gradients.append(
            [*(output.detach() for output in outputs), *(parameter.grad for parameter in own.parameters())]
        )
    for one, other in zip(*gradients, strict=True):
        assert float((one - other).norm()) <= 1e-5 * float(other.norm())
