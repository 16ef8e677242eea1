"""New encodings by PyAV's own account of them: frames, times, keyframes, size."""

from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from av.video.frame import PictureType

from kinema.data.video import open_video
from kinema.errors import UserError
from kinema.prepare.encoding import EncodingOptions, encode, output_size
from kinema.prepare.resize import prepare_resize
from tests.data.drawn_videos import FRAMES, number_of, write_video


def frames_of(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def keyframes_of(path: Path) -> list[int]:
    return [number for number, frame in enumerate(frames_of(path)) if frame.key_frame]


def test_every_frame_stays_with_its_time(tmp_path: Path) -> None:
    """A variable frame rate: pauses and bursts."""
    times = [k + 7 * (k // 20) for k in range(FRAMES)]
    write_video(tmp_path / "in.mp4", times=times)
    encode(str(tmp_path / "in.mp4"), tmp_path / "out.mp4", EncodingOptions(short_side=32))
    found = list(frames_of(tmp_path / "out.mp4"))
    assert [number_of(frame.to_ndarray(format="rgb24")) for frame in found] == list(range(FRAMES))
    assert [round(frame.time * 25) for frame in found] == times
    assert (found[0].width, found[0].height) == (42, 32)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dense": True}, range(0, FRAMES, 16)),
        ({"keyframes": 8}, range(0, FRAMES, 8)),
        ({"all_intra": True}, range(FRAMES)),
        ({}, [0]),
    ],
)
def test_keyframes_stand_where_asked(tmp_path: Path, options: dict[str, int], expected: list[int]) -> None:
    write_video(tmp_path / "in.mp4")
    encode(str(tmp_path / "in.mp4"), tmp_path / "out.mp4", EncodingOptions(short_side=32, **options))
    assert keyframes_of(tmp_path / "out.mp4") == list(expected)
    with av.open(str(tmp_path / "out.mp4")) as container:
        kinds = {PictureType(frame.pict_type).name for frame in container.decode(video=0)}
    assert kinds == ({"I"} if "all_intra" in options else {"I", "P", "B"})


def test_without_b_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "in.mp4")
    encode(str(tmp_path / "in.mp4"), tmp_path / "out.mp4", EncodingOptions(short_side=32, b_frames=False))
    assert {PictureType(frame.pict_type).name for frame in frames_of(tmp_path / "out.mp4")} == {"I", "P"}


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        ((640, 480), {}, (342, 256)),
        ((480, 640), {}, (256, 342)),
        ((176, 144), {}, (312, 256)),
        ((176, 144), {"keep_small": True}, (176, 144)),
        ((177, 145), {"keep_small": True}, (176, 144)),
        ((500, 500), {"short_side": 112}, (112, 112)),
        ((2000, 10), {"short_side": 2}, (400, 2)),
    ],
)
def test_sizes_are_even_and_keep_proportions(
    size: tuple[int, int], options: dict[str, int], expected: tuple[int, int]
) -> None:
    assert output_size(*size, EncodingOptions(**options)) == expected


def test_turned_videos_come_out_upright(tmp_path: Path) -> None:
    """As telephones write them: lying frames and a note to turn them by a quarter."""
    write_video(tmp_path / "in.mp4", size=(64, 48))
    with av.open(str(tmp_path / "in.mp4")) as reading, av.open(str(tmp_path / "turned.mp4"), "w") as writing:
        stream = writing.add_stream_from_template(reading.streams.video[0])
        for packet in reading.demux(reading.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                writing.mux(packet)
    data = bytearray((tmp_path / "turned.mp4").read_bytes())
    one, place = (1 << 16).to_bytes(4, "big"), data.rindex(b"tkhd") + 4 + 40
    nothing, minus_one, last = bytes(4), (-(1 << 16)).to_bytes(4, "big", signed=True), (1 << 30).to_bytes(4, "big")
    turn = [nothing, one, nothing, minus_one, nothing, nothing, (48 << 16).to_bytes(4, "big"), nothing, last]
    data[place : place + 36] = b"".join(turn)
    (tmp_path / "turned.mp4").write_bytes(data)
    shown = open_video(str(tmp_path / "turned.mp4"), reader="pyav").frames([5])
    assert shown.shape[1:3] == (64, 48)
    encode(str(tmp_path / "turned.mp4"), tmp_path / "out.mp4", EncodingOptions(short_side=48))
    encoded = open_video(str(tmp_path / "out.mp4"), reader="pyav").frames([5])
    assert encoded.shape == shown.shape
    assert (encoded.int() - shown.int()).abs().float().mean() < 6


def test_damaged_videos_fail_with_a_reason_and_leave_nothing(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write_video(source / "whole.mp4", container_options={"movflags": "faststart"})
    whole = (source / "whole.mp4").read_bytes()
    (source / "short.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (source / "empty.mp4").touch()
    (source / "text.mp4").write_text("no video")
    summary = prepare_resize(source, tmp_path / "out", EncodingOptions(short_side=32), workers=1)
    assert (summary.done, summary.exit_code) == (1, 1)
    assert {Path(path).name for path in summary.failures} == {"short.mp4", "empty.mp4", "text.mp4"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["failures.csv", "resize.json", "whole.mp4"]


def test_trees_keep_their_names_and_are_done_once(tmp_path: Path) -> None:
    for place in ("a/x.avi", "a/b/y.mp4", "z.mkv"):
        (tmp_path / "in" / place).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "in" / place, codec="mpeg4", times=range(12))
    options = EncodingOptions(short_side=32, dense=True)
    assert prepare_resize(tmp_path / "in", tmp_path / "out", options, workers=2).done == 3
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.mp4")}
    assert {str(path.relative_to(tmp_path / "out")) for path in made} == {"a/x.mp4", "a/b/y.mp4", "z.mp4"}
    assert all(len(list(frames_of(path))) == 12 for path in made)
    again = prepare_resize(tmp_path / "in", tmp_path / "out", options, workers=2)
    assert (again.done, again.kept) == (0, 3)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    with pytest.raises(UserError, match=r"short_side 32 \(now 48\)"):
        prepare_resize(tmp_path / "in", tmp_path / "out", EncodingOptions(short_side=48, dense=True))
    (tmp_path / "list.txt").write_text("in/a.mp4 0\n")
    with pytest.raises(UserError, match=r"list\.txt' is a list: give the folder"):
        prepare_resize(tmp_path / "list.txt", tmp_path / "out", options)
    with pytest.raises(UserError, match="lies in the source"):
        prepare_resize(tmp_path / "in", tmp_path / "in" / "out", options)


def test_two_wishes_for_keyframes_are_refused() -> None:
    with pytest.raises(UserError, match="--dense and --all-intra"):
        _ = EncodingOptions(dense=True, all_intra=True).spacing


def test_real_clips(shared: Path, tmp_path: Path) -> None:
    """One of each kind: H.264, H.265, MPEG-4 in AVI with packed frames, 10 bits."""
    for name in ("test.mp4", "h265_video.mp4", "test.avi", "h264_10bits.mp4"):
        source = shared / "data" / "clips" / name
        target = tmp_path / f"{name}.mp4"
        encode(str(source), target, EncodingOptions(short_side=64, preset="ultrafast"))
        shown = sum(1 for _ in frames_of(source))
        assert abs(len(list(frames_of(target))) - shown) <= 1, name
