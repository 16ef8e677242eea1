"""Random and fixed crops of frames: a box per clip, resized, perhaps flipped."""

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor

from kinema.data.kinds import Label

_resize = torch.ops.aten._upsample_bilinear2d_aa.out


class Box(NamedTuple):
    """A rectangle of a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(kw_only=True)
class MultiScaleCrop:
    """A box of random size at one of a few fixed positions (TSN, Wang et al. 2016, section 3.3: corner cropping)."""

    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """Side lengths of the box, as fractions of the frame's short side."""
    max_scale_gap: Annotated[int, Ge(0)] = 1
    """Largest distance of the height's and the width's scale in `scales`."""
    positions: Literal[5, 13] = 5
    """Corners and centre (5), or also the positions between them (13)."""

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """A random box in a frame of `height` × `width` pixels."""
        side, pairs = min(height, width), _pairs(self.scales, self.max_scale_gap)
        box_height, box_width = (int(side * scale) for scale in pairs[rng.integers(len(pairs))])
        down, right = _OFFSETS[rng.integers(self.positions)]
        # Quarter steps, rounded down first, as the reference implementations place the boxes.
        return Box((height - box_height) // 4 * down, (width - box_width) // 4 * right, box_height, box_width)


@cache
def _pairs(scales: tuple[float, ...], gap: int) -> list[tuple[float, float]]:
    """Scales of a box's height and width."""
    count = range(len(scales))
    return [(scales[i], scales[j]) for i in count for j in count if abs(i - j) <= gap]


_OFFSETS = [
    *[(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)],  # corners and centre
    *[(2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)],
]
"""(down, right) in quarters of the distance that a box can move."""


@dataclass(kw_only=True)
class RandomResizedCrop:
    """A box of random area and aspect ratio, anywhere (Szegedy et al. 2015)."""

    area: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest area of the box, as fractions of the frame's."""
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width / height of the box."""

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """A random box in a frame of `height` × `width` pixels.

        The aspect ratio is uniform in its logarithm. If ten boxes do not fit, it is the largest centred one of an
        allowed aspect ratio, as torchvision and the reference implementations have it.
        """
        low, high = self.aspect
        for _ in range(10):
            area = height * width * rng.uniform(*self.area)
            aspect = math.exp(rng.uniform(math.log(low), math.log(high)))
            wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < wide <= width and 0 < tall <= height:
                return Box(int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1)), tall, wide)
        wide, tall = min(width, round(height * high)), min(height, round(width / low))
        return Box((height - tall) // 2, (width - wide) // 2, tall, wide)


@dataclass(kw_only=True)
class NearlyWholeFrame:
    """A box of nearly all of a frame, whose aspect ratio is lost as it is resized to a square.

    Where things are in the frame stays nearly as it is, for models that tell by it.
    """

    least: Annotated[float, Interval(gt=0, le=1)] = 0.9
    """Least share of the frame's height, and of its width, that the box has; both are uniform up to 1."""

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """A random box in a frame of `height` × `width` pixels."""
        tall, wide = (max(1, round(side * rng.uniform(self.least, 1))) for side in (height, width))
        return Box(int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1)), tall, wide)


