"""Folders of images: the frames of a video (rawframes), or its optical flow as pairs of gray images in x and y."""

import io
import re
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
_X = re.compile(r"(?<![A-Za-z])x(?=_?#)")  # in a series such as flow_x_#.jpg or x_#.jpg

Series = tuple[Sequence[str], ...]
"""Names of the RGB images of a video; or those of its flow in x, and those in y."""


def open_rawframes(
    folder: str, *, template: str = "auto", count: int | None = None, first: int = 1, storage: Storage = _HERE,
    usual: Numbered | None = None,
) -> "FolderReader":  # fmt: skip
    """Open a folder of images, JPEG or PNG, as one video.

    Args:
        folder: Local path or URL.
        template: Names of the frames, such as `img_{:05}.jpg`. auto: all images of the folder, `img_9.jpg` before
            `img_10.jpg`.
        count: Number of frames. With a template the folder is then not listed. None: all frames in the folder; with a
            template, up to the highest number.
        first: Number in the name of the first frame.
        storage: Where to read.
        usual: With auto and a `count`, the names of images in other folders. This folder is then listed only if one of
            them is missing.

    Raises:
        MediaError: the folder is missing, holds no such images, or fewer than `count`.
        UserError: `template` has no field for a number.
    """
    if template != "auto":
        check_template(template, "img_{:05}.jpg")
        names = names_by_template(template, folder=folder, first=first, count=count, storage=storage)
        return FolderReader(folder, (names,), storage)
    listed = partial(_only_series, folder, count, first, storage)
    if usual is None or not count:
        return FolderReader(folder, listed(), storage)
    return FolderReader(folder, (replace(usual, images=count),), storage, otherwise=listed)


def open_flow(
    folder: str, *, template: str = "auto", count: int | None = None, first: int = 1, storage: Storage = _HERE
) -> "FolderReader":
    """Open a folder of pairs of gray images, as `kinema prepare flow` writes them, as one video of flow.

    `template` is such as `flow_{axis}_{:05}.jpg`, where axis is x or y; auto: the only two series of images whose names
    differ in x and y alone. The folder may also hold the frames of the video. `count` pairs begin with the number
    `first`, as in `open_rawframes`.

    Raises:
        MediaError: the folder is missing, holds no such pairs, or fewer than `count`.
        UserError: `template` has no field for the axis or a number.
    """
    x: Sequence[str]
    y: Sequence[str]
    if template == "auto":
        pair = _only_pair(folder, storage)
        x, y = (limited(names, count, folder=folder, first=first, what="pairs of flow") for names in pair)
    else:
        check_template(template, "flow_{axis}_{:05}.jpg", axis="x")
        x, y = (
            names_by_template(template, axis=axis, folder=folder, first=first, count=count, storage=storage)
            for axis in "xy"
        )
    if len(x) != len(y):
        raise MediaError(folder, f"it holds {len(x)} images of flow in x, {len(y)} in y")
    return FolderReader(folder, (x, y), storage)


