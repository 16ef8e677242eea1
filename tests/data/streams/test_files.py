"""Streams of files: the frames and times of readers, in one pass, from the start or from any moment."""

import shutil
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from kinema.data.readers.rawframes import open_rawframes
from kinema.data.readers.sources import open_video
from kinema.data.readers.timed_video import frame_times
from kinema.data.streams.files import FileStream, ReaderStream, open_file
from kinema.data.streams.stream import images_at
from kinema.errors import MediaError
from tests.data.drawn_videos import number_of, picture, write_video
from tests.data.test_video_odd import KINDS, ODD_MEDIA
from tests.data.test_video_orientation import with_matrix
from tests.data.test_video_orientation import write as write_turned

VARIABLE = [0, 1, 2, 10, 11, 40, 41, 42, 43, 44, 60, 100, 101, 102, 103]


def assert_same_as_reader(path: Path) -> None:
    """Frames and times are those of the random-access reader, for one and for several threads."""
    expected = open_video(str(path)).frames(range(len(open_video(str(path))))).numpy()
    times = frame_times(str(path))
    for threads in (1, 0):
        frames = list(FileStream(str(path), path=str(path), threads=threads))
        assert len(frames) == len(expected), threads
        assert np.allclose([frame.seconds for frame in frames], times, atol=1e-3), threads
        for frame, image in zip(frames, expected, strict=True):
            assert np.array_equal(frame.image(), image), threads


DIVX = {"not_coded.avi", "not_coded.mp4", "unannounced.avi"}
"""Frames that are not coded, or packed unannounced: only all packets tell that the last one is none, or their times."""


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")
@pytest.mark.parametrize("name", [name for name in KINDS if name not in DIVX])
def test_unusual_files(name: str, tmp_path: Path) -> None:
    assert_same_as_reader(KINDS[name][1](tmp_path / name))


@pytest.mark.parametrize("name", ODD_MEDIA)
def test_odd_media(shared: Path, name: str) -> None:
    assert_same_as_reader(shared / "data" / "odd_media" / name)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx265"), ("a.webm", "libvpx-vp9"), ("a.ts", "libx264")]
)
def test_variable_frame_rates(name: str, codec: str, tmp_path: Path) -> None:
    write_video(tmp_path / name, codec=codec, times=VARIABLE)
    assert_same_as_reader(tmp_path / name)
    frames = list(open_file(str(tmp_path / name)))
    assert np.allclose([frame.seconds for frame in frames], np.array(VARIABLE) / 25, atol=1e-3)
    assert [number_of(frame.image()) for frame in frames] == [*range(len(VARIABLE))]


@pytest.mark.parametrize("factors", [(0, 1, -1, 0), (-1, 0, 0, -1), (-1, 0, 0, 1)])
def test_frames_are_upright(factors: tuple[int, int, int, int], tmp_path: Path) -> None:
    write_turned(tmp_path / "plain.mp4")
    turned = with_matrix(tmp_path / "plain.mp4", factors)
    assert_same_as_reader(turned)


