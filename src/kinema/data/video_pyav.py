"""Frames of a video by PyAV, whose wheel brings its own FFmpeg."""

import io
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction

import av
import av.filter
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kinema.data.reader import Image, Room, check_indices, gather
from kinema.errors import MediaError

# Containers that name the time of every packet and can be sought by it. After a seek in MPEG-PS and MPEG-TS, packets
# have other times than before.
_SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf")


class PyAVReader:
    """Frame-exact random access to one video file; see `FrameReader` for what it promises.

    One pass over the packets, without decoding, gives the times of the frames. Frame `i` is the one with the `i`-th
    time, found by decoding from the keyframe at or before it. A file without times to trust (AVI with B-frames above
    all) is decoded from its start instead, and its frames are counted as they come out.

    There are as many frames as packets. Where the decoder gives no frame for a packet, the next one stands in for it;
    at the end of the file the last one does.

    `packets` is what the pass over the packets gave.
    """

    def __init__(self, source: str | bytes, *, path: str, threads: int = 1) -> None:
        self.path = path
        self._source = source
        self._threads = threads
        self._file = ExitStack()
        self._to_decode: Iterator[Packet[VideoStream] | None] = iter(())
        self._to_rgb = _RGBConverter()
        try:
            self._open()
            self.packets = _scan(self._container, self._stream)
        except InvalidDataError:
            raise MediaError(path, "it is empty, no video file, or its end is missing") from None
        except FFmpegError as error:
            raise MediaError(path, error.strerror or str(error)) from None
        if not len(self):
            raise MediaError(path, "its video stream holds no frames")
        self._lose_place()

    def __len__(self) -> int:
        return self.packets.count

    @property
    def fps(self) -> float | None:
        """Frames per second on average."""
        return self.packets.fps

    def frames(self, indices: Sequence[int]) -> torch.Tensor:
        """Frames `indices` as `(T, H, W, 3) uint8` RGB; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        return gather(indices, self._image, path=self.path, name="frame {}".format)

    def close(self) -> None:
        """Close the file; done by itself when the reader goes out of scope."""
        self._to_decode = iter(())
        self._file.close()

    def __del__(self) -> None:
        # A container and its streams refer to each other: left open, it would wait for the cycle collector.
        self.close()

    def _open(self) -> None:
        self.close()
        # "file:" keeps a colon in the name from being taken for a protocol.
        file = io.BytesIO(self._source) if isinstance(self._source, bytes) else f"file:{self._source}"
        self._container = self._file.enter_context(av.open(file, mode="r", metadata_errors="replace"))
        stream = self._container.streams.best("video")
        if not isinstance(stream, VideoStream) or not stream.codec_context:
            raise MediaError(self.path, "it has no video stream that can be decoded")
        stream.codec_context.thread_count = self._threads
        stream.codec_context.thread_type = "AUTO"
        self._stream = stream

    def _lose_place(self) -> None:
        """Forget what was decoded last: the next frame will be sought anew."""
        self._frame: VideoFrame | None = None
        self._last = -1  # the index that self._frame answers

    def _image(self, index: int, room: Room) -> None:
        """Frame `index` into `room`: decoded from where the decoder stands, unless a keyframe after that is nearer."""
        try:
            nearest = max(self.packets.keyframes_to(index), default=0)
            if self._frame is None or index < self._last or nearest > self._last + 1:
                self._seek(index)
            while self._last < index:
                self._advance(index)
            if self._frame is None:
                raise MediaError(self.path, "none of its frames can be decoded")
            pixels = self._to_rgb(self._frame)
        except FFmpegError as error:
            self._lose_place()
            raise MediaError(self.path, f"frame {index} cannot be decoded ({error.strerror})") from None
        room(*pixels.shape)[:] = pixels

    def _seek(self, index: int) -> None:
        """Put the decoder at or before frame `index`: at the nearest keyframe, if all is well.

        But the container's seek may land behind the keyframe, and H.264 has keyframes that only start to refresh the
        picture. Then the keyframe is not what comes out, and an earlier one or the start of the file must do.
        """
        for keyframe in reversed(self.packets.keyframes_to(index)):
            self._container.seek(self.packets.times[keyframe], stream=self._stream)
            self._start(keyframe)
            if self._advance(index) and self._last <= keyframe:
                return
        self._open()
        self._start(0)

    def _start(self, index: int) -> None:
        """Begin with the packets that come next in the file, of which frame `index` is the first."""
        self._lose_place()
        self._last = index - 1
        self._to_decode = _packets(self._container, self._stream)
        self._decoded: deque[VideoFrame] = deque()

    def _advance(self, index: int) -> bool:
        """Decode one frame more on the way to frame `index`.

        False when there is none: then the last one is the answer for all indices that remain.
        """
        while not self._decoded:
            try:
                packet = next(self._to_decode)
            except StopIteration:
                self._last = len(self) - 1
                return False
            if packet is not None and not packet.size:
                continue  # it would tell the decoder that the stream is over, as None does in the end
            decoder = self._stream.codec_context
            decoder.skip_frame = "NONREF" if packet and self._needless(packet.pts, index) else "DEFAULT"
            self._decoded.extend(decoder.decode(packet))
        self._frame = self._decoded.popleft()
        self._last = self.packets.index(self._frame, after=self._last)
        return True

    def _needless(self, time: int | None, index: int) -> bool:
        """Whether frame `index` and later ones can do without the frame of this time, unless others refer to it.

        Said of H.264 only: HEVC has layers, in which a frame without references of its own layer may have others.
        """
        if time is None or not self.packets.times or self._stream.codec_context.name != "h264":
            return False
        return time < self.packets.times[index]


@dataclass(frozen=True, kw_only=True)
class Packets:
    """What the packets of a video stream say about its frames, without any of them being decoded.

    `times` are the presentation times of the frames in units of `time_base` seconds, ascending; empty when they are
    not to be trusted. `keyframes` are indices of frames from which decoding may start; empty without `times`.
    """

    count: int
    fps: float | None
    times: list[int] = field(default_factory=list)
    keyframes: list[int] = field(default_factory=list)
    time_base: Fraction = Fraction(1)

    def keyframes_to(self, index: int) -> list[int]:
        """The keyframes at or before frame `index`."""
        return self.keyframes[: bisect_right(self.keyframes, index)]

    def index(self, frame: VideoFrame, *, after: int) -> int:
        """Which frame this is, when it came out of the decoder after the one with index `after`."""
        index = after + 1
        if self.times and frame.pts is not None:
            index = bisect_left(self.times, frame.pts)
        return min(index, self.count - 1)


def _packets(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream] | None]":
    """The packets from where `container` stands, and None."""
    # Delegated to, demux is closed when this generator goes out of scope. Dropped halfway without that, it would never
    # free its packet: 150 bytes for each video read.
    yield from container.demux(stream)
    yield None


def _scan(container: InputContainer, stream: VideoStream) -> Packets:
    # An empty packet (AVI: show the last frame again) holds no frame; one to discard lies outside the edit list.
    packets = [
        (packet.pts, packet.is_keyframe, packet.duration or 0)
        for packet in container.demux(stream)
        if packet.size and not packet.is_discard
    ]
    timed = sorted((pts, key, duration) for pts, key, duration in packets if pts is not None)
    distinct = len({pts for pts, _, _ in timed}) == len(packets) > 0
    # AVI stores the order of decoding only; DivX packs two frames of MPEG-4 part 2 into one packet.
    orderless = container.format.name == "avi" or stream.codec_context.name == "mpeg4"
    shuffled = orderless and stream.codec_context.has_b_frames
    if container.format.name not in _SEEKABLE or not distinct or shuffled or stream.time_base is None:
        return Packets(count=len(packets), fps=float(stream.average_rate) if stream.average_rate else None)
    duration = max(pts + duration for pts, _, duration in timed) - timed[0][0]
    return Packets(
        count=len(timed),
        fps=float(len(timed) / (duration * stream.time_base)) if duration else None,
        times=[pts for pts, _, _ in timed],
        keyframes=[index for index, (_, key, _) in enumerate(timed) if key],
        time_base=stream.time_base,
    )


class _RGBConverter:
    """Decoded frames to upright RGB.

    By a filter graph, not by `VideoFrame.reformat`: a graph knows where 4:2:0 chroma samples lie, and gives bit for bit
    what torchcodec gives, also for 10 bits and odd heights.
    """

    _layout: tuple[int, int, str] | None = None

    def __call__(self, frame: VideoFrame) -> Image:
        """(H, W, 3) uint8."""
        layout = (frame.width, frame.height, frame.format.name)
        if layout != self._layout:
            self._build(frame)
            self._layout = layout
        self._graph.vpush(frame)
        image = self._graph.vpull().to_ndarray()
        return np.rot90(image, round(frame.rotation / 90))

    def _build(self, frame: VideoFrame) -> None:
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
        )
        rgb, sink = self._graph.add("format", "rgb24"), self._graph.add("buffersink")
        self._graph.link_nodes(source, rgb, sink).configure()
