"""Scores of windows along a live stream, as they come."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from time import monotonic, time

import numpy as np

from kinema.data.streams.background import InBackground
from kinema.data.streams.live.stream import LiveStream
from kinema.data.streams.stream import Frame
from kinema.data.streams.windows import Window, WindowSampler, WindowSchedule
from kinema.tasks.timeline.options import WhichViews
from kinema.tasks.timeline.scorer import (
    ScoresClips,
    Statistics,
    WindowScores,
    score_windows,
)

_POLL = 0.2
"""Seconds between two looks at whether the stream was closed."""
_WAITING = 8
"""Windows that wait to be scored together, where the source waits."""
_GRACE = 1.0
"""Seconds that the reader may take to end. FFmpeg waits for a silent server until its time limit."""


@dataclass(frozen=True, kw_only=True)
class LiveScores:
    """Scores of a window of a live stream."""

    answer: WindowScores
    """Scores by stream time."""
    time: float
    """Wall clock at the end of the window, in seconds since 1970 UTC: when its last frame was known."""
    connection: int
    """Number of the connection that the window was read from. Between two of them there is a gap."""


class LiveScorer:
    """Scores the windows of a live stream.

    A thread reads, decodes and crops. Of the windows that are complete while the network computes, the newest is scored
    next and the others are dropped; where the source can wait for its reader, as a pipe can, none is. Windows that span
    an interruption are left out.

    Attributes:
        statistics: Latency and throughput so far.
        busy: Seconds of computation.
        dropped: Windows that came too late.
        is_stuck: Whether the reading thread had not ended when the iterator was closed, because FFmpeg waits for
            a server; it ends at its time limit.
    """

    def __init__(
        self, predictor: ScoresClips, stream: LiveStream, schedule: WindowSchedule, *, views: WhichViews = "val"
    ) -> None:
        """Score the windows of `stream` by `predictor`.

        Raises:
            UserError: The model does not take RGB clips.
        """
        self._predictor, self._stream, self._schedule = predictor, stream, schedule
        self._views = predictor.views(views)
        self.statistics, self.busy, self.dropped, self.is_stuck = Statistics(), 0.0, 0, False
        self._began = monotonic()
        self._until: float | None = None

    def warm_up(self) -> None:
        """Score a black window: the first computation takes longer than later ones, and would cost windows."""
        size = self._views.crops.short_side
        black = Frame(0.0, lambda: np.zeros((size, size, 3), np.uint8))
        score_windows(self._predictor, [*self._sampler(first=0).windows([black])])

    @property
    def elapsed(self) -> float:
        """Seconds from the start to the end, or until now."""
        return (monotonic() if self._until is None else self._until) - self._began

    def answers(self) -> Generator[LiveScores, None, None]:
        """Yield scores until the stream ends or is closed; the answer in work is the last one.

        Raises:
            MediaError: The address is wrong, or the stream holds no video.
            StorageOutage: The stream was interrupted for too long.
            UserError: The scores are not finite.
        """
        most = _WAITING if self._stream.can_wait else 1
        ready = InBackground(self._windows(), ahead=most, drops=lambda: not self._stream.can_wait, grace=_GRACE)
        self.statistics, self._began = Statistics(), monotonic()
        try:
            with closing(self._stream), ready:
                while not self._stream.closed:
                    windows = ready.take(most, seconds=_POLL)
                    if windows is None:
                        return
                    self.dropped = ready.dropped
                    yield from self._scored(windows)
        finally:
            self._until = monotonic()
            self.dropped, self.is_stuck = ready.dropped, ready.alive

    def _scored(self, windows: list[tuple[int, Window]]) -> Iterator[LiveScores]:
        if not windows:
            return
        began = monotonic()
        answers = score_windows(self._predictor, [window for _, window in windows])
        self.busy += monotonic() - began
        ago = time() - monotonic()
        for (connection, window), answer in zip(windows, answers, strict=True):
            self.statistics.add(answer)
            yield LiveScores(answer=answer, time=window.complete + ago, connection=connection)

    def _windows(self) -> Iterator[tuple[int, Window]]:
        """Yield the number of the connection and the window, as soon as it is complete."""
        sampler, connection = self._sampler(first=0), -1
        for frame in self._stream:
            if connection != self._stream.counts.reconnections:
                connection = self._stream.counts.reconnections
                sampler = self._sampler(first=self._schedule.first_from(frame.seconds))
            yield from _numbered(connection, sampler.push(frame))
        if not self._stream.closed:
            yield from _numbered(connection, sampler.finish())

    def _sampler(self, *, first: int) -> WindowSampler:
        return WindowSampler(self._schedule, self._views, fps=self._stream.fps, first=first)


def _numbered(connection: int, windows: Iterable[Window]) -> Iterator[tuple[int, Window]]:
    for window in windows:
        yield connection, window
