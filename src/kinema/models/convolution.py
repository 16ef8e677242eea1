"""2D and 3D convolutions with torch's weights and results, kept clear of faults of oneDNN, torch's library on the CPU.

Five kinds of convolution go wrong in oneDNN 3.12, which torch 2.14 brings, depending on the processor:

- 1×1 with a stride, channels-last, fewer input channels than a block has (8 on AVX2, 16 on AVX-512): the weight
  gradient of fp32 writes beyond its memory (oneDNN issue 6035). The process aborts, hangs, or gets another gradient.
  Small images hit it on AVX2 only, large ones (64 of 56×56) on AVX-512, too.
- A stride above 1 where the output is 1 wide: output and weight gradient of bf16 on AMX are wrong (pytorch issue
  169688). So is the output in 3D where the clip is 1 frame long and the kernel longer. On AVX-512 without AMX the
  weight gradient of bf16 is, and memory beyond it is written.
- A stride above the kernel's size: bf16 on AMX writes beyond its memory (oneDNN pull request 5494).
- 3D, frames whose rows exceed the second-level cache with all their channels (64 → 128 of 56×56): the weight gradient
  of bf16 on AMX is wrong, and memory is written out of bounds.
- A clip shorter than the kernel over time, with padding: the weight gradient of bf16 on AVX-512 without AMX, on AMX of
  channel-wise convolutions, is wrong, since the clip is read one frame late from the second output on. fp32 has such a
  fault at strides between 1 and the padding. So is bf16's where the height of the input is below the padding.

`reduced` rewrites most of them as equal convolutions that are right everywhere, and leaves others as they are.
`Conv3d` computes weight gradients of bf16 by 2D convolutions only, those of fp32 kernels over time by matrix products.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

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

    Kernels of length 1 in time are applied as 2D convolutions of all frames, on the CPU those of length 1 in space as
    2D convolutions of images whose rows are frames. Channels-last clips and weights are viewed as such without a copy.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in torch
        """`(N, in_channels, T, H, W)` → `(N, out_channels, T', H', W')`."""
        x, weight, stride, padding = reduced(input, self.weight, self.stride, _numbers(self.padding))
        channels_last = x.stride(1) == 1
        if channels_last and weight.shape[2] == stride[0] == 1 and padding[0] == 0:
            out = F.conv2d(fold_time(x), weight.squeeze(2), self.bias, stride[1:], padding[1:], groups=self.groups)
            return out.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
        if x.device.type != "cpu":
            return F.conv3d(x, weight, self.bias, stride, padding, groups=self.groups)
        if channels_last and weight.shape[3:] == stride[1:] == (1, 1) and padding[1:] == (0, 0):
            return self._over_time(x, weight, stride, padding)
        if _dtype(x) is not torch.bfloat16:
            out = F.conv3d(x, weight, self.bias, stride, padding, groups=self.groups)
            # Of a single clip, torch returns channels first.
            return out.contiguous(memory_format=torch.channels_last_3d) if channels_last else out
        x = x.bfloat16()
        out = F.conv3d(x, weight.detach(), _constant(self.bias), stride, padding, groups=self.groups)
        result: Tensor = _WithParameters.apply(
            out, x.detach(), weight.bfloat16(), self.bias, stride, padding, self.groups
        )
        return result

    def _over_time(self, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
        # Channels in the last dimension: flattened otherwise, a single clip is not channels-last by its strides.
        rows = x.movedim(1, -1).flatten(2, 3).movedim(-1, 1)
        # The images are wide, of which the weight gradient takes long in 2D, but for bf16.
        apart = _dtype(x) in (torch.float32, torch.float64) and weight.requires_grad and torch.is_grad_enabled()
        kernel, bias = (weight.detach(), _constant(self.bias)) if apart else (weight, self.bias)
        out = F.conv2d(rows, kernel.squeeze(4), bias, (stride[0], 1), (padding[0], 0), groups=self.groups)
        out = out.movedim(1, -1).unflatten(2, x.shape[3:]).movedim(-1, 1)
        if apart:
            out = _WithParameters.apply(out, x.detach(), weight, self.bias, stride, padding, self.groups)
        return out


def _constant(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.detach()


class _WithParameters(Function):
    """The output of a 3D convolution of constant weights, with their gradient, computed in another way."""

    @staticmethod
    def forward(
        ctx: Any,
        out: Tensor,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape, ctx.dtype_of_bias = (stride, padding, groups), None if bias is None else bias.dtype
        return out.detach()  # a view would change the strides of a single clip, from which torch reads the layout

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_weight = _weight_gradient(x, weight, gradient, *ctx.shape) if ctx.needs_input_grad[2] else None
        of_bias = gradient.sum((0, 2, 3, 4), dtype=ctx.dtype_of_bias) if ctx.needs_input_grad[3] else None
        return gradient, None, of_weight, of_bias, None, None, None


def _weight_gradient(
    x: Tensor, weight: Tensor, gradient: Tensor, stride: Sequence[int], padding: Sequence[int], groups: int
) -> Tensor:
    """Return the weight gradient of a 3D convolution.

    In bf16, for each tap over time that of 2D convolutions of frames. In others, the kernel has length 1 in space.
    """
    (step, *strides), (pad, *pads) = stride, padding
    if x.dtype is not torch.bfloat16 and groups == 1 and accelerated():
        return _weight_gradient_over_time(x, weight, gradient, step, pad)
    if x.dtype is not torch.bfloat16:
        conv = None, stride, padding, (1, 1, 1), False, (0, 0, 0), groups, (False, True, False)
        result: Tensor = torch.ops.aten.convolution_backward(gradient, x, weight, *conv)[1]
        return result
    taps = []
    for t in range(weight.shape[2]):
        seen, reached = _frames_of_tap(t, step, pad, x.shape[2], gradient.shape[2])
        if seen == slice(0, 0):
            taps.append(torch.zeros_like(weight[:, :, t]))
            continue
        frames, gradients = fold_time(x[:, :, seen]), fold_time(gradient[:, :, reached])
        conv2d = None, strides, pads, (1, 1), False, (0, 0), groups, (False, True, False)
        taps.append(torch.ops.aten.convolution_backward(gradients, frames, weight[:, :, t], *conv2d)[1])
    return torch.stack(taps, 2)


def _weight_gradient_over_time(x: Tensor, weight: Tensor, gradient: Tensor, step: int, pad: int) -> Tensor:
    """Return the weight gradient of a convolution over time alone: for each tap, matrix products over pixels.

    The 3D convolution's takes two to eight times as long, and memory for as many copies of the clips as there are taps.
    """
    taps = weight.new_zeros(weight.shape[2], *weight.shape[:2])
    for t, tap in enumerate(taps):
        seen, reached = _frames_of_tap(t, step, pad, x.shape[2], gradient.shape[2])
        clips = zip(x[:, :, seen].movedim(1, -1), gradient[:, :, reached].movedim(1, -1), strict=True)
        # All frames of a clip in one product where they lie side by side in memory.
        parts = clips if step == 1 else chain.from_iterable(zip(*clip, strict=True) for clip in clips)
        for pixels, slopes in parts:
            tap.addmm_(slopes.flatten(0, -2).t(), pixels.flatten(0, -2))
    return taps.movedim(0, -1).reshape(weight.shape)


def _frames_of_tap(t: int, step: int, pad: int, size: int, outputs: int) -> tuple[slice, slice]:
    """Return the frames that a kernel's tap `t` sees but for padding, and the output frames that it sees them for."""
    first, stop = max(-((t - pad) // step), 0), min((size - 1 + pad - t) // step + 1, outputs)
    if first >= stop:
        return slice(0, 0), slice(0, 0)
    return slice(first * step - pad + t, (stop - 1) * step - pad + t + 1, step), slice(first, stop)


def reduced(
    x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]
) -> tuple[Tensor, Tensor, tuple[int, ...], tuple[int, ...]]:
    """Return input, weight, stride and padding of an equal convolution without a superfluous stride or padding.

    Other devices than the CPU get them as they are. Along each of the last two or three dimensions:

    - Where the output has length 1, the kernel is cut to the part that lies on the input, and the input to what the
      kernel sees. Neither stride nor padding is left.
    - Where the stride is above the kernel's size, the input is cut to what is read; the stride becomes the kernel's
      size. This costs time, and is left out for the height and width of 1×1 convolutions of `_BLOCK` channels or more.
    - Where the input is shorter than the padding, or, over time, the stride is between 1 and the padding, zeros are
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
        elif pad and _misread(size, step, pad, over_time=x.dim() == 5 and i == 0):
            x = F.pad(x, [0, 0] * (x.dim() - 1 - dim) + [pad, pad])
            paddings[i] = 0
    if tuple(strides) != tuple(stride):
        x = _dense(x)
    return x, weight, tuple(strides), tuple(paddings)


def _dtype(x: Tensor) -> torch.dtype:
    """Return the dtype that a convolution of `x` on the CPU is computed in."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def _misread(size: int, stride: int, padding: int, *, over_time: bool) -> bool:
    """Return whether AVX-512's weight gradient loses its position within the padding of a dimension."""
    return 1 < stride < padding if over_time else size < padding


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


_SHAPE = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")


def replace_convolutions(network: nn.Module) -> None:
    """Replace the 3D convolutions of another package's network by `Conv3d`, which takes over their parameters."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv3d:
                shape: dict[str, Any] = {key: getattr(child, key) for key in _SHAPE}
                conv = Conv3d(**shape, bias=child.bias is not None, device="meta")
                conv.weight, conv.bias = child.weight, child.bias
                parent.register_module(name, conv)


def convolution(in_channels: int, out_channels: int, kernel: Size, stride: Size = (1, 1, 1), groups: int = 1) -> Conv3d:
    """Return a 3D convolution without bias that keeps the size but for its stride, with Kaiming-normal weights."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    conv = Conv3d(in_channels, out_channels, kernel, stride=stride, padding=padding, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
