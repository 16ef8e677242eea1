"""Every frame of a video file once, in order, and whether all of them were there."""

from collections.abc import Iterator
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kinema.errors import MediaError


def count_frames(path: str) -> int:
    """Decode a video file to its end; returns how many frames it has.

    Raises:
        MediaError: it is no video, a frame cannot be decoded, or more than one is missing.
    """
    counts = FrameCounts()
    try:
        with open_container(path) as container:
            stream = best_video(path, container)
            for _ in decoded(path, container, stream, counts):
                pass
            counts.check(path, stream.frames)
    except FFmpegError as error:
        raise MediaError(path, error.strerror or str(error)) from None
    return counts.frames


@dataclass
class FrameCounts:
    """Of packets: all of them, and those that should give a frame; and of the frames that came."""

    packets: int = 0
    full: int = 0
    frames: int = 0

    def check(self, path: str, announced: int) -> None:
        """Raise MediaError if more than one frame is missing of those that the file has or says it has."""
        if self.packets < announced - 1:
            raise MediaError(path, f"it ends after {self.packets} of its {announced} frames")
        if self.frames < self.full - 1:
            raise MediaError(path, f"only {self.frames} of its {self.full} frames can be decoded")


def open_container(path: str) -> InputContainer:
    """A video file opened for reading, whatever its name and tags hold."""
    # "file:" keeps a colon in the name from being taken for a protocol.
    return av.open(f"file:{path}", metadata_errors="replace")


def best_video(path: str, container: InputContainer) -> VideoStream:
    """The video stream of a container, set to be decoded by one thread.

    Raises:
        MediaError: there is none that can be decoded.
    """
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or not stream.codec_context:
        raise MediaError(path, "it has no video stream that can be decoded")
    stream.codec_context.thread_count = 1
    return stream


def decoded(path: str, container: InputContainer, stream: VideoStream, counts: FrameCounts) -> Iterator[VideoFrame]:
    """The frames of a stream in the order of presentation; `counts` goes along.

    Raises:
        MediaError: a frame cannot be decoded.
    """
    try:
        for packet in container.demux(stream):
            counts.packets += packet.dts is not None or packet.size > 0
            # An empty packet (AVI: show the last frame again) holds no frame, one to discard is not to be shown.
            counts.full += packet.size > 0 and not packet.is_discard
            for frame in packet.decode():
                counts.frames += 1
                yield frame
    except FFmpegError as error:
        raise MediaError(path, f"frame {counts.frames} cannot be decoded ({error.strerror})") from None
