"""What the packets of a video stream say about its frames, without any of them being decoded."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# Containers that name the time of every packet and can be sought by it. After a seek in MPEG-PS and MPEG-TS, packets
# have other times than before.
_SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf")


@dataclass(frozen=True, kw_only=True)
class Packets:
    """The frames of a stream.

    `times` are the presentation times of the frames in units of `time_base` seconds, ascending; empty when they are
    not to be trusted. `keyframes` are indices of frames from which decoding may start; empty without `times`.
    """

    count: int
    fps: float | None = None
    """Frames per second on average, where that is known."""
    times: list[int] = field(default_factory=list)
    keyframes: list[int] = field(default_factory=list)
    time_base: Fraction = Fraction(1)

    def keyframes_to(self, index: int) -> list[int]:
        """The keyframes at or before frame `index`."""
        return self.keyframes[: bisect_right(self.keyframes, index)]

    def nearest_keyframe(self, index: int) -> int:
        """The last keyframe at or before frame `index`; -1: there is none."""
        place = bisect_right(self.keyframes, index)
        return self.keyframes[place - 1] if place else -1

    def index(self, frame: VideoFrame, *, after: int) -> int:
        """Which frame this is, when it came out of the decoder after the one with index `after`."""
        index = after + 1
        if self.times and frame.pts is not None:
            index = bisect_left(self.times, frame.pts)
        return min(index, self.count - 1)


def packets(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream] | None]":
    """The packets from where `container` stands, and None."""
    # Delegated to, demux is closed when this generator goes out of scope. Dropped halfway without that, it would never
    # free its packet: 150 bytes for each video read.
    yield from container.demux(stream)
    yield None


def scan(container: InputContainer, stream: VideoStream) -> Packets:
    """One pass over all packets, from where `container` stands."""
    # An empty packet (AVI: show the last frame again) holds no frame; one to discard lies outside the edit list.
    found = [
        (packet.pts, packet.is_keyframe, packet.duration or 0)
        for packet in container.demux(stream)
        if packet.size and not packet.is_discard
    ]
    timed = sorted((pts, key, duration) for pts, key, duration in found if pts is not None)
    distinct = len({pts for pts, _, _ in timed}) == len(found) > 0
    # AVI stores the order of decoding only; DivX packs two frames of MPEG-4 part 2 into one packet.
    orderless = container.format.name == "avi" or stream.codec_context.name == "mpeg4"
    shuffled = orderless and stream.codec_context.has_b_frames
    if container.format.name not in _SEEKABLE or not distinct or shuffled or stream.time_base is None:
        return Packets(count=len(found), fps=float(stream.average_rate) if stream.average_rate else None)
    duration = max(pts + duration for pts, _, duration in timed) - timed[0][0]
    return Packets(
        count=len(timed),
        fps=float(len(timed) / (duration * stream.time_base)) if duration else None,
        times=[pts for pts, _, _ in timed],
        keyframes=[index for index, (_, key, _) in enumerate(timed) if key],
        time_base=stream.time_base,
    )
