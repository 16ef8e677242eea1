"""Windows along a video or a live stream, and the frames that each of them samples."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import floor
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.crops import ViewCrops, crop_views
from kinema.data.sampling import sample_test
from kinema.data.streams.stream import Frame
from kinema.data.views import Views
from kinema.errors import UserError

ROUNDING = 1e-3
"""Seconds: containers round the times of frames to milliseconds."""


@dataclass(frozen=True, kw_only=True)
class WindowSchedule:
    """Windows of equal length at equal distances: window k spans `k · every` to `k · every + window` seconds.

    A video of unknown length has windows until one of them reaches its end. The last one may extend beyond the end, by
    at most half of its length; a video always has a first window.
    """

    every: float
    """Seconds from the start of a window to the start of the next one."""
    window: float
    """Length of a window in seconds."""

    def __post_init__(self) -> None:
        for name, value in (("every", self.every), ("window", self.window)):
            if not (np.isfinite(value) and value > 0):
                raise UserError(f"--{name} {value:g}: must be a number of seconds greater than 0")

    def start(self, index: int) -> float:
        """Return the start of window `index` in seconds."""
        return index * self.every

    def end(self, index: int) -> float:
        """Return the end of window `index` in seconds."""
        return index * self.every + self.window

    def centre(self, index: int) -> float:
        """Return the centre of window `index` in seconds."""
        return index * self.every + self.window / 2

    def exists(self, index: int, seconds: float) -> bool:
        """Return whether a video of so many seconds has window `index`."""
        if index == 0 or self.end(index) <= seconds + ROUNDING:
            return True
        covered = self.end(index - 1) if self.every <= self.window else self.start(index)
        return covered < seconds - ROUNDING and self.centre(index) <= seconds + ROUNDING

    def count(self, seconds: float) -> int:
        """Return the number of windows of a video of so many seconds, at least 1."""
        index = max(floor((seconds - self.window) / self.every) - 1, 0)
        while self.exists(index, seconds):
            index += 1
        return index

    def first_from(self, seconds: float) -> int:
        """Return the first window that starts at `seconds` or later."""
        index = max(floor(seconds / self.every) - 1, 0)
        while self.start(index) < seconds - ROUNDING:
            index += 1
        return index


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window whose frames are known."""

    index: int
    """Number of the window, see `WindowSchedule`."""
    start: float
    """Seconds."""
    end: float
    """Seconds; the end of the video, if the window extends beyond that."""
    frames: list[Tensor]
    """Distinct cropped frames, each (crops, size, size, C) uint8, shared with overlapping windows."""
    positions: Tensor
    """(V, T) indices into `frames` of the clips."""
    complete: float
    """`time.monotonic()` at which the window's frames were known; latency is counted from here."""

    def clips(self) -> Tensor:
        """Return the views, (crops · V, T, C, size, size) uint8 in channels-last memory, as `read_views` does."""
        frames = torch.stack([self.frames[position] for position in self.positions.flatten().tolist()], dim=1)
        return frames.unflatten(1, self.positions.shape).flatten(0, 1).movedim(-1, -3)


