"""Frames of a video by PyAV, whose wheel brings its own FFmpeg."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

import av
import av.filter
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kinema.data.reader import Image, Room, check_indices, gather
from kinema.data.video.container import best_video, open_container
from kinema.data.video.mp4 import packets_by_table, read_delays
from kinema.data.video.orientation import Orientation
from kinema.data.video.packets import Packets, packets, scan
from kinema.data.video.quick import QUICK, QuickDecoder
from kinema.errors import MediaError


class PyAVReader:
    """Frame-exact random access to one video file; see `FrameReader` for what it promises.

    The tables of an MP4 file, or one pass over the packets without decoding, give the times of the frames. Frame `i` is
    the one with the `i`-th time, found by decoding from the keyframe at or before it. A file without times to trust
    (AVI with B-frames above all) is decoded from its start instead, and its frames are counted as they come out.

    There are as many frames as packets. Where the decoder gives no frame for a packet, the next one stands in for it;
    at the end of the file the last one does.

    MP4 files of H.264 are read by a `QuickDecoder`, unless it finds something to be amiss.

    `packets` is what the tables or the pass over the packets gave, as `by_tables` says.
    """

    def __init__(self, source: str | bytes, *, path: str, threads: int = 1) -> None:
        self.path = path
        self._source = source
        self._threads = threads
        self._file = ExitStack()
        self._quick: QuickDecoder | None = None
        self.by_tables = False
        self._to_decode: Iterator[Packet[VideoStream] | None] = iter(())
        self._to_rgb = _RGBConverter()
        try:
            self.packets = self._open_quickly() or self._open_and_scan()
        except FFmpegError as error:
            raise MediaError(path, error.strerror or str(error)) from None
        if not len(self):
            raise MediaError(path, "its video stream holds no frames")
        self._lose_place()

    def __len__(self) -> int:
        return self.packets.count

    @cached_property
    def fps(self) -> float | None:
        """Frames per second on average."""
        if not self.by_tables or self.packets.fps:
            return self.packets.fps
        # Tables do not say how long the last frame is shown.
        with ExitStack() as file:
            return scan(*self._opened(file)).fps

    @cached_property
    def orientation(self) -> Orientation:
        """How frames must be turned and mirrored, which is done for all that `frames` returns."""
        with ExitStack() as file:
            container, stream = self._opened(file)
            try:
                first = next(container.decode(stream), None)
            except FFmpegError:
                first = None
            return (Orientation.of(first) if first else None) or Orientation()

    def seconds(self) -> NDArray[np.float64]:
        """When each frame is shown, (frames,); see `frame_times`."""
        with ExitStack() as file:
            container, stream = self._opened(file)
            start = (container.start_time or 0) / av.time_base
            rate = stream.average_rate or stream.guessed_rate
            if self.packets.times:
                return np.array(self.packets.times) * float(self.packets.time_base) - start
            times = self._decoded_times(container, stream)
        known = [time for time in times if time is not None]
        if len(known) == len(self) and stream.time_base and all(one < next_ for one, next_ in pairwise(known)):
            return np.array(known) * float(stream.time_base) - start
        if not rate:
            raise MediaError(self.path, "it has neither time stamps nor a frame rate")
        return np.arange(len(self)) / float(rate)

    def _decoded_times(self, container: InputContainer, stream: VideoStream) -> list[int | None]:
        try:
            return [frame.pts for packet in container.demux(stream) for frame in packet.decode()]
        except FFmpegError:
            return []

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
        """Frames `indices` as `(T, H, W, 3) uint8` RGB; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        if self._quick:
            self._quick.plan(sorted(set(indices)), more=more)
        return gather(indices, self._image, path=self.path, name="frame {}".format)

    def close(self) -> None:
        """Close the file; done by itself when the reader goes out of scope."""
        self._quick = None
        self._to_decode = iter(())
        self._file.close()

    def __del__(self) -> None:
        # A container and its streams refer to each other: left open, it would wait for the cycle collector.
        self.close()

    def _open_quickly(self) -> Packets | None:
        """Open an MP4 file of H.264 by its tables; None where they do not do."""
        try:
            delays = read_delays(self._source)
            if delays is None:
                return None
            self._open(**QUICK)
            if self._stream.codec_context.name != "h264":
                return None
            found = packets_by_table(self._container, self._stream, delays)
        except (FFmpegError, MediaError, OSError):  # said by what opens it carefully
            return None
        if found:
            self._quick = QuickDecoder(self._container, self._stream, found)
            self.by_tables = True
        return found

    def _open_and_scan(self) -> Packets:
        self._open()
        return scan(self._container, self._stream)

    def _open(self, **options: Any) -> None:
        self.close()
        self._container, self._stream = self._opened(self._file, **options)

    def _opened(self, file: ExitStack, **options: Any) -> tuple[InputContainer, VideoStream]:
        """The video opened, until `file` closes it; `options` are those of `av.open`."""
        container = file.enter_context(open_container(self._source, path=self.path, **options))
        stream = best_video(container, path=self.path, threads=self._threads)
        return container, stream

    def _lose_place(self) -> None:
        """Forget what was decoded last: the next frame will be sought anew."""
        self._frame: VideoFrame | None = None
        self._last = -1  # the index that self._frame answers

    def _image(self, index: int, room: Room) -> None:
        """Frame `index` into `room`."""
        try:
            if (frame := self._quickly(index)) is None:
                frame = self._carefully(index)
            pixels = self._to_rgb(frame)
        except FFmpegError as error:
            self._lose_place()
            raise MediaError(self.path, f"frame {index} cannot be decoded ({error.strerror})") from None
        room(*pixels.shape)[:] = pixels

    def _quickly(self, index: int) -> VideoFrame | None:
        """Frame `index` from the quick decoder, which is given up when it has not exactly that."""
        if self._quick is None:
            return None
        try:
            frame = self._quick.frame(index)
        except FFmpegError:
            frame = None
        if frame is None:
            # The packets say more of a damaged file than the tables: a keyframe may no longer be one.
            found = self._open_and_scan()
            if found.times == self.packets.times:
                self.packets = found
            self._lose_place()
        return frame

    def _carefully(self, index: int) -> VideoFrame:
        """Frame `index`: decoded from where the decoder stands, unless a keyframe after that is nearer."""
        if self._frame is None or index < self._last or self.packets.nearest_keyframe(index) > self._last + 1:
            self._seek(index)
        while self._last < index:
            self._advance(index)
        if self._frame is None:
            raise MediaError(self.path, "none of its frames can be decoded")
        return self._frame

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
        self._to_decode = packets(self._container, self._stream)
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
        image = self._graph.vpull().to_ndarray().astype(np.uint8, copy=False)
        orientation = Orientation.of(frame)
        return orientation.upright(image) if orientation else image

    def _build(self, frame: VideoFrame) -> None:
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
        )
        rgb, sink = self._graph.add("format", "rgb24"), self._graph.add("buffersink")
        self._graph.link_nodes(source, rgb, sink).configure()
