"""Colours and orientation: against the formulas, and the readers against each other, on drawn and on real videos."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from kinema.data.kinds import Reader
from kinema.data.readers.sources import open_video
from tests.data.drawn_videos import NEEDS_TORCHCODEC, READERS, number_of, write_video

CLIPS = sorted(path.name for path in (Path(__file__).resolve().parents[3] / "shared" / "data" / "clips").glob("*"))
LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}  # of red and blue
MATRICES = {"bt709": 1, "bt601": 6, "bt2020": 9, "unknown": 2}  # ISO/IEC 23091-2
RANGES = {"limited": 1, "full": 2, "unknown": 0}  # as FFmpeg numbers them


def assert_alike(one: torch.Tensor, other: torch.Tensor) -> None:
    """Equal pixels, up to the rounding of two versions of FFmpeg: what `open_video` promises."""
    assert one.shape == other.shape
    difference = (one.int() - other.int()).abs()
    assert difference.float().mean() <= 0.5
    assert difference.max() <= 8


def rgb_by_formula(yuv: tuple[int, int, int], *, matrix: str, full_range: bool) -> list[float]:
    """Y'CbCr of 8 bits → R'G'B' of 0 to 255 (ITU-R BT.601, BT.709, BT.2020)."""
    luma = yuv[0] / 255 if full_range else (yuv[0] - 16) / 219
    blue_difference, red_difference = ((chroma - 128) / (255 if full_range else 224) for chroma in yuv[1:])
    red_weight, blue_weight = LUMA_WEIGHTS[matrix]
    red = luma + 2 * (1 - red_weight) * red_difference
    blue = luma + 2 * (1 - blue_weight) * blue_difference
    green = (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return [255 * min(max(level, 0), 1) for level in (red, green, blue)]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("color_range", RANGES)
@pytest.mark.parametrize("matrix", MATRICES)
def test_colour_space_and_range(reader: Reader, matrix: str, color_range: str, tmp_path: Path) -> None:
    """What the file does not name is taken as BT.601, limited."""
    path = tmp_path / "video.mp4"
    yuv = (110, 90, 160)
    planes = np.repeat(np.array(yuv, np.uint8), [48 * 64, 24 * 32, 24 * 32]).reshape(72, 64)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace = MATRICES[matrix]
        stream.codec_context.color_range = RANGES[color_range]
        frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
        frame.colorspace, frame.color_range = MATRICES[matrix], RANGES[color_range]
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    expected = rgb_by_formula(yuv, matrix="bt601" if matrix == "unknown" else matrix, full_range=color_range == "full")
    frame = open_video(str(path), reader=reader).frames([0])[0]
    assert frame.float().mean(dim=(0, 1)).tolist() == pytest.approx(expected, abs=2.5)


def rotated(path: Path, turns: int) -> Path:
    """The MP4 file `path` with a display matrix of `turns` quarter turns clockwise."""
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    data = path.read_bytes()
    place = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2: the matrix of a track header of version 0
    result = path.with_stem(f"turned_{turns}")
    result.write_bytes(data[:place] + matrix + data[place + len(matrix) :])
    return result


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_frames_stand_upright(reader: Reader, turns: int, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    write_video(path, times=range(8))
    lying = open_video(str(path), reader=reader).frames([5, 1])
    upright = open_video(str(rotated(path, turns)), reader=reader).frames([5, 1])
    assert torch.equal(upright, torch.rot90(lying, -turns, dims=(1, 2)))
    assert upright.is_contiguous()


@NEEDS_TORCHCODEC
@pytest.mark.parametrize(
    ("codec", "pixel_format", "size"),
    [
        ("libx264", "yuv420p", (66, 50)),
        ("libx264", "yuv422p", (66, 49)),
        ("libx264", "yuv444p", (64, 48)),
        ("libx264", "yuv420p10le", (64, 48)),
        ("libx264", "yuv420p10le", (70, 50)),
        ("libx264", "yuv422p10le", (66, 49)),
        ("libx264", "gray", (64, 48)),
        ("libx264rgb", "rgb24", (66, 49)),
        ("libx265", "yuv420p10le", (64, 48)),
        ("libvpx-vp9", "yuv420p", (67, 49)),
        ("mjpeg", "yuvj422p", (64, 49)),
        ("ffv1", "yuva420p", (66, 50)),
    ],
)
def test_readers_give_the_same_pixels(codec: str, pixel_format: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = str(tmp_path / "video.mkv")
    write_video(path, codec=codec, pixel_format=pixel_format, size=size, times=range(4))
    by_pyav, by_torchcodec = (open_video(path, reader=reader).frames(range(4)) for reader in ("pyav", "torchcodec"))
    assert by_pyav.shape == (4, size[1], size[0], 3)
    assert [number_of(frame) for frame in by_pyav] == [0, 1, 2, 3]
    assert_alike(by_pyav, by_torchcodec)


def decoded_near(path: Path, wanted: list[int]) -> dict[int, np.ndarray]:
    """The frames that sequential decoding gives at `wanted` and just beside; past the last frame, that one."""
    images, last = {}, -1
    with av.open(str(path), metadata_errors="replace") as container:
        for last, frame in enumerate(container.decode(container.streams.best("video"))):
            if any(abs(last - index) <= 2 for index in wanted):
                images[last] = frame.to_ndarray(format="rgb24")
    return {index: images[min(index, last)] for index in {*images, *wanted}}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("clip", CLIPS)
def test_real_clips(shared: Path, clip: str, reader: Reader) -> None:
    path = shared / "data" / "clips" / clip
    by_pyav = open_video(str(path), reader="pyav")
    length = len(by_pyav)
    wanted = [length - 1, 1, length // 2, 0]
    frames = by_pyav.frames(wanted)
    sequential = decoded_near(path, wanted)
    for frame, index in zip(frames.numpy().astype(int), wanted, strict=True):
        distances = {near: np.abs(frame - image).mean() for near, image in sequential.items()}
        assert distances[index] == min(distances.values())
        assert distances[index] <= (4 if "10bits" in clip else 0.5)  # plain conversion places chroma otherwise
    other = open_video(str(path), reader=reader)
    assert len(other) == length
    assert other.fps == pytest.approx(by_pyav.fps)
    assert_alike(other.frames(wanted), frames)
