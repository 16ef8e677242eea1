"""Convolutions of three steps of time with two thirds of the multiplications: Winograd's F(2, 3).

Of frames x0 … x3, the outputs y0 = x0 g0 + x1 g1 + x2 g2 and y1 = x1 g0 + x2 g1 + x3 g2 are m0 + m1 + m2 and
m1 − m2 − m3 with four products of matrices instead of six (Lavin & Gray 2016, arXiv:1509.09308, section 4.1):

    m0 = (x0 − x2) g0,  m1 = (x1 + x2)(g0 + g1 + g2)/2,  m2 = (x2 − x1)(g0 − g1 + g2)/2,  m3 = (x1 − x3) g2
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kinema.models.acceleration import replaceable

_CHANNELS, _FRAMES = 256, 128
"""Fewest channels, and frames of a batch, of which the additions cost less than the multiplications that they save."""


def fits(layer: nn.Conv1d, x: Tensor) -> bool:
    """Return whether `convolve_relu` applies to a layer and its input and saves time."""
    return (
        replaceable(layer, x)
        and (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == ((3,), (1,), (1,), (1,))
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and layer.bias is not None
        and min(layer.in_channels, layer.out_channels) >= _CHANNELS
        and x.shape[0] * x.shape[2] >= _FRAMES
        and x.shape[2] >= 2
        and _products_are_fast()
    )


def convolve_relu(layer: nn.Conv1d, x: Tensor) -> Tensor:
    """Return `relu(layer(x))`, (N, O, T), of x (N, C, T); channels are adjacent in memory."""
    length = x.shape[2]
    frames = F.pad(x.transpose(1, 2), (0, 0, 0, length % 2))
    out: Tensor = _Winograd.apply(frames.contiguous(), layer.weight, layer.bias)
    return out.relu_()[:, :length].transpose(1, 2)


@cache
def _products_are_fast() -> bool:
    """Return whether torch multiplies matrices as fast as oneDNN convolves: MKL uses AVX-512 on Intel's CPUs only."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return True
    described = Path("/proc/cpuinfo")
    return described.exists() and re.search(r"vendor_id\s*:\s*GenuineIntel", described.read_text()) is not None


class _Winograd(Function):
    """Of frames (N, T, C), T even, weights (O, C, 3) and a bias (O,) → (N, T, O)."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        taps = torch.mm(_taps(weight), weight.reshape(-1, 3).t()).view(4, *weight.shape[:2])
        combined = _combined(frames)
        ctx.save_for_backward(combined, taps)
        return _correlated(combined, [tap.t() for tap in taps], bias, frames.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        combined, taps = ctx.saved_tensors
        gradient, of_frames = gradient.contiguous(), None
        even, odd = gradient.view(-1, 2, gradient.shape[2]).unbind(1)
        if ctx.needs_input_grad[0]:  # the correlation with the taps in reverse
            of_pairs = _combined(gradient)
            of_frames = _correlated(of_pairs, [taps[3], taps[1], taps[2], taps[0]], None, gradient.shape)
            total, difference = of_pairs[1], of_pairs[2]
        else:
            total, difference = even + odd, odd - even
        of_taps = torch.empty_like(taps)
        for of_product, factor, out in zip((even, total, difference, odd), combined, of_taps, strict=True):
            torch.mm(of_product.t(), factor, out=out)
        signed = _taps(taps) * taps.new_tensor([[1], [1], [-1], [-1]])
        of_weight = torch.mm(of_taps.view(4, -1).t(), signed).view(*taps.shape[1:], 3)
        return of_frames, of_weight, gradient.sum((0, 1))


def _taps(like: Tensor) -> Tensor:
    """Return the shares of g0, g1, g2 in the four factors of weights."""
    return like.new_tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def _combined(frames: Tensor) -> Tensor:
    """Return the four factors of frames (N, T, C) for each two outputs, (4, N·T/2, C), with zeros around the clip."""
    count, length, channels = frames.shape
    even, odd = frames.view(count, length // 2, 2, channels).unbind(2)
    out = frames.new_empty(4, count, length // 2, channels)
    torch.sub(odd[:, :-1], odd[:, 1:], out=out[0, :, 1:])
    torch.neg(odd[:, 0], out=out[0, :, 0])
    torch.add(even, odd, out=out[1])
    torch.sub(odd, even, out=out[2])
    torch.sub(even[:, :-1], even[:, 1:], out=out[3, :, :-1])
    out[3, :, -1] = even[:, -1]
    return out.view(4, -1, channels)


def _correlated(combined: Tensor, taps: Sequence[Tensor], bias: Tensor | None, shape: Sequence[int]) -> Tensor:
    """Return the outputs (N, T, O) of factors (4, N·T/2, C) and taps of (C, O)."""
    first = torch.mm(combined[1], taps[1]) if bias is None else torch.addmm(bias, combined[1], taps[1])
    second = torch.mm(combined[2], taps[2])
    out = first.new_empty(*shape[:2], first.shape[1])
    even, odd = out.view(-1, 2, first.shape[1]).unbind(1)
    torch.add(first, second, out=even).addmm_(combined[0], taps[0])
    torch.sub(first, second, out=odd).addmm_(combined[3], taps[3], alpha=-1)
    return out
