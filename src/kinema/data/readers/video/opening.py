"""Opening of video files with PyAV, or with torchcodec on request."""

import functools
import re
from importlib import import_module
from importlib.metadata import version
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from kinema.data.readers.reader import FrameReader
from kinema.data.readers.video.pyav_reader import PyAVReader
from kinema.errors import UserError

Reader = Literal["auto", "torchcodec", "pyav"]


def open_video(source: str | bytes, *, path: str = "", reader: Reader = "auto", threads: int = 1) -> FrameReader:
    """Open one video for random access to its frames.

    Frame `i` is the same with either library: `PyAVReader` is frame-exact for all files, torchcodec is verified
    (`TorchCodecReader`) and not used for files without reliable PTS. Frames are upright, and converted to RGB by the
    color space and range of the file. Pixels were bit-equal on every file tried (H.264, HEVC, AV1, VP9 and MPEG-4; 8
    and 10 bits; 4:2:0, 4:2:2 and 4:4:4; odd sizes) with torchcodec on FFmpeg 5.1 and PyAV on 8.1. Other versions may
    round differently: tests allow 8 gray levels, 0.5 on average.

    Args:
        source: A local path, or the bytes of a file.
        path: The name of the video in messages; by default `source` itself.
        reader: auto is PyAV: on a CPU it was the faster one in nearly every measurement (`benchmarks/readers.py`), as
            it skips non-reference frames; it loads faster, and needs no FFmpeg on the system. pyav is the same without
            the fast path for H.264 MP4 (`mp4`, `quick`), which saves 12 to 25 % of a sample of 256p videos with a
            keyframe every 16 frames, and up to 10 % of others (AMD EPYC with AVX-512). torchcodec decodes ordinary
            files, PyAV the others.
        threads: Decoding threads. 1 is best where many videos are read at a time; 0: one per core.

    Raises:
        MediaError: the file is missing, holds no video or cannot be decoded.
        UserError: `reader` is torchcodec, which does not load here.
    """
    path = path or (source if isinstance(source, str) else "video in memory")
    exact = PyAVReader(source, path=path, threads=threads, by_tables=reader == "auto")
    # torchcodec relies on the container's keyframe flags and rotation, and does not mirror frames.
    if not _by_torchcodec(reader) or not exact.table.plain or exact.table.turned or exact.orientation.mirrors:
        return exact
    from kinema.data.readers.video.torchcodec_reader import TorchCodecReader

    try:
        return TorchCodecReader(source, exact, threads=threads)
    except (RuntimeError, ValueError):
        return exact


def frame_times(source: str | bytes, *, path: str = "") -> NDArray[np.float64]:
    """Return the presentation times of the frames of a video in seconds, as players display them: (frames,), ascending.

    Element `i` belongs to frame `i` of `open_video`. Time 0 is the start of the file's earliest stream, which is the
    first frame unless sound precedes it. Times are the PTS, also for variable frame rates; without usable PTS (raw
    streams, AVI with B-frames), frames are evenly spaced.

    Args:
        source: A local path, or the bytes of a file.
        path: The name of the video in messages; by default `source` itself.

    Raises:
        MediaError: the file is missing, holds no video or cannot be decoded; or neither time stamps nor a frame rate
            are known.
    """
    path = path or (source if isinstance(source, str) else "video in memory")
    return PyAVReader(source, path=path).seconds()


def reader_in_use(reader: Reader = "auto") -> str:
    """Return the name and version of the library that `open_video` decodes with, for logs.

    Raises:
        UserError: `reader` is torchcodec, which does not load here.
    """
    pyav = f"PyAV {av.__version__} (FFmpeg {av.ffmpeg_version_info})"
    if not _by_torchcodec(reader):
        return pyav
    ffmpeg = import_module("torchcodec").ffmpeg_major_version
    return f"torchcodec {version('torchcodec')} (FFmpeg {ffmpeg}), checked by {pyav}"


def _by_torchcodec(reader: Reader) -> bool:
    if reader != "torchcodec":
        return False
    if fault := _torchcodec_fault():
        raise UserError(
            f"reader 'torchcodec' does not load: {fault}. Install FFmpeg's libraries (apt-get install ffmpeg, "
            "brew install ffmpeg or conda install ffmpeg) and the torchcodec that belongs to your torch, "
            "or use reader 'auto' or 'pyav'"
        )
    return True


@functools.cache
def _torchcodec_fault() -> str:
    """Why torchcodec does not load; empty when it does."""
    # Imported at the first use only: that takes a second or two, and may fail.
    try:
        torchcodec = import_module("torchcodec")
        if torchcodec.ffmpeg_major_version is None:
            torchcodec.decoders.VideoDecoder(b"")  # raises what went wrong while it was imported
    except (ImportError, OSError, RuntimeError) as error:
        return _telling_line(str(error))
    return ""


def _telling_line(message: str) -> str:
    """The line of torchcodec's message that says what to mend: it holds an error for each FFmpeg that it looked for."""
    reasons = re.findall(r"^\w*Error: (.+)$", message, re.MULTILINE)
    others = [reason for reason in reasons if not re.match(r"lib(av|sw)", reason)]
    if reasons and not others:
        return "FFmpeg's libraries, version 4 to 9, were not found"
    return (others or message.splitlines())[0]
