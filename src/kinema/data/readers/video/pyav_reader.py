"""Frames of a video file, decoded by PyAV, whose wheel includes FFmpeg."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Any

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kinema.data.readers.reader import Image, check_indices, stack_frames
from kinema.data.readers.video.container import best_video, open_container
from kinema.data.readers.video.known_tables import KnownTable, KnownTables
from kinema.data.readers.video.mp4 import read_delays, table_from_boxes
from kinema.data.readers.video.nal import H264
from kinema.data.readers.video.orientation import Orientation
from kinema.data.readers.video.quick import QUICK, QuickDecoder
from kinema.data.readers.video.rgb import to_rgb
from kinema.data.readers.video.table import FrameTable, Sequences, decode_table, is_start, packets, scan
from kinema.errors import MediaError

_TRIES = 8
"""Keyframes to try before decoding from the start of the file."""


class PyAVReader:
    """Frame-exact random access to one video file; a `FrameReader`.

    The frames are those that decoding the file from start to end returns. `table` holds their number and PTS, from the
    cheapest source: the sample tables of an H.264 MP4, one pass over the packets without decoding, or, for unusual
    files, decoding all of them once.

    Frame `i` is the one with the `i`-th PTS, decoded from the keyframe at or before it; a frame that the container
    flags as a keyframe and the decoder does not is no longer used to seek. Files without reliable PTS (AVI with
    B-frames above all), or whose parameters change within the stream, are decoded from the start instead.

    In a damaged file, the next frame replaces a missing one, at the end the last one.

    H.264 MP4 files are decoded by a `QuickDecoder`, until a frame contradicts the tables.

    Args:
        source: A local path or the file's bytes.
        path: The name of the video in messages.
        threads: Threads to decode with; 0: one per core.
        by_tables: Whether to use the fast path for H.264 MP4; the frames are the same either way.
        known: Tables of files opened before, and where this one's is kept; None: it is built, and not kept.

    Raises:
        MediaError: The file is missing, holds no video or cannot be decoded, or its frames differ in size.
    """

    def __init__(
        self, source: str | bytes, *, path: str, threads: int = 1, by_tables: bool = True,
        known: KnownTables | None = None,
    ) -> None:  # fmt: skip
        self.path = path
        self._tables = known
        self._known: KnownTable | None = None
        self._source = source
        self._threads = threads
        self._file = ExitStack()
        self._quick: QuickDecoder | None = None
        self.by_tables = False
        self._to_decode: Iterator[Packet[VideoStream] | None] = iter(())
        self._orientation: Orientation | None = None  # of all frames; None: not known yet
        try:
            self.table = (
                self._open_known(by_tables) or (self._open_quickly() if by_tables else None) or self._open_and_scan()
            )
            self._orientation = self._known_orientation()
        except (FFmpegError, OSError) as error:
            raise MediaError(path, error.strerror or str(error)) from None
        self._size = self._stream.codec_context.width, self._stream.codec_context.height
        self._reset()

    def __len__(self) -> int:
        return self.table.count

    @property
    def fps(self) -> float | None:
        """Average frames per second; None if unknown."""
        return self.table.fps

    @cached_property
    def orientation(self) -> Orientation:
        """Orientation of the first frame, by the container or else the bitstream; `frames` applies it to all."""
        if self._stream.codec_context.name == "mjpeg" and self.table.turned:
            with ExitStack() as file:
                container, stream = self._opened(file)
                jpeg = next((bytes(packet) for packet in container.demux(stream) if packet.size), b"")
            return Orientation.from_jpeg(jpeg)
        return Orientation.of(self._first) or Orientation()

    def _known_orientation(self) -> Orientation | None:
        """The orientation of all frames; None: read it from any frame, it comes from the container."""
        if self.table.turned:
            return self.orientation
        return Orientation() if self._container.format.name == "avi" else None  # AVI stores none

    def seconds(self) -> NDArray[np.float64]:
        """Presentation times in seconds, (frames,); see `frame_times`."""
        if self.table.stamps:
            return np.array(self.table.stamps) * float(self.table.time_base) - self._start_time
        if not self.fps:
            raise MediaError(self.path, "it has neither time stamps nor a frame rate")
        return np.arange(len(self)) / self.fps

    @property
    def _start_time(self) -> float:
        """When the earliest stream starts, in seconds."""
        if self._known is not None and self._known.start is not None:
            return self._known.start
        with ExitStack() as file:
            start: float = (self._opened(file)[0].start_time or 0) / av.time_base
        if self._known is not None:
            self._known.start = start
        return start

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
        """Frames `indices` as `(T, H, W, 3) uint8` RGB; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        if self._quick:
            self._quick.plan(sorted(set(indices)), more=more)
        return stack_frames(indices, self._decode, path=self.path, name="frame {}".format)

    def close(self) -> None:
        """Close the file; also done when the reader goes out of scope."""
        self._quick = None
        self._to_decode = iter(())
        self._file.close()

    def __del__(self) -> None:
        # A container and its streams refer to each other: left open, they would wait for the cycle collector.
        self.close()

    def _open_known(self, by_tables: bool) -> FrameTable | None:
        """Open a file whose table is known; None if it is not."""
        self._known = self._tables.get(self._source) if self._tables else None
        if self._known is None or (self._known.quick and not by_tables):
            return None
        table = self._known.table
        if self._known.quick:
            self._open(**QUICK)
            self._decode_quickly(table, H264(self._stream.codec_context.extradata or b""))
        else:
            self._open()
        return table

    def _keep(self, table: FrameTable, *, quick: bool) -> FrameTable:
        """Keep the table of the file, if tables are kept, and return it."""
        if self._tables is not None:
            self._known = self._tables.put(self._source, table, quick=quick)
        return table

    def _open_quickly(self) -> FrameTable | None:
        """Open an H.264 MP4 by its sample tables; None if they do not suffice."""
        try:
            delays = read_delays(self._source)
            if delays is None:
                return None
            self._open(**QUICK)
            bitstream = H264(self._stream.codec_context.extradata or b"")
            table = table_from_boxes(self._container, self._stream, delays, bitstream)
        except (FFmpegError, MediaError, OSError):  # raised again by `_open_and_scan`
            return None
        if table is None:
            return None
        self._decode_quickly(table, bitstream)
        return self._keep(table, quick=True)

    def _decode_quickly(self, table: FrameTable, bitstream: H264) -> None:
        self._quick = QuickDecoder(self._container, self._stream, table, bitstream)
        self.by_tables = True

    def _open_and_scan(self) -> FrameTable:
        self._open()
        table = scan(self._container, self._stream, path=self.path)
        if table is None:
            table = decode_table(self._source, path=self.path, threads=self._threads)
            self._open()  # the decoder may keep earlier parameters
        return self._keep(table, quick=False)

    def _open(self, **options: Any) -> None:
        self.close()
        self._container, self._stream = self._opened(self._file, **options)

    def _opened(self, file: ExitStack, **options: Any) -> tuple[InputContainer, VideoStream]:
        """Open the video until `file` closes it; `options` are those of `av.open`."""
        container = file.enter_context(open_container(self._source, path=self.path, **options))
        stream = best_video(container, path=self.path, threads=self._threads)
        return container, stream

    def _reset(self) -> None:
        """Reset the position: the next frame needs a seek."""
        self._frame: VideoFrame | None = None
        self._last = -1  # index of self._frame

    @cached_property
    def _first(self) -> VideoFrame:
        """The first frame."""
        with ExitStack() as file:
            container, stream = self._opened(file)
            sequences = Sequences(stream)
            for packet in packets(container, stream):
                for frame in sequences.decode(packet):
                    return frame
        raise MediaError(self.path, "none of its frames can be decoded")

    def _decode(self, index: int, _out: Image | None) -> Image:
        """Frame `index` in RGB, upright."""
        try:
            if (frame := self._quickly(index)) is None:
                frame = self._carefully(index)
            self._check_size(index, frame)
            if self._orientation is None:
                self._orientation = Orientation.of(frame) or Orientation()
            return self._orientation.upright(to_rgb(frame))
        except FFmpegError as error:
            self._reset()
            raise MediaError(self.path, f"frame {index} cannot be decoded ({error.strerror})") from None

    def _check_size(self, index: int, frame: VideoFrame) -> None:
        """Raise MediaError unless the frame has the size of the first one."""
        size = frame.width, frame.height
        if size == self._size:
            return
        self._size = self._first.width, self._first.height
        if size != self._size:
            sizes = "frame {} is {}x{} and frame 0 is {}x{}".format(index, *size, *self._size)
            raise MediaError(self.path, f"its frames differ in size: {sizes}")

    def _quickly(self, index: int) -> VideoFrame | None:
        """Frame `index` from the quick decoder, which is dropped once it fails."""
        if self._quick is None:
            return None
        try:
            frame = self._quick.frame(index)
        except FFmpegError:
            frame = None
        if frame is None:
            # For a damaged file the packets are more reliable than the tables: a keyframe may no longer be one.
            table = self._open_and_scan()
            if [*table.times] == [*self.table.times]:
                self.table = table
                self._orientation = self._known_orientation()
            self._reset()
        return frame

    def _carefully(self, index: int) -> VideoFrame:
        """Frame `index`, decoded from the current position, unless a later keyframe is nearer."""
        if self._frame is None or index < self._last or self.table.nearest_keyframe(index) > self._last + 1:
            self._seek(index)
        while self._last < index:
            self._advance(index)
        if self._frame is None:
            raise MediaError(self.path, "none of its frames can be decoded")
        return self._frame

    def _seek(self, index: int) -> None:
        """Seek to frame `index` or before: to the nearest keyframe, if possible.

        A seek may land elsewhere, H.264 has recovery points that only start a gradual refresh, and containers flag
        frames as keyframes that are none. Then an earlier keyframe is tried, at last the start of the file.
        """
        for keyframe in self.table.keyframes_to(index)[: -_TRIES - 1 : -1]:
            if self._starts_at(keyframe):
                return
            self.table = replace(self.table, keyframes=[known for known in self.table.keyframes if known != keyframe])
        self._open()
        self._start(0)

    def _starts_at(self, keyframe: int) -> bool:
        """Seek to this keyframe; return whether the decoder outputs it, flagged as a keyframe."""
        time = self.table.times[keyframe]
        try:
            self._container.seek(time, stream=self._stream)
            self._start(keyframe)
            while self._advance(keyframe) and self._frame and self._frame.pts is not None and self._frame.pts < time:
                pass
        except FFmpegError:
            return False
        frame = self._frame
        return frame is not None and frame.pts == time and is_start(frame, self._stream.codec_context.name)

    def _start(self, index: int) -> None:
        """Decode from the next packet of the file on, whose frame is `index`."""
        self._reset()
        self._last = index - 1
        self._to_decode = packets(self._container, self._stream)
        self._decoded: deque[VideoFrame] = deque()
        self._sequences = Sequences(self._stream) if self.table.decoded else None

    def _advance(self, index: int) -> bool:
        """Decode the next frame on the way to frame `index`.

        False at the end of the file: the last frame then stands for all remaining indices.
        """
        while not self._decoded:
            try:
                packet = next(self._to_decode)
            except StopIteration:
                self._last = len(self) - 1
                return False
            if self._sequences:
                self._decoded.extend(self._sequences.decode(packet))
                continue
            if packet is not None and not packet.size:
                continue  # it would signal the end of the stream to the decoder
            decoder = self._stream.codec_context
            decoder.skip_frame = "NONREF" if packet and self._can_skip(packet.pts, index) else "DEFAULT"
            self._decoded.extend(decoder.decode(packet))
        self._frame = self._decoded.popleft()
        self._last = self.table.index(self._frame, after=self._last)
        return True

    def _can_skip(self, time: int | None, index: int) -> bool:
        """Whether the frame of this PTS may be skipped on the way to frame `index` if it is a non-reference frame.

        H.264 only: a non-reference frame of a temporal sub-layer of HEVC may still be referenced by higher ones.
        """
        if time is None or not self.table.plain or self._stream.codec_context.name != "h264":
            return False
        return time < self.table.times[index]
