"""Frames of a video packed into one file: random access as to a folder of images, without millions of small files.

Layout, little-endian: a header of 44 bytes, the size in bytes of each image as 4 bytes, then the images, JPEG or PNG
as they would lie in a folder, one after another. A field of optical flow is two gray images, motion in x and in y.

    8 magic · 2 version · 2 height · 2 width · 2 content (0 RGB, 1 flow) · 4 frames of the video, or fields ·
    4 every · 4 images · 4 + 4 frames per second as a fraction (0/0 unknown) · 4 CRC-32 of the sizes ·
    4 CRC-32 of all before

A sparse file holds each `every`-th frame alone, beginning with the first; one of them stands for itself and those that
follow it.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kinema.data.readers.frame_names import why
from kinema.data.readers.rawframes import decode_frame
from kinema.data.readers.reader import Image, check_indices, stack_frames
from kinema.data.sampling import Sampling
from kinema.errors import MediaError, UserError
from kinema.storage import Direct, Storage

_HERE = Direct()
_MAGIC = b"\x8bkinemap"
_VERSION = 1
_HEADER = struct.Struct("<8sHHHHIIIIIII")
_RGB, _FLOW = 0, 1
_FIRST_READ = 4096
"""Bytes that opening reads: the sizes of 1,000 images are among them."""


@dataclass(frozen=True, kw_only=True)
class PackHeader:
    """Header of a packed file; sizes in pixels."""

    height: int
    width: int
    frames: int
    every: int
    fps: Fraction | None
    flow: bool = False
    """Whether frames are fields of optical flow."""

    @property
    def images_a_frame(self) -> int:
        """Number of images of a frame."""
        return 2 if self.flow else 1

    @property
    def images(self) -> int:
        """Number of images in the file."""
        return -(-self.frames // self.every) * self.images_a_frame


def write_packed(path: Path, header: PackHeader, images: Iterable[bytes]) -> None:
    """Write a packed file to `path`, not atomically: callers wrap this in `kinema.storage.replacing`.

    Raises:
        ValueError: The number of images differs from that of the header.
    """
    sizes = list[int]()
    with path.open("wb") as file:
        file.seek(_HEADER.size + 4 * header.images)
        for image in images:
            sizes.append(len(image))
            file.write(image)
        if len(sizes) != header.images:
            raise ValueError(f"{len(sizes)} images for {header.images}")
        table = np.array(sizes, "<u4").tobytes()
        file.seek(0)
        file.write(_pack_header(header, table) + table)


def open_packed(path: str, *, storage: Storage = _HERE, flow: bool | None = None) -> "PackedReader":
    """Open the packed file at `path`, which must hold optical flow if `flow` is true, RGB if it is false.

    Raises:
        MediaError: it is missing, no packed file, its header is damaged, or it is of the other content.
    """
    try:
        data = storage.read_range(path, 0, _FIRST_READ)
        header, end, checksum = _parse_header(path, data)
        if len(data) < end:
            data += storage.read_range(path, len(data), end)
    except OSError as error:
        raise MediaError(path, why(error)) from None
    except MemoryError:  # of a length that the file does not have
        raise MediaError(path, "its table of images is damaged or cut off") from None
    if flow not in (None, header.flow):
        raise MediaError(path, _of_other_content(header))
    table = data[_HEADER.size : end]
    if len(table) < end - _HEADER.size or zlib.crc32(table) != checksum:
        raise MediaError(path, "its table of images is damaged or cut off")
    bounds = end + np.cumsum(np.concatenate([[0], np.frombuffer(table, "<u4")]), dtype=np.int64)
    return PackedReader(path, header, bounds, storage)


def check_packed(samplings: Sequence[Sampling], example: str, *, flow: bool = False, storage: Storage = _HERE) -> None:
    """Check that a packed file holds the frames of clips, RGB or flow; a file that cannot be read is ignored.

    Raises:
        UserError: It holds the other content, or is sparse and lacks frames of the clips.
    """
    try:
        header = open_packed(example, storage=storage).header
    except MediaError:
        return
    if header.flow != flow:
        raise UserError(f"'{example}': {_of_other_content(header)}")
    every = header.every
    for sampling in samplings:
        intervals = {sampling.frame_interval, sampling.longest_interval or sampling.frame_interval}
        if sampling.clip_len > 1 and every > 1 and (len(intervals) > 1 or sampling.frame_interval % every):
            apart = " to ".join(map(str, sorted(intervals)))
            raise UserError(
                f"'{example}' holds each {every}th frame of its video alone; the clips of this model are "
                f"{sampling.clip_len} frames {apart} apart, which must be a multiple of {every}. Pack all frames "
                "(kinema prepare pack --every 1), or train on videos"
            )


class PackedReader:
    """The frames of one packed file; a `FrameReader`.

    All images of a call are read in one request. In a sparse file, frame `i` is the stored frame at or before it.
    """

    def __init__(self, path: str, header: PackHeader, bounds: NDArray[np.int64], storage: Storage) -> None:
        self.path = path
        self.header = header
        self._bounds = bounds
        self._storage = storage

    def __len__(self) -> int:
        return self.header.frames

    @property
    def fps(self) -> float | None:
        """Average frames per second; None if unknown."""
        return float(self.header.fps) if self.header.fps else None

    def seconds(self) -> NDArray[np.float64]:
        """Return the presentation times in seconds, (frames,), evenly spaced.

        Raises:
            MediaError: the frame rate is unknown.
        """
        if not self.fps:
            raise MediaError(
                self.path, "it has no frame rate, so no times: give segments in frames (start_frame,end_frame)"
            )
        return np.arange(len(self)) / self.fps

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:  # noqa: ARG002
        """Frames `indices` as `(T, H, W, 3) uint8` RGB, or `(T, H, W, 2)` flow; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        stored = [index // self.header.every for index in indices]
        files = self._read(sorted(set(stored)))
        return stack_frames(
            stored, lambda number, out: self._decode(number, files[number], out), path=self.path, name=self._name
        )

    def files(self, index: int) -> list[bytes]:
        """Return the image file of frame `index`; for flow, those in x and in y.

        Raises:
            MediaError: it cannot be read.
        """
        number = index // self.header.every
        return self._split(number, self._read([number])[number])

    def _read(self, numbers: Sequence[int]) -> dict[int, bytes]:
        ranges = [self._range(number) for number in numbers]
        try:
            return dict(zip(numbers, self._storage.read_ranges(self.path, ranges), strict=True))
        except OSError as error:
            raise MediaError(self.path, f"it cannot be read ({why(error)})") from None
        except MemoryError:
            raise MediaError(self.path, "its images are larger than the memory") from None

    def _range(self, number: int) -> tuple[int, int]:
        """Byte range of the images of a stored frame."""
        count = self.header.images_a_frame
        return int(self._bounds[count * number]), int(self._bounds[count * (number + 1)])

    def _split(self, number: int, data: bytes) -> list[bytes]:
        """Split the images of a stored frame."""
        count = self.header.images_a_frame
        bounds = self._bounds[count * number : count * (number + 1) + 1]
        offsets = (bounds - bounds[0]).tolist()
        if len(data) < offsets[-1]:
            raise MediaError(self.path, f"it is cut off: {self._name(number)} is missing")
        return [data[start:end] for start, end in pairwise(offsets)]

    def _decode(self, number: int, data: bytes, out: Image | None) -> Image:
        name = self._name(number)
        names = [f"{name} in x", f"{name} in y"] if self.header.flow else [name]
        image = decode_frame(self._split(number, data), out, path=self.path, names=names)
        height, width, _ = image.shape
        if (height, width) != (self.header.height, self.header.width):
            expected = f"{self.header.width}x{self.header.height}"
            raise MediaError(self.path, f"{name} is {width}x{height}, the header says {expected}")
        return image

    def _name(self, number: int) -> str:
        return f"frame {number * self.header.every}"


def _of_other_content(header: PackHeader) -> str:
    content, source = ("optical flow", "packed_flow") if header.flow else ("RGB frames", "packed")
    return f"it holds {content}, which --data.source {source} reads, for a model of such clips"


def _pack_header(header: PackHeader, table: bytes) -> bytes:
    fps = (header.fps.numerator, header.fps.denominator) if header.fps else (0, 0)
    size, counts = (header.height, header.width), (header.frames, header.every, header.images)
    fields = (*size, _FLOW if header.flow else _RGB, *counts, *fps, zlib.crc32(table))
    packed = _HEADER.pack(_MAGIC, _VERSION, *fields, 0)
    return packed[:-4] + struct.pack("<I", zlib.crc32(packed[:-4]))


def _parse_header(path: str, data: bytes) -> tuple[PackHeader, int, int]:
    """Return the header, the offset of the first image and the checksum of the table."""
    if not data.startswith(_MAGIC):
        raise MediaError(path, "it is no packed file (`kinema prepare pack` writes those)")
    if len(data) < _HEADER.size:
        raise MediaError(path, "it ends within its header")
    _, version, height, width, content, frames, every, images, numerator, denominator, table, own = _HEADER.unpack_from(
        data
    )
    if zlib.crc32(data[: _HEADER.size - 4]) != own:
        raise MediaError(path, "its header is damaged")
    if version != _VERSION:
        raise MediaError(path, f"it is of version {version} of the format; this Kinema reads version {_VERSION}")
    fps = Fraction(numerator, denominator) if denominator else None
    header = PackHeader(height=height, width=width, frames=frames, every=every, fps=fps, flow=content == _FLOW)
    if content not in (_RGB, _FLOW) or not frames or not every or images != header.images:
        raise MediaError(path, "its header makes no sense")
    return header, _HEADER.size + 4 * images, table
