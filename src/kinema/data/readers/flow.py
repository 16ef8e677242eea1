"""Optical flow of a video as pairs of gray images in a folder: motion in x and in y."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from kinema.data.readers.frame_names import check_template, image_series, limited, names_by_template
from kinema.data.readers.rawframes import decode_image, read_file
from kinema.data.readers.reader import Image, check_indices, output_array, stack_frames
from kinema.errors import MediaError
from kinema.storage import Direct, Storage

_HERE = Direct()
_X = re.compile(r"(?<![A-Za-z])x(?=_?#)")  # in a series such as flow_x_#.jpg or x_#.jpg


def open_flow(
    folder: str, *, template: str = "auto", count: int | None = None, first: int = 1, storage: Storage = _HERE
) -> "FlowReader":
    """Open a folder of pairs of gray images, as `kinema prepare flow` writes them, as one video of flow.

    Args:
        folder: The folder; it may also hold the frames of the video.
        template: Names of the images, such as `flow_{axis}_{:05}.jpg`, where axis is x or y. auto: the only two series
            of images whose names differ in x and y alone, `flow_x_9.jpg` before `flow_x_10.jpg`.
        count: Number of pairs. With a template the folder is then not listed. None: all pairs in the folder; with a
            template, up to the highest number.
        first: Number in the names of the first pair.
        storage: Storage to read from.

    Raises:
        MediaError: the folder is missing, holds no such pairs, or fewer than `count`.
        UserError: `template` has no field for the axis or a number.
    """
    names: Iterable[Sequence[str]]
    if template == "auto":
        there = _only_pair(folder, storage)
        names = (limited(one, count, folder=folder, first=first, what="pairs of flow") for one in there)
    else:
        check_template(template, "flow_{axis}_{:05}.jpg", axis="x")
        names = (
            names_by_template(template, axis=axis, folder=folder, first=first, count=count, storage=storage)
            for axis in "xy"
        )
    x, y = names
    if len(x) != len(y):
        raise MediaError(folder, f"it holds {len(x)} images of flow in x, {len(y)} in y")
    return FlowReader(folder, x, y, storage)


class FlowReader:
    """Pairs of gray images of `folder`, motion in x and y, as frames of two channels; a `FrameReader`.

    Pixels are those of the images: 128 is no motion.
    """

    fps: float | None = None

    def __init__(self, folder: str, x_names: Sequence[str], y_names: Sequence[str], storage: Storage = _HERE) -> None:
        self.path = folder
        self._pairs = (x_names, y_names)
        self._storage = storage

    def __len__(self) -> int:
        return len(self._pairs[0])

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:  # noqa: ARG002
        """Fields `indices` as `(T, H, W, 2) uint8`; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        return stack_frames(indices, self._decode, path=self.path, name=self._pairs[0].__getitem__)

    def files(self, index: int) -> tuple[bytes, bytes]:
        """Return the content of the image files of field `index`, in x and y.

        Raises:
            MediaError: one cannot be read.
        """
        x, y = (read_file(self.path, index, names, self._storage) for names in self._pairs)
        return x, y

    def _decode(self, index: int, out: Image | None) -> Image:
        x_names, y_names = self._pairs
        return decode_pair(self.files(index), out, path=self.path, names=(x_names[index], y_names[index]))


def decode_pair(files: tuple[bytes, bytes], out: Image | None = None, *, path: str, names: tuple[str, str]) -> Image:
    """Decode a flow field from its two gray images, motion in x and in y: (H, W, 2), in `out` if that has this shape.

    Raises:
        MediaError: one is damaged, or they differ in size; `path` and `names` name the video and the images.
    """
    x, y = (decode_image(files[k], "GRAY", path=path, name=names[k]) for k in range(2))
    if x.shape != y.shape:
        raise MediaError(path, f"{names[0]} and {names[1]} differ in size")
    return np.concatenate([x, y], axis=-1, out=output_array(out, (*x.shape[:2], 2)))


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
