"""Opening of videos of any source, from any storage."""

import functools
import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

import av

from kinema.data.kinds import FLOW, Reader, Source
from kinema.data.readers.frame_names import Numbered, numbers_by_template, why
from kinema.data.readers.packed import open_packed
from kinema.data.readers.rawframes import open_flow, open_rawframes
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.timed_video import TimedVideo, timed
from kinema.data.readers.video.known_tables import KnownTables
from kinema.data.readers.video.pyav_reader import PyAVReader
from kinema.errors import MediaError, UserError
from kinema.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Opener:
    """Opens videos of one source."""

    source: Source
    storage: Storage
    template: str = "auto"
    """Names of images in a folder; see `open_rawframes` and `open_flow`."""
    first: int = 1
    """Number of the first image, with a template."""
    usual: Numbered | None = None
    """Names of the images in most folders, if known; see `open_rawframes`."""
    reader: Reader = "auto"
    """Decoder of video files; see `open_video`."""
    known: KnownTables | None = None
    """Tables of videos that are opened again and again; see `open_video`."""

    def load(self) -> None:
        """Import what decodes the videos, which may take longer than a video.

        Raises:
            UserError: the reader does not load.
        """
        if self.source == "video" and _by_torchcodec(self.reader):
            import_module("kinema.data.readers.video.torchcodec_reader")

    def open(self, path: str, count: int | None = None) -> FrameReader:
        """Open the video at `path`, a local path or a URL; `count` is the number of images listed for it.

        Raises:
            MediaError: it cannot be read.
            UserError: the template is faulty, or the reader does not load.
        """
        match self.source:
            case "rawframes":
                return open_rawframes(
                    path, template=self.template, count=count, first=self.first, storage=self.storage, usual=self.usual
                )
            case "flow":
                return open_flow(path, template=self.template, count=count, first=self.first, storage=self.storage)
            case "packed" | "packed_flow":
                return open_packed(path, storage=self.storage, flow=self.source in FLOW)
            case "video":
                return open_video(self.file(path), path=path, reader=self.reader, known=self.known)

    def open_timed(self, path: str) -> TimedVideo:
        """Open the video at `path` at a constant frame rate, by its time stamps where it is a video file.

        Raises:
            MediaError: it cannot be read.
            UserError: the template is faulty, or the reader does not load.
        """
        if self.source != "video":
            return timed(self.open(path), None)
        file = self.file(path)
        return timed(open_video(file, path=path, reader=self.reader), file)

    def file(self, path: str) -> str | bytes:
        """Return what a decoder opens: a local path, or the bytes at a URL.

        Raises:
            MediaError: it cannot be read.
        """
        try:
            return self.storage.local(path)
        except OSError as error:
            raise MediaError(path, why(error)) from None

    def find_first(self, folder: str) -> int:
        """The number that images named by `template` are counted from: 0 where `folder` has an image 0, else 1."""
        try:
            numbers = numbers_by_template(self.template, folder, self.storage, axis="x" * (self.source == "flow"))
        except MediaError:  # raised again when the folder is read
            return 1
        return 0 if 0 in numbers else 1


def open_video(
    source: str | bytes, *, path: str = "", reader: Reader = "auto", threads: int = 1, known: KnownTables | None = None
) -> FrameReader:
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
        known: Tables of files opened before, so that long ones are not indexed each time; this file's is added.

    Raises:
        MediaError: the file is missing, holds no video or cannot be decoded.
        UserError: `reader` is torchcodec, which does not load here.
    """
    path = path or (source if isinstance(source, str) else "video in memory")
    exact = PyAVReader(source, path=path, threads=threads, by_tables=reader == "auto", known=known)
    # torchcodec relies on the container's keyframe flags and rotation, and does not mirror frames.
    if not _by_torchcodec(reader) or not exact.table.plain or exact.table.turned or exact.orientation.mirrors:
        return exact
    from kinema.data.readers.video.torchcodec_reader import TorchCodecReader

    try:
        return TorchCodecReader(source, exact, threads=threads)
    except (RuntimeError, ValueError):
        return exact


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


def describe_reader(source: Source, reader: Reader = "auto") -> str:
    """Return what decodes the frames of a source, for logs. Loads the libraries that decode videos.

    Raises:
        UserError: see `reader_in_use`.
    """
    return f"frames are decoded by {reader_in_use(reader) if source == 'video' else 'simplejpeg and Pillow'}"


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
