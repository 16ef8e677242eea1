"""Outputs and gradients of 3D convolutions, against `nn.Conv3d`."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kinema.models.acceleration import unaccelerated
from kinema.models.convolution import Conv3d


def clips(channels: int, frames: int, *, channels_last: bool, dtype: torch.dtype = torch.float64) -> Tensor:
    values = torch.randn(2, channels, frames, 6, 5, dtype=dtype)
    memory = torch.channels_last_3d if channels_last else torch.contiguous_format
    return values.contiguous(memory_format=memory).requires_grad_()


@settings(deadline=None, max_examples=40)
@given(
    kernel=st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3]), st.sampled_from([1, 3])),
    stride=st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2]), st.sampled_from([1, 2])),
    frames=st.integers(1, 20),
    channels_last=st.booleans(),
    bias=st.booleans(),
    groups=st.sampled_from([1, 3]),
)
def test_values_and_gradients_are_those_of_torch(
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    frames: int,
    channels_last: bool,
    bias: bool,
    groups: int,
) -> None:
    torch.manual_seed(0)
    padding = tuple(size // 2 for size in kernel)
    conv = Conv3d(3, 6, kernel, stride=stride, padding=padding, bias=bias, groups=groups).double()
    mine, plain = (clips(3, frames, channels_last=channels_last) for _ in range(2))
    plain.data.copy_(mine.data)

    found = conv(mine)
    expected = F.conv3d(plain, conv.weight, conv.bias, stride, padding, groups=groups)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad((found * weights).sum(), [mine, *conv.parameters()])
    torch.testing.assert_close(gradients, torch.autograd.grad((expected * weights).sum(), [plain, *conv.parameters()]))


def test_its_weights_are_those_of_torch() -> None:
    theirs, mine = nn.Conv3d(3, 4, (1, 3, 3)), Conv3d(3, 4, (1, 3, 3))
    mine.load_state_dict(theirs.state_dict())
    x = clips(3, 2, channels_last=True, dtype=torch.float32)
    torch.testing.assert_close(mine(x), theirs(x))


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "stride"),
    [
        ((1, 3, 3), (1, 2, 2)),
        ((1, 1, 1), (1, 1, 1)),
        ((3, 1, 1), (1, 1, 1)),
        ((3, 1, 1), (8, 1, 1)),
        ((7, 1, 1), (2, 1, 1)),
    ],
)
def test_the_memory_layout_stays(
    kernel: tuple[int, ...], stride: tuple[int, ...], count: int, channels_last: bool
) -> None:
    conv = Conv3d(8, 16, kernel, stride=stride, padding=tuple(size // 2 for size in kernel))
    if channels_last:
        conv = conv.to(memory_format=torch.channels_last_3d)
    found = conv(clips(8, 16, channels_last=channels_last, dtype=torch.float32)[:count])
    assert found.stride(0) == found[0].numel()  # of a single clip, too: torch reads the layout from it
    assert (found.movedim(1, -1) if channels_last else found).is_contiguous()
    found.sum().backward()
    assert conv.weight.grad is not None
    for size, step, other in zip(conv.weight.shape, conv.weight.grad.stride(), conv.weight.stride(), strict=True):
        assert size == 1 or step == other  # fused optimizers walk through both side by side


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (48, 48)])
@pytest.mark.parametrize("frames", [2, 5])
@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 1, 1), (3, 3, 3), (4, 1, 1)])
def test_bfloat16_is_rounded_float64(
    kernel: tuple[int, int, int], frames: int, channels: int, groups: int, channels_last: bool
) -> None:
    """Operands are rounded by 2⁻⁹ at most, and so are products of two, bias and result: together less than 2⁻⁷."""
    torch.manual_seed(0)
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    conv = Conv3d(channels, max(6, channels), kernel, padding=padding, groups=groups)
    x = clips(channels, frames, channels_last=channels_last, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(x)
    gradient = torch.randn_like(out)
    found = (out, *torch.autograd.grad(out, [x, *conv.parameters()], gradient))
    conv.double()
    exact = F.conv3d(x.double(), conv.weight, conv.bias, padding=padding, groups=groups)
    expected = (exact, *torch.autograd.grad(exact, [x, *conv.parameters()], gradient.double()))
    for value, right in zip(found, expected, strict=True):
        assert (value.double() - right).norm() < 2**-7 * right.norm()


def test_frames_that_a_stride_skips_harm_no_memory_in_bfloat16() -> None:
    """oneDNN 3.12 ends the process, sooner or later, when it is to skip them by itself."""
    conv = Conv3d(128, 256, (5, 1, 1), stride=(8, 1, 1), padding=(2, 0, 0), bias=False)
    conv = conv.to(torch.bfloat16, memory_format=torch.channels_last_3d)
    x = torch.randn(2, 32, 14, 14, 128, dtype=torch.bfloat16).movedim(-1, 1).requires_grad_()
    for _ in range(5):
        conv(x).sum().backward()
    exact = F.conv3d(x.detach().double(), conv.weight.double(), None, (8, 1, 1), (2, 0, 0))
    torch.testing.assert_close(conv(x).double(), exact, rtol=0.02, atol=0.02)


def test_without_accelerations_flops_of_a_kernel_over_time_are_counted_three_times() -> None:
    """Products in the place of the weight gradient are in-place, which torch's counter leaves out."""
    conv, x = Conv3d(4, 8, (3, 1, 1), padding=(1, 0, 0), bias=False), clips(4, 6, channels_last=True)
    with unaccelerated(), FlopCounterMode(display=False) as counter:
        conv(x.float()).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * x.numel() * 8 * 3
