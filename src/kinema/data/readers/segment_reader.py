"""Reading of a segment of a video as a video of its own."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from kinema.data.readers.reader import FrameReader, check_indices
from kinema.data.readers.segments import Segment, plain
from kinema.errors import MediaError

_ROUNDING = 1e-3
"""Seconds: containers and annotation tools round times to milliseconds."""

_OVERHANG = 0.5
"""Seconds by which a segment may end after its video: annotation tools take the end of the sound for that of the
video."""


@runtime_checkable
class HasTimes(Protocol):
    """A reader that knows when its frames are shown."""

    def seconds(self) -> NDArray[np.float64]:
        """Return the presentation times of all frames in seconds, (frames,), ascending; see `frame_times`.

        Raises:
            MediaError: they are unknown.
        """


class SegmentFault(MediaError):  # noqa: N818 - a fault of the list, counted as one of the video
    """A segment that its video does not have."""


class SegmentReader:
    """Frames `first` to before `end` of another reader; a `FrameReader`."""

    def __init__(self, video: FrameReader, first: int, end: int) -> None:
        self.path = video.path
        self.fps = video.fps
        self._video, self._first, self._count = video, first, end - first

    def __len__(self) -> int:
        return self._count

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
        """Frames `indices` of the segment; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        return self._video.frames([self._first + index for index in indices], more=more)


def read_segment(video: FrameReader, segment: Segment) -> SegmentReader:
    """View a segment of an open video as a video.

    Raises:
        SegmentFault: the segment is not within the video.
        MediaError: it is in seconds, and the times of the frames are unknown.
    """
    if segment.unit == "frames":
        check_within(segment, len(video), path=video.path)
        return SegmentReader(video, int(segment.start), int(segment.end))
    times = _times(video)
    check_within(segment, _end(times, video.fps), path=video.path)
    return SegmentReader(video, *frames_between(times, segment.start, segment.end))


def frames_between(times: NDArray[np.float64], start: float, end: float) -> tuple[int, int]:
    """Return the first of the frames that are shown in [start, end), and the one after the last.

    A frame is shown from its time, (frames,) seconds, to that of the next one. There is at least one.
    """
    first = max(int(np.searchsorted(times, start + _ROUNDING, side="right")) - 1, 0)
    return first, max(int(np.searchsorted(times, end - _ROUNDING, side="left")), first + 1)


def duration(video: FrameReader) -> float:
    """Return when a video ends, in seconds.

    Raises:
        MediaError: the times of its frames are unknown.
    """
    return _end(_times(video), video.fps)


def check_within(segment: Segment, end: float, *, path: str) -> None:
    """Check that a segment is within a video, of which `end` is the number of frames or when it ends, in seconds.

    Raises:
        SegmentFault: it is not; seconds may end half a second later.
    """
    overhang = _OVERHANG if segment.unit == "seconds" else 0
    if segment.start < end and segment.end <= end + overhang:
        return
    which, at = ("begins", segment.start) if segment.start >= end else ("ends", segment.end)
    where = f"{plain(at)} s of a video of {end:.2f} s"
    if segment.unit == "frames":
        where = f"frame {plain(at)} of a video of {plain(end)} frames"
    raise SegmentFault(path, f"the segment {which} at {where}")


def _times(video: FrameReader) -> NDArray[np.float64]:
    if not isinstance(video, HasTimes):
        raise MediaError(video.path, "its frames have no times: give segments in frames (start_frame,end_frame)")
    return video.seconds()


def _end(times: NDArray[np.float64], fps: float | None) -> float:
    """Return when the last frame ends, if it is shown as long as frames are on average."""
    return float(times[-1]) + (1 / fps if fps else 0.0)
