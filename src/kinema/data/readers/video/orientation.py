"""Orientation of decoded frames: display matrix, EXIF."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import cast

from av.video.frame import VideoFrame
from PIL import ExifTags, Image

from kinema.data.readers.reader import Image as Pixels


@dataclass(frozen=True)
class Orientation:
    """One of the eight EXIF orientations: transpose, then flip left to right, then flip upside down."""

    transpose: bool = False
    flip_horizontal: bool = False
    flip_vertical: bool = False

    @classmethod
    def from_matrix(cls, matrix: bytes) -> "Orientation":
        """Read a display matrix (ISO/IEC 14496-12, 8.2.2), nine int32 of which four turn and mirror.

        Angles between quarter turns are rounded to the nearest one.
        """
        a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
        # A pixel at (x, y) is shown at (a·x + c·y, b·x + d·y).
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(flip_horizontal=a < 0, flip_vertical=d < 0)
        return cls(transpose=True, flip_horizontal=c < 0, flip_vertical=b < 0)

    @classmethod
    def from_exif(cls, value: int) -> "Orientation":
        """Read the EXIF tag Orientation, 1 to 8; other values turn nothing."""
        number = value - 1 if 1 <= value <= 8 else 0
        if number < 4:
            return cls(flip_horizontal=number in (1, 2), flip_vertical=number in (2, 3))
        return cls(transpose=True, flip_horizontal=number in (5, 6), flip_vertical=number in (6, 7))

    @classmethod
    def from_jpeg(cls, data: bytes) -> "Orientation":
        """Read the EXIF orientation of a JPEG file; upright if it has none."""
        try:
            with Image.open(BytesIO(data)) as image:
                value = image.getexif().get(ExifTags.Base.Orientation)
        except (OSError, SyntaxError, ValueError):
            value = None
        return cls.from_exif(value) if isinstance(value, int) else cls()

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation | None":
        """Read the display matrix of a decoded frame, set by the container or the bitstream; None if it has none.

        Not for every frame of a video: PyAV's side data and frame refer to each other, so that the frame stays in
        memory until the cycle collector runs.
        """
        try:
            # PyAV's annotations name only the keys of another kind of side data.
            side_data = cast(Mapping[str, bytes], frame.side_data)
            return cls.from_matrix(bytes(side_data["DISPLAYMATRIX"]))
        except KeyError:
            return None
        except ValueError:  # FFmpeg has kinds of side data that PyAV cannot name; their mere presence raises this
            quarters = round(frame.rotation / 90) % 4  # counterclockwise
            return cls.from_exif((1, 8, 3, 6)[quarters]) if quarters else None

    @property
    def mirrors(self) -> bool:
        """Whether a rotation alone does not make the frame upright."""
        return self.transpose ^ self.flip_horizontal ^ self.flip_vertical

    @property
    def filters(self) -> list[tuple[str, str]]:
        """FFmpeg filters that make a frame upright, each with its arguments, in order."""
        # `transpose=cclock_flip` exchanges rows and columns, without any flip.
        filters = [("transpose", "cclock_flip")] if self.transpose else []
        filters += [("hflip", "")] if self.flip_horizontal else []
        return filters + ([("vflip", "")] if self.flip_vertical else [])

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of the upright frame."""
        return (height, width) if self.transpose else (width, height)

    def upright(self, image: Pixels) -> Pixels:
        """Return a view of a frame (H, W, C) that is upright: (H, W, C) or (W, H, C)."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.flip_vertical else 1, :: -1 if self.flip_horizontal else 1]
