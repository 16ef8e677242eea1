"""2D and 3D convolutions with torch's weights and results, kept clear of faults of oneDNN, torch's library on the CPU.

Four kinds of convolution go wrong in oneDNN 3.12, which torch 2.14 brings, depending on the processor:

- 1×1 with a stride, channels-last, fewer input channels than a block has (8 on AVX2, 16 on AVX-512): the weight
  gradient of fp32 writes beyond its memory (oneDNN issue 6035). The process aborts, hangs, or gets another gradient.
  Small images hit it on AVX2 only, large ones (64 of 56×56) on AVX-512, too.
- A stride above 1 where the output is 1 wide: output and weight gradient of bf16 on AMX are wrong (pytorch issue
  169688). So is the output in 3D where the clip is 1 frame long and the kernel longer. On AVX-512 without AMX the
  weight gradient of bf16 is, and memory beyond it is written.
- A stride above the kernel's size: bf16 on AMX writes beyond its memory (oneDNN pull request 5494).
- A clip shorter than the kernel over time, with padding: the weight gradient of bf16 on AVX-512 without AMX is wrong,
  since the clip is read one frame late from the second output on. fp32 has such a fault at strides between 1 and the
  padding. So is bf16's where the height of the input is below the padding.

`reduced` rewrites all of them as equal convolutions that are right everywhere; others it leaves as they are.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models.acceleration import accelerated
from kinema.models.recognizer import fold_time

Size = tuple[int, int, int]
"""Of a kernel or a stride: time, height, width."""

_BLOCK = 16
"""Channels that oneDNN's kernels see at a time, at most."""


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` with zero padding, without dilation and groups, that avoids oneDNN's faults."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in torch
        """`(N, in_channels, H, W)` → `(N, out_channels, H', W')`."""
        x, weight, stride, padding = reduced(input, self.weight, self.stride, _numbers(self.padding))
        return F.conv2d(x, weight, self.bias, stride, padding)


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` with zero padding, without dilation, that avoids oneDNN's faults.

    A channels-last convolution that sees a single frame at a time is computed as a 2D one of all frames, if
    `accelerated`: clips and weights are seen so without a copy, and 2D kernels are as fast as 3D ones or faster, twice
    as fast in the backward pass of 1×1 with a stride.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in torch
        """`(N, in_channels, T, H, W)` → `(N, out_channels, T', H', W')`."""
        x, weight, stride, padding = reduced(input, self.weight, self.stride, _numbers(self.padding))
        single = weight.shape[2] == stride[0] == 1 and padding[0] == 0
        if single and x.stride(1) == 1 and accelerated():  # channels-last
            out = F.conv2d(fold_time(x), weight.squeeze(2), self.bias, stride[1:], padding[1:], groups=self.groups)
            return out.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
        return F.conv3d(x, weight, self.bias, stride, padding, groups=self.groups)


def reduced(
    x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]
) -> tuple[Tensor, Tensor, tuple[int, ...], tuple[int, ...]]:
    """Return input, weight, stride and padding of an equal convolution without a superfluous stride or padding.

    Other devices than the CPU get them as they are. Along each of the last two or three dimensions:

    - Where the output has length 1, the kernel is cut to the part that lies on the input, and the input to what the
      kernel sees. Neither stride nor padding is left.
    - Where the stride is above the kernel's size, the input is cut to what is read; the stride becomes the kernel's
      size. This costs time, and is left out for the height and width of 1×1 convolutions of `_BLOCK` channels or more.
    - Where the input is shorter than the padding, or, over time, padded and shorter than the kernel in bf16, zeros are
      appended to the input instead.
    """
    if x.device.type != "cpu":
        return x, weight, tuple(stride), tuple(padding)
    pointwise = max(weight.shape[-2:]) == 1 and weight.shape[1] >= _BLOCK
    strides, paddings = list(stride), list(padding)
    for i, (step, pad) in enumerate(zip(stride, padding, strict=True)):
        dim = i + 2
        size, kernel = x.shape[dim], weight.shape[dim]
        if kernel <= size + 2 * pad < kernel + step:  # one output
            taps = min(kernel, pad + size) - pad
            x, weight = _narrow(x, dim, 0, taps), _narrow(weight, dim, pad, taps)
            strides[i], paddings[i] = 1, 0
        elif step > kernel and not (pointwise and dim >= x.dim() - 2):
            x = _read(x, dim, kernel, step, pad)
            strides[i] = kernel
        elif pad and _misread(size, kernel, step, pad, over_time=x.dim() == 5 and i == 0, bf16=_bf16(x)):
            x = F.pad(x, [0, 0] * (x.dim() - 1 - dim) + [pad, pad])
            paddings[i] = 0
    if tuple(strides) != tuple(stride):
        x = _dense(x)
    return x, weight, tuple(strides), tuple(paddings)


def _bf16(x: Tensor) -> bool:
    """Return whether a convolution of `x` is computed in bfloat16."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return dtype is torch.bfloat16


def _misread(size: int, kernel: int, stride: int, padding: int, *, over_time: bool, bf16: bool) -> bool:
    """Return whether AVX-512's weight gradient loses its position within the padding of a dimension."""
    if not over_time:
        return size < padding
    return size < kernel if bf16 else 1 < stride < padding


def _narrow(x: Tensor, dim: int, start: int, length: int) -> Tensor:
    return x if x.shape[dim] == length else x.narrow(dim, start, length)


def _read(x: Tensor, dim: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Select what a convolution reads of `x` along `dim`, with `stride` > `kernel`.

    A convolution with as much padding and a stride as large as its kernel has the same result.
    """
    if kernel == 1 and padding == 0:
        return x[(slice(None),) * dim + (slice(None, None, stride),)]
    size = x.shape[dim]
    last = (size + 2 * padding - kernel) // stride
    stop = last * kernel + min(kernel, size + padding - last * stride)
    index = torch.arange(padding, stop, device=x.device)  # the first ones are padding
    read = index // kernel * stride + index % kernel - padding
    if x.stride(1) == 1:  # channels-last
        return x.movedim(1, -1).index_select(dim - 1, read).movedim(-1, 1)
    return x.index_select(dim, read)


def _dense(x: Tensor) -> Tensor:
    """Copy what was cut out, in its memory layout, once for the forward and the backward pass."""
    if x.stride(1) == 1:
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    return x.contiguous()


def _numbers(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    assert not isinstance(padding, str)
    return padding


def convolution(in_channels: int, out_channels: int, kernel: Size, stride: Size = (1, 1, 1), groups: int = 1) -> Conv3d:
    """Return a 3D convolution without bias that keeps the size but for its stride, with Kaiming-normal weights."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    conv = Conv3d(in_channels, out_channels, kernel, stride=stride, padding=padding, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
