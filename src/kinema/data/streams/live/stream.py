"""Frames of a live stream across interruptions."""

import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from av.video.frame import VideoFrame

from kinema.data.readers.reader import Image
from kinema.data.readers.video.orientation import Orientation
from kinema.data.readers.video.rgb import to_rgb
from kinema.data.streams.live.address import Address
from kinema.data.streams.live.clock import StreamClock
from kinema.data.streams.live.connection import Connection, Interrupted
from kinema.data.streams.stream import Frame
from kinema.errors import MediaError, StorageOutage

log = logging.getLogger(__name__)

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
"""Seconds between attempts to reconnect; each waits twice as long as the one before it."""
_STEADY = 10.0
"""Seconds that a connection must last for the delays to start from the shortest again."""
_REPEATED = 60.0
"""Seconds of a playlist that a new connection may repeat."""
_POLL = 0.1


@dataclass(kw_only=True)
class StreamCounts:
    """What happened to a stream."""

    frames: int = 0
    """Decoded frames."""
    damaged: int = 0
    """Packets that could not be decoded."""
    reconnections: int = 0
    outage_seconds: float = 0.0
    """Seconds without a picture before the reconnections, from when an interruption was noticed."""
    jumps: int = 0
    """PTS that ran backwards or jumped."""
    sizes: int = 0
    """Changes of the size of the frames."""


class LiveStream:
    """The frames of a live stream; a `FrameStream`.

    An interrupted stream is opened again, after a pause that doubles from attempt to attempt and is varied at random,
    for at most `patience` seconds. Stream time goes on meanwhile. An outage is logged once, and once when it is over.

    A stream ends where it says so: the end of a pipe or of a file behind a server. Where a stream without an announced
    duration ends, it was interrupted.

    Attributes:
        counts: What happened so far.
        fps: Frames per second of the latest connection by its header.
        position: Stream seconds of the latest frame.
        can_wait: Whether its source waits for a slow reader, as a pipe and a file behind a server do.

    Args:
        address: What to read.
        timeout: Seconds without data or a picture after which a connection counts as interrupted, at least 0.1.
        patience: Seconds for which an interrupted stream is tried; 0: it ends at the first interruption.
    """

    def __init__(self, address: Address, *, timeout: float = 10.0, patience: float = 600.0) -> None:
        self.address, self.counts, self.fps = address, StreamCounts(), 25.0
        self.can_wait, self.position = not address.lasting, 0.0
        self._timeout, self._patience = timeout, patience
        self._stopped = False
        self._delay = _FIRST_DELAY
        self._outage: float | None = None  # when the current one began
        self._pts: float | None = None  # of the latest frame
        self._size: tuple[int, int] | None = None

    @property
    def path(self) -> str:
        """Address without its secrets."""
        return self.address.name

    @property
    def seconds(self) -> float | None:
        """Unknown."""
        return None

    @property
    def closed(self) -> bool:
        """Whether it was closed before its end."""
        return self._stopped

    def close(self) -> None:
        """End the iteration after the current frame; from any thread, or a signal handler."""
        self._stopped = True

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; see `FrameStream`. Their size may change.

        Raises:
            MediaError: The address is wrong or the stream holds no video.
            StorageOutage: Nothing answers at the first attempt, or an interruption lasts longer than `patience`.
        """
        clock = StreamClock(live=self.address.lasting)
        reason = ""
        while not self._stopped:
            try:
                connection = self._connect()
                try:
                    clock.reconnected(by_arrival=connection.by_arrival)
                    self.fps, self.can_wait = connection.fps, connection.can_wait
                    yield from self._frames(connection, clock)
                    return
                finally:
                    connection.close()
                    self.counts.damaged += connection.damaged
                    self.counts.jumps = clock.jumps
            except Interrupted as error:
                reason = str(error)
            except MediaError as error:
                if not self.counts.frames:
                    raise
                reason = error.reason  # a camera that starts answers 404 for a while
            self._pause(reason)

    def _connect(self) -> Connection:
        return Connection(
            self.address, timeout=self._timeout, stopped=lambda: self._stopped, on_silence=self._warn_of_silence
        )

    def _frames(self, connection: Connection, clock: StreamClock) -> Iterator[Frame]:
        """Yield the frames of one connection."""
        orientation: Orientation | None = None
        first = seconds = None
        known = self._pts if connection.is_playlist else None
        for pts, arrival, frame in connection.frames():
            if pts is not None and known is not None and known - _REPEATED < pts <= known:
                continue
            self._pts = pts
            orientation = orientation or Orientation.of(frame) or Orientation()
            self._note_size((frame.width, frame.height))
            self.position = seconds = clock.advance(pts, arrival)
            first = seconds if first is None else first
            if seconds - first > _STEADY:
                self._delay = _FIRST_DELAY
            self._note_frame()
            yield Frame(seconds, partial(_pixels, frame, orientation))
            if self._stopped:
                return
        if self._stopped or not self.address.lasting:
            return
        if not connection.is_whole((seconds or 0.0) - (first or 0.0)):
            raise Interrupted("the server ended it")

    def _note_size(self, size: tuple[int, int]) -> None:
        if self._size not in (None, size):
            self.counts.sizes += 1
            log.info("%s: the picture is now %dx%d", self.address.name, *size)
        self._size = size

    def _pause(self, reason: str) -> None:
        """Wait before the next attempt to connect.

        Raises:
            StorageOutage: There is none: the stream never began, or the outage lasts longer than `patience`.
        """
        if self._stopped:
            return
        now = time.monotonic()
        if not self.counts.frames or not self._patience:
            raise StorageOutage(f"{self.address.name}: {reason}")
        if self._outage is None:
            self._outage = now
            log.warning("%s: interrupted: %s; trying again for %g s", self.address.name, reason, self._patience)
        left = self._outage + self._patience - now
        if left <= 0:
            raise StorageOutage(f"{self.address.name}: {reason}; gave up after {self._patience:g} s")
        end = now + min(self._delay * random.uniform(0.5, 1.0), left)
        self._delay = min(self._delay * 2, _LONGEST_DELAY)
        while not self._stopped and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _POLL))

    def _note_frame(self) -> None:
        """Note that the stream is running, again if it was interrupted."""
        if self._outage is not None:
            lasted = time.monotonic() - self._outage
            log.warning("%s: running again after %.1f s", self.address.name, lasted)
            self.counts.reconnections += 1
            self.counts.outage_seconds += lasted
            self._outage = None
        self.counts.frames += 1

    def _warn_of_silence(self) -> None:
        log.warning("%s: no data for %g s; still waiting", self.address.name, self._timeout)


def _pixels(frame: VideoFrame, orientation: Orientation) -> Image:
    return orientation.upright(to_rgb(frame))
