"""The interface of frame readers, and what they share."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from kinema.errors import MediaError

Image = npt.NDArray[np.uint8]
"""One frame, (H, W, 3) RGB, or (H, W, 2) optical flow in x and y."""


@runtime_checkable
class HasFiles(Protocol):
    """A reader of images, which are files of their own or parts of one."""

    def files(self, index: int) -> list[bytes]:
        """Return the content of the image file of frame `index`; of flow, of those in x and in y."""


class FrameReader(Protocol):
    """Random access to the frames of one video.

    A reader closes its file when it goes out of scope. It belongs to one thread and does not cross process borders.
    """

    @property
    def path(self) -> str:
        """Path of the video, as messages name it."""

    @property
    def fps(self) -> float | None:
        """Average frames per second; None if unknown, as for a folder of images."""

    def __len__(self) -> int:
        """Number of frames."""

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
        """Return frames `indices`, in that order: (T, H, W, 3) uint8 RGB or (T, H, W, 2) uint8 flow, contiguous.

        Args:
            indices: At least one index in `[0, len)`; any order, repeats allowed. Each frame is decoded once per call.
            more: Whether the next call will ask for later frames, so that the decoder should keep its position. The
                frames are the same either way.

        Raises:
            IndexError: An index is outside `[0, len)`.
            MediaError: A frame cannot be read or decoded, or is of another size than the others.
        """


def check_indices(indices: Sequence[int], length: int) -> None:
    """Raise IndexError unless every index is in `[0, length)`: negative ones do not count from the end."""
    if min(indices) < 0 or max(indices) >= length:
        raise IndexError(
            f"frame indices {min(indices)} to {max(indices)} are out of range of a video of {length} frames"
        )


def output_array(out: Image | None, shape: tuple[int, ...]) -> Image:
    """Return `out` if it has this shape, else a new array of it."""
    return out if out is not None and out.shape == shape else np.empty(shape, np.uint8)


def stack_frames(
    indices: Sequence[int], decode: Callable[[int, Image | None], Image], *, path: str, name: Callable[[int], str]
) -> torch.Tensor:
    """Decode frames `indices` into one tensor, (T, H, W, C) uint8: each distinct frame once, in ascending order.

    `decode(index, out)` returns frame `index`. It may decode into `out`, if that has the frame's shape, and return it,
    which saves a copy. `path` and `name` are the video and the name of a frame in messages.

    Raises:
        MediaError: A frame is of another size than the first.
    """
    distinct = sorted(set(indices))
    first = decode(distinct[0], None)
    images = np.empty((len(distinct), *first.shape), np.uint8)
    images[0] = first
    for index, out in zip(distinct[1:], images[1:], strict=True):
        image = decode(index, out)
        if image.shape != first.shape:
            sizes = " and ".join(
                f"{name(number)} is {width}x{height}"
                for number, (height, width, _) in ((index, image.shape), (distinct[0], first.shape))
            )
            raise MediaError(path, f"its frames differ in size: {sizes}")
        if image is not out:
            out[:] = image
    frames = torch.from_numpy(images)
    return frames if list(indices) == distinct else frames[np.searchsorted(distinct, indices)]
