"""What every source of frames offers, whether a video file or a folder of images."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from kinema.errors import MediaError

Image = npt.NDArray[np.uint8]
"""One frame, (H, W, 3) RGB, or (H, W, 2) optical flow in x and y."""


class FrameReader(Protocol):
    """Random access to the frames of one video.

    A reader closes its file when it goes out of scope. It belongs to one thread and does not cross process borders.
    """

    @property
    def path(self) -> str:
        """The name of the video in messages."""

    @property
    def fps(self) -> float | None:
        """Frames per second on average; None where nothing says it, as in a folder of images."""

    def __len__(self) -> int:
        """How many frames there are."""

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
        """Frames `indices`, in that order, as `(T, H, W, 3) uint8` RGB or `(T, H, W, 2) uint8` flow, contiguous.

        Args:
            indices: At least one index in `[0, len)`; any order, repeats allowed. Each frame is decoded once per call.
            more: Whether the next call will ask for later frames, so that a decoder had better stay where it is. It
                changes no frame.

        Raises:
            IndexError: An index is outside `[0, len)`.
            MediaError: A frame cannot be read or decoded, or is of another size than the others.
        """


def check_indices(indices: Sequence[int], length: int) -> None:
    """Raise IndexError unless every index is in `[0, length)`: negative ones do not count from the end."""
    if min(indices) < 0 or max(indices) >= length:
        raise IndexError(f"frame indices {min(indices)} to {max(indices)} asked of a video of {length} frames")


Room = Callable[[int, int, int], Image]
"""Gives memory for an image of a height, a width and a number of channels."""


def new_image(*shape: int) -> Image:
    """`Room` of its own."""
    return np.empty(shape, np.uint8)


def gather(
    indices: Sequence[int], read: Callable[[int, Room], None], *, path: str, name: Callable[[int], str]
) -> torch.Tensor:
    """Frames `indices` as `(T, H, W, C) uint8`, from a function that is called once for each, in ascending order.

    It asks for room for the image, and puts it there.

    Raises:
        MediaError: One frame of the video `path` is of another size than the first; it is named by `name`.
    """
    distinct = sorted(set(indices))
    images = np.empty(0, np.uint8)

    def room(place: int, *shape: int) -> Image:
        nonlocal images
        if place == 0:
            images = np.empty((len(distinct), *shape), np.uint8)
        elif images.shape[1:] != shape:
            sizes = [(distinct[place], shape), (distinct[0], images.shape[1:])]
            said = " and ".join(f"{name(index)} is {width}x{height}" for index, (height, width, _) in sizes)
            raise MediaError(path, f"its frames differ in size: {said}")
        return images[place]

    for place, index in enumerate(distinct):
        read(index, partial(room, place))
    frames = torch.from_numpy(images)
    if list(indices) == distinct:
        return frames
    return frames[np.searchsorted(distinct, indices)]
