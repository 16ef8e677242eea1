"""Switch between hand-written kernels and torch's own operators."""

from collections.abc import Iterator
from contextlib import contextmanager

_enabled = True


def accelerate(enabled: bool) -> None:
    """Enable the accelerations in this process (True, the default), or use torch's own operators only (False).

    They are the fused batch norm (`normalization`), recomputed activations (`recomputation`), PEM's layers in blocks
    (`two_layers`) and attention of short sequences in bf16 by products (`transformer`). Results are the same up to
    rounding.
    """
    global _enabled
    _enabled = enabled


def accelerated() -> bool:
    """Return whether accelerations are enabled."""
    return _enabled


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
