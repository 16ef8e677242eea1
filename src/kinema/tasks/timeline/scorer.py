"""Scores of windows along a video or a live stream."""

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.readers.reader import FrameReader
from kinema.data.streams.background import InBackground
from kinema.data.streams.stream import FrameStream, RecordedStream
from kinema.data.streams.windows import Window, WindowSampler, WindowSchedule
from kinema.data.views import Views
from kinema.errors import UserError
from kinema.tasks.timeline.options import WhichViews

Singles = NDArray[np.float32]


@runtime_checkable
class ScoresClips(Protocol):
    """A predictor that scores clips of RGB frames; a capability that timelines need."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names."""

    @property
    def folder(self) -> Path:
        """Folder of the model files."""

    @property
    def frames_at_once(self) -> int:
        """Frames of a batch that fills the device."""

    def open(self, video: str | Path) -> FrameReader:
        """Open the frames of a video.

        Raises:
            MediaError: it cannot be opened.
        """

    def open_stream(self, video: str | Path, *, fps: float = 0.0) -> RecordedStream:
        """Open the frames of a video in order; `fps` is the frame rate of images, which do not say it.

        Raises:
            MediaError: it cannot be opened.
        """

    def views(self, which: WhichViews) -> Views:
        """Return the views of a validation or of a test video, as the model was trained.

        Raises:
            UserError: the model does not take RGB clips.
        """

    def clip_scores(self, clips: Tensor) -> Tensor:
        """Return the class scores (B, classes) float32 on the CPU of clips (B, V, T, C, H, W) uint8 on the CPU.

        Raises:
            UserError: the scores are not finite.
        """


@dataclass(frozen=True, kw_only=True)
class WindowScores:
    """Scores of one window."""

    index: int
    """Number of the window, see `WindowSchedule`."""
    start: float
    """Seconds."""
    end: float
    """Seconds."""
    scores: Singles
    """(classes,) probabilities."""
    latency: float
    """Seconds from when the last frame of the window was known until the scores were."""


class Statistics:
    """Latency per answer and throughput of a timeline."""

    def __init__(self) -> None:
        self.windows = 0
        self.seconds = 0.0
        """Of video that windows have passed."""
        self._began = self._until = monotonic()
        self._last: WindowScores | None = None
        self._latencies = deque[float](maxlen=10_000)

    def add(self, answer: WindowScores) -> None:
        """Count an answer."""
        follows = self._last is not None and answer.index == self._last.index + 1
        self.seconds += answer.end - (self._last.end if follows and self._last is not None else answer.start)
        self.windows, self._last, self._until = self.windows + 1, answer, monotonic()
        self._latencies.append(answer.latency)

    @property
    def elapsed(self) -> float:
        """Seconds from the start to the last answer."""
        return self._until - self._began

    def latency(self, quantile: float) -> float:
        """Return a quantile of the latency of the last 10 000 answers in seconds."""
        return float(np.quantile(self._latencies, quantile)) if self._latencies else 0.0

    def __str__(self) -> str:
        elapsed = max(self.elapsed, 1e-9)
        return (
            f"{self.windows} windows in {self.elapsed:.1f} s: {self.windows / elapsed:.1f} windows/s, "
            f"{self.seconds / elapsed:.1f} x real time; latency per answer {1e3 * self.latency(0.5):.0f} ms "
            f"(median), {1e3 * self.latency(0.95):.0f} ms (95 %)"
        )


def clip_scorer(predictor: object) -> ScoresClips:
    """Return `predictor` as one that scores clips.

    Raises:
        UserError: it does not.
    """
    if not isinstance(predictor, ScoresClips):
        raise UserError("timelines need a recognizer: the model of this recipe does not score clips")
    return predictor


def windows_per_batch(predictor: ScoresClips, schedule: WindowSchedule, views: WhichViews, *, fps: float) -> int:
    """Return the number of windows in a batch that fills the device, at least 1."""
    which = predictor.views(views)
    frames = WindowSampler(schedule, which, fps=fps).clip_frames * which.crops.count
    return max(1, predictor.frames_at_once // frames)


def score_windows(predictor: ScoresClips, windows: Sequence[Window]) -> list[WindowScores]:
    """Score windows in one batch."""
    scores = predictor.clip_scores(torch.stack([window.clips() for window in windows])).numpy()
    now = monotonic()
    return [
        WindowScores(index=window.index, start=window.start, end=window.end, scores=row, latency=now - window.complete)
        for window, row in zip(windows, scores, strict=True)
    ]


def score_stream(
    predictor: ScoresClips,
    stream: FrameStream,
    schedule: WindowSchedule,
    *,
    views: WhichViews = "val",
    first: int = 0,
    batch: int = 0,
) -> Generator[WindowScores]:
    """Yield the scores of the windows of a stream in order, from window `first` on.

    A thread decodes and crops while the network computes; at most two batches of windows wait. The first batches hold
    1, 2, 4, … windows, so that the network starts soon.

    Args:
        predictor: the model.
        stream: the frames; closed at the end, also where the iterator is closed early.
        schedule: the windows.
        views: views of a window; val: those of a validation video, mostly one clip and a centre crop; test: those of a
            test video.
        first: the first window, 0 or one at which an earlier run began a batch; the stream must start before it.
        batch: windows of a batch; 0: as many as fill the device.

    Raises:
        MediaError: the stream cannot be read.
        UserError: the model does not take RGB, or the scores are not finite.
    """
    batch = batch or windows_per_batch(predictor, schedule, views, fps=stream.fps)
    sampler = WindowSampler(schedule, predictor.views(views), fps=stream.fps, first=first)
    with closing(stream), InBackground(sampler.windows(stream), ahead=2 * batch) as windows:
        while (ready := windows.take(size := _batch_at(first, batch), wait_for=size)) is not None:
            yield from score_windows(predictor, ready)
            first += size


def score_video(
    predictor: ScoresClips,
    stream: RecordedStream,
    schedule: WindowSchedule,
    *,
    views: WhichViews = "val",
    known: int = 0,
    batch: int = 0,
) -> Generator[WindowScores]:
    """Yield the scores of the windows of a recorded video after the first `known` ones; see `score_stream`.

    The batch in which an earlier run ended is computed again from its start, so that scores are bit-equal to those of
    a run that was not interrupted.
    """
    batch = batch or windows_per_batch(predictor, schedule, views, fps=stream.fps)
    first = 0
    while (after := first + _batch_at(first, batch)) <= known:
        first = after
    stream.begin(schedule.start(first))
    for answer in score_stream(predictor, stream, schedule, views=views, first=first, batch=batch):
        if answer.index >= known:
            yield answer


def _batch_at(first: int, batch: int) -> int:
    """Return the number of windows in the batch that begins with window `first`: 1, 2, 4, … and then `batch`."""
    return min(first + 1, batch)
