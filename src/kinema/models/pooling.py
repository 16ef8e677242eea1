"""Max pooling that saves less for the backward pass, on the CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kinema.models.acceleration import eager_on_cpu
from kinema.models.recognizer import fold_time

_POOLS = {
    4: (torch.ops.aten.max_pool2d_with_indices, torch.ops.aten.max_pool2d_with_indices_backward),
    5: (torch.ops.aten.max_pool3d_with_indices, torch.ops.aten.max_pool3d_with_indices_backward),
}
"""Pooling and its gradient by the dimensions of the input."""


class MaxPool2d(nn.MaxPool2d):
    """`nn.MaxPool2d` that saves int16 or int32 indices for the backward pass, and not the input."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in torch
        """`(N, C, H, W)` → `(N, C, H', W')`."""
        return _pooled(self, input) if _fits(self, input) else super().forward(input)


class MaxPool3d(nn.MaxPool3d):
    """`nn.MaxPool3d` that saves int16 or int32 indices for the backward pass, and not the input."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in torch
        """`(N, C, T, H, W)` → `(N, C, T', H', W')`."""
        return _pooled(self, input) if _fits(self, input) else super().forward(input)


def _fits(layer: nn.MaxPool2d | nn.MaxPool3d, x: Tensor) -> bool:
    """Return whether indices are saved for a backward pass, and the layer has only the options handled here."""
    return (
        eager_on_cpu(x)
        and x.requires_grad
        and x.ndim in _POOLS
        and not (layer.return_indices or layer.ceil_mode)
        and layer.dilation == 1
    )


def _pooled(layer: nn.MaxPool2d | nn.MaxPool3d, x: Tensor) -> Tensor:
    kernel, stride, padding = (
        list(size) if isinstance(size, tuple) else [size] * (x.ndim - 2)
        for size in (layer.kernel_size, layer.stride, layer.padding)
    )
    if x.ndim == 5 and (kernel[0], stride[0], padding[0]) == (1, 1, 0) and x.stride(1) == 1:
        # Indices within a frame fit int16 more often than those within a clip.
        frames: Tensor = _MaxPool.apply(fold_time(x), kernel[1:], stride[1:], padding[1:])
        return frames.movedim(1, -1).unflatten(0, (x.shape[0], x.shape[2])).movedim(-1, 1)
    result: Tensor = _MaxPool.apply(x, kernel, stride, padding)
    return result


class _MaxPool(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: list[int], stride: list[int], padding: list[int]) -> Tensor:
        out, indices = _POOLS[x.ndim][0](x, kernel, stride, padding)
        ctx.save_for_backward(indices.to(torch.int16 if x.shape[2:].numel() <= 2**15 else torch.int32))
        ctx.layout, ctx.window = (x.shape, x.stride(), x.dtype), (kernel, stride, padding)
        result: Tensor = out
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (indices,) = ctx.saved_tensors
        (shape, strides, dtype), (kernel, stride, padding) = ctx.layout, ctx.window
        # Only the shape and layout of the input are read.
        x = torch.empty_strided(shape, strides, dtype=dtype)
        dilation, ceil_mode = [1] * len(kernel), False
        of_x = _POOLS[x.ndim][1](gradient, x, kernel, stride, padding, dilation, ceil_mode, indices.long())
        return of_x, None, None, None
