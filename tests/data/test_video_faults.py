"""Files that cannot be read, readers that do not load, and what readers leave behind."""

import contextlib
import ctypes
import gc
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from kinema.data.kinds import Reader
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.sources import open_video, reader_in_use
from kinema.errors import MediaError
from tests.data.drawn_videos import FRAMES, NEEDS_TORCHCODEC, READERS, number_of, write_video


def whole(path: Path) -> bytes:
    write_video(path, size=(160, 120))
    return path.read_bytes()


def cut_off(path: Path) -> None:
    data = whole(path)
    path.write_bytes(data[: data.index(b"moov")])


def unknown_codec(path: Path) -> None:
    path.write_bytes(whole(path).replace(b"avc1", b"none").replace(b"avcC", b"none"))


def only_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def no_frames(path: Path) -> None:
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 64, 48
        container.start_encoding()


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "No such file"),
    "folder": (Path.mkdir, "Is a directory"),
    "empty": (Path.touch, "empty"),
    "text": (lambda path: path.write_text("no video\n" * 1000), "no video file"),
    "noise": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(30_000)), "no video file"),
    "cut off": (cut_off, "its end is missing"),
    "unknown codec": (unknown_codec, "no video stream that can be decoded"),
    "only sound": (only_sound, "no video stream"),
    "no frames": (no_frames, "no frames"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("fault", UNREADABLE)
def test_files_that_are_no_videos(
    fault: str, reader: Reader, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write, reason = UNREADABLE[fault]
    path = tmp_path / "video.mp4"
    write(path)
    capfd.readouterr()
    with pytest.raises(MediaError, match=reason) as error:
        open_video(str(path), reader=reader)
    assert error.value.path == str(path)
    assert len(error.value.reason) < 100
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("reader", READERS)
def test_a_video_that_is_damaged_in_the_middle(
    reader: Reader, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One frame is lost, and with it those that refer to it: all up to the next keyframe."""
    path = tmp_path / "video.mp4"
    write_video(path, options={"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=0"})
    with av.open(str(path)) as container:
        packet = list(container.demux(video=0))[20]
    data = bytearray(path.read_bytes())
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    capfd.readouterr()

    def answer(video: FrameReader, index: int) -> int | str:
        try:
            return number_of(video.frames([index])[0])
        except MediaError as error:
            return error.reason.partition(" (")[0]

    video = open_video(str(path), reader=reader)
    with pytest.raises(MediaError, match=r"frame 20 cannot be decoded"):
        video.frames(range(FRAMES))
    lost = range(20, 24)
    expected = [f"frame {index} cannot be decoded" if index in lost else index for index in range(FRAMES)]
    assert [answer(video, index) for index in range(FRAMES)] == expected
    assert [answer(open_video(str(path), reader=reader), index) for index in range(FRAMES)] == expected
    assert capfd.readouterr() == ("", "")


def test_a_video_whose_frames_change_size(tmp_path: Path) -> None:
    parts = [tmp_path / "one.h264", tmp_path / "two.h264"]
    write_video(parts[0], times=range(5))
    write_video(parts[1], times=range(5), size=(96, 64))
    path = tmp_path / "both.h264"
    path.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    with pytest.raises(MediaError, match="frame 5 is 96x64 and frame 0 is 64x48"):
        open_video(str(path))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["video.mp4", "video.avi", "damaged.mp4"])
def test_readers_close_their_files(reader: Reader, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    data = whole(path)
    if name == "damaged.mp4":
        path.write_bytes(data[:200] + bytes(len(data) - 200))
    process = psutil.Process()

    def read() -> int:
        with contextlib.suppress(MediaError):
            open_video(str(path), reader=reader).frames([30, 1])
        return len(process.open_files())

    gc.disable()
    try:
        assert {read() for _ in range(5)} == {read()}
    finally:
        gc.enable()


class Mallinfo2(ctypes.Structure):
    """What glibc's malloc says of itself, in bytes."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()  # noqa: SIM905
    ]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="malloc cannot say what is in use (no glibc)")
@pytest.mark.parametrize("indices", [pytest.param([5, 1], marks=pytest.mark.slow), [FRAMES - 1]])
def test_reading_leaves_no_memory_behind(indices: list[int], tmp_path: Path) -> None:
    """Counted by malloc itself: with the loss of a packet's 150 bytes, of 200 readers 30,000 bytes remain."""
    path = str(tmp_path / "video.mp4")
    write_video(Path(path))
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2

    def in_use_after(readers: int) -> int:
        for _ in range(readers):
            open_video(path, reader="pyav").frames(indices)
        gc.collect()
        found = mallinfo2()
        return int(found.uordblks + found.hblkhd)

    in_use_after(50)
    growths = [-in_use_after(0) + in_use_after(200) for _ in range(3)]  # others may keep a block once
    assert min(growths) < 10_000


def test_name_of_the_reader() -> None:
    assert reader_in_use("pyav").startswith(f"PyAV {version('av')} (FFmpeg ")
    assert reader_in_use("auto") == reader_in_use("pyav")


@NEEDS_TORCHCODEC
def test_name_of_torchcodec() -> None:
    assert reader_in_use("torchcodec").startswith(f"torchcodec {version('torchcodec')} (FFmpeg ")


NO_LIBRARIES = """
import sys

import torch

def load(path, real=torch.ops.load_library):
    if "_core" in str(path) or "_ops" in str(path):
        raise OSError("{library}: cannot open shared object file: No such file or directory")
    return real(path)

torch.ops.load_library = load

from kinema.data.readers.sources import open_video, reader_in_use
from kinema.errors import UserError

assert "torchcodec" not in sys.modules
print(reader_in_use())
print(tuple(open_video(sys.argv[1]).frames([3]).shape))
for use in (reader_in_use, lambda reader: open_video(sys.argv[1], reader=reader)):
    try:
        use("torchcodec")
    except UserError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        ("libavutil.so.57", "FFmpeg's libraries, version 4 to 9, were not found"),
        ("libtorch_cuda.so", "libtorch_cuda.so: cannot open shared object file"),
    ],
)
def test_without_the_libraries_of_torchcodec(library: str, reason: str, tmp_path: Path) -> None:
    pytest.importorskip("torchcodec", exc_type=ImportError)
    path = tmp_path / "video.mp4"
    write_video(path)
    script = NO_LIBRARIES.replace("{library}", library)
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    in_use, shape, *refusals = done.stdout.splitlines()
    assert in_use.startswith(f"PyAV {version('av')}")
    assert shape == "(1, 48, 64, 3)"
    assert len(refusals) == 2
    for refusal in refusals:
        assert reason in refusal
        assert "'auto'" in refusal
    assert done.stderr == ""
