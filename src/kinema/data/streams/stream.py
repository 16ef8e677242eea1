"""The interface of streams: frames in order, each with its time."""

from collections.abc import Callable, Iterator, Sequence
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


class RecordedStream(FrameStream, Protocol):
    """A stream of a recorded video, which can be entered later than at its start."""

    @property
    def seekable(self) -> bool:
        """Whether it is entered without decoding all that precedes."""

    def begin(self, seconds: float) -> None:
        """Let the iteration, which has not begun yet, start with a frame that is shown at `seconds` or before."""


def images_at(open_stream: Callable[[], RecordedStream], moments: Sequence[float]) -> list[Image]:
    """Return the frames that are shown at `moments`, in seconds and ascending; the last frame past the end.

    Args:
        open_stream: opens the video; called for each moment, or once if the video is not seekable.
        moments: at least one.

    Raises:
        MediaError: the video cannot be read.
    """
    stream = open_stream()
    if not stream.seekable:
        return list(_images_along(stream, moments))
    images = list[Image]()
    for number, moment in enumerate(moments):
        if number:
            stream = open_stream()
        stream.begin(moment)
        images += _images_along(stream, [moment])
    return images


def _images_along(stream: FrameStream, moments: Sequence[float]) -> Iterator[Image]:
    """Yield the frames that are shown at `moments`, in one pass that ends after the last of them."""
    done, shown = 0, None
    for frame in stream:
        while shown is not None and done < len(moments) and frame.seconds > moments[done]:
            yield shown.image()
            done += 1
        if done == len(moments):
            return
        shown = frame
    for _ in moments[done:]:
        assert shown is not None
        yield shown.image()
