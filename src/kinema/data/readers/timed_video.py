"""Constant-frame-rate view of a video: frame indices correspond to times."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kinema.data.readers.reader import FrameReader, check_indices
from kinema.data.readers.video.pyav_reader import PyAVReader
from kinema.errors import MediaError

Floats = NDArray[np.float64]

_ROUNDING = 1e-3
"""Seconds: containers round their start time."""


@dataclass(frozen=True, kw_only=True)
class TimedVideo:
    """A video at a constant frame rate.

    reader: frame i is what is shown in the middle of the i-th of as many equal parts of the video as it has frames.
    fps: its rate, the video's average, so that frame i spans the seconds i / fps to (i + 1) / fps after `start`; None
    where nothing says it. start: when the first frame is shown, in seconds of a player's clock.
    """

    reader: FrameReader
    fps: float | None
    start: float


def timed(reader: FrameReader, source: str | bytes | None) -> TimedVideo:
    """View an open video at a constant frame rate.

    `source` is the file, or its bytes, with the time stamps of its frames; None: frames are evenly spaced, as images in
    folders are.

    Raises:
        MediaError: the file can no longer be read.
    """
    number, fps = len(reader), reader.fps
    if source is None:
        return TimedVideo(reader=reader, fps=fps, start=0.0)
    times = frame_times(source, path=reader.path)
    if len(times) != number:
        raise MediaError(reader.path, f"it has {len(times)} time stamps of {number} frames")
    since_start = times - times[0]
    start = float(times[0]) if abs(times[0]) >= _ROUNDING else 0.0
    if fps is None or number / fps <= since_start[-1]:  # the rate of the file's header, which its time stamps belie
        fps = (number - 1) / float(since_start[-1]) if number > 1 else None
    if fps is None:
        return TimedVideo(reader=reader, fps=None, start=start)
    middles = (np.arange(number) + 0.5) / fps
    shown = np.searchsorted(since_start, middles, side="right") - 1
    if not np.array_equal(shown, np.arange(number)):
        reader = _ByTime(reader, shown, fps)
    return TimedVideo(reader=reader, fps=fps, start=start)


def frame_times(source: str | bytes, *, path: str = "") -> NDArray[np.float64]:
    """Return the presentation times of the frames of a video in seconds, as players display them: (frames,), ascending.

    Element `i` belongs to frame `i` of `open_video`. Time 0 is the start of the file's earliest stream, which is the
    first frame unless sound precedes it. Times are the PTS, also for variable frame rates; without usable PTS (raw
    streams, AVI with B-frames), frames are evenly spaced. `source` and `path` are as in `open_video`.

    Raises:
        MediaError: the file is missing, holds no video or cannot be decoded; or neither time stamps nor a frame rate
            are known.
    """
    path = path or (source if isinstance(source, str) else "video in memory")
    return PyAVReader(source, path=path).seconds()


class _ByTime:
    """The frames `shown` of another reader, as a video; see `FrameReader`."""

    def __init__(self, reader: FrameReader, shown: NDArray[np.int64], fps: float) -> None:
        self.path = reader.path
        self.fps: float | None = fps
        self._reader = reader
        self._shown = shown

    def __len__(self) -> int:
        return len(self._shown)

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
        """Frames `indices`; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        return self._reader.frames(self._shown[list(indices)].tolist(), more=more)
