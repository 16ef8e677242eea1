"""The video readers against plain sequential decoding by PyAV."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kinema.data.kinds import Reader
from kinema.data.readers.sources import open_video
from kinema.errors import MediaError
from tests.data.drawn_videos import FRAMES, READERS, X264, number_of, write_video


def jumps(*steps: int) -> list[int]:
    """Times with the distances `steps`, again and again."""
    return np.cumsum([0, *(steps[i % len(steps)] for i in range(FRAMES - 1))]).tolist()


VIDEOS: dict[str, dict[str, object]] = {
    "b_frames.mp4": {},
    "one_keyframe.mp4": {"options": {"x264-params": "keyint=1000:bframes=3"}},
    "only_keyframes.mp4": {"options": {"x264-params": "keyint=1"}},
    "open_gop.mp4": {"options": {"x264-params": f"{X264}:open-gop=1"}},
    "open_gop.ts": {"options": {"x264-params": f"{X264}:open-gop=1"}},
    "recovery_points.mkv": {"options": {"x264-params": "keyint=12:scenecut=0:bframes=0:intra-refresh=1"}},
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "late_start.mp4": {"times": range(1000, 1000 + FRAMES)},
    "variable_rate.mp4": {"times": jumps(1, 4, 2, 7), "time_base": Fraction(1, 100)},
    "variable_rate.mkv": {"times": jumps(1, 4, 2, 7), "time_base": Fraction(1, 100)},
    "unknown_times.mkv": {"times": range(-20, FRAMES - 20), "container_options": {"avoid_negative_ts": "disabled"}},
    "hevc_open_gop.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=12:bframes=4:open-gop=1"}},
    "h264.avi": {"options": {"x264-params": "keyint=12:bframes=0"}},
    "h264_b_frames.avi": {},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4_b_frames.avi": {"codec": "mpeg4", "b_frames": 2},
    "mpeg4_b_frames.mp4": {"codec": "mpeg4", "b_frames": 2},
    "empty_packets.avi": {"codec": "mpeg4", "times": jumps(1, 4, 2)},
    "hidden_frames_vp8.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}},
    "hidden_frames_vp9.webm": {"codec": "libvpx-vp9", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "b_frames": 2},
    "wmv.wmv": {"codec": "wmv2"},
    "raw.h264": {},
}


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of VIDEOS with this name, written when it is first asked for."""
    folder = tmp_path_factory.mktemp("videos")

    @cache
    def written(name: str) -> Path:
        options = VIDEOS[name]
        codec = str(options.get("codec", "libx264"))
        if codec not in av.codecs_available:
            pytest.skip(f"this PyAV has no encoder {codec}")
        write_video(folder / name, **options)  # type: ignore[arg-type]
        return folder / name

    return written


@cache
def decoded(path: Path) -> list[np.ndarray]:
    """All frames of a video, in the order in which the decoder gives them."""
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


def farthest(one: torch.Tensor, other: np.ndarray) -> int:
    """The largest difference of two pixels, in grey levels."""
    return int(np.abs(one.numpy().astype(int) - other).max())


@settings(max_examples=10, deadline=None)
@example(calls=[[FRAMES - 1]])
@example(calls=[list(range(FRAMES))])
@given(calls=st.lists(st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=8), min_size=1, max_size=4))
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_those_of_sequential_decoding(
    video: Callable[[str], Path], name: str, reader: Reader, calls: list[list[int]]
) -> None:
    expected = decoded(video(name))
    assert [number_of(image) for image in expected] == list(range(FRAMES)), "the test's own video"
    opened = open_video(str(video(name)), reader=reader)
    assert len(opened) == FRAMES
    for indices in calls:
        frames = opened.frames(indices)
        assert [number_of(frame) for frame in frames] == indices
        assert max(farthest(frame, expected[index]) for frame, index in zip(frames, indices, strict=True)) <= 8


@pytest.mark.parametrize("reader", READERS)
def test_what_a_reader_says(video: Callable[[str], Path], reader: Reader) -> None:
    path = str(video("b_frames.mp4"))
    opened = open_video(path, reader=reader)
    frames = opened.frames([7, 3, 3])
    assert frames.shape == (3, 48, 64, 3)
    assert frames.dtype == torch.uint8
    assert frames.is_contiguous()
    assert opened.path == path
    assert open_video(path, reader=reader, path="a name").path == "a name"
    for outside in ([FRAMES], [-1], [0, FRAMES, 3]):
        with pytest.raises(IndexError, match=f"of a video of {FRAMES} frames"):
            opened.frames(outside)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["b_frames.mp4", "late_start.mp4", "mpeg4.avi", "mpeg4_b_frames.avi", "open_gop.ts"])
def test_constant_frame_rate(video: Callable[[str], Path], reader: Reader, name: str) -> None:
    assert open_video(str(video(name)), reader=reader).fps == pytest.approx(25, rel=0.01)


@pytest.mark.parametrize("reader", READERS)
def test_average_of_a_variable_frame_rate(video: Callable[[str], Path], reader: Reader) -> None:
    seconds = jumps(1, 4, 2, 7)[-1] / 100
    fps = open_video(str(video("variable_rate.mp4")), reader=reader).fps
    assert fps is not None
    assert (FRAMES - 1) / seconds * 0.95 <= fps <= FRAMES / seconds * 1.05


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("threads", [0, 3])
def test_threads_change_nothing(video: Callable[[str], Path], reader: Reader, threads: int) -> None:
    frames = open_video(str(video("b_frames.mp4")), reader=reader, threads=threads).frames([40, 2, 30, 29])
    assert [number_of(frame) for frame in frames] == [40, 2, 30, 29]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["b_frames.mp4", "h264_b_frames.avi"])
def test_bytes_of_a_file(video: Callable[[str], Path], reader: Reader, name: str) -> None:
    opened = open_video(video(name).read_bytes(), reader=reader)
    assert torch.equal(opened.frames([30, 2]), open_video(str(video(name)), reader=reader).frames([30, 2]))
    with pytest.raises(MediaError, match="bucket/key"):
        open_video(b"nothing", reader=reader, path="bucket/key")


@pytest.mark.parametrize("reader", READERS)
def test_a_colon_in_the_name_is_no_protocol(
    video: Callable[[str], Path], reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cam1:2.mp4").write_bytes(video("b_frames.mp4").read_bytes())
    assert number_of(open_video("cam1:2.mp4", reader=reader).frames([5])[0]) == 5


@pytest.mark.parametrize("reader", READERS)
def test_an_edit_list_hides_frames(reader: Reader, tmp_path: Path) -> None:
    """Frames before time 0 are in the file, but no player shows them."""
    path = tmp_path / "video.mp4"
    write_video(path, times=range(-20, FRAMES - 20), container_options={"avoid_negative_ts": "disabled"})
    shown = [number_of(image) for image in decoded(path)]
    assert shown[0] == 20, "the test's own video"
    opened = open_video(str(path), reader=reader)
    assert len(opened) == len(shown)
    for index in (0, len(shown) - 1, 3, 0):
        assert number_of(opened.frames([index])[0]) == shown[index]
