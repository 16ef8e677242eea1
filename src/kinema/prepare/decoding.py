"""Sequential decoding of all frames of a video file, with a check that none is missing."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kinema.data.readers.reader import FrameReader
from kinema.data.readers.sources import open_video
from kinema.data.readers.video.container import best_video, open_container
from kinema.errors import MediaError


def count_frames(file: str | bytes, *, path: str = "") -> int:
    """Decode a video file to its end; returns the number of frames.

    Args:
        file: A local path, or the bytes of a file.
        path: The name of the video in messages; by default `file` itself.

    Raises:
        MediaError: It is not a video, a frame cannot be decoded, more than one is missing, or frames differ in size.
    """
    with sequential_video(file, path=path) as video:
        return sum(1 for _ in video)


@contextmanager
def sequential_video(file: str | bytes, *, path: str = "") -> Iterator["SequentialVideo"]:
    """Open a video file to decode it from the first frame to the last; see `count_frames`.

    Raises:
        MediaError: It is not a video.
    """
    video = open_video(file, path=path)
    with open_container(file, path=video.path) as container:
        yield SequentialVideo(file, container, best_video(container, path=video.path), video)


class SequentialVideo:
    """Iterable over the frames of a video in presentation order, all of one size; missing frames are an error.

    Leading frames that depend on a preceding part that was cut off, and empty packets, which repeat the previous frame,
    are skipped.
    """

    def __init__(self, file: str | bytes, container: InputContainer, stream: VideoStream, reader: FrameReader) -> None:
        """`reader`: the random-access reader of the same file, which has about as many frames."""
        self.stream = stream
        self._path = reader.path
        self._file = file
        self._container = container
        self._expected = len(reader)
        # MP4 and AVI index all frames, other containers at most keyframes. The index of AVI grows as packets are read.
        self._indexed = len(stream.index_entries)

    def __iter__(self) -> Iterator[VideoFrame]:
        """Iterate once over the frames.

        Raises:
            MediaError: A frame cannot be decoded, its size differs from the first, or more than one frame is missing.
        """
        count, packets, last, size = 0, 0, -1, None
        try:
            for packet in self._container.demux(self.stream):
                packets += packet.size > 0
                last = max(last, packet.pts or 0, packet.dts or 0)
                for frame in self._decode(packet, started=count > 0):
                    size = size or (frame.width, frame.height)
                    if size != (frame.width, frame.height):
                        sizes = f"frame {count} is {frame.width}x{frame.height} and frame 0 is {size[0]}x{size[1]}"
                        raise MediaError(self._path, f"its frames differ in size: {sizes}")
                    count += 1
                    yield frame
        except FFmpegError as error:
            raise MediaError(self._path, f"frame {count} cannot be decoded ({error.strerror})") from None
        self._check(count, packets, last)

    def _decode(self, packet: "Packet[VideoStream]", *, started: bool) -> list[VideoFrame]:
        if not packet.size and packet.dts is not None:
            return []  # the decoder would take it for the end of the stream
        try:
            return packet.decode()
        except FFmpegError:
            if started or packet.is_keyframe:
                raise
            return []

    def _check(self, frames: int, packets: int, last: int) -> None:
        """Compare the decoded frames with the header of the file; `last` is the latest time stamp."""
        if packets < self._indexed - 1:
            raise MediaError(self._path, f"it ends after {packets} of its {self._indexed} frames")
        # A truncated AVI has lost the index at its end. Its time stamps count all frames, including dropped ones.
        in_header = self.stream.frames
        if self._container.format.name == "avi" and last + 1 < in_header - 1 and _is_truncated(self._file):
            raise MediaError(self._path, f"it ends after {last + 1} of its {in_header} frames")
        if frames < self._expected - 1:
            raise MediaError(self._path, f"only {frames} of its {self._expected} frames can be decoded")
        if not frames:
            raise MediaError(self._path, "its video stream holds no frames")


def _is_truncated(source: str | bytes) -> bool:
    """Whether an AVI file is shorter than its RIFF header says."""
    with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
        _, size = struct.unpack("<4sI", file.read(8))
        return file.seek(0, io.SEEK_END) < 8 + int(size)
