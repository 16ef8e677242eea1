"""New encodings by PyAV's own account of them: frames, times, keyframes, size."""

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image

from kinema.data.options import DataOptions
from kinema.errors import MediaError, UserError
from kinema.prepare.check import check_video
from kinema.prepare.decoding import count_frames
from kinema.prepare.encoding import encode, output_size
from kinema.prepare.options import CheckOptions, EncodingOptions, ResizeOptions
from kinema.prepare.resize import prepare_resize
from kinema.tasks.recognition.predictor import open_frames
from tests.data.drawn_videos import FRAMES, number_of, picture, write_video


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


def test_a_video_becomes_the_same_file_in_each_run(tmp_path: Path) -> None:
    """At a width that is no multiple of 256, where x264 by itself does not keep to that on CPUs with AVX-512."""
    moving = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(tmp_path / "in.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuvj420p"
        for number in range(25):
            image = np.ascontiguousarray(moving[number : number + 256, 2 * number : 2 * number + 340])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "gray8").reformat(format="yuvj420p")))
        container.mux(stream.encode(None))
    outputs = [tmp_path / f"{number}.mp4" for number in range(5)]
    for output in outputs:
        encode(str(tmp_path / "in.avi"), output, EncodingOptions())
    assert len({output.read_bytes() for output in outputs}) == 1


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


ORIENTATIONS = {
    "as it is": ((1, 0, 0, 1), lambda image: image),
    "quarter": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "half": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "three quarters": ((0, -1, 1, 0), np.rot90),
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "upside down": ((1, 0, 0, -1), np.flipud),
    "transposed": ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    "transposed over the other diagonal": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
}
"""a, b, c and d of a display matrix, by which a pixel (x, y) is shown at (a x + c y, b x + d y), and what it does."""


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_videos_come_out_upright(name: str, tmp_path: Path) -> None:
    """As telephones write them: lying frames, and a note to turn them; mirrored ones from cameras in front."""
    matrix, shown = ORIENTATIONS[name]
    write_video(tmp_path / "plain.mp4", size=(64, 48))
    write_matrix(tmp_path / "plain.mp4", tmp_path / "in.mp4", matrix)
    encode(str(tmp_path / "in.mp4"), tmp_path / "out.mp4", EncodingOptions(short_side=48, crf=1))
    with av.open(str(tmp_path / "plain.mp4")) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    encoded = list(frames_of(tmp_path / "out.mp4"))
    assert len(encoded) == len(plain)
    for number in (0, 21, FRAMES - 1):  # in each, the eight blocks differ otherwise
        expected = shown(plain[number]).astype(int)
        assert np.abs(encoded[number].to_ndarray(format="rgb24") - expected).mean() < 3
    assert not any(frame.rotation for frame in encoded)


def write_matrix(source: Path, target: Path, matrix: tuple[int, int, int, int]) -> None:
    """Copy an MP4 file with another display matrix in the header of its only track."""
    data = bytearray(source.read_bytes())
    place = data.rindex(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(data)


@pytest.mark.parametrize("turned", [False, True])
def test_proportions_of_pixels_stay_or_become_square(turned: bool, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "plain.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 72, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(32, 27)
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number, (72, 48)), format="rgb24")))
        container.mux(stream.encode(None))
    write_matrix(tmp_path / "plain.mp4", tmp_path / "in.mp4", (0, 1, -1, 0) if turned else (1, 0, 0, 1))
    expected = {False: ((72, 48), Fraction(32, 27)), True: ((86, 48), None)}  # 72 · 32 / 27 = 85.3
    for square, ((width, height), aspect) in expected.items():
        encode(str(tmp_path / "in.mp4"), tmp_path / "out.mp4", EncodingOptions(short_side=48, square_pixels=square))
        with av.open(str(tmp_path / "out.mp4")) as container:
            stream = container.streams.video[0]
            found = (stream.width, stream.height), stream.sample_aspect_ratio or None
        assert found == (((height, width), aspect and 1 / aspect) if turned else ((width, height), aspect))


