"""TSM: Temporal Shift Module (Lin et al., 2019, arXiv:1811.08383), in TSN's frame."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd import Function

from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, RGB, Recognizer, fold_time
from kinema.models.resnet import Depth, FrozenStages, ResNet
from kinema.models.tsn import TSNOptions


@dataclass(kw_only=True)
class TSMOptions(TSNOptions):
    """A TSN whose residual branches see the frames before and after."""

    shift_div: int = 8
    """1/shift_div of the channels comes from the next frame, as much from the previous one."""
    dropout: float = 0.5
    """Probability with which a feature is dropped before the head, 0–1."""
    init_std: float = 0.001
    """Standard deviation of the head's initial weights."""


def tsm(
    *,
    num_classes: int = 400,
    depth: Depth = 50,
    width: int = 64,
    shift_div: int = 8,
    dropout: float = 0.5,
    init_std: float = 0.001,
    zero_init_residual: bool = False,
    frozen_stages: FrozenStages = -1,
    norm_eval: bool = False,
    mean: RGB = IMAGENET_MEAN,
    std: RGB = IMAGENET_STD,
) -> "TSM":
    """A TSM with random weights; the keywords are explained in `TSMOptions`.

    Every residual block shifts; in the two deepest networks every second one, as in the authors' models.
    """
    backbone = ResNet(
        depth,
        width=width,
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
        zero_init_residual=zero_init_residual,
    )
    step = 2 if depth in (101, 152) else 1
    for stage in backbone.stages:
        for block in stage[::step]:
            block.shift = TemporalShift(shift_div)
    return TSM(backbone, num_classes=num_classes, dropout=dropout, init_std=init_std, mean=mean, std=std)


class TSM(Recognizer):
    """Classifies each of T frames, whose features have been mixed with their neighbours', and averages the logits."""

    def forward(self, clips: Tensor) -> Tensor:
        """Clips `(N, 3, T, H, W)`, T = segments → logits `(N, num_classes)`."""
        segments = clips.shape[2]
        frames = fold_time(self.normalize(clips))
        features = self.backbone(frames, segments).mean(dim=(2, 3))
        logits: Tensor = self.fc(self.dropout(features))
        return logits.view(-1, segments, logits.shape[1]).mean(dim=1)


class TemporalShift(nn.Module):
    """`temporal_shift` with a fixed `shift_div`, as a residual block calls it."""

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
