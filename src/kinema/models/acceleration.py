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


def replaceable(layer: nn.Linear | nn.Conv1d, x: Tensor) -> bool:
    """Return whether a layer may be computed otherwise, from its parameters: in fp32 on the CPU, with gradients.

    Not if accelerations are disabled, or if the layer is traced, compiled, sharded, cast or has hooks.
    """
    return (
        accelerated()
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled(x.device.type)
        and type(x) is Tensor
        and x.device.type == "cpu"
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
