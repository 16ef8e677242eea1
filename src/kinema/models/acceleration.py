"""Switch between hand-written kernels and torch's own operators."""

_enabled = True


def accelerate(enabled: bool) -> None:
    """Enable the accelerations in this process (True, the default), or use torch's own operators only (False).

    They are the fused batch norm (`normalization`) and recomputed activations (`recomputation`). Results are the same
    up to rounding.
    """
    global _enabled
    _enabled = enabled


def accelerated() -> bool:
    """Return whether accelerations are enabled."""
    return _enabled
