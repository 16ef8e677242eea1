"""Every frame of a video file once, in order, and whether all of them were there."""

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

from kinema.data.readers.video import open_video
from kinema.data.readers.video.container import best_video, open_container
from kinema.errors import MediaError


def count_frames(path: str) -> int:
    """Decode a video file to its end; returns how many frames it has.

    Raises:
        MediaError: it is no video, a frame cannot be decoded, more than one is missing, or frames differ in size.
    """
    with whole_video(path) as video:
        return sum(1 for _ in video)


@contextmanager
def whole_video(path: str) -> Iterator["WholeVideo"]:
    """Open a video file to decode it from its beginning to its end.

    Raises:
        MediaError: it is no video.
    """
    expected = len(open_video(path))
    with open_container(path, path=path) as container:
        yield WholeVideo(path, container, best_video(container, path=path), expected)


class WholeVideo:
    """The frames that a player shows, in that order, all of one size; what the file lacks of them is a fault.

    Files may begin with frames that nothing can decode, where they were cut out of longer ones, and repeat frames by
    packets without content: both is in order, and shows nothing.
    """

    def __init__(self, path: str, container: InputContainer, stream: VideoStream, expected: int) -> None:
        """`expected`: how many frames readers find."""
        self.stream = stream
        self._path = path
        self._container = container
        self._expected = expected
        # Of MP4 and AVI all frames, of other containers keyframes at most. AVI's grows as packets are read.
        self._indexed = len(stream.index_entries)

    def __iter__(self) -> Iterator[VideoFrame]:
        """The frames, once.

        Raises:
            MediaError: one cannot be decoded or has another size than the first; in the end, more than one is missing.
        """
        count, packets, last, size = 0, 0, -1, None
        try:
            for packet in self._container.demux(self.stream):
                packets += packet.size > 0
                last = max(last, packet.pts or 0, packet.dts or 0)
                for frame in self._decoded(packet, begun=count > 0):
                    size = size or (frame.width, frame.height)
                    if size != (frame.width, frame.height):
                        sizes = f"frame {count} is {frame.width}x{frame.height} and frame 0 is {size[0]}x{size[1]}"
                        raise MediaError(self._path, f"its frames differ in size: {sizes}")
                    count += 1
                    yield frame
        except FFmpegError as error:
            raise MediaError(self._path, f"frame {count} cannot be decoded ({error.strerror})") from None
        self._check(count, packets, last)

    def _decoded(self, packet: "Packet[VideoStream]", *, begun: bool) -> list[VideoFrame]:
        if not packet.size and packet.dts is not None:
            return []  # it would tell the decoder that the stream is over
        try:
            return packet.decode()
        except FFmpegError:
            if begun or packet.is_keyframe:
                raise
            return []

    def _check(self, frames: int, packets: int, last: int) -> None:
        """Compare what came with what the file says; `last` is the latest time."""
        if packets < self._indexed - 1:
            raise MediaError(self._path, f"it ends after {packets} of its {self._indexed} frames")
        # An AVI file cut short has lost the index at its end. Its times count frames, also those that are dropped.
        said = self.stream.frames
        if self._container.format.name == "avi" and last + 1 < said - 1 and _is_cut_short(self._path):
            raise MediaError(self._path, f"it ends after {last + 1} of its {said} frames")
        if frames < self._expected - 1:
            raise MediaError(self._path, f"only {frames} of its {self._expected} frames can be decoded")
        if not frames:
            raise MediaError(self._path, "its video stream holds no frames")


def _is_cut_short(path: str) -> bool:
    """Whether an AVI file ends before its RIFF header says."""
    with Path(path).open("rb") as file:
        _, size = struct.unpack("<4sI", file.read(8))
        return file.seek(0, io.SEEK_END) < 8 + int(size)
