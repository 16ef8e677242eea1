"""Frames are upright: against FFmpeg's own rotation, for every display matrix of quarter turns and mirrors."""

import io
import itertools
import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kinema.data.kinds import Reader
from kinema.data.readers.sources import open_video
from kinema.data.readers.video.orientation import Orientation
from tests.data.drawn_videos import READERS

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")

SIZE = (64, 48)
FACTORS = [(a, 0, 0, d) for a, d in itertools.product((1, -1), repeat=2)] + [
    (0, b, c, 0) for b, c in itertools.product((1, -1), repeat=2)
]
"""a, b, c, d of a display matrix: a pixel at (x, y) is shown at (a·x + c·y, b·x + d·y)."""


def matrix_of(a: int, b: int, c: int, d: int) -> list[int]:
    return [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]


def picture() -> np.ndarray:
    """Four corners of different grays, (H, W, 3)."""
    image = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    for corner, (rows, columns) in enumerate(itertools.product((slice(16), slice(-16, None)), repeat=2)):
        image[rows, columns] = (20, 80, 180, 240)[corner]
    return image


def write(path: Path, *, codec: str = "libx264", pixel_format: str = "yuv420p") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, pixel_format
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), "rgb24").reformat(format=pixel_format)))
        container.mux(stream.encode())
    return path


def with_matrix(path: Path, factors: tuple[int, int, int, int]) -> Path:
    """The MP4 file `path` with another display matrix."""
    matrix = struct.pack(">9i", *matrix_of(*factors))
    data = path.read_bytes()
    start = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2: the matrix of a track header of version 0
    path.write_bytes(data[:start] + matrix + data[start + len(matrix) :])
    return path


def by_ffmpeg(path: Path) -> np.ndarray:
    """The first frame as FFmpeg shows it, (H, W, 3)."""
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", path, "-frames:v", "1", "-f", "image2pipe", "-c:v", "ppm", "-"],
        check=True, capture_output=True,
    )  # fmt: skip
    with av.open(io.BytesIO(done.stdout), format="ppm_pipe") as image:
        return next(image.decode(video=0)).to_ndarray(format="rgb24")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("factors", FACTORS)
def test_display_matrix(reader: Reader, factors: tuple[int, int, int, int], tmp_path: Path) -> None:
    path = with_matrix(write(tmp_path / "video.mp4"), factors)
    expected = by_ffmpeg(path).astype(int)
    for frame in open_video(str(path), reader=reader).frames([3, 0]).numpy():
        assert frame.shape == expected.shape
        assert np.abs(frame - expected).mean() < 3


@pytest.mark.parametrize("factors", FACTORS)
def test_filters_do_what_arrays_do(factors: tuple[int, int, int, int]) -> None:
    orientation = Orientation.from_matrix(struct.pack("=9i", *matrix_of(*factors)))
    frame = av.VideoFrame.from_ndarray(picture(), "rgb24")
    graph = av.filter.Graph()
    nodes = [graph.add_buffer(width=SIZE[0], height=SIZE[1], format=frame.format, time_base=Fraction(1))]
    nodes += [graph.add(*each) for each in orientation.filters]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.vpush(frame)
    result = graph.vpull().to_ndarray()
    np.testing.assert_array_equal(result, orientation.upright(picture()))
    assert result.shape[1::-1] == orientation.size(*SIZE)


@pytest.mark.parametrize(("degrees", "quarters"), [(0, 0), (44, 0), (46, 1), (90, 1), (181, 2), (-90, 3)])
def test_other_angles_are_rounded_to_quarter_turns(degrees: int, quarters: int) -> None:
    cosine, sine = (round(f(np.radians(degrees)) * 65536) for f in (np.cos, np.sin))
    orientation = Orientation.from_matrix(struct.pack("=9i", cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30))
    np.testing.assert_array_equal(orientation.upright(picture()), np.rot90(picture(), -quarters))
