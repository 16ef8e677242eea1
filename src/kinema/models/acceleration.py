"""Switch between hand-written kernels and torch's own operators."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_enabled = True


def accelerate(enabled: bool) -> None:
    """Enable the accelerations in this process (True, the default), or use torch's own operators only (False).

    They are the fused batch norm (`normalization`), recomputed activations (`recomputation`), max pooling that keeps
    less (`pooling`), weight gradients over time by products (`convolution`), TEM's convolutions (`three_taps`), PEM's
    layers in blocks (`two_layers`) and attention of short sequences in bf16 by products (`transformer`). Results are
    the same up to rounding.
    """
    global _enabled
    _enabled = enabled


def accelerated() -> bool:
    """Return whether accelerations are enabled."""
    return _enabled


@contextmanager
def unaccelerated() -> Iterator[None]:
    """Use torch's own operators only, in the block."""
    before = accelerated()
    accelerate(False)
    try:
        yield
    finally:
        accelerate(before)


def eager_on_cpu(x: Tensor) -> bool:
    """Return whether accelerations are enabled and `x`, of any shape, is a CPU tensor in an eager step with gradients.

    Not in `torch.compile`, tracing or inference, nor for subclasses of `Tensor`.
    """
    return (
        accelerated()
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and torch.is_grad_enabled()
        and type(x) is Tensor
        and x.device.type == "cpu"
    )


def replaceable(layer: nn.Linear | nn.Conv1d, x: Tensor) -> bool:
    """Return whether a layer's parameters may be used outside its forward method: `eager_on_cpu`, in fp32.

    Not under autocast, nor if the layer is sharded or has hooks.
    """
    return (
        eager_on_cpu(x)
        and not torch.is_autocast_enabled(x.device.type)
        and x.dtype == layer.weight.dtype == torch.float32
        and type(layer.weight) is nn.Parameter
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
    )


_plain_operators = False


@contextmanager
def only_plain_operators() -> Iterator[None]:
    """Have networks avoid operators that ONNX lacks, in the block."""
    global _plain_operators
    _plain_operators = True
    try:
        yield
    finally:
        _plain_operators = False


def plain_operators() -> bool:
    """Return whether operators that ONNX lacks are to be avoided."""
    return _plain_operators