@dataclass(kw_only=True)
class TrainCrop:
    """The random part of a frame that a training clip shows, the same in all its frames."""

    box: MultiScaleCrop | RandomResizedCrop | NearlyWholeFrame
    size: Annotated[int, Ge(1)] = 224
    """Side of the square that the box is resized to, in pixels."""
    flip: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip. 0 where left and right have a meaning."""
    flip_pairs: tuple[str, ...] = ()
    """Classes that a flip turns into each other, such as left to right and right to left: two names, or two indices
    counted from 0, with a colon between, such as `86:87`."""

    def __post_init__(self) -> None:
        for pair in self.flip_pairs:
            if not re.fullmatch(r"\s*[^:\s].*:.*[^:\s]\s*", pair):
                raise ValueError(f"flip_pairs has '{pair}', which is not two classes such as left:right or 86:87")

    def flipped_label(self, label: Label) -> Label:
        """What `label`, or each of several, becomes in a mirror. Flip pairs must be of indices."""
        return self._mirrored(label) if isinstance(label, int) else tuple(map(self._mirrored, label))

    def _mirrored(self, label: int) -> int:
        for pair in self.flip_pairs:
            one, other = map(int, pair.split(":"))
            if label in (one, other):
                return other if label == one else one
        return label


@dataclass(kw_only=True)
class ViewCrops:
    """The fixed parts of a frame that a test clip shows."""

    crops: Literal["center", "three", "ten", "whole"] = "center"
    """One centre crop; three along the longer side; four corners, centre and their mirror images; or the whole frame,
    resized to a square whatever its aspect ratio."""
    short_side: Annotated[int, Ge(1)] = 256
    """Size of the frame's short side, in pixels, of which the crop is `size`; without effect on whole."""
    size: Annotated[int, Ge(1)] = 224
    """Side of the square that the model sees, in pixels; at most `short_side`."""

    def __post_init__(self) -> None:
        if self.size > self.short_side:
            raise ValueError(f"size {self.size} must not be larger than short_side {self.short_side}")

    @property
    def count(self) -> int:
        """Number of crops."""
        return {"center": 1, "three": 3, "ten": 10, "whole": 1}[self.crops]


def draw_train(crop: TrainCrop, height: int, width: int, rng: np.random.Generator) -> tuple[Box, bool]:
    """A random box of frames of `height` × `width` pixels, and whether it is flipped."""
    return crop.box.draw(height, width, rng), bool(rng.random() < crop.flip)


def crop_views(frames: Tensor, crops: ViewCrops) -> Tensor:
    """Frames (V, T, H, W, C) uint8 → (crops · V, T, C, size, size) uint8 in channels-last memory."""
    height, width = frames.shape[-3:-1]
    views = torch.cat([cut(frames, box, crops.size) for box in view_boxes(height, width, crops)])
    if crops.crops == "ten":
        views = torch.cat([views, mirrored(views)])
    return views.movedim(-1, -3)


def view_boxes(height: int, width: int, crops: ViewCrops) -> list[Box]:
    """The boxes of `crops` in a frame of `height` × `width` pixels, the flipped ones not repeated."""
    side = round(min(height, width) * crops.size / crops.short_side)
    bottom, right = height - side, width - side
    centre = Box(bottom // 2, right // 2, side, side)
    match crops.crops:
        case "center":
            return [centre]
        case "whole":
            return [Box(0, 0, height, width)]
        case "three" if width >= height:
            return [Box(bottom // 2, left, side, side) for left in (0, right // 2, right)]
        case "three":
            return [Box(top, right // 2, side, side) for top in (0, bottom // 2, bottom)]
        case "ten":
            corners = [Box(top, left, side, side) for top in (0, bottom) for left in (0, right)]
            return [*corners, centre]


def cut(frames: Tensor, box: Box, size: int, *, out: Tensor | None = None) -> Tensor:
    """(…, H, W, C) → (…, size, size, C), both uint8: crop and resize in one step, channels staying where they are.

    In `out`, which is contiguous, if that is given.
    """
    top, left, height, width = box
    images = frames.flatten(0, -4)[:, top : top + height, left : left + width].movedim(-1, -3)
    if out is None:
        out = torch.empty((*frames.shape[:-3], size, size, frames.shape[-1]), dtype=torch.uint8)
    # torch's own kernel for bytes, which torchvision's resize calls after some 50 µs of its own.
    _resize(images, [size, size], False, out=out.flatten(0, -4).movedim(-1, -3))
    return out


def mirrored(clip: Tensor) -> Tensor:
    """Left becomes right in (…, H, W, C); what moved to the right, in flow's first channel, moves to the left."""
    flipped = clip.flip(-2)
    if clip.shape[-1] == 2:
        flipped[..., 0] = 255 - flipped[..., 0]
    return flipped
