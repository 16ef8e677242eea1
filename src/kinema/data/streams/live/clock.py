"""Stream time: seconds since the first frame, which never run backwards."""

_SMALLEST_STEP = 1e-6
_USUAL_STEP = 0.04
"""Seconds from one frame to the next where nothing else says it."""
_LIVE_LEAP, _PIPE_LEAP = 1.0, 60.0
"""Seconds: a PTS that advances so much more than the arrival clock, and than usual, has jumped."""
_MOST_REPEATS = 2
"""Frames in a row that may have the PTS of the one before them: cameras whose keyframes come in parts give two."""


class StreamClock:
    """Seconds of each frame since the first one, strictly increasing.

    Time advances with the PTS. Where the PTS are missing, run backwards or jump (a wrap of the 33 bits of MPEG-TS, a
    server that starts its file again, a new connection), time advances with the arrival of the frames, so that it
    includes the gap, and with the PTS again from there.

    Args:
        live: Whether frames arrive at the pace at which they were recorded. Otherwise a jump lasts as long as the
            step before it, since frames of a pipe may arrive much faster.
        by_arrival: Whether the PTS are not used at all, as those of formats without time stamps, which FFmpeg counts at
            a frame rate that it assumes.

    Attributes:
        jumps: PTS that ran backwards or jumped, those of new connections not included.
    """

    def __init__(self, *, live: bool, by_arrival: bool = False) -> None:
        self.jumps = 0
        self._live, self._by_arrival = live, by_arrival
        self._now: float | None = None
        self._pts: float | None = None
        self._arrival = 0.0
        self._step = _USUAL_STEP
        self._repeats = 0

    def advance(self, pts: float | None, arrival: float) -> float:
        """Return the stream time of a frame.

        Args:
            pts: Its presentation time in seconds, of any origin; None if it has none.
            arrival: When it arrived, in seconds of a monotonic clock.
        """
        if self._now is None:
            self._now = 0.0
        else:
            self._now += max(self._advanced(pts, arrival - self._arrival), _SMALLEST_STEP)
        self._pts, self._arrival = pts, arrival
        return self._now

    def reconnected(self, *, by_arrival: bool) -> None:
        """Forget the PTS: those of a new connection have another origin."""
        self._pts, self._by_arrival = None, by_arrival

    def _advanced(self, pts: float | None, waited: float) -> float:
        if self._by_arrival and self._live:
            return waited
        step = pts - self._pts if pts is not None and self._pts is not None else None
        if step == 0 and waited < _LIVE_LEAP and self._repeats < _MOST_REPEATS:
            self._repeats += 1
            return 0.0
        self._repeats = 0
        leap = waited + max(_LIVE_LEAP, 2 * self._step) if self._live else _PIPE_LEAP
        if step is not None and 0 < step <= leap:
            self._step = step if step <= _LIVE_LEAP else self._step
            return step
        self.jumps += step is not None
        return max(waited, self._step) if self._live else self._step
