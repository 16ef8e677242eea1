"""The fused batch norm against torch's own operators in float64."""

from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from kinema.models.normalization import Projection, norm, norm_relu

SHAPES = [(2, 64, 28, 28), (2, 8, 16, 20, 20), (2, 45, 4, 14, 14), (2, 230, 3, 7, 7), (3, 7, 5, 5)]
"""Many places and few, channels that fill vectors and that do not, an odd number of rows."""


def layer_of(channels: int, dimensions: int) -> nn.Module:
    layer = nn.BatchNorm2d(channels) if dimensions == 4 else nn.BatchNorm3d(channels)
    nn.init.normal_(layer.weight, 1, 0.3)
    for values in (layer.bias, layer.running_mean):
        nn.init.normal_(values)
    nn.init.uniform_(layer.running_var, 0.5, 2)
    return layer


def values(shape: tuple[int, ...], dtype: torch.dtype, *, channels_last: bool = True) -> Tensor:
    last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    memory = last if channels_last else torch.contiguous_format
    return (3 * torch.randn(shape) + 5).to(dtype).contiguous(memory_format=memory).requires_grad_()


def oracle(layer: nn.Module, x: Tensor, shortcut: Tensor | None, relu: bool) -> Tensor:
    out = layer(x)
    if shortcut is not None:
        out = out + shortcut
    return out.relu() if relu else out


def assert_near(found: Tensor | None, expected: Tensor | None, tolerance: float) -> None:
    """Differences are seen beside the largest value."""
    assert found is not None
    assert expected is not None
    assert (found.double() - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize(
    ("dtype", "channels_last"), [(torch.float32, True), (torch.bfloat16, True), (torch.float32, False)]
)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["norm", "relu", "shortcut"])
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_gradients_and_statistics_are_those_of_torch(
    shape: tuple[int, ...], dtype: torch.dtype, kind: str, training: bool, channels_last: bool
) -> None:
    torch.manual_seed(0)
    layer = layer_of(shape[1], len(shape)).train(training)
    plain = deepcopy(layer).double()
    x = values(shape, dtype, channels_last=channels_last)
    shortcut = values(shape, dtype, channels_last=channels_last) if kind == "shortcut" else None
    x64, shortcut64 = (None if each is None else each.detach().double().requires_grad_() for each in (x, shortcut))

    found = norm(layer, x) if kind == "norm" else norm_relu(layer, x, shortcut)
    expected = oracle(plain, x64, shortcut64, relu=kind != "norm")
    gradient = torch.randn(shape).to(dtype)  # of another memory layout than x
    found.backward(gradient)
    expected.backward(gradient.double())

    rounded = 1e-5 if dtype == torch.float32 else 8e-3
    assert_near(x.grad, x64.grad, rounded)
    assert found.dtype == dtype
    assert found.stride() == x.stride()
    assert_near(found, expected, rounded)
    if shortcut is not None:
        assert_near(shortcut.grad, shortcut64.grad, rounded)
    for mine, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
        assert_near(mine.grad, theirs.grad, 1e-5)
    for mine, theirs in zip(layer.buffers(), plain.buffers(), strict=True):
        assert_near(mine, theirs.double(), 1e-5)


def test_means_far_from_zero_leave_the_variance_exact() -> None:
    torch.manual_seed(0)
    x = (torch.randn(4, 16, 32, 32) + 1000).contiguous(memory_format=torch.channels_last).requires_grad_()
    x.data[0] = 0  # as a black picture, looked at first
    layer = nn.BatchNorm2d(16, momentum=1.0)
    norm(layer, x)
    torch.testing.assert_close(layer.running_var.double(), x.double().var(dim=(0, 2, 3)), rtol=1e-5, atol=0)


def test_the_kernels_are_used_for_single_precision_in_training() -> None:
    layer = layer_of(16, 4)
    for dtype, torchs in ((torch.float32, False), (torch.float64, True)):
        with torch.profiler.profile() as profile:
            norm_relu(deepcopy(layer).to(dtype), values((2, 16, 8, 8), dtype))
        assert ("aten::batch_norm" in {event.key for event in profile.key_averages()}) == torchs


def test_a_layer_that_is_listened_to_is_called() -> None:
    layer, seen = layer_of(16, 4), list[nn.Module]()
    layer.register_forward_hook(lambda module, *_: seen.append(module))
    norm_relu(layer, values((2, 16, 8, 8), torch.float32))
    assert seen == [layer]


def test_what_is_no_number_is_not_hidden() -> None:
    x = values((2, 16, 8, 8), torch.bfloat16)
    x.data[0, 3, 2, 1] = torch.nan
    out = norm_relu(layer_of(16, 4), x)
    out.sum().backward()
    assert x.grad is not None
    for each in (out, x.grad):
        assert each[:, 3].isnan().all()
        assert not each[:, [*range(3), *range(4, 16)]].isnan().any()


def test_one_momentum_for_all_batches() -> None:
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(4, momentum=None)
    batches = [values((2, 4, 6, 6), torch.float32) for _ in range(3)]
    for batch in batches:
        norm(layer, batch)
    torch.testing.assert_close(layer.running_mean, torch.stack([each.mean((0, 2, 3)) for each in batches]).mean(0))


def test_the_same_bits_each_time() -> None:
    x = values((4, 64, 28, 28), torch.float32)
    layer = layer_of(64, 4)
    runs = [torch.autograd.grad(norm_relu(layer, x).square().sum(), [x, *layer.parameters()]) for _ in range(4)]
    for one, other in pairwise(runs):
        assert all(torch.equal(*each) for each in zip(one, other, strict=True))


def test_a_projection_is_its_two_layers() -> None:
    torch.manual_seed(0)
    projection = Projection(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16))
    plain = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16))
    plain.load_state_dict(projection.state_dict())
    x = values((2, 8, 6, 6), torch.float32)
    torch.testing.assert_close(projection(x), plain(x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_gradients_of_single_frames_do_not_depend_on_layouts(layout: torch.memory_format) -> None:
    """torch's batch norm mistakes the layout of either where there is one frame."""
    torch.manual_seed(0)
    x = torch.randn(2, 16, 1, 8, 6)
    gradient = torch.empty_strided(x.shape, (768, 1, 16, 96, 16)).copy_(torch.randn(x.shape))
    layer = layer_of(16, 5)
    plain, own = x.double().requires_grad_(), x.contiguous(memory_format=layout).requires_grad_()
    norm(layer, own).backward(gradient)
    deepcopy(layer).double()(plain).backward(gradient.double().contiguous())
    assert_near(own.grad, plain.grad, 1e-5)
