"""Short previews of videos for a page."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from kinema.data.readers.reader import FrameReader
from kinema.report.render import CLOCK, Frame, encode_video

SECONDS, SIDE = 2.0, 160
"""Length of a preview, and the largest size of its shorter side in pixels."""
_FPS, _CRF = 15, 30
_LONGEST = 3 * SIDE


def preview(reader: FrameReader, *, fps: float = 16.0) -> bytes:
    """Return the middle two seconds of a video as MP4 (H.264), at most 160 px high or wide.

    Args:
        reader: Video to show.
        fps: Frame rate of videos without time stamps.

    Raises:
        MediaError: It cannot be read.
    """
    rate = reader.fps or fps
    count = min(len(reader), max(1, round(SECONDS * rate)))
    first = (len(reader) - count) // 2
    # The frame rate is reduced, the speed is not.
    shown = np.linspace(first, first + count - 1, min(count, max(1, round(count / rate * _FPS)))).round().astype(int)
    frames = reader.frames(shown.tolist()).numpy()
    ticks = np.round(np.arange(len(shown) + 1) * count / rate / len(shown) * CLOCK).astype(int).tolist()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "preview.mp4")
        encode_video(_resized(frames), ticks, file, crf=_CRF)
        return file.read_bytes()


def _resized(frames: np.ndarray) -> Iterator[Frame]:
    height, width, channels = frames.shape[1:]
    scale = min(1.0, SIDE / min(height, width), _LONGEST / max(height, width))
    size = tuple(max(2, round(side * scale / 2) * 2) for side in (width, height))
    for frame in frames:
        # Optical flow has two channels, which are shown as red and green.
        rgb = frame if channels == 3 else np.dstack([frame, np.full((height, width), 128, np.uint8)])
        yield np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
