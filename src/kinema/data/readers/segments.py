"""Segments: parts of videos as rows of a list."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

SegmentUnit = Literal["seconds", "frames"]

_FRAGMENTS: dict[SegmentUnit, str] = {"seconds": "#t=", "frames": "#frames="}


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of a video, from `start` to before `end`.

    Seconds are those of a player's clock: a segment has the frames that are shown at some time in [start, end). Frames
    are counted from 0, and `end` is the first frame after the segment.
    """

    start: float
    end: float
    unit: SegmentUnit

    @property
    def fragment(self) -> str:
        """What tells segments of one video apart in names: `#t=1.5,3`, as in a URL (W3C Media Fragments), or
        `#frames=45,90`."""
        return f"{_FRAGMENTS[self.unit]}{plain(self.start)},{plain(self.end)}"


def without_fragment(name: str) -> tuple[str, str]:
    """Split the name of a segment into that of its video and the fragment, which is empty for a whole video."""
    for prefix in _FRAGMENTS.values():
        video, separator, rest = name.rpartition(prefix)
        if separator:
            return video, separator + rest
    return name, ""


def plain(number: float) -> str:
    """Format a number with as many digits as it needs, without an exponent."""
    return np.format_float_positional(number, trim="-")
