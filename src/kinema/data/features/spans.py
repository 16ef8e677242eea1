"""Time spans that features cover."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FeatureSpan:
    """Seconds `start` to `end` that features cover evenly, of a video that ends at `last`.

    Features seldom end with their video: each covers a whole stride, so that frames may remain, or the last stride may
    extend beyond the end.
    """

    start: float
    end: float
    last: float

    def fractions(self, seconds: Floats) -> Floats:
        """Convert seconds to fractions of the span; times outside it are outside 0 to 1."""
        return (seconds - self.start) / (self.end - self.start)

    def seconds(self, fractions: Floats) -> Floats:
        """Convert fractions of the span to seconds, clipped to the span and the video."""
        return (self.start + fractions.clip(0, 1) * (self.end - self.start)).clip(max=max(self.last, self.start))

    def part(self, start: float, end: float) -> "FeatureSpan":
        """Return the span of a part of the features, from `start` to `end` in fractions of this one."""
        length = self.end - self.start
        return FeatureSpan(self.start + start * length, self.start + end * length, self.last)


def whole_video(duration: float, *, share: float = 1.0) -> FeatureSpan:
    """Return the span of a video of `duration` seconds, or of its first fraction `share`."""
    return FeatureSpan(0.0, duration * share, duration)


def described_span(description: Mapping[str, Any], *, duration: float = math.nan) -> FeatureSpan | None:
    """Return the span that a description by `kinema prepare features` gives; None if it is incomplete.

    Args:
        description: `frames` of the video and its average `fps`; number of feature `rows`, each of which covers
            `stride` frames; `start`, the time of the first frame in seconds, 0 by default.
        duration: of the video in seconds, for descriptions whose `fps` is null, as of folders of images; nan if
            unknown.
    """
    try:
        frames, rows, stride = (float(description[key]) for key in ("frames", "rows", "stride"))
        fps = frames / duration if description["fps"] is None else float(description["fps"])
        start = float(description.get("start", 0))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not min(frames, fps, rows, stride) > 0 or not np.isfinite([frames, fps, rows, stride, start]).all():
        return None
    return FeatureSpan(start, start + rows * stride / fps, start + frames / fps)
