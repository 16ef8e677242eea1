"""Recomputation of activations in the backward pass from tensors that are saved anyway."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import TensorWeakRef

from kinema.models.acceleration import accelerated

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Output:
    """A tensor of the forward pass that `compute` recomputes."""

    tensor: TensorWeakRef
    version: int
    compute: Callable[[], Tensor]


@dataclass(frozen=True)
class _Recipe:
    """Saved instead of a tensor, which may be a view of all of an output's values."""

    compute: Callable[[], Tensor]
    shape: torch.Size
    stride: tuple[int, ...]


_outputs: ContextVar[dict[int, _Output] | None] = ContextVar("_outputs", default=None)
"""Outputs of the current forward pass by address."""


def recomputed(forward: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorate the forward method of a network: tensors passed to `can_be_recomputed` within it are not saved.

    Results and gradients are bit-identical. Has no effect where torch traces or compiles the network.
    """

    @wraps(forward)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
        if traced or not torch.is_grad_enabled() or not accelerated():
            return forward(*args, **kwargs)
        token = _outputs.set({})
        try:
            with torch.autograd.graph.saved_tensors_hooks(_pack, _unpack):
                return forward(*args, **kwargs)
        finally:
            _outputs.reset(token)

    return run


def can_be_recomputed(out: Tensor, compute: Callable[[], Tensor]) -> None:
    """Declare that `compute` returns the values of `out` again, in its memory layout."""
    outputs = _outputs.get()
    if outputs is not None:
        outputs[out.data_ptr()] = _Output(TensorWeakRef(out), out._version, compute)


@contextmanager
def kept_by_others() -> Iterator[None]:
    """Exclude a part of a `recomputed` network, whose activations are saved in another way."""
    token = _outputs.set(None)
    try:
        yield
    finally:
        _outputs.reset(token)


def _pack(kept: Tensor) -> Tensor | _Recipe:
    outputs = _outputs.get()
    if type(kept) is not Tensor or not outputs or (found := outputs.get(kept.data_ptr())) is None:
        return kept
    # The address of a freed tensor may be in use by another one.
    original = found.tensor()
    unchanged = original is not None and original._version == found.version
    if not unchanged or (original.dtype, original.numel()) != (kept.dtype, kept.numel()):
        return kept
    return _Recipe(found.compute, kept.shape, kept.stride())


def _unpack(packed: Tensor | _Recipe) -> Tensor:
    if isinstance(packed, Tensor):
        return packed
    return packed.compute().as_strided(packed.shape, packed.stride)
