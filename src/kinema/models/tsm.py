"""TSM: Temporal Shift Module (Lin et al., 2019, arXiv:1811.08383), in TSN's frame."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd import Function

from kinema.models.backbone import Depth, FrozenStages
from kinema.models.recognizer import FLOW_CENTRE, IMAGENET_MEAN, IMAGENET_STD, RGB, Recognizer
from kinema.models.resnet import ResNet
from kinema.models.tsn import TSNOptions, segment_images


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
    gradient_checkpointing: bool = False,
    flow_fields: int = 0,
    mean: RGB = IMAGENET_MEAN,
    std: RGB = IMAGENET_STD,
) -> "TSM":
    """A TSM with random weights; the keywords are explained in `TSMOptions`.

    Every residual block shifts; in the two deepest networks every second one, as in the authors' models.
    """
    backbone = ResNet(
        depth,
        in_channels=2 * flow_fields or 3,
        width=width,
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
        gradient_checkpointing=gradient_checkpointing,
        zero_init_residual=zero_init_residual,
    )
    step = 2 if depth in (101, 152) else 1
    for stage in backbone.stages:
        for block in stage[::step]:
            block.shift = TemporalShift(shift_div)
    scale = (FLOW_CENTRE, FLOW_CENTRE) if flow_fields else (mean, std)
    return TSM(backbone, num_classes=num_classes, dropout=dropout, init_std=init_std, mean=scale[0], std=scale[1])


class TSM(Recognizer):
    """Classifies each of T frames, whose features have been mixed with their neighbours', and averages the logits."""

    backbone: ResNet

    def forward(self, clips: Tensor) -> Tensor:
        """Clips as TSN takes them → logits `(N, num_classes)`."""
        frames = segment_images(self.normalize(clips), self.backbone.in_channels)
        segments = len(frames) // len(clips)
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
