"""Frames of a video above a time axis, each in the middle of its part of the time."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image as Pictures

Image = NDArray[np.uint8]

PICTURES = 10
"""Frames of a strip, from the middle of equal parts of the video."""

_HEIGHT = 160  # pixels
_NARROWEST = 1.1
"""Width of a frame's part of the strip by its height, at least: narrower frames stand apart, so that the strip is as
wide as the time axis."""
_WIDTH = 1.12
"""Inches of a part, where the figure is 12 inches wide."""


def strip_inches(pictures: Sequence[Image]) -> float:
    """Return the height of a strip in inches."""
    height, width = pictures[0].shape[:2]
    return max(_WIDTH / max(width / height, _NARROWEST), 0.15)


def draw_strip(axes: Axes, pictures: Sequence[Image]) -> None:
    """Draw frames (H, W, 3) side by side, all at the height and the shape of the first one."""
    axes.set_axis_off()
    height, width = pictures[0].shape[:2]
    size = max(round(width * _HEIGHT / height), 1), _HEIGHT
    part = max(size[0] + 4, round(_NARROWEST * _HEIGHT))
    strip = np.full((_HEIGHT, part * len(pictures), 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        left = number * part + (part - size[0]) // 2
        strip[:, left : left + size[0]] = np.asarray(Pictures.fromarray(picture).resize(size))
    axes.imshow(strip, extent=(0, strip.shape[1], 0, _HEIGHT), aspect="equal")
