"""Changes of a training clip beyond its crop, the same ones in all its frames."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge, Interval, Le
from torch import Tensor

if TYPE_CHECKING:
    from torchvision.transforms import v2

STRONGEST = 30
"""The largest magnitude of torchvision's RandAugment; timm counts to 10."""

_GREY = {3: [123.675, 116.28, 103.53], 2: [128.0, 128.0]}
"""ImageNet's mean pixel, or no motion: what a network sees as zero."""


@dataclass(kw_only=True)
class Augment:
    """Random changes of a training clip, made by torchvision after the crop; all are off by default."""

    rand_augment: Annotated[int, Ge(0)] = 0
    """Operations of RandAugment on each clip (Cubuk et al. 2020), 2 is usual; 0: none. RGB only."""
    magnitude: Annotated[int, Ge(0), Le(STRONGEST)] = 9
    """Strength of RandAugment's operations, of 30."""
    magnitude_std: Annotated[float, Ge(0)] = 0.0
    """Standard deviation of the strength, drawn for each operation."""
    operation_prob: Annotated[float, Interval(ge=0, le=1)] = 1.0
    """Probability that each of RandAugment's operations is applied."""
    color_jitter: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Largest relative change of brightness, contrast and saturation; hue changes by a quarter of it. RGB only."""
    random_erasing: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Probability that a box of the clip turns grey (Zhong et al. 2020), a third of the picture at most."""

    @property
    def changes_pixels(self) -> bool:
        """Whether any of them is on."""
        return self.needs_rgb or bool(self.random_erasing)

    @property
    def needs_rgb(self) -> bool:
        """Whether a change is one of colours, which optical flow has not."""
        return bool(self.rand_augment or self.color_jitter)


def augment(clips: Tensor, options: Augment) -> Tensor:
    """Change each of the clips (V, T, C, H, W) uint8 by draws of its own from torch's global generator.

    The result is in channels-last memory.
    """
    if not options.changes_pixels:
        return clips
    changed = torch.stack([_changed(clip, options) for clip in clips])
    return changed.movedim(-3, -1).contiguous().movedim(-1, -3)


def _changed(clip: Tensor, options: Augment) -> Tensor:
    for change in _changes(options, clip.shape[-3]):
        clip = change(clip)
    return clip


def _changes(options: Augment, channels: int) -> "list[v2.Transform]":
    from torchvision.transforms import v2

    changes: list[v2.Transform] = []
    if options.rand_augment:
        changes.extend(_rand_augment(options))
    if options.color_jitter:
        strength = options.color_jitter
        changes.append(v2.ColorJitter(strength, strength, strength, strength / 4))
    if options.random_erasing:
        changes.append(v2.RandomErasing(options.random_erasing, value=_GREY[channels]))
    return changes


def _rand_augment(options: Augment) -> "list[v2.Transform]":
    """Return the operations drawn for one clip, varied as timm does (`rand-m7-n4-mstd0.5`)."""
    from torchvision.transforms import v2

    interpolation = v2.InterpolationMode.BILINEAR
    if not options.magnitude_std and options.operation_prob == 1:
        return [v2.RandAugment(options.rand_augment, options.magnitude, interpolation=interpolation)]
    operations: list[v2.Transform] = []
    for _ in range(options.rand_augment):
        drawn = round(torch.normal(float(options.magnitude), options.magnitude_std, ()).item())
        if torch.rand(()).item() < options.operation_prob:
            operations.append(v2.RandAugment(1, min(max(drawn, 0), STRONGEST), interpolation=interpolation))
    return operations