class FolderReader:
    """The images of a folder as frames; a `FrameReader`.

    Gray images of rawframes become RGB; the pixels of flow are those of the images, 128 is no motion. Images are
    upright by their EXIF orientation. A file is opened when its frame is requested. If it is missing, `otherwise`
    returns the names to use instead.
    """

    fps: float | None = None

    def __init__(
        self, folder: str, series: Series, storage: Storage, *, otherwise: Callable[[], Series] | None = None
    ) -> None:
        self.path = folder
        self._series = series
        self._storage = storage
        self._otherwise = otherwise

    def __len__(self) -> int:
        return len(self._series[0])

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:  # noqa: ARG002
        """Frames `indices` as `(T, H, W, 3) uint8` RGB, or `(T, H, W, 2)` flow; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        return stack_frames(indices, self._decode, path=self.path, name=lambda index: self._series[0][index])

    def files(self, index: int) -> list[bytes]:
        """Return the contents of the image file of frame `index`; of flow, of those in x and in y.

        Raises:
            MediaError: one cannot be read.
        """
        try:
            return [_read(self.path, index, names, self._storage) for names in self._series]
        except MediaError:
            if self._otherwise is None:
                raise
            self._series, self._otherwise = self._otherwise(), None
            return self.files(index)

    def _decode(self, index: int, out: Image | None) -> Image:
        files = self.files(index)
        return decode_frame(files, out, path=self.path, names=[names[index] for names in self._series])


def _read(folder: str, index: int, names: Sequence[str], storage: Storage) -> bytes:
    name = names[index]
    try:
        return storage.read(f"{folder}/{name}")
    except FileNotFoundError:
        raise MediaError(folder, why_missing(name, names, folder, storage)) from None
    except OSError as error:
        raise MediaError(folder, f"{name} cannot be read ({why(error)})") from None


def decode_frame(files: Sequence[bytes], out: Image | None = None, *, path: str, names: Sequence[str]) -> Image:
    """Decode an RGB image (H, W, 3), or a flow field (H, W, 2) from its gray images in x and in y; uint8.

    Images are JPEG or PNG files, and upright by their EXIF orientation. Unless it is a turned or PNG image, the frame
    is in `out`, if that has its shape.

    Raises:
        MediaError: an image is damaged, or the two differ in size; `path` and `names` name the video and the images.
    """
    if len(files) == 1:
        return _decode_image(files[0], "RGB", out, path=path, name=names[0])
    x, y = (_decode_image(data, "GRAY", None, path=path, name=name) for data, name in zip(files, names, strict=True))
    if x.shape != y.shape:
        raise MediaError(path, f"{names[0]} and {names[1]} differ in size")
    return np.concatenate([x, y], axis=-1, out=output_array(out, (*x.shape[:2], 2)))


def _decode_image(data: bytes, colors: Literal["RGB", "GRAY"], out: Image | None, *, path: str, name: str) -> Image:
    try:
        return _decode(data, colors, out)
    except PIL.UnidentifiedImageError:
        raise MediaError(path, f"{name} is no image, or is damaged") from None
    except PIL.Image.DecompressionBombError:
        raise MediaError(path, f"{name} is damaged, or of a senseless size") from None
    except (MemoryError, OSError, SyntaxError, ValueError) as error:
        raise MediaError(path, f"{name} cannot be decoded ({error})") from None


_EXIF_WITHIN = 4096  # bytes of a file: it stands among the first segments


def _decode(data: bytes, colors: Literal["RGB", "GRAY"], out: Image | None) -> Image:
    if not data.startswith(b"\xff\xd8"):
        with PIL.Image.open(io.BytesIO(data)) as other:
            upright = PIL.ImageOps.exif_transpose(other)
            return np.atleast_3d(np.array(upright.convert("RGB" if colors == "RGB" else "L")))
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    if height * width > PIL.Image.MAX_IMAGE_PIXELS:  # libjpeg would go on for seconds, and no alarm could stop it
        raise PIL.Image.DecompressionBombError
    if data.find(b"Exif\0\0", 0, _EXIF_WITHIN) >= 0 and (orientation := Orientation.from_jpeg(data)) != Orientation():
        return orientation.upright(simplejpeg.decode_jpeg(data, colors))
    image = output_array(out, (height, width, 3 if colors == "RGB" else 1))
    simplejpeg.decode_jpeg(data, colors, buffer=image)
    return image


def _only_series(folder: str, count: int | None, first: int, storage: Storage) -> Series:
    """Return the names of the images in `folder` in numerical order, all or the first `count`."""
    series = image_series(folder, storage)
    if len(series) > 1:  # such as img_#.jpg, flow_x_#.jpg and flow_y_#.jpg
        shown = ", ".join(list(series)[:3])
        raise MediaError(folder, f"it holds several series of images, {shown}: name one by a template")
    if not series:
        raise MediaError(folder, "it holds no frames")
    return (limited(next(iter(series.values())), count, folder=folder, first=first),)


def _only_pair(folder: str, storage: Storage) -> tuple[list[str], list[str]]:
    series = image_series(folder, storage)
    pairs = [(x, _X.sub("y", x)) for x in series if _X.search(x) and _X.sub("y", x) in series]
    if len(pairs) != 1:
        found = ", ".join(list(series)[:3]) or "no images"
        raise MediaError(
            folder,
            f"it holds {'several' if pairs else 'no'} pairs of flow images in x and y, as flow_x_00001.jpg and "
            f"flow_y_00001.jpg are, but {found}: name them by a template",
        )
    x, y = pairs[0]
    return series[x], series[y]