def test_odd_sizes(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", size=(63, 47), pixel_format="yuv444p", times=range(5))
    assert_same_as_reader(tmp_path / "a.mkv")


CONTAINERS = [
    ("a.mp4", "libx264"),
    ("a.mkv", "libx264"),
    ("a.ts", "libx264"),
    ("a.avi", "libx264"),
    ("a.mkv", "libx265"),
]


@pytest.mark.parametrize(("name", "codec"), CONTAINERS)
def test_a_stream_begins_with_a_frame_that_is_shown_then(name: str, codec: str, tmp_path: Path) -> None:
    write_video(tmp_path / name, codec=codec, times=range(60), b_frames=2)
    whole = [(frame.seconds, frame.image()) for frame in open_file(str(tmp_path / name))]
    for begin in (0.0, 0.3, 0.479, 0.48, 0.481, 1.0, 2.3, 9.0):
        stream = open_file(str(tmp_path / name))
        stream.begin(begin)
        frames = [(frame.seconds, frame.image()) for frame in stream]
        assert frames[0][0] <= max(begin, whole[0][0])
        rest = whole[-len(frames) :]
        assert np.allclose([one for one, _ in frames], [one for one, _ in rest])
        needed = [k for k, (seconds, _) in enumerate(rest) if seconds >= begin]
        assert all(np.array_equal(frames[k][1], rest[k][1]) for k in needed)
        if stream.seekable and begin > 1:
            assert len(frames) < len(whole)


def test_images_at_moments(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.ts"):
        write_video(tmp_path / name, times=VARIABLE)
        opened = list[FileStream]()

        def open_one(path: str = str(tmp_path / name), opened: list[FileStream] = opened) -> FileStream:
            opened.append(open_file(path))
            return opened[-1]

        moments = [0.0, 0.05, 0.39, 1.0, 1.65, 3.99, 4.0, 100.0]
        images = images_at(open_one, moments)
        expected = [max(k for k, time in enumerate(VARIABLE) if time / 25 <= moment) for moment in moments]
        assert [number_of(image) for image in images] == expected
        assert len(opened) == (len(moments) if opened[0].seekable else 1)


def test_images_are_evenly_spaced(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(40):
        Image.fromarray(picture(number)).save(tmp_path / f"img_{number + 1:05}.png")
    stream = ReaderStream(open_rawframes(str(tmp_path)), fps=8)
    assert stream.seconds == 5
    frames = list(stream)
    assert [frame.seconds for frame in frames] == [number / 8 for number in range(40)]
    assert [number_of(frame.image()) for frame in frames] == [*range(40)]
    stream = ReaderStream(open_rawframes(str(tmp_path)), fps=8)
    stream.begin(3.3)
    assert [number_of(frame.image()) for frame in stream] == [*range(26, 40)]


def test_a_damaged_file_gives_the_frames_that_decode(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.ts", times=range(60))
    data = bytearray((tmp_path / "whole.ts").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    (tmp_path / "damaged.ts").write_bytes(data)
    frames = list(open_file(str(tmp_path / "damaged.ts")))
    assert 30 < len(frames) <= 60
    assert all(one.seconds < other.seconds for one, other in pairwise(frames))
    (tmp_path / "cut.mkv").write_bytes(_cut(tmp_path))
    assert 0 < len(list(open_file(str(tmp_path / "cut.mkv")))) < 60


def _cut(folder: Path) -> bytes:
    write_video(folder / "whole.mkv", times=range(60))
    data = (folder / "whole.mkv").read_bytes()
    return data[: len(data) // 2]


def test_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(MediaError, match=r"text.mp4: it is "):
        open_file(str(tmp_path / "text.mp4"))
    with pytest.raises(MediaError, match=r"absent.mp4: No such file"):
        open_file(str(tmp_path / "absent.mp4"))


def test_a_file_is_closed_where_iteration_ends_early(tmp_path: Path) -> None:
    import psutil

    write_video(tmp_path / "a.mp4", times=range(60))
    for _ in range(3):
        for _frame in open_file(str(tmp_path / "a.mp4")):
            break
    stream = open_file(str(tmp_path / "a.mp4"))
    frames = iter(stream)
    next(frames)
    stream.close()
    assert next(frames, None) is None
    assert str(tmp_path / "a.mp4") not in [file.path for file in psutil.Process().open_files()]


@pytest.mark.parametrize("times", [range(0, 60, 2), [0, 1, 30, 31, 59]])
def test_the_rate_is_the_average(times: Sequence[int], tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", times=times, time_base=Fraction(1, 25))
    stream = open_file(str(tmp_path / "a.mp4"))
    assert stream.fps == pytest.approx(open_video(str(tmp_path / "a.mp4")).fps, rel=0.3)
    assert stream.seconds == pytest.approx((times[-1] + 1) / 25, abs=0.5)
