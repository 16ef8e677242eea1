"""Starts and ends of classes along a live stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kinema.tasks.timeline.live import LiveScores
from kinema.tasks.timeline.options import SegmentOptions
from kinema.tasks.timeline.segments import Segment, SegmentFinder


@dataclass(frozen=True, kw_only=True)
class Event:
    """The start or the end of a class."""

    kind: Literal["start", "end"]
    segment: Segment
    """Its times are those of the stream; of a start, as far as the segment is known."""
    start_time: float
    """Wall clock at the start of the segment, in seconds since 1970 UTC."""
    end_time: float
    """Wall clock at its end."""


class EventFinder:
    """Finds events in the scores of a live stream, window by window.

    An event is known `delay` seconds after the window that tells it. A segment whose stream is interrupted ends there.
    """

    def __init__(self, options: SegmentOptions, classes: Sequence[str], *, every: float, background: str = "") -> None:
        """Find events of all `classes` but `background`, in windows `every` seconds apart.

        Raises:
            UserError: `background` is none of the classes.
        """
        self._options, self._classes, self._every, self._background = options, classes, every, background
        self._started = set[int]()
        self._connection: int | None = None
        self._ahead = 0.0  # wall clock minus stream time
        self._finder = self._new_finder()

    @property
    def delay(self) -> float:
        """Seconds by which smoothing delays the events."""
        return self._finder.delay

    def push(self, scores: LiveScores) -> list[Event]:
        """Add the next window, and return the events that are known with it, ends first."""
        events = []
        if self._connection not in (None, scores.connection):
            events = self.finish()
            self._finder = self._new_finder()
        self._connection, self._ahead = scores.connection, scores.time - scores.answer.end
        events += self._ended(self._finder.push(scores.answer))
        for segment in self._finder.open_segments():
            if segment.label not in self._started:
                self._started.add(segment.label)
                events.append(self._event("start", segment))
        return events

    def finish(self) -> list[Event]:
        """End the curve, and return its last events."""
        return self._ended(self._finder.finish())

    def _new_finder(self) -> SegmentFinder:
        return SegmentFinder(self._options, self._classes, every=self._every, background=self._background)

    def _ended(self, segments: Sequence[Segment]) -> list[Event]:
        events = []
        for segment in segments:
            if segment.label not in self._started:  # it became known as a whole
                events.append(self._event("start", segment))
            self._started.discard(segment.label)
            events.append(self._event("end", segment))
        return events

    def _event(self, kind: Literal["start", "end"], segment: Segment) -> Event:
        start, end = segment.start + self._ahead, segment.end + self._ahead
        return Event(kind=kind, segment=segment, start_time=start, end_time=end)
