"""Batch norm fused with the addition of a shortcut and ReLU."""

from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from kinema.models.acceleration import eager_on_cpu
from kinema.models.recomputation import can_be_recomputed


class Projection(nn.Sequential):
    """Projection shortcut: a convolution and batch norm, with the keys of `nn.Sequential`."""

    def __init__(self, convolution: nn.Module, layer: nn.Module) -> None:
        super().__init__(convolution, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the batch norm of the convolution."""
        return norm(self[1], self[0](x))


def norm(layer: nn.Module, x: Tensor) -> Tensor:
    """Return `layer(x)` of a batch norm, fused as in `norm_relu`."""
    x = _single_frame(x)
    if _fits(layer, x):
        return _fused(layer, x, None, _kernels().PLAIN)
    out: Tensor = layer(x)
    return out


def norm_relu(layer: nn.Module, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """Return `relu(layer(x) + shortcut)` of a batch norm; `shortcut`, of the shape of `x`, is optional.

    On the CPU with gradients and channels-last memory, a fused kernel passes over memory at most half as often as
    torch's operators; results are the same up to rounding. Elsewhere torch's operators are used.
    """
    x = _single_frame(x)
    if _fits(layer, x) and (shortcut is None or (shortcut.dtype == x.dtype and shortcut.shape == x.shape)):
        return _fused(layer, x, shortcut, _kernels().RELU if shortcut is None else _kernels().ADD_RELU)
    out = layer(x)
    if shortcut is not None:
        out += shortcut
    return F.relu(out, inplace=True)


def _single_frame(x: Tensor) -> Tensor:
    """Return clips of one frame in channels-last memory.

    On the CPU, torch's batch norm returns wrong gradients of them if input and gradient differ in layout (torch 2.14).
    """
    if x.ndim == 5 and x.shape[2] == 1 and x.device.type == "cpu" and torch.is_grad_enabled():
        return x.contiguous(memory_format=torch.channels_last_3d)
    return x


def _fits(layer: nn.Module, x: Tensor) -> bool:
    """Return whether the kernels apply; not if the layer has hooks or is traced."""
    return (
        eager_on_cpu(x)
        and x.dtype in (torch.float32, torch.bfloat16)
        and x.numel() > x.shape[1]
        and x.is_contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
        and isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d)
        and layer.affine
        and layer.track_running_stats
        and layer.weight.dtype == torch.float32
        and not (layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks)
        and _kernels().openmp() is not None
    )


def _kernels() -> ModuleType:
    """Import the kernels when they are needed, as numba is slow to import."""
    from kinema.models import norm_kernels

    return norm_kernels


def _fused(layer: Any, x: Tensor, shortcut: Tensor | None, mode: int) -> Tensor:
    moments = torch.empty(3, x.shape[1])
    if layer.training:
        moments[1, 0] = layer.eps
    else:
        moments[0] = layer.running_mean
        moments[1] = (layer.running_var + layer.eps).rsqrt_()
    out: Tensor = _Fused.apply(x, layer.weight, layer.bias, shortcut, moments, mode, layer.training)
    if layer.training:
        layer.num_batches_tracked.add_(1)
        momentum = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
        layer.running_mean.lerp_(moments[0], momentum)
        layer.running_var.lerp_(moments[2], momentum)
    # In bfloat16 recomputation costs up to a tenth of a step; in float32 nothing measurable.
    if mode == _kernels().RELU and x.dtype == torch.float32:
        can_be_recomputed(out, partial(_once_more, x.detach(), layer.weight, layer.bias, moments))
    return out


def _once_more(x: Tensor, weight: Tensor, bias: Tensor, moments: Tensor) -> Tensor:
    """Return the ReLU of x normalized by known `moments`."""
    out = torch.empty_like(x)
    _kernels().launch("forward", [x, out, None, moments, weight, bias], mode=_kernels().RELU, training=False)
    return out


class _Fused(Function):
    """Keeps x of its activations, and the output only if a shortcut was added; the next layer keeps that anyway."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, shortcut: Tensor | None, moments: Tensor, mode: int,
        training: bool,
    ) -> Tensor:  # fmt: skip
        out = torch.empty_like(x)
        added = None if shortcut is None else _laid_out_as(x, shortcut)
        _kernels().launch("forward", [x, out, added, moments, weight, bias], mode=mode, training=training)
        ctx.save_for_backward(x, out if shortcut is not None else None, weight, bias)
        ctx.moments, ctx.mode, ctx.training = moments, mode, training
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, out, weight, bias = ctx.saved_tensors
        dx, dshortcut = torch.empty_like(x), None if out is None else torch.empty_like(x)
        dweight, dbias = torch.empty_like(weight), torch.empty_like(bias)
        tensors = [x, out, _laid_out_as(x, gradient), dx, dshortcut, dweight, dbias, ctx.moments, weight, bias]
        _kernels().launch("backward", tensors, mode=ctx.mode, training=ctx.training)
        return dx, dweight, dbias, dshortcut, None, None, None


def _laid_out_as(x: Tensor, values: Tensor) -> Tensor:
    return values if values.stride() == x.stride() else torch.empty_like(x).copy_(values)
