"""Options of windows along a video, and of segments from their scores."""

from dataclasses import dataclass
from typing import Annotated, Literal

import annotated_types as at

WhichViews = Literal["val", "test"]
Smoothing = Literal["none", "median", "exponential"]


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """Smoothing of score curves, and thresholds that turn them into segments."""

    smoothing: Smoothing = "median"
    """median: removes short outliers and keeps edges, the answer comes half of `smooth_seconds` later; exponential:
    needs nothing of the future, edges come late; none."""
    smooth_seconds: Annotated[float, at.Gt(0)] = 1.5
    """What the median spans, at least three windows; the time constant of the exponential average. Seconds."""
    high: Annotated[float, at.Interval(ge=0, le=1)] = 0.5
    """Score that a segment reaches at least once."""
    low: Annotated[float, at.Interval(ge=0, le=1)] | None = None
    """Score that a segment has throughout; at most `high`. When not given, 0.6 times `high`."""
    shortest: Annotated[float, at.Ge(0)] = 0.0
    """Seconds; shorter segments are left out."""

    def __post_init__(self) -> None:
        if self.low is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} must not be greater than high {self.high:g}")

    @property
    def lowest(self) -> float:
        """Score that a segment has throughout."""
        return 0.6 * self.high if self.low is None else self.low


@dataclass(frozen=True, kw_only=True)
class CurveOptions(SegmentOptions):
    """Score curves of a recognizer, and the segments that they show."""

    every: Annotated[float, at.Gt(0)] = 0.5
    """Seconds from one window to the next."""
    window: Annotated[float, at.Gt(0)] = 2.0
    """Length of a window in seconds."""
    views: WhichViews = "val"
    """Clips and crops of a window: those of a validation video (mostly one clip, one crop) or those of a test video,
    which are several times slower."""
