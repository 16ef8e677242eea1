"""Rawframes: the frames of a video as images in a folder."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import PIL.Image
import PIL.ImageOps
import simplejpeg
import torch

from kinema.data.readers.frame_names import (
    Numbered,
    check_template,
    image_series,
    limited,
    names_by_template,
    why,
    why_missing,
)
from kinema.data.readers.reader import Image, check_indices, output_array, stack_frames
from kinema.data.readers.video.orientation import Orientation
from kinema.errors import MediaError
from kinema.storage import Direct, Storage

_HERE = Direct()


def open_rawframes(
    folder: str, *, template: str = "auto", count: int | None = None, first: int = 1, storage: Storage = _HERE,
    usual: Numbered | None = None,
) -> "RawFramesReader":  # fmt: skip
    """Open a folder of images, JPEG or PNG, as one video.

    Args:
        folder: The folder.
        template: Names of the frames, such as `img_{:05}.jpg`. auto: all images of the folder, `img_9.jpg` before
            `img_10.jpg`.
        count: Number of frames. With a template the folder is then not listed. None: all frames in the folder; with a
            template, up to the highest number.
        first: Number in the name of the first frame.
        storage: Storage to read from.
        usual: With auto and a `count`, the names of images in other folders. This folder is then listed only if one of
            them is missing.

    Raises:
        MediaError: the folder is missing, holds no such images, or fewer than `count`.
        UserError: `template` has no field for a number.
    """
    if template != "auto":
        check_template(template, "img_{:05}.jpg")
        names = names_by_template(template, folder=folder, first=first, count=count, storage=storage)
        return RawFramesReader(folder, names, storage)
    listed = partial(_only_series, folder, count, first, storage)
    if usual is None or not count:
        return RawFramesReader(folder, listed(), storage)
    return RawFramesReader(folder, replace(usual, images=count), storage, otherwise=listed)


class RawFramesReader:
    """The images `names` of `folder`, in that order; a `FrameReader`.

    Gray images become RGB. Images are upright by their EXIF orientation. A file is opened when its frame is requested.
    If it is missing, `otherwise` returns the names to use instead.
    """

    fps: float | None = None

    def __init__(
        self, folder: str, names: Sequence[str], storage: Storage = _HERE, *,
        otherwise: Callable[[], Sequence[str]] | None = None,
    ) -> None:  # fmt: skip
        self.path = folder
        self._names = names
        self._storage = storage
        self._otherwise = otherwise

    def __len__(self) -> int:
        return len(self._names)

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:  # noqa: ARG002
        """Frames `indices` as `(T, H, W, 3) uint8` RGB; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        return stack_frames(indices, self._decode, path=self.path, name=lambda index: self._names[index])

    def _decode(self, index: int, out: Image | None) -> Image:
        return decode_image(self.file(index), "RGB", out, path=self.path, name=self._names[index])

    def file(self, index: int) -> bytes:
        """Return the content of the file of frame `index`.

        Raises:
            MediaError: it cannot be read.
        """
        try:
            return read_file(self.path, index, self._names, self._storage)
        except MediaError:
            if self._otherwise is None:
                raise
            self._names, self._otherwise = self._otherwise(), None
            return self.file(index)


def read_file(folder: str, index: int, names: Sequence[str], storage: Storage) -> bytes:
    """Return the content of the file `names[index]` in `folder`.

    Raises:
        MediaError: it cannot be read.
    """
    name = names[index]
    try:
        return storage.read(f"{folder}/{name}")
    except FileNotFoundError:
        raise MediaError(folder, why_missing(name, names, folder, storage)) from None
    except OSError as error:
        raise MediaError(folder, f"{name} cannot be read ({why(error)})") from None


def decode_image(
    data: bytes, colors: Literal["RGB", "GRAY"], out: Image | None = None, *, path: str, name: str
) -> Image:
    """Decode a JPEG or PNG file, upright by its EXIF orientation: (H, W, 3) uint8, or (H, W, 1) gray.

    A JPEG is decoded into `out`, if that has the shape of the image.

    Raises:
        MediaError: it is damaged; `path` and `name` name the video and the image.
    """
    try:
        return _decode(data, colors, out)
    except PIL.UnidentifiedImageError:
        raise MediaError(path, f"{name} is no image, or is damaged") from None
    except PIL.Image.DecompressionBombError:
        raise MediaError(path, f"{name} is damaged, or of a senseless size") from None
    except (MemoryError, OSError, SyntaxError, ValueError) as error:
        raise MediaError(path, f"{name} cannot be decoded ({error})") from None


_ORIENTATIONS = {
    2: Orientation(flip_horizontal=True),
    3: Orientation(flip_horizontal=True, flip_vertical=True),
    4: Orientation(flip_vertical=True),
    5: Orientation(transpose=True),
    6: Orientation(transpose=True, flip_horizontal=True),
    7: Orientation(transpose=True, flip_horizontal=True, flip_vertical=True),
    8: Orientation(transpose=True, flip_vertical=True),
}
"""By EXIF value; 1 is upright."""
_ORIENTATION_TAG = 0x0112
_EXIF_WITHIN = 4096  # bytes of a file: it stands among the first segments


def _decode(data: bytes, colors: Literal["RGB", "GRAY"], out: Image | None) -> Image:
    if not data.startswith(b"\xff\xd8"):
        with PIL.Image.open(io.BytesIO(data)) as other:
            upright = PIL.ImageOps.exif_transpose(other)
            return np.atleast_3d(np.array(upright.convert("RGB" if colors == "RGB" else "L")))
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    if height * width > PIL.Image.MAX_IMAGE_PIXELS:  # libjpeg would go on for seconds, and no alarm could stop it
        raise PIL.Image.DecompressionBombError
    if orientation := _exif_orientation(data):
        return orientation.upright(simplejpeg.decode_jpeg(data, colors))
    image = output_array(out, (height, width, 3 if colors == "RGB" else 1))
    simplejpeg.decode_jpeg(data, colors, buffer=image)
    return image


def _exif_orientation(jpeg: bytes) -> Orientation | None:
    """The orientation of a JPEG file; None: upright."""
    if jpeg.find(b"Exif\0\0", 0, _EXIF_WITHIN) < 0:
        return None
    with PIL.Image.open(io.BytesIO(jpeg)) as image:
        return _ORIENTATIONS.get(image.getexif().get(_ORIENTATION_TAG, 1))


def _only_series(folder: str, count: int | None, first: int, storage: Storage) -> list[str]:
    """Return the names of the images in `folder` in numerical order, all or the first `count`."""
    series = image_series(folder, storage)
    if len(series) > 1:  # such as img_#.jpg, flow_x_#.jpg and flow_y_#.jpg
        shown = ", ".join(list(series)[:3])
        raise MediaError(folder, f"it holds several series of images, {shown}: name one by a template")
    if not series:
        raise MediaError(folder, "it holds no frames")
    return limited(next(iter(series.values())), count, folder=folder, first=first)
