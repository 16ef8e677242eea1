"""Streams of video files, decoded in one pass, and of folders of images."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain, islice
from math import isfinite
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kinema.data.readers.frame_names import why
from kinema.data.readers.reader import FrameReader, Image
from kinema.data.readers.video.container import best_video, open_container
from kinema.data.readers.video.orientation import Orientation
from kinema.data.readers.video.rgb import to_rgb
from kinema.data.readers.video.table import SEEKABLE, Sequences, packets
from kinema.data.streams.stream import Frame
from kinema.errors import MediaError
from kinema.storage import Direct, check_outage, is_url

_RATES = 0.1, 480.0
"""Frames per second: what a header says beyond these is no frame rate of a video."""
_PROBED = 256
"""Packets from whose times the rate is estimated if the header says none."""
_IMAGES = 16
"""Images read at a time."""


class FileStream:
    """The frames of a video file, decoded once from the start or from a keyframe; a `RecordedStream`.

    Frames and times are those of `open_video` and `frame_times`: undamaged files give the same frames; of a damaged
    file those that decode. Unlike readers it needs no table of the frames, so that memory does not grow with the file.
    Frames without a usable PTS follow the one before them at the average distance.
    """

    def __init__(self, source: str | bytes | BinaryIO, *, path: str, threads: int = 0) -> None:
        """Open a file.

        Args:
            source: a local path, the bytes of a file, or a file object that can seek.
            path: the name of the video in messages.
            threads: decoding threads; 0: one per core.

        Raises:
            MediaError: the file is missing, or holds no video.
        """
        self.path = path
        self._source, self._threads = source, threads
        self._begin, self._closed = 0.0, False
        self._file = ExitStack()
        with _faults(path), ExitStack() as failed:
            failed.push(self._file)
            self._open()
            rate = _stated_rate(self._stream)
            if rate is None:
                rate = _measured_rate(self._container, self._stream, path=path)
                self._open()
            failed.pop_all()
        self.fps = rate
        self._base = float(self._stream.time_base or 1)
        self._zero = (self._container.start_time or 0) / av.time_base
        self._orientation: Orientation | None = None

    def _open(self) -> None:
        """Open the file at its start, once more if it was open."""
        self._file.close()
        if not isinstance(self._source, str | bytes):
            self._source.seek(0)
        self._container: InputContainer = self._file.enter_context(open_container(self._source, path=self.path))
        self._stream: VideoStream = best_video(self._container, path=self.path, threads=self._threads)

    @property
    def seconds(self) -> float | None:
        """Length of the file by its header."""
        duration = self._container.duration
        return duration / av.time_base if duration and duration > 0 else None

    @property
    def seekable(self) -> bool:
        """Whether the file can be entered at a keyframe: its container stores the times of packets."""
        return self._container.format.name in SEEKABLE and not self._counted

    def begin(self, seconds: float) -> None:
        """Start at the last keyframe before `seconds`, or at the start of the file; see `RecordedStream`."""
        self._begin = seconds

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; see `FrameStream`."""
        with _faults(self.path), self._file:
            frames = self._from_keyframe() if self._begin > 0 and self.seekable else None
            yield from self._frames() if frames is None else frames

    def close(self) -> None:
        """End the iteration at its next frame."""
        self._closed = True

    @property
    def _counted(self) -> bool:
        """Whether PTS are not usable: AVI stores decoding order only."""
        return bool(self._stream.codec_context.has_b_frames) and self._container.format.name == "avi"

    def _from_keyframe(self) -> Iterator[Frame] | None:
        """The frames from a keyframe before `begin`; None if a seek does not lead there."""
        try:
            ticks = int((self._begin + self._zero) / self._base)
            self._container.seek(ticks, stream=self._stream, backward=True)
            frames = self._frames(found=True)
            first = next(frames, None)
        except FFmpegError:
            first = None
        if first is None or first.seconds > self._begin:
            self._open()
            return None
        return chain([first], frames)

    def _frames(self, *, found: bool = False) -> Iterator[Frame]:
        """Decode from the current position; `found`: it is known that the file has frames."""
        last, step, any_frame = float("-inf"), 1 / self.fps, found
        sequences, counted = Sequences(self._stream), self._counted
        for packet in packets(self._container, self._stream):
            for frame in sequences.decode(packet):
                if self._closed:
                    return
                if self._orientation is None:
                    self._orientation = self._orientation_of(frame, packet)
                seconds = last + step if isfinite(last) else 0.0
                if frame.pts is not None and not counted:
                    stamp = frame.pts * self._base - self._zero
                    seconds = stamp if stamp > last else seconds
                last, any_frame = seconds, True
                yield Frame(seconds, partial(self._image, frame))
        if not any_frame:
            raise MediaError(self.path, "its video stream holds no frames that can be decoded")

    def _image(self, frame: VideoFrame) -> Image:
        orientation = self._orientation or Orientation()
        return orientation.upright(to_rgb(frame))

    def _orientation_of(self, frame: VideoFrame, packet: "Packet[VideoStream] | None") -> Orientation:
        """The orientation of all frames, by the first one."""
        if self._stream.codec_context.name == "mjpeg" and packet is not None:
            return Orientation.from_jpeg(bytes(packet))
        return Orientation.of(frame) or Orientation()