ODD = ["cut.ts", "first.mp4", "h2.mkv", "hflip.mp4", "nostss.mp4", "null.avi", "o.ogv", "paff.mp4", "paff.ts"]
ODD += ["sar.mp4", "trim.mp4", "vp8.webm"]
"""Healthy files, some of which have other numbers of packets, or of frames by their own account, than of frames."""


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_healthy_and_keep_the_frames_and_times_that_ffmpeg_shows(
    name: str, shared: Path, tmp_path: Path
) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("the program ffmpeg, which says what is right, is not installed")
    source = shared / "data" / "odd_media" / name
    decode = ["ffmpeg", "-v", "error", "-i", str(source), "-map", "0:v:0", "-vsync", "0"]
    listed = subprocess.run([*decode, "-f", "framecrc", "-"], check=True, capture_output=True, text=True).stdout
    rows = [line.split(",") for line in listed.splitlines() if not line.startswith("#")]
    unit = Fraction(next(line.split()[-1] for line in listed.splitlines() if line.startswith("#tb")))
    times = [int(row[2]) * unit for row in rows]
    assert count_frames(str(source)) == len(times)

    encode(str(source), tmp_path / "out.mp4", EncodingOptions(short_side=48, crf=1))
    found = list(frames_of(tmp_path / "out.mp4"))
    assert [frame.time for frame in found] == pytest.approx([float(time - times[0]) for time in times], abs=1e-3)
    height, width = found[0].height, found[0].width
    scaled = ["-vf", f"scale={width}:{height}:flags=bicubic", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    shown = subprocess.run([*decode, *scaled], check=True, capture_output=True).stdout
    pictures = np.frombuffer(shown, np.uint8).reshape(len(times), height, width, 3)
    for frame, expected in zip(found, pictures, strict=True):
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - expected).mean() < 6


def test_dropped_frames_leave_a_gap(tmp_path: Path) -> None:
    """AVI holds an empty packet for each frame that is dropped; none may stand in for a frame, nor count as one."""
    times = [0, 1, 2, 7, 8, 20, 21, 22, 40]
    write_video(tmp_path / "in.avi", codec="mpeg4", times=times, gop=1)
    assert count_frames(str(tmp_path / "in.avi")) == len(times)
    encode(str(tmp_path / "in.avi"), tmp_path / "out.mp4", EncodingOptions(short_side=32))
    assert [round(frame.time * 25) for frame in frames_of(tmp_path / "out.mp4")] == times


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mp4", "mpeg4"), ("a.avi", "mpeg4"), ("a.avi", "mjpeg")]
)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated_files_are_bad(name: str, codec: str, kept: float, tmp_path: Path) -> None:
    options = {"movflags": "faststart"} if name.endswith(".mp4") else None
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    write_video(tmp_path / name, codec=codec, pixel_format=pixels, container_options=options)
    whole = (tmp_path / name).read_bytes()
    start = whole.index(b"mdat" if name.endswith(".mp4") else b"movi")
    end = len(whole) if name.endswith(".mp4") else whole.rindex(b"idx1")
    (tmp_path / name).write_bytes(whole[: start + int(kept * (end - start))])
    with pytest.raises(MediaError, match=rf"it ends after \d+ of its {FRAMES} frames|can(not)? be decoded"):
        count_frames(str(tmp_path / name))


