"""Frames of an MP4 file of H.264 with nothing done in vain; for what is plain and whole, as nearly all files are."""

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
"""Options of `av.open` for an MP4 file of H.264: its tables say all that is needed, so that nothing is decoded to find
out what the stream is (1.0 → 0.16 ms)."""


class QuickDecoder:
    """Decodes wanted frames from the keyframe before them, or says that it cannot.

    Frames to which no other refers are left out, unless they are wanted. When the last wanted frame before a seek is
    in the decoder, it is told that the stream is over and gives that frame away: it would else hold it back until
    the two or so that follow are decoded as well.
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, known: FrameTable, bitstream: H264 | None = None
    ) -> None:
        """`known` must name the times of the frames; an MP4 file of H.264 may have been opened with `QUICK`.

        With `bitstream`, it says that it cannot where a keyframe changes sizes, colours or orientation.
        """
        self._container = container
        self._stream = stream
        self._known = known
        self._bitstream = bitstream
        self._to_decode: Iterator[Packet[VideoStream] | None] | None = None
        self._at_end = False
        self._fed = set[int | None]()  # times of the packets that were decoded since the last seek
        self._decoded = deque[VideoFrame]()
        self._given_away = set[int]()  # times of wanted frames that are among them, since the decoder was emptied
        self._last: tuple[int, VideoFrame | None] = (-1, None)
        self._more = True
        self._going_on = False

    def plan(self, indices: Sequence[int], *, more: bool = False) -> None:
        """Say which frames will be asked for next, in ascending order; `more`: later ones than these will follow.

        Who goes on without having said so pays for one seek, and is then expected to go on.
        """
        times, last = self._known.times, self._last[0]
        follows = 0 <= last < indices[0] and self._known.nearest_keyframe(indices[0]) <= last + 1
        self._going_on |= follows and not self._more
        self._more = more = more or self._going_on
        self._wanted = {times[index] for index in indices}
        self._until = times[indices[-1]] if more else times[-1] + 1
        self._due, run = dict[int, set[int]](), set[int]()
        for one, another in zip_longest(indices, indices[1:]):
            self._due[one] = run
            run.add(times[one])
            if another is not None and self._known.nearest_keyframe(another) > one + 1:
                run = set()
        if more:
            run.add(times[-1] + 1)  # which no packet has

    def frame(self, index: int) -> VideoFrame | None:
        """Frame `index`, which was planned; None where the stream is not as it should be, and a seek must follow.

        Raises:
            FFmpegError: something cannot be decoded; a seek must follow.
        """
        last, frame = self._last
        if index == last:
            return frame
        keyframe = self._known.nearest_keyframe(index)
        if keyframe < 0:
            return None
        time = self._known.times[index]
        away = self._to_decode is None and time not in self._given_away
        if away or index < last or keyframe > last + 1:
            self._container.seek(self._known.times[keyframe], stream=self._stream)
            self._to_decode = packets(self._container, self._stream)
            self._at_end = False
            self._fed.clear()
            self._given_away = set()
            self._decoded.clear()
            # A seek may land behind the keyframe, and there are keyframes that only start to refresh the picture, or
            # are none: then it is not what comes out first.
            start = self._known.times[keyframe]
            first = self._next(index)
            while first is not None and first.pts is not None and first.pts < start:
                first = self._next(index)
            if first is None or first.pts != start or not is_start(first, self._stream.codec_context.name):
                self._lose_place()
                return None
            self._decoded.appendleft(first)
        while (frame := self._next(index)) is not None and frame.pts is not None and frame.pts < time:
            pass
        # Of an interlaced picture, half may be in the next packet.
        if frame is None or frame.pts != time or frame.interlaced_frame or frame.is_corrupt:
            self._lose_place()
            return None
        self._last = index, frame
        return frame

    def _next(self, index: int) -> VideoFrame | None:
        """The frame that comes out next on the way to frame `index`."""
        decoder = self._stream.codec_context
        while not self._decoded:
            if self._to_decode is None or self._at_end:
                return None
            if self._due[index] <= self._fed:
                self._to_decode, self._given_away = None, self._due[index]
                self._decoded.extend(decoder.decode(None))
                continue
            packet = next(self._to_decode)
            if packet is None or not packet.size:
                packet, self._at_end = None, True
            else:
                if self._bitstream and packet.is_keyframe and self._bitstream.differs(bytes(packet)):
                    return None
                decoder.skip_frame = "NONREF" if self._needless(packet.pts) else "DEFAULT"
                self._fed.add(packet.pts)
            self._decoded.extend(decoder.decode(packet))
        return self._decoded.popleft()

    def _needless(self, time: int | None) -> bool:
        """Whether nothing wanted needs the frame of this time, unless it refers to it.

        Said of H.264 only: HEVC has layers, in which a frame without references of its own layer may have others.
        """
        if time is None or time in self._wanted or self._stream.codec_context.name != "h264":
            return False
        return time < self._until

    def _lose_place(self) -> None:
        self._to_decode, self._given_away = None, set()
        self._last = (-1, None)
