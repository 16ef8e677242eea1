"""The interface of streams: frames in order, each with its time."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from kinema.data.readers.reader import Image


class Frame(NamedTuple):
    """A frame of a stream."""

    seconds: float
    """Time from which the frame is shown, until the time of the next one."""
    image: Callable[[], Image]
    """Return the pixels, (H, W, 3) uint8 RGB, upright. Frames that no window samples are never converted to RGB."""


class FrameStream(Protocol):
    """Frames of a video in the order in which they are shown, decoded once.

    Sizes may change along the stream. It is iterated once, by one thread.
    """

    @property
    def path(self) -> str:
        """Path or address, as messages name it."""

    @property
    def fps(self) -> float:
        """Frames per second, on average or nominally: a clip's `frame_interval` is counted in frames of this rate."""

    @property
    def seconds(self) -> float | None:
        """Length in seconds, as far as the source tells; None: unknown, as for a live stream."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; their `seconds` ascend.

        Raises:
            MediaError: the stream cannot be read.
        """

    def close(self) -> None:
        """Close the source; also while the stream is being iterated."""
