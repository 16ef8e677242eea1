"""Videos in memory: arrays of frames, bytes and file objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.readers.reader import check_indices
from kinema.errors import UserError

FrameArray = NDArray[np.uint8] | Tensor
"""Frames (T, H, W, 3) uint8 RGB."""

VideoInput = str | Path | bytes | BinaryIO | FrameArray
"""A video: a path or a URL; the bytes of a file, or a binary file object, which is read to its end; or its frames."""


class ArrayReader:
    """The frames of an array; see `FrameReader`.

    Args:
        frames: (T, H, W, channels) uint8.
        channels: 3 of RGB, 2 of optical flow.
        fps: frames per second; 0: unknown.

    Raises:
        UserError: the array has another dtype or shape, or is empty.
    """

    path = "an array of frames"

    def __init__(self, frames: FrameArray, *, channels: int = 3, fps: float = 0.0) -> None:
        check_frames(frames, channels=channels)
        self._frames = torch.as_tensor(frames).cpu()
        self.fps = fps or None

    def __len__(self) -> int:
        return len(self._frames)

    def frames(self, indices: Sequence[int], *, more: bool = False) -> Tensor:  # noqa: ARG002
        """Return frames `indices`, see `FrameReader.frames`."""
        check_indices(indices, len(self))
        return self._frames[list(indices)].contiguous()


def is_array(video: object) -> bool:
    """Return whether a video is given as its frames."""
    return isinstance(video, np.ndarray | Tensor)


def check_frames(frames: Any, *, channels: int = 3) -> None:
    """Check that an array holds frames.

    Raises:
        UserError: it has another dtype or shape, or is empty.
    """
    shape, dtype = tuple(frames.shape), str(frames.dtype).removeprefix("torch.")
    if dtype == "uint8" and len(shape) == 4 and shape[3] == channels and all(shape):
        return
    hint = ""
    if len(shape) == 4 and shape[1] == channels:
        hint = "; channels come last: frames.permute(0, 2, 3, 1), or np.moveaxis(frames, 1, -1)"
    elif len(shape) == 3:
        hint = "; a single image is frames[None]"
    elif len(shape) == 5:
        hint = "; pass a list of several videos"
    what = "RGB frames" if channels == 3 else "optical flow"
    raise UserError(
        f"an array of {dtype} of shape {shape} is no video: pass {what} (T, H, W, {channels}) of dtype uint8, "
        f"0 to 255, T ≥ 1{hint}"
    )


def content_of(video: Any) -> Any:
    """Return a video, of a file object its bytes.

    Raises:
        UserError: it is none of `VideoInput`, a file is opened as text, or there are no bytes.
    """
    if isinstance(video, bytes | bytearray | memoryview):
        video = bytes(video)
    elif hasattr(video, "read"):
        video = video.read()
        if not isinstance(video, bytes):
            raise UserError('the file is opened as text: open it with mode "rb"')
    elif not (isinstance(video, str | Path) or is_array(video)):
        raise UserError(
            f"{type(video).__name__} is no video: pass a path, a URL, bytes, a binary file, an array or tensor of "
            "frames (T, H, W, 3) uint8, or a list of these"
        )
    if isinstance(video, bytes) and not video:
        raise UserError("there are no bytes: a file object that was read already returns none")
    return video
