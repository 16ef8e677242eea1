"""Random crops of long features."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from kinema.tasks.localization.metrics.segments import Floats, Ints

_TRIALS = 200
"""Crops to try until one shows an instance."""


class Labelled(NamedTuple):
    """Features (C, T) of a video, with segments (m, 2) in positions of the features and their classes (m,)."""

    features: Tensor
    segments: Floats
    labels: Ints


def random_crop(
    video: Labelled,
    *,
    longest: int,
    shares: tuple[float, float],
    least_overlap: float,
    margin: float,
    random: np.random.Generator,
) -> Labelled:
    """Crop a video at random, if possible so that it shows an instance; instances are cut at the crop's ends.

    Args:
        video: a video.
        longest: length of the crop of a longer video.
        shares: shares of a video that is not longer, between which the length of its crop is drawn.
        least_overlap: instances of which a smaller share is seen are left out.
        margin: positions by which the first and the last feature see beyond a crop's ends.
        random: randomness.
    """
    length = video.features.shape[1]
    size = longest
    if length <= longest:
        low, high = max(round(shares[0] * length), 1), min(round(shares[1] * length), length)
        size = int(random.integers(low, max(high, low) + 1))
        if size >= length:
            return video
    start, kept, segments = 0, np.zeros(0, np.bool_), video.segments
    for _ in range(_TRIALS if len(video.labels) else 1):
        start = int(random.integers(length - size + 1))
        segments = video.segments.clip(start - margin, start + size + margin)
        kept = np.diff(segments)[:, 0] >= least_overlap * np.diff(video.segments)[:, 0]
        if kept.any():
            break
    return Labelled(video.features[:, start : start + size], segments[kept] - start, video.labels[kept])
