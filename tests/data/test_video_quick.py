"""MP4 files of H.264 read by their tables, against a pass over their packets and sequential decoding."""

import struct
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.readers.video.mp4 import read_delays, table_from_boxes
from kinema.data.readers.video.nal import H264
from kinema.data.readers.video.pyav_reader import PyAVReader
from kinema.data.readers.video.quick import QUICK, QuickDecoder
from kinema.data.readers.video.rgb import to_rgb
from kinema.data.readers.video.table import FrameTable, decode_table, scan
from tests.data.drawn_videos import FRAMES, X264, number_of, write_video

JUMPS = np.cumsum([0, *([1, 4, 2, 7] * FRAMES)[: FRAMES - 1]]).tolist()
PLAIN: dict[str, dict[str, object]] = {
    "b_frames": {},
    "dense": {"options": {"x264-params": "keyint=16:bframes=3:b-pyramid=normal:ref=3"}},
    "one_keyframe": {"options": {"x264-params": "keyint=1000:bframes=3"}},
    "only_keyframes": {"options": {"x264-params": "keyint=1"}},
    "without_b_frames": {"options": {"x264-params": "keyint=12:bframes=0"}},
    "open_gop": {"options": {"x264-params": f"{X264}:open-gop=1"}},
    "refreshed": {"options": {"x264-params": "keyint=12:scenecut=0:bframes=0:intra-refresh=1"}},
    "late": {"times": range(1000, 1000 + FRAMES)},
    "variable_rate": {"times": JUMPS, "time_base": Fraction(1, 100)},
    "tables_first": {"container_options": {"movflags": "faststart"}},
}
OTHER: dict[str, tuple[str, dict[str, object]]] = {
    "fragmented": ("mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "hidden_frames": (
        "mp4", {"times": range(-20, FRAMES - 20), "container_options": {"avoid_negative_ts": "disabled"}},
    ),
    "negative_delays": ("mp4", {"container_options": {"movflags": "negative_cts_offsets"}}),
    "interlaced": ("mp4", {"options": {"x264-params": f"{X264}:tff=1"}}),
    "hevc": ("mp4", {"codec": "libx265", "options": {"x265-params": "keyint=12:bframes=4"}}),
    "mpeg4": ("mp4", {"codec": "mpeg4", "b_frames": 2}),
    "matroska": ("mkv", {}),
    "avi": ("avi", {"options": {"x264-params": "keyint=12:bframes=0"}}),
}  # fmt: skip


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of PLAIN or OTHER with this name, written when it is first asked for."""
    folder = tmp_path_factory.mktemp("videos")

    @cache
    def written(name: str) -> Path:
        suffix, options = OTHER.get(name, ("mp4", PLAIN.get(name, {})))
        path = folder / f"{name}.{suffix}"
        write_video(path, **options)  # type: ignore[arg-type]
        return path

    return written


def tables(path: Path) -> FrameTable | None:
    delays = read_delays(str(path))
    if delays is None:
        return None
    with av.open(str(path), **QUICK) as container:
        stream = container.streams.video[0]
        return table_from_boxes(container, stream, delays, H264(stream.codec_context.extradata or b""))


def scanned(path: Path) -> FrameTable:
    with av.open(str(path)) as container:
        table = scan(container, container.streams.video[0], path=str(path))
    return table or decode_table(str(path), path=str(path), threads=1)


@pytest.mark.parametrize("name", PLAIN)
def test_tables_say_what_the_packets_do(video: Callable[[str], Path], name: str) -> None:
    found, expected = tables(video(name)), scanned(video(name))
    assert found is not None
    assert (found.times, found.stamps, found.time_base) == (expected.times, expected.stamps, expected.time_base)
    if name == "refreshed":  # the container calls keyframes what only starts to refresh the picture
        assert set(found.keyframes) > set(expected.keyframes)
    else:
        assert found.keyframes == expected.keyframes
    opened = PyAVReader(str(video(name)), path="a video")
    assert opened.by_tables
    assert opened.fps == expected.fps
    assert len(opened) == expected.count == FRAMES


@pytest.mark.parametrize("name", OTHER)
def test_what_is_out_of_the_ordinary_is_left_to_its_packets(video: Callable[[str], Path], name: str) -> None:
    opened = PyAVReader(str(video(name)), path="a video")
    assert not opened.by_tables
    assert opened.table == scanned(video(name))


@settings(max_examples=15, deadline=None)
@given(
    calls=st.lists(
        st.tuples(st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=8), st.booleans()), min_size=1, max_size=4
    )
)
@pytest.mark.parametrize("name", PLAIN)
def test_no_call_changes_what_the_next_one_gives(
    video: Callable[[str], Path], name: str, calls: list[tuple[list[int], bool]]
) -> None:
    """Whether the decoder was made to give away what it holds, or more was promised and never asked for."""
    opened = PyAVReader(str(video(name)), path="a video")
    for indices, more in calls:
        assert [number_of(frame) for frame in opened.frames(indices, more=more)] == indices


def test_pixels_are_those_of_sequential_decoding(video: Callable[[str], Path]) -> None:
    """To the last bit, through the same conversion."""
    for name in PLAIN:
        path = str(video(name))
        with av.open(path) as container:
            expected = torch.from_numpy(np.stack([to_rgb(frame) for frame in container.decode(video=0)]))
        for step in (1, 2, 7, 16):
            opened = PyAVReader(path, path=path)
            for start in range(0, FRAMES, 8 * step):
                indices = range(start, min(start + 8 * step, FRAMES), step)
                assert opened.frames(indices, more=start % 3 == 0).equal(expected[indices]), (name, step, start)


def box(data: bytes, kind: bytes) -> int:
    assert data.count(kind) == 1
    return data.index(kind) + 4


def run_too_long(data: bytearray) -> None:
    struct.pack_into(">I", data, box(data, b"ctts") + 8, FRAMES + 1)


def rows_beyond_the_table(data: bytearray) -> None:
    struct.pack_into(">I", data, box(data, b"ctts") + 4, 2**31)


def equal_times(data: bytearray) -> None:
    place = box(data, b"ctts")
    for row in range(struct.unpack_from(">I", data, place + 4)[0]):
        struct.pack_into(">I", data, place + 12 + 8 * row, 0 if row % 2 else 512)


def fewer_samples(data: bytearray) -> None:
    struct.pack_into(">I", data, box(data, b"stsz") + 8, FRAMES - 3)


def twice_the_speed(data: bytearray) -> None:
    struct.pack_into(">I", data, box(data, b"elst") + 16, 0x20000)


def senseless_length(data: bytearray) -> None:
    struct.pack_into(">I", data, box(data, b"ctts") - 8, 2**31)


def cut_short(data: bytearray) -> None:
    del data[len(data) * 3 // 4 :]


@pytest.mark.parametrize(
    "change",
    [run_too_long, rows_beyond_the_table, equal_times, fewer_samples, twice_the_speed, senseless_length, cut_short],
)
def test_tables_that_lie_are_not_believed(
    video: Callable[[str], Path], change: Callable[[bytearray], None], tmp_path: Path
) -> None:
    path = tmp_path / "lying.mp4"
    data = bytearray(video("tables_first").read_bytes())
    change(data)
    path.write_bytes(data)
    found = tables(path)
    assert found is None or (found.times, found.keyframes) == (scanned(path).times, scanned(path).keyframes)
    if change is not fewer_samples and change is not twice_the_speed:
        assert found is None


class Counting:
    """A container that counts its seeks."""

    def __init__(self, container: av.container.InputContainer) -> None:
        self.seeks = 0
        self.demux = container.demux
        self._container = container

    def seek(self, time: int, *, stream: av.VideoStream) -> None:
        self.seeks += 1
        self._container.seek(time, stream=stream)


def test_reading_on_seeks_anew_once_at_most(video: Callable[[str], Path]) -> None:
    """Also for who does not say that more will follow: a seek for each call would decode a long video many times."""
    path = video("one_keyframe")
    for said, seeks in ((True, 1), (False, 2)):
        with av.open(str(path), **QUICK) as container:
            counting = Counting(container)
            decoder = QuickDecoder(counting, container.streams.video[0], scanned(path))  # type: ignore[arg-type]
            for start in range(0, FRAMES, 4):
                decoder.plan(range(start, start + 4), more=said)
                for index in range(start, start + 4):
                    frame = decoder.frame(index)
                    assert frame is not None
                    assert number_of(frame.to_ndarray(format="rgb24")) == index
            assert counting.seeks == seeks
