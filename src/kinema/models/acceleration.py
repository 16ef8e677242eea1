"""Whether hand-written ways of computing are taken, or torch's own."""

_enabled = True


def accelerate(enabled: bool) -> None:
    """Take the hand-written ways in this process (True, the default), or torch's own operators alone (False).

    They are the fused batch norm (`normalization`), activations that are computed again (`recomputation`), and 3D
    convolutions of single frames as 2D ones (`convolution`). Results are the same but for rounding.
    """
    global _enabled
    _enabled = enabled


def accelerated() -> bool:
    """Return whether hand-written ways are taken."""
    return _enabled
