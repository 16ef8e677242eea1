"""Fast path for ordinary H.264 MP4."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kinema.data.readers.video.nal import H264
from kinema.data.readers.video.table import FrameTable, is_start, packets

QUICK: dict[str, Any] = {
    "format": "mov",
    "options": {"skip_frame": "all"},
    "container_options": {"probesize": "32"},
}
"""Options of `av.open` for an H.264 MP4: its sample tables describe the stream, so that no frame is decoded to probe it
(1.0 → 0.16 ms)."""


class QuickDecoder:
    """Decode requested frames from the keyframe before them, or report that this is not possible.

    Non-reference frames are skipped unless requested. Once the packet of the last requested frame before a seek has
    been sent, the decoder is drained: it would otherwise hold that frame back until two or so further packets are
    decoded.
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, known: FrameTable, bitstream: H264 | None = None
    ) -> None:
        """`known` must hold the PTS of all frames; an H.264 MP4 may have been opened with `QUICK`.

        With `bitstream`, decoding fails where a keyframe changes sizes, colors or orientation.
        """
        self._container = container
        self._stream = stream
        self._known = known
        self._bitstream = bitstream
        self._to_decode: Iterator[Packet[VideoStream] | None] | None = None
        self._at_end = False
        self._fed = set[int | None]()  # PTS of the packets sent to the decoder since the last seek
        self._decoded = deque[VideoFrame]()
        self._drained = set[int]()  # PTS of the requested frames in it, once the decoder was drained
        self._last: tuple[int, VideoFrame | None] = (-1, None)
        self._more = True
        self._continues = False

    def plan(self, indices: Sequence[int], *, more: bool = False) -> None:
        """Announce the next frames, in ascending order; `more`: later frames will be requested after these.

        A caller that reads on without `more` pays for one seek, and is then expected to read on.
        """
        times, last = self._known.times, self._last[0]
        follows = 0 <= last < indices[0] and self._known.nearest_keyframe(indices[0]) <= last + 1
        self._continues |= follows and not self._more
        self._more = more = more or self._continues
        self._requested = {times[index] for index in indices}
        self._until = times[indices[-1]] if more else times[-1] + 1
        self._due, run = dict[int, set[int]](), set[int]()
        for one, another in zip_longest(indices, indices[1:]):
            self._due[one] = run
            run.add(times[one])
            if another is not None and self._known.nearest_keyframe(another) > one + 1:
                run = set()
        if more:
            run.add(times[-1] + 1)  # a PTS that no packet has

    def frame(self, index: int) -> VideoFrame | None:
        """Return frame `index`, which was planned; None if the stream contradicts its tables.

        Raises:
            FFmpegError: A packet cannot be decoded.
        """
        last, frame = self._last
        if index == last:
            return frame
        keyframe = self._known.nearest_keyframe(index)
        if keyframe < 0:
            return None
        time = self._known.times[index]
        away = self._to_decode is None and time not in self._drained
        if away or index < last or keyframe > last + 1:
            self._container.seek(self._known.times[keyframe], stream=self._stream)
            self._to_decode = packets(self._container, self._stream)
            self._at_end = False
            self._fed.clear()
            self._drained = set()
            self._decoded.clear()
            # A seek may land after the keyframe, and a sync sample may be a recovery point or no keyframe at all: then
            # the keyframe is not the first frame decoded.
            start = self._known.times[keyframe]
            first = self._next(index)
            while first is not None and first.pts is not None and first.pts < start:
                first = self._next(index)
            if first is None or first.pts != start or not is_start(first, self._stream.codec_context.name):
                self._reset()
                return None
            self._decoded.appendleft(first)
        while (frame := self._next(index)) is not None and frame.pts is not None and frame.pts < time:
            pass
        # The second field of an interlaced picture may be in the next packet.
        if frame is None or frame.pts != time or frame.interlaced_frame or frame.is_corrupt:
            self._reset()
            return None
        self._last = index, frame
        return frame

    def _next(self, index: int) -> VideoFrame | None:
        """Return the next frame that the decoder outputs on the way to frame `index`."""
        decoder = self._stream.codec_context
        while not self._decoded:
            if self._to_decode is None or self._at_end:
                return None
            if self._due[index] <= self._fed:
                self._to_decode, self._drained = None, self._due[index]
                self._decoded.extend(decoder.decode(None))
                continue
            packet = next(self._to_decode)
            if packet is None or not packet.size:
                packet, self._at_end = None, True
            else:
                if self._bitstream and packet.is_keyframe and self._bitstream.differs(bytes(packet)):
                    return None
                decoder.skip_frame = "NONREF" if self._can_skip(packet.pts) else "DEFAULT"
                self._fed.add(packet.pts)
            self._decoded.extend(decoder.decode(packet))
        return self._decoded.popleft()

    def _can_skip(self, time: int | None) -> bool:
        """Whether the frame of this PTS may be skipped if it is a non-reference frame; see `PyAVReader._can_skip`."""
        if time is None or time in self._requested or self._stream.codec_context.name != "h264":
            return False
        return time < self._until

    def _reset(self) -> None:
        self._to_decode, self._drained = None, set()
        self._last = (-1, None)