@pytest.mark.parametrize("name", ["song.mp3", "song.m4a", "notes.mp4", "pipe.mp4", "picture.mp4"])
def test_what_is_no_video_is_said_to_be_none(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "notes.mp4":
        path.write_text("no video, but text\n" * 40)
    elif name == "pipe.mp4":
        os.mkfifo(path)
    elif name == "picture.mp4":
        Image.fromarray(picture(3)).save(path, format="jpeg")
    else:
        write_song_with_cover(path)
    for reason in (check_video(CheckOptions(dataset=path), False, (0, str(path))).reason, reason_of(path)):
        assert re.search(r"no video|pipe", reason)


def reason_of(path: Path) -> str:
    """Why a model cannot be asked about a file."""
    with pytest.raises(MediaError) as caught:
        open_frames(path, DataOptions())
    return caught.value.reason


def write_song_with_cover(path: Path) -> None:
    """Sound, and a picture that players show beside it."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("the program ffmpeg, which writes such files, is not installed")
    Image.fromarray(picture(3)).save(path.with_suffix(".jpg"))
    sound = ["-f", "lavfi", "-i", "sine=duration=1", "-i", str(path.with_suffix(".jpg"))]
    cover = ["-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v:0", "attached_pic"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *sound, *cover, str(path)], check=True)


def test_frames_of_several_sizes_are_refused_as_in_training(tmp_path: Path) -> None:
    """A transport stream whose picture grows halfway, as broadcasts have them."""
    for name, size in (("a.ts", (64, 48)), ("b.ts", (96, 64))):
        write_video(tmp_path / name, codec="mpeg2video", size=size, times=range(12))
    both = tmp_path / "both.ts"
    both.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    for work in (count_frames, lambda path: encode(path, tmp_path / "out.mp4", EncodingOptions())):
        with pytest.raises(MediaError, match="differ in size"):
            work(str(both))


def test_damaged_videos_fail_with_a_reason_and_leave_nothing(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write_video(source / "whole.mp4", container_options={"movflags": "faststart"})
    whole = (source / "whole.mp4").read_bytes()
    (source / "short.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (source / "empty.mp4").touch()
    (source / "text.mp4").write_text("no video")
    summary = prepare_resize(ResizeOptions(source=source, output=tmp_path / "out", short_side=32, workers=1))
    assert (summary.done, summary.exit_code) == (1, 1)
    assert {Path(path).name for path in summary.failures} == {"short.mp4", "empty.mp4", "text.mp4"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["failures.csv", "resize.json", "whole.mp4"]


def test_trees_keep_their_names_and_are_done_once(tmp_path: Path) -> None:
    for place in ("a/x.avi", "a/b/y.mp4", "z.mkv"):
        (tmp_path / "in" / place).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "in" / place, codec="mpeg4", times=range(12))
    options = ResizeOptions(source=tmp_path / "in", output=tmp_path / "out", short_side=32, dense=True, workers=2)
    assert prepare_resize(options).done == 3
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.mp4")}
    assert {str(path.relative_to(tmp_path / "out")) for path in made} == {"a/x.mp4", "a/b/y.mp4", "z.mp4"}
    assert all(len(list(frames_of(path))) == 12 for path in made)
    again = prepare_resize(options)
    assert (again.done, again.kept) == (0, 3)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    with pytest.raises(UserError, match=r"short_side 32 \(now 48\)"):
        prepare_resize(ResizeOptions(source=tmp_path / "in", output=tmp_path / "out", short_side=48, dense=True))
    (tmp_path / "list.txt").write_text("in/a.mp4 0\n")
    with pytest.raises(UserError, match=r"list\.txt' is a list: pass the folder"):
        prepare_resize(replace(options, source=tmp_path / "list.txt"))
    with pytest.raises(UserError, match="is inside the source"):
        prepare_resize(replace(options, output=tmp_path / "in" / "out"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dense": True, "all_intra": True}, "--dense and --all-intra"),
        ({"short_side": 255}, "--short-side: found 255"),
        ({"crf": 52}, "--crf: found 52"),
        ({"keyframes": -1}, "--keyframes: found -1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.mp4").touch()
    with pytest.raises(UserError, match=message):
        prepare_resize(ResizeOptions(source=tmp_path / "in", output=tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()


def test_real_clips(shared: Path, tmp_path: Path) -> None:
    """One of each kind: H.264, H.265, MPEG-4 in AVI with packed frames, 10 bits."""
    for name in ("test.mp4", "h265_video.mp4", "test.avi", "h264_10bits.mp4"):
        source = shared / "data" / "clips" / name
        target = tmp_path / f"{name}.mp4"
        encode(str(source), target, EncodingOptions(short_side=64, preset="ultrafast"))
        shown = sum(1 for _ in frames_of(source))
        assert abs(len(list(frames_of(target))) - shown) <= 1, name