class ReaderStream:
    """The frames of a reader at a constant rate, such as a folder of images; a `RecordedStream`."""

    def __init__(self, reader: FrameReader, *, fps: float) -> None:
        """View the frames of `reader`; frame i is shown from i / `fps` seconds."""
        self.path, self.fps = reader.path, fps
        self._reader, self._first, self._closed = reader, 0, False

    seekable = True

    @property
    def seconds(self) -> float | None:
        """Length of the video."""
        return len(self._reader) / self.fps

    def begin(self, seconds: float) -> None:
        """See `RecordedStream`."""
        self._first = min(int(seconds * self.fps), len(self._reader) - 1)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; see `FrameStream`."""
        for start in range(self._first, len(self._reader), _IMAGES):
            indices = range(start, min(start + _IMAGES, len(self._reader)))
            images = self._reader.frames(indices, more=indices[-1] + 1 < len(self._reader)).numpy()
            for index, image in zip(indices, images, strict=True):
                if self._closed:
                    return
                yield Frame(index / self.fps, partial(_same, image))

    def close(self) -> None:
        """End the iteration."""
        self._closed = True


def _same(image: Image) -> Image:
    return image


def open_file(path: str, *, threads: int = 0) -> FileStream:
    """Open the stream of a video file, a local path or a URL, of which blocks are read as they are needed.

    Raises:
        MediaError: it cannot be opened.
        StorageOutage: its storage does not answer.
    """
    try:
        source = Direct().opened(path)
    except OSError as error:
        raise MediaError(path, why(error)) from None
    return FileStream(source, path=path, threads=threads)


@contextmanager
def _faults(path: str) -> Iterator[None]:
    """Raise MediaError for faults of a file, and StorageOutage for those of a storage it is read from meanwhile."""
    try:
        yield
    except (FFmpegError, OSError) as error:
        if is_url(path):
            check_outage(path, error)
        raise MediaError(path, error.strerror or str(error)) from None


def _stated_rate(stream: VideoStream) -> float | None:
    """Return the average frames per second by the header; None if it has none."""
    for ratio in (stream.average_rate, stream.guessed_rate):
        if ratio and _RATES[0] <= float(ratio) <= _RATES[1]:
            return float(ratio)
    return None


def _measured_rate(container: InputContainer, stream: VideoStream, *, path: str) -> float:
    """Return the average frames per second by the times of the first packets.

    Raises:
        MediaError: they have none.
    """
    times = [packet.pts for packet in islice(container.demux(stream), _PROBED) if packet.pts is not None]
    span = (max(times) - min(times)) * float(stream.time_base or 1) if times else 0.0
    if span <= 0:
        raise MediaError(path, "it has neither time stamps nor a frame rate")
    return (len(times) - 1) / span
