"""Recording of attention weights, for explanations: their gradient-weighted mean over heads."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

_recordings: list[list[Tensor]] = []


@contextmanager
def recorded_attention() -> Iterator[list[Tensor]]:
    """Record all attention computed in the block by `kinema.models.transformer.attend`.

    Yields:
        A list which, after the backward pass of a class score, holds for each attention, in the order of the forward
        pass, the mean over heads of max(∇A ⊙ A, 0), `(N, queries, keys)`, for weights A and their gradient ∇A (Chefer
        et al., 2021, arXiv:2103.15679, equation 5).
    """
    recording: list[Tensor] = []
    _recordings.append(recording)
    try:
        yield recording
    finally:
        _recordings.remove(recording)


def is_recording() -> bool:
    """Return whether attention weights are recorded, for which they must be computed."""
    return bool(_recordings)


def record(weights: Tensor) -> None:
    """Record attention weights `(N, heads, queries, keys)` that take part in a backward pass."""
    recording, values = _recordings[-1], weights.detach()
    position = len(recording)
    recording.append(values.mean(dim=1))

    def keep(gradient: Tensor) -> None:
        recording[position] = (gradient * values).clamp(min=0).mean(dim=1)

    weights.register_hook(keep)
