"""Which seconds of a video its features stand for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FeatureSpan:
    """The seconds that features evenly stand for: from `start` to `end`, of a video that ends at `last`.

    Features seldom cover a video to its end: only whole strides have one. The last one may also reach beyond it.
    """

    start: float
    end: float
    last: float

    def fractions(self, seconds: Floats) -> Floats:
        """Times in seconds as fractions of the span, outside 0 to 1 where they lie outside it."""
        return (seconds - self.start) / (self.end - self.start)

    def seconds(self, fractions: Floats) -> Floats:
        """Fractions of the span as times in seconds, within the span and the video."""
        return (self.start + fractions.clip(0, 1) * (self.end - self.start)).clip(max=max(self.last, self.start))


def whole_video(duration: float, *, share: float = 1.0) -> FeatureSpan:
    """The span of features of a video of `duration` seconds, or of its first `share`, a fraction."""
    return FeatureSpan(0.0, duration * share, duration)


def described_span(description: Mapping[str, Any], *, duration: float = math.nan) -> FeatureSpan | None:
    """The span that the NAME.json of `kinema prepare features` describes; None where it does not say.

    Args:
        description: `frames` of the video and `fps`, frames per second on average; `rows` of features, each of which
            stands for `stride` frames; `start`, the second at which the first frame is shown, if not 0.
        duration: of the video in seconds, where another source knows it, for descriptions whose `fps` is null, as those
            of folders of images.
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
