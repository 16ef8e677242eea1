"""What every source of frames offers, whether a video file or a folder of images."""

from collections.abc import Callable, Sequence
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

    def frames(self, indices: Sequence[int]) -> torch.Tensor:
        """Frames `indices`, in that order, as `(T, H, W, 3) uint8` RGB or `(T, H, W, 2) uint8` flow, contiguous.

        Args:
            indices: At least one index in `[0, len)`; any order, repeats allowed. Each frame is decoded once per call.

        Raises:
            IndexError: An index is outside `[0, len)`.
            MediaError: A frame cannot be read or decoded, or is of another size than the others.
        """


def check_indices(indices: Sequence[int], length: int) -> None:
    """Raise IndexError unless every index is in `[0, length)`: negative ones do not count from the end."""
    if min(indices) < 0 or max(indices) >= length:
        raise IndexError(f"frame indices {min(indices)} to {max(indices)} asked of a video of {length} frames")


def gather(
    indices: Sequence[int], image: Callable[[int, Image | None], Image], *, path: str, name: Callable[[int], str]
) -> torch.Tensor:
    """Frames `indices` as `(T, H, W, C) uint8`, from a function that is called once for each, in ascending order.

    It is also given an array of the size of the first image, which it may fill and return instead of a new one.

    Raises:
        MediaError: One frame of the video `path` is of another size than the first; it is named by `name`.
    """
    distinct = sorted(set(indices))
    first = image(distinct[0], None)
    if len(distinct) == 1:
        frames = torch.from_numpy(np.ascontiguousarray(first))[None]
        return frames if len(indices) == 1 else frames.expand(len(indices), -1, -1, -1).contiguous()
    images = np.empty((len(distinct), *first.shape), np.uint8)
    images[0] = first
    for place, index in enumerate(distinct[1:], start=1):
        another = image(index, images[place])
        if another.shape != first.shape:
            sizes = [f"{name(i)} is {a.shape[1]}x{a.shape[0]}" for i, a in ((index, another), (distinct[0], first))]
            raise MediaError(path, f"its frames differ in size: {' and '.join(sizes)}")
        if another.base is not images:
            images[place] = another
    frames = torch.from_numpy(images)
    if list(indices) == distinct:
        return frames
    return frames[np.searchsorted(distinct, indices)]
