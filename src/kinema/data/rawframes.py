"""Frames of a video that lie in a folder as images: rawframes."""

import io
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import simplejpeg
import torch

from kinema.data.reader import FrameReader, Image, check_indices, gather
from kinema.errors import MediaError, UserError

_SUFFIXES = (".jpg", ".jpeg", ".png")


def open_rawframes(folder: str, *, template: str = "auto", count: int | None = None, first: int = 1) -> FrameReader:
    """Open a folder of images, JPEG or PNG, as one video.

    Args:
        folder: The folder.
        template: The names of the frames, such as `img_{:05}.jpg`. auto: all images of the folder, `img_9.jpg` before
            `img_10.jpg`.
        count: How many frames there are. With a template the folder is then not listed at all. None: as many as the
            folder holds; with a template, up to the highest number.
        first: The number of the first frame, in its name.

    Raises:
        MediaError: the folder is missing, holds no such images, or fewer than `count`.
        UserError: `template` has no place for a number.
    """
    if template == "auto":
        names = _images(folder, count, first)
    else:
        _check(template)
        last = first + count - 1 if count is not None else _highest(folder, template)
        names = [template.format(number) for number in range(first, last + 1)]
    if not names:
        raise MediaError(folder, "it holds no frames" + ("" if template == "auto" else f" named {template}"))
    return RawFramesReader(folder, names)


class RawFramesReader:
    """The images `names` of `folder`, in that order; see `FrameReader` for what it promises.

    Gray images become RGB. A file is opened only when its frame is asked for.
    """

    fps: float | None = None

    def __init__(self, folder: str, names: Sequence[str]) -> None:
        self.path = folder
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def frames(self, indices: Sequence[int]) -> torch.Tensor:
        """Frames `indices` as `(T, H, W, 3) uint8` RGB; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        return gather(indices, self._image, path=self.path, name=self._names.__getitem__)

    def _image(self, index: int) -> Image:
        name = self._names[index]
        try:
            return _decode(_read(f"{self.path}/{name}"))
        except FileNotFoundError:
            raise MediaError(self.path, f"{name} is missing") from None
        except (OSError, ValueError, SyntaxError) as error:
            raise MediaError(self.path, f"{name} cannot be read ({error})") from None


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def _decode(data: bytes) -> Image:
    """The bytes of an image file → (H, W, 3)."""
    if data.startswith(b"\xff\xd8"):
        jpeg: Image = simplejpeg.decode_jpeg(data, "RGB")
        return jpeg
    with PIL.Image.open(io.BytesIO(data)) as other:
        return np.asarray(other.convert("RGB"))


def _images(folder: str, count: int | None, first: int) -> list[str]:
    """The images of `folder` in the order of their numbers, all of them or `count`."""
    names = [name for name in _listed(folder) if name.lower().endswith(_SUFFIXES) and not name.startswith(".")]
    series = sorted({re.sub(r"\d+", "#", name) for name in names})
    if len(series) > 1:  # such as img_#.jpg, flow_x_#.jpg and flow_y_#.jpg
        raise MediaError(folder, f"it holds several series of images, {', '.join(series[:3])}: name one by a template")
    names.sort(key=_numbers)
    if count is not None and 0 < len(names) < count:
        missing = _first_missing(names, first)
        raise MediaError(folder, f"it holds {len(names)} of the {count} frames listed: {missing} is missing")
    return names[:count]


def _highest(folder: str, template: str) -> int:
    """The highest number among the files of `folder` that `template` names; -1 when it names none."""
    numbers = [number for name in _listed(folder) for number in _numbers(name) if template.format(number) == name]
    return max(numbers, default=-1)


def _listed(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError as error:
        raise MediaError(folder, error.strerror or str(error)) from None


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _first_missing(names: list[str], first: int) -> str:
    """The name that belongs into the first gap of the numbering of `names`, which starts at `first` or before."""
    head, digits, tail = re.findall(r"^(.*?)(\d*)(\D*)$", names[0])[0]
    present = {number for name in names for number in _numbers(name)[-1:]}
    missing = next(number for number in itertools.count(min(first, *present)) if number not in present)
    return f"{head}{missing:0{len(digits)}}{tail}"


def _check(template: str) -> None:
    try:
        numbers = template.format(1) != template.format(2)
    except (AttributeError, LookupError, ValueError):
        numbers = False
    if not numbers:
        raise UserError(f"template '{template}' has no place for the number of a frame, as 'img_{{:05}}.jpg' has")