class WindowSampler:
    """Frames that the windows of a stream sample, chosen as the frames come.

    A window of w seconds at f frames per second is viewed as n = round(w · f) frames of equal duration, frame i being
    what is shown in the middle of the i-th n-th of the window. `sample_test` chooses among these as it chooses among
    the frames of a video file. At a constant frame rate this is what testing on that part of the video would sample; at
    a variable one, frames are chosen by their times, so that a clip spans the same time everywhere. Past the end of the
    stream its last frame is repeated. A millisecond before its time counts as the time of a frame.

    Clips that coincide, as ten clips in a window no longer than one of them do, are sampled once.

    Only frames that an open window samples are converted, cropped and kept: at most `frames_per_window` for each of
    the `window / every + 2` windows that are open at a time, less what windows share.
    """

    def __init__(self, schedule: WindowSchedule, views: Views, *, fps: float, first: int = 0) -> None:
        """Sample the windows from number `first` on, of a stream of `fps` frames per second."""
        self.schedule, self.next_index = schedule, first
        self._crops = views.crops
        frames = max(round(schedule.window * fps), 1)
        rows = _distinct_clips(sample_test(views.sampling, frames))
        sampled, positions = np.unique(rows, return_inverse=True)
        self._offsets: list[float] = ((sampled + 0.5) * (schedule.window / frames)).tolist()
        self._positions = torch.from_numpy(positions.reshape(rows.shape))
        self._frame_seconds = 1 / fps
        self._open = deque[_OpenWindow]()
        self._shown: Frame | None = None

    @property
    def frames_per_window(self) -> int:
        """Number of distinct frames that a window samples."""
        return len(self._offsets)

    @property
    def clip_frames(self) -> int:
        """Number of frames of a window's clips, of one crop."""
        return self._positions.numel()

    @property
    def frames_held(self) -> int:
        """Number of cropped frames that are in memory for windows that are not complete."""
        return len({id(frame) for window in self._open for frame in window.frames})

    @property
    def position(self) -> float:
        """Start in seconds of the first window that is not complete: frames before it are no longer needed."""
        return self.schedule.start(self._open[0].index if self._open else self.next_index)

    def windows(self, frames: Iterable[Frame]) -> Iterator[Window]:
        """Yield the windows of a whole stream, each as soon as it is complete."""
        for frame in frames:
            yield from self.push(frame)
        yield from self.finish()

    def push(self, frame: Frame) -> Iterator[Window]:
        """Add the next frame, and yield the windows that it completes: those that end at its time or before.

        The iterator must be exhausted before the next frame is added.
        """
        shown, self._shown = self._shown, frame
        if shown is not None:
            yield from self._advance(shown, frame.seconds)

    def finish(self) -> Iterator[Window]:
        """End the stream, and yield its last windows; the last frame is shown for the average time of a frame."""
        if self._shown is None:
            return
        shown, self._shown = self._shown, None
        end, cropped = shown.seconds + self._frame_seconds, _Cropped(shown, self._crops)
        yield from self._advance(shown, end - ROUNDING)  # every window that `push` would complete
        while self.schedule.exists(self.next_index if not self._open else self._open[0].index, end):
            yield self._complete(self._open.popleft() if self._open else self._next(), cropped, end)
        self._open.clear()

    def _advance(self, shown: Frame, until: float) -> Iterator[Window]:
        """Take `shown` for all sampled times before `until`; yield the windows that end by then."""
        cropped = _Cropped(shown, self._crops)
        for window in self._open:
            window.fill(self._offsets, until - ROUNDING, cropped)
        while self._open and self.schedule.end(self._open[0].index) <= until + ROUNDING:
            yield self._complete(self._open.popleft(), cropped, until)
        # Opened one at a time: a pause of an hour has thousands of windows of the same frame.
        while self.schedule.start(self.next_index) + self._offsets[0] < until - ROUNDING:
            window = self._next()
            window.fill(self._offsets, until - ROUNDING, cropped)
            if self._open or self.schedule.end(window.index) > until + ROUNDING:
                self._open.append(window)
            else:
                yield self._complete(window, cropped, until)

    def _next(self) -> "_OpenWindow":
        index, self.next_index = self.next_index, self.next_index + 1
        return _OpenWindow(index, self.schedule.start(index))

    def _complete(self, window: "_OpenWindow", cropped: "_Cropped", end: float) -> Window:
        """Return a window whose remaining frames are all `cropped`, of a stream known until `end`."""
        window.fill(self._offsets, float("inf"), cropped)
        return Window(
            index=window.index,
            start=window.start,
            end=self.schedule.end(window.index) if end + ROUNDING >= self.schedule.end(window.index) else end,
            frames=window.frames,
            positions=self._positions,
            complete=monotonic(),
        )


@dataclass
class _OpenWindow:
    """A window and the frames of its first sampled times."""

    index: int
    start: float
    frames: list[Tensor] = field(default_factory=list)

    def fill(self, offsets: list[float], until: float, cropped: "_Cropped") -> None:
        """Take a frame for the sampled times that are not known yet and lie before `until`."""
        while len(self.frames) < len(offsets) and self.start + offsets[len(self.frames)] < until:
            self.frames.append(cropped.pixels)


class _Cropped:
    """A frame that is converted and cropped when it is first needed."""

    def __init__(self, frame: Frame, crops: ViewCrops) -> None:
        self._frame, self._crops = frame, crops
        self._pixels: Tensor | None = None

    @property
    def pixels(self) -> Tensor:
        """(crops, size, size, C) uint8."""
        if self._pixels is None:
            image = torch.from_numpy(np.ascontiguousarray(self._frame.image()))
            self._pixels = crop_views(image[None, None], self._crops)[:, 0].movedim(-3, -1)
        return self._pixels


def _distinct_clips(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct clips of (V, T), if the mean over them is that over all: each occurs equally often."""
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    return distinct if len(distinct) < len(rows) and counts.min() == counts.max() else rows
