"""Exchange of features between neighbouring frames (Lin et al., 2019, arXiv:1811.08383, section 3)."""

from typing import Any

from torch import Tensor, nn
from torch.autograd import Function


class TemporalShift(nn.Module):
    """`temporal_shift` as a module."""

    def __init__(self, shift_div: int) -> None:
        super().__init__()
        self.shift_div = shift_div

    def forward(self, x: Tensor, segments: int) -> Tensor:
        """Shift the features of `(N·T, C, H, W)`, T = `segments`."""
        return temporal_shift(x, segments, self.shift_div)


def temporal_shift(x: Tensor, segments: int, shift_div: int) -> Tensor:
    """Exchange channels between neighbouring frames of `(N·T, C, H, W)`, T = `segments`; the memory layout stays.

    With F = ⌊C / shift_div⌋, channels 0…F-1 of a frame come from the next frame and F…2F-1 from the previous one, zeros
    at the clip's ends; the others stay. The gradient is the opposite shift.
    """
    fold = x.shape[1] // shift_div
    shifted: Tensor = _Shift.apply(x, segments, slice(0, fold), slice(fold, 2 * fold))
    return shifted


class _Shift(Function):
    """Autograd's own gradient of the slices assigned here takes several times as long as the opposite shift."""

    @staticmethod
    def forward(x: Tensor, segments: int, from_next: slice, from_previous: slice) -> Tensor:
        out = x.clone()
        clips = (-1, segments, *x.shape[1:])
        source, target = x.view(clips), out.view(clips)
        target[:, :-1, from_next] = source[:, 1:, from_next]
        target[:, -1, from_next] = 0
        target[:, 1:, from_previous] = source[:, :-1, from_previous]
        target[:, 0, from_previous] = 0
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        _, ctx.segments, ctx.from_next, ctx.from_previous = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _Shift.apply(gradient, ctx.segments, ctx.from_previous, ctx.from_next), None, None, None
