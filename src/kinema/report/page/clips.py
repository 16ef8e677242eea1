"""Short previews of videos for a page."""

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kinema.data.readers.reader import FrameReader
from kinema.report.render import CLOCK, Frame, encode_video

SECONDS, SIDE = 2.0, 160
"""Length of a preview, and the largest size of its shorter side in pixels."""
_FPS, _CRF, _QUALITY = 15, 30, 70
_LONGEST = 3 * SIDE


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The middle of a video as MP4 (H.264), and its middle frame as JPEG, which is shown until it plays."""

    video: bytes
    poster: bytes


def preview(reader: FrameReader, *, fps: float = 16.0) -> Preview:
    """Return the middle two seconds of a video, at most 160 px on its shorter side.

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
    pictures = _resized(frames)
    poster = io.BytesIO()
    Image.fromarray(pictures[len(pictures) // 2]).save(poster, "JPEG", quality=_QUALITY)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "preview.mp4")
        encode_video(iter(pictures), ticks, file, crf=_CRF)
        return Preview(video=file.read_bytes(), poster=poster.getvalue())


def _resized(frames: np.ndarray) -> list[Frame]:
    height, width, channels = frames.shape[1:]
    scale = min(1.0, SIDE / min(height, width), _LONGEST / max(height, width))
    size = tuple(max(2, round(side * scale / 2) * 2) for side in (width, height))
    if channels != 3:  # optical flow, shown as red and green
        frames = np.concatenate([frames, np.full((*frames.shape[:3], 1), 128, np.uint8)], axis=3)
    return [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) for frame in frames]
