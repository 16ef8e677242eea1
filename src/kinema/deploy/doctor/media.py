"""Checks of FFmpeg and the decoders, by a video and an image that are encoded here and decoded."""

import tempfile
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinema.data.kinds import Reader
from kinema.data.readers.sources import open_video
from kinema.deploy.doctor.result import Result
from kinema.errors import MediaError, UserError

_FRAMES, _HEIGHT, _WIDTH = 24, 64, 96
_TOLERANCE = 6.0
"""Mean difference in gray levels that compression may cause."""


def check_ffmpeg() -> Iterator[Result]:
    """Yield the FFmpeg in PyAV, and the system's own."""
    import av

    system = find_library("avcodec")
    found = f"{av.ffmpeg_version_info} in PyAV {av.__version__}; of the system: {system or 'none'}"
    if "libx264" not in av.codecs_available:
        advice = "reinstall PyAV from its wheel: pip install --force-reinstall --only-binary :all: av"
        yield Result(check="FFmpeg", state="fail", found=f"{found}; without H.264 encoder", advice=advice)
        return
    yield Result(check="FFmpeg", state="ok", found=found)


def check_decoders() -> Iterator[Result]:
    """Yield whether a video is decoded by PyAV and torchcodec, and an image by simplejpeg, to what was encoded."""
    frames = drawn_frames()
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder, "drawn.mp4")
        encode(frames, video)
        for reader, name in (("pyav", "PyAV"), ("torchcodec", "torchcodec")):
            yield _check_reader(reader, name, video, frames)  # type: ignore[arg-type]
    yield _check_jpeg(frames[0])


def drawn_frames() -> NDArray[np.uint8]:
    """Return a gradient that moves: (T, H, W, 3) uint8."""
    time, height, width = np.ogrid[:_FRAMES, :_HEIGHT, :_WIDTH]
    planes = [4 * time + 2 * height + 0 * width, 2 * width + 0 * height + 0 * time, height + width + 2 * time]
    return np.stack([np.broadcast_to(plane, (_FRAMES, _HEIGHT, _WIDTH)) for plane in planes], -1).astype(np.uint8)


def encode(frames: NDArray[np.uint8], path: Path) -> None:
    """Encode frames as H.264."""
    import av

    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10", "preset": "veryfast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _check_reader(reader: Reader, name: str, video: Path, frames: NDArray[np.uint8]) -> Result:
    try:
        decoded = open_video(str(video), reader=reader).frames([*range(_FRAMES)]).numpy()
    except (UserError, MediaError) as error:
        if reader == "torchcodec":
            advice = "it is an option (--data.reader torchcodec) and needs FFmpeg on the system: apt-get install ffmpeg"
            return Result(check=name, state="warn", found=str(error), advice=advice)
        return Result(check=name, state="fail", found=str(error), advice="pip install --force-reinstall av")
    difference = float(np.abs(decoded.astype(int) - frames.astype(int)).mean())
    found = f"decodes {_FRAMES} frames of H.264, {difference:.1f} gray levels from what was encoded"
    if difference > _TOLERANCE:
        return Result(check=name, state="fail", found=found, advice=f"reinstall {name}: its pixels are wrong")
    return Result(check=name, state="ok", found=found)


def _check_jpeg(image: NDArray[np.uint8]) -> Result:
    try:
        import simplejpeg

        decoded = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(image, quality=95))
    except (ImportError, OSError, ValueError) as error:
        advice = "pip install --force-reinstall simplejpeg"
        return Result(check="simplejpeg", state="fail", found=str(error), advice=advice)
    difference = float(np.abs(decoded.astype(int) - image.astype(int)).mean())
    state, advice = ("ok", "") if difference <= _TOLERANCE else ("fail", "reinstall simplejpeg: its pixels are wrong")
    found = f"decodes a JPEG, {difference:.1f} gray levels from what was encoded"
    return Result(check="simplejpeg", state=state, found=found, advice=advice)  # type: ignore[arg-type]
