"""Segments from score curves, by thresholds with hysteresis; window by window, so that it works along live streams."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kinema.errors import UserError, did_you_mean
from kinema.tasks.timeline.options import SegmentOptions
from kinema.tasks.timeline.scorer import WindowScores
from kinema.tasks.timeline.smoothing import Row, smoother


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A segment of one class."""

    label: int
    """Index of the class."""
    start: float
    """Seconds."""
    end: float
    """Seconds."""
    score: float
    """Mean smoothed score."""
    peak: float
    """Highest smoothed score."""


class SegmentFinder:
    """Finds segments in the scores of consecutive windows.

    Window k stands for the time around its centre, from half a step before to half a step after; the first window also
    for all before it, the last one for all after. A segment of a class is a run of windows whose smoothed scores are
    `low` or more, of which at least one is `high` or more. Classes are independent of each other: segments of different
    classes may overlap. Windows may be missing, as a live stream drops some: a run goes on across them. After an
    interruption of the stream take a new finder.
    """

    def __init__(self, options: SegmentOptions, classes: Sequence[str], *, every: float, background: str = "") -> None:
        """Find segments of all `classes` but `background`, in windows `every` seconds apart.

        Raises:
            UserError: `background` is none of the classes.
        """
        if background and background not in classes:
            raise UserError(
                f"--background {background} is no class of the model{did_you_mean(background, classes)}; it has "
                f"{', '.join(classes)}"
            )
        self._options, self._every = options, every
        self._smoother = smoother(options.smoothing, seconds=options.smooth_seconds, every=every)
        self._watched = np.array([name != background for name in classes])
        self._spans = deque[tuple[float, float]]()  # of windows whose smoothed scores are not known yet
        self._runs = dict[int, _Run]()
        self._last: WindowScores | None = None
        self._until = 0.0  # end of the last window's span

    @property
    def delay(self) -> float:
        """Seconds by which segments are known later than without smoothing."""
        return self._smoother.delay * self._every

    @property
    def active(self) -> list[int]:
        """Classes of which a segment is open and has reached `high`."""
        return sorted(label for label, run in self._runs.items() if run.reached)

    def open_segments(self) -> list[Segment]:
        """Return the segments that have begun, as far as they are known: all that `push` or `finish` will return."""
        return [one for label, run in sorted(self._runs.items()) for one in self._closed(label, run)]

    def push(self, answer: WindowScores) -> list[Segment]:
        """Add the next window, and return the segments that are known to have ended, in order of their classes."""
        centre = (answer.start + answer.end) / 2
        follows = answer.index == (0 if self._last is None else self._last.index + 1)
        start = self._until if follows else centre - self._every / 2
        self._until, self._last = centre + self._every / 2, answer
        self._spans.append((start, self._until))
        return [one for row in self._smoother.push(answer.scores) for one in self._advance(row)]

    def finish(self) -> list[Segment]:
        """End the curve, and return the remaining segments."""
        if self._last is None:
            return []
        segments = [one for row in self._smoother.finish() for one in self._advance(row)]
        for label, run in sorted(self._runs.items()):
            run.end = max(run.end, self._last.end)
            segments += self._closed(label, run)
        self._runs.clear()
        return segments

    def _advance(self, row: Row) -> Iterator[Segment]:
        """Add the smoothed scores of the oldest window."""
        start, end = self._spans.popleft()
        above, reached = (row >= self._options.lowest) & self._watched, row >= self._options.high
        for label in [label for label in sorted(self._runs) if not above[label]]:
            yield from self._closed(label, self._runs.pop(label))
        for label in np.flatnonzero(above).tolist():
            run = self._runs.setdefault(label, _Run(start=start))
            run.add(end, float(row[label]), reached=bool(reached[label]))

    def _closed(self, label: int, run: "_Run") -> list[Segment]:
        if not run.reached or run.end - run.start < self._options.shortest - 1e-6:
            return []
        mean = run.total / run.count
        return [Segment(label=label, start=run.start, end=run.end, score=mean, peak=run.peak)]


@dataclass
class _Run:
    """Windows in a row in which the score of a class is `low` or more."""

    start: float
    end: float = 0.0
    total: float = 0.0
    count: int = 0
    peak: float = 0.0
    reached: bool = False

    def add(self, end: float, score: float, *, reached: bool) -> None:
        """Add a window, whose score `reached` the higher threshold or not."""
        self.reached |= reached
        self.end, self.total, self.count, self.peak = end, self.total + score, self.count + 1, max(self.peak, score)


def find_segments(
    answers: Iterable[WindowScores],
    options: SegmentOptions,
    classes: Sequence[str],
    *,
    every: float,
    background: str = "",
) -> list[Segment]:
    """Return the segments of a whole curve, best first; see `SegmentFinder`."""
    finder = SegmentFinder(options, classes, every=every, background=background)
    segments = [one for answer in answers for one in finder.push(answer)] + finder.finish()
    return sorted(segments, key=lambda one: -one.score)
