"""Streams of frames that a program makes."""

from collections.abc import Iterable, Iterator
from functools import partial

from torch import Tensor

from kinema.data.readers.memory import FrameArray, check_frames
from kinema.data.readers.reader import Image
from kinema.data.streams.stream import Frame


class IterableStream:
    """Frames (H, W, 3) uint8 RGB of an iterable, at a constant rate; a `FrameStream`.

    Args:
        frames: any iterable, also an endless one.
        fps: frames per second.
    """

    path = "an iterable of frames"
    seconds = None

    def __init__(self, frames: Iterable[FrameArray], *, fps: float) -> None:
        self.fps = fps
        self._frames, self._closed = frames, False

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; see `FrameStream`.

        Raises:
            UserError: a frame has another dtype or shape.
        """
        for index, frame in enumerate(self._frames):
            if self._closed:
                return
            check_frames(frame[None])
            yield Frame(index / self.fps, partial(_pixels, frame))

    def close(self) -> None:
        """End the iteration."""
        self._closed = True


def _pixels(frame: FrameArray) -> Image:
    return frame.cpu().numpy() if isinstance(frame, Tensor) else frame
