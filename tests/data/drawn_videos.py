"""Small videos whose frames carry their number, so that no frame can be taken for another."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from kinema.data.readers.sources import reader_in_use
from kinema.errors import UserError

FRAMES = 60
SIZE = (64, 48)
X264 = "keyint=12:scenecut=0:b-adapt=0:bframes=3"

try:
    reader_in_use("torchcodec")
except UserError as error:
    _MISSING = str(error)
else:
    _MISSING = ""
NEEDS_TORCHCODEC = pytest.mark.skipif(bool(_MISSING), reason=_MISSING)
READERS = ["auto", "pyav", pytest.param("torchcodec", marks=NEEDS_TORCHCODEC)]


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """`number` in binary, as eight dark or light blocks: (H, W, 3)."""
    bits = np.array([number >> bit & 1 for bit in range(8)]).reshape(2, 4)
    blocks = np.where(bits, 220, 30).astype(np.uint8)
    pixels = blocks.repeat(-(-size[1] // 2), 0).repeat(-(-size[0] // 4), 1)[: size[1], : size[0]]
    return np.stack([pixels] * 3, -1)


def number_of(image: np.ndarray | torch.Tensor) -> int:
    """The number that `picture` drew into (H, W, 3)."""
    gray = np.asarray(image, dtype=float).mean(-1)
    height, width = gray.shape
    middles = gray[height // 4 :: height // 2, width // 8 :: width // 4][:2, :4]
    return sum(1 << bit for bit, level in enumerate(middles.ravel()) if level > 125)


def write_video(
    path: Path | str,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = SIZE,
    times: Sequence[int] = range(FRAMES),
    time_base: Fraction = Fraction(1, 25),
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    gop: int = 12,
    b_frames: int = 0,
) -> None:
    """Pictures of 0, 1, 2 … shown at `times`."""
    if codec == "libsvtav1" and multiprocessing.parent_process() is None:
        # Run by root, SVT-AV1 gives its caller real-time priority, which would starve all other processes from then on.
        options_of_all = {
            "codec": codec, "pixel_format": pixel_format, "size": size, "times": times, "time_base": time_base,
            "options": options, "container_options": container_options, "gop": gop, "b_frames": b_frames,
        }  # fmt: skip
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            process.submit(write_video, path, **options_of_all).result()
        return
    if codec == "libx264" and options is None:
        options = {"x264-params": X264}
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=1 / time_base, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = time_base
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, size), "rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
