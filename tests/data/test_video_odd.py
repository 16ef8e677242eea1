"""Videos out of the ordinary: every reader shows the frames that FFmpeg's program shows, whatever was asked before."""

import io
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from kinema.data.kinds import Reader
from kinema.data.readers.sources import open_video
from kinema.data.readers.timed_video import frame_times
from kinema.data.readers.video.orientation import Orientation
from kinema.errors import MediaError
from tests.data.drawn_videos import READERS, number_of
from tests.data.fields import write_fields
from tests.data.odd_videos import (
    all_keyframes,
    copy,
    first_unmarked,
    from_packet,
    from_second_keyframe,
    join,
    not_coded,
    packed_bitstream,
    replaced,
    shown_by_ffmpeg,
    two_descriptions,
    write,
)

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")

X264 = {"x264-params": "keyint=10:scenecut=0:bframes=2"}
X265 = {"x265-params": "keyint=10:scenecut=0:bframes=3:log-level=none"}
OPEN_265 = {"x265-params": "keyint=12:scenecut=0:bframes=4:open-gop=1:log-level=none"}
SMALL_BLOCKS = {"x265-params": "keyint=10:ctu=16:ref=1:log-level=none"}
INTERLACED = {"x264-params": "keyint=10:bframes=2:tff=1"}
ODD_MEDIA = {
    "cut.ts": 25, "first.mp4": 25, "h2.mkv": 24, "hflip.mp4": 2, "nostss.mp4": 25, "null.avi": 10, "o.ogv": 19,
    "paff.mp4": 6, "paff.ts": 6, "sar.mp4": 5, "trim.mp4": 20, "vp8.webm": 50,
}  # fmt: skip


def assert_shows(path: Path, reader: Reader, *, count: int | None = None) -> None:
    """The frames are those of FFmpeg, in a row, backwards and shuffled, and asked alone of a new reader."""
    expected = shown_by_ffmpeg(path).astype(int)
    numbers = range(len(expected))
    assert count is None or len(expected) == count, "the test's own video"
    opened = open_video(str(path), reader=reader)
    assert len(opened) == len(expected)
    shuffled = random.Random(0).sample(numbers, len(numbers))
    for video, indices in ((opened, [*reversed(numbers)]), (opened, shuffled), (None, shuffled[:4])):
        for index in indices:
            frame = (video or open_video(str(path), reader=reader)).frames([index])[0].numpy()
            assert frame.shape == expected[index].shape
            assert np.abs(frame - expected[index]).mean() < 3, index
    assert (
        np.abs(open_video(str(path), reader=reader).frames(numbers).numpy() - expected).mean(axis=(1, 2, 3)).max() < 3
    )
    assert len(frame_times(str(path))) == len(expected)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ODD_MEDIA)
def test_odd_media(shared: Path, name: str, reader: Reader) -> None:
    assert_shows(shared / "data" / "odd_media" / name, reader, count=ODD_MEDIA[name])


def fields(path: Path) -> Path:
    return write_fields(path, frames=6)


def hidden(path: Path, codec: str) -> Path:
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}
    return write(path, codec=codec, times=range(50), options=options)


def split_superframes(path: Path) -> Path:
    source = hidden(path.with_stem("source"), "libvpx-vp9")
    arguments = ["ffmpeg", "-v", "error", "-i", str(source), "-c", "copy", "-bsf:v", "vp9_superframe_split", str(path)]
    subprocess.run(arguments, check=True)
    return path


def changed(path: Path, codec: str, change: Callable[[list[av.Packet]], list[av.Packet]], **options: Any) -> Path:
    return copy(write(path.with_stem("source"), codec=codec, **options), path, change)


def open_start(path: Path) -> Path:
    return changed(path, "libx265", from_second_keyframe, options=OPEN_265, times=range(40))


def fragmented_unmarked(path: Path) -> Path:
    source = write(path.with_stem("source"), codec="libx264", options=X264)
    return copy(source, path, first_unmarked, movflags="frag_every_frame+empty_moov")


def described_twice(path: Path, *, codec: str = "libx264", second: dict[str, Any]) -> Path:
    options = X264 if codec == "libx264" else X265
    parts = [write(path.with_stem("one"), codec=codec, options=options)]
    parts.append(write(path.with_stem("two"), codec=codec, **{"options": options, **second}))
    return two_descriptions(parts, path)


KINDS: dict[str, tuple[int | None, Callable[[Path], Path]]] = {
    "fields.mp4": (6, fields),
    "fields.mkv": (6, fields),
    "fields.ts": (6, fields),
    "fields.avi": (6, fields),
    "hidden_vp8.webm": (50, partial(hidden, codec="libvpx")),
    "hidden_vp8.ivf": (50, partial(hidden, codec="libvpx")),
    "hidden_vp9.mkv": (50, partial(hidden, codec="libvpx-vp9")),
    "split_vp9.ivf": (50, split_superframes),
    "not_coded.avi": (20, partial(changed, codec="mpeg4", change=not_coded(5))),
    "not_coded.mkv": (13, partial(changed, codec="mpeg4", change=not_coded(2))),
    "not_coded.mp4": (20, partial(changed, codec="mpeg4", change=not_coded(5))),
    "packed.avi": (25, partial(changed, codec="mpeg4", change=packed_bitstream(announced=True), b_frames=1)),
    "unannounced.avi": (13, partial(changed, codec="mpeg4", change=packed_bitstream(announced=False), b_frames=1)),
    "cut_h264.ts": (15, partial(changed, codec="libx264", change=from_packet(5), options=X264)),
    "cut_h264.mp4": (15, partial(changed, codec="libx264", change=from_packet(5), options=X264)),
    "cut_mpeg2.ts": (None, partial(changed, codec="mpeg2video", change=from_packet(5), b_frames=2)),
    "cut_mpeg2.mkv": (None, partial(changed, codec="mpeg2video", change=from_packet(5), b_frames=2)),
    "cut_mpeg4.avi": (None, partial(changed, codec="mpeg4", change=from_packet(3))),
    "cut_vp9.webm": (None, partial(changed, codec="libvpx-vp9", change=from_packet(3))),
    "open_gop.mkv": (None, open_start),
    "open_gop.mp4": (None, open_start),
    "all_mpeg4.mp4": (25, partial(changed, codec="mpeg4", change=all_keyframes)),
    "all_flv1.flv": (25, partial(changed, codec="flv", change=all_keyframes)),
    "all_h263.3gp": (25, partial(changed, codec="h263", change=all_keyframes, size=(128, 96))),
    "all_wmv2.asf": (25, partial(changed, codec="wmv2", change=all_keyframes)),
    "all_msmpeg4.avi": (25, partial(changed, codec="msmpeg4", change=all_keyframes)),
    "all_hevc.mp4": (25, partial(changed, codec="libx265", change=all_keyframes, options=X265)),
    "all_h264.mp4": (25, partial(changed, codec="libx264", change=all_keyframes, options=X264)),
    "first_h264.mp4": (25, partial(changed, codec="libx264", change=first_unmarked, options=X264)),
    "first_fragments.mp4": (25, fragmented_unmarked),
    "first_vp9.mp4": (25, partial(changed, codec="libvpx-vp9", change=first_unmarked)),
    "first_mpeg4.mp4": (25, partial(changed, codec="mpeg4", change=first_unmarked)),
    "first_h263.avi": (25, partial(changed, codec="h263", change=first_unmarked, size=(128, 96))),
    "two_hevc.mp4": (50, partial(described_twice, codec="libx265", second={"options": SMALL_BLOCKS})),
    "two_interlaced.mp4": (50, partial(described_twice, second={"options": INTERLACED})),
    "two_444.mov": (50, partial(described_twice, second={"pixel_format": "yuv444p"})),
}  # fmt: skip


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of KINDS with this name, written when it is first asked for."""

    @cache
    def written(name: str) -> Path:
        return KINDS[name][1](tmp_path_factory.mktemp("videos") / name)

    return written


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", KINDS)
def test_frames_are_those_that_ffmpeg_shows(video: Callable[[str], Path], name: str, reader: Reader) -> None:
    assert_shows(video(name), reader, count=KINDS[name][0])


@pytest.mark.parametrize("name", KINDS)
def test_tables_change_nothing(video: Callable[[str], Path], name: str) -> None:
    """MP4 tables and the decoder that goes with them, against a pass over the packets."""
    with_tables, without = (open_video(str(video(name)), reader=reader) for reader in ("auto", "pyav"))
    assert torch.equal(with_tables.frames(range(len(with_tables))), without.frames(range(len(without))))
    assert with_tables.fps == without.fps


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("turn", "orientation"), [
    ("rotate=90", Orientation(transpose=True, flip_vertical=True)),
    ("rotate=180", Orientation(flip_horizontal=True, flip_vertical=True)),
    ("flip=horizontal", Orientation(flip_horizontal=True)),
])  # fmt: skip
def test_orientation_in_h264(reader: Reader, turn: str, orientation: Orientation, tmp_path: Path) -> None:
    """Named in the packets of keyframes only, it holds for all frames."""
    source, path = write(tmp_path / "source.mp4", codec="libx264", options=X264), tmp_path / "video.mp4"
    metadata = f"h264_metadata=display_orientation=insert:{turn}"
    arguments = ["ffmpeg", "-v", "error", "-i", str(source), "-c", "copy", "-bsf:v", metadata, str(path)]
    subprocess.run(arguments, check=True)
    lying = open_video(str(source), reader=reader).frames([13, 0, 24])
    upright = open_video(str(path), reader=reader).frames([13, 0, 24])
    assert np.abs(shown_by_ffmpeg(path)[0].astype(int) - upright[1].numpy()).mean() < 3
    for one, other in zip(lying.numpy(), upright.numpy(), strict=True):
        np.testing.assert_array_equal(orientation.upright(one), other)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_in_mjpeg(reader: Reader, value: int, tmp_path: Path) -> None:
    tag = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HHI", value, 0, 0)
    segment = b"\xff\xe1" + struct.pack(">H", len(tag) + 8) + b"Exif\0\0" + tag

    def with_tag(packets: list[av.Packet]) -> list[av.Packet]:
        return [replaced(packet, b"\xff\xd8" + segment + bytes(packet)[2:]) for packet in packets]

    source = write(tmp_path / "source.mkv", codec="mjpeg", pixel_format="yuvj420p", times=range(3))
    frames = open_video(str(copy(source, tmp_path / "video.mkv", with_tag)), reader=reader).frames([2, 0])
    with Image.open(io.BytesIO(next(bytes(p) for p in av.open(str(tmp_path / "video.mkv")).demux(video=0)))) as jpeg:
        expected = np.asarray(ImageOps.exif_transpose(jpeg).convert("RGB"))
    assert frames[1].shape == expected.shape
    assert np.abs(expected.astype(int) - frames[1].numpy()).mean() < 3


def tagged(path: Path, tags: tuple[int, int] | None) -> Path:
    """H.264 with start codes: 12 pictures that get lighter; colour space and range as FFmpeg numbers them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={**X264, "qp": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if tags:
            stream.codec_context.colorspace, stream.codec_context.color_range = tags
        for number in range(12):
            planes = np.repeat(np.array([60 + 8 * number, 90, 160], np.uint8), [48 * 64, 24 * 32, 24 * 32])
            frame = av.VideoFrame.from_ndarray(planes.reshape(72, 64), "yuv420p")
            if tags:
                frame.colorspace, frame.color_range = tags
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("suffix", ["h264", "mp4", "avi"])
@pytest.mark.parametrize("parts", [[None, (1, 1)], [(1, 1), None], [(1, 1), (9, 2)], [None, (9, 2), None]])
def test_colours_that_change(reader: Reader, suffix: str, parts: list[tuple[int, int] | None], tmp_path: Path) -> None:
    pieces = [tagged(tmp_path / f"{number}.h264", tags) for number, tags in enumerate(parts)]
    path = join(pieces, tmp_path / "all.mp4" if suffix == "h264" else tmp_path / f"all.{suffix}")
    assert_shows(path.with_suffix(f".{suffix}"), reader)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["video.h264", "video.mp4"])
def test_sizes_that_change_are_refused_at_once(reader: Reader, name: str, tmp_path: Path) -> None:
    sizes = [(64, 48), (96, 64)]
    suffix = Path(name).suffix
    parts = [
        write(tmp_path / f"{width}{suffix}", codec="libx264", options=X264, size=(width, height), times=range(12))
        for width, height in sizes
    ]
    path = tmp_path / name
    if suffix == ".mp4":
        two_descriptions(parts, path)
    else:
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(MediaError, match="frame 12 is 96x64 and frame 0 is 64x48"):
        open_video(str(path), reader=reader)


@pytest.mark.parametrize("reader", READERS)
def test_encrypted(reader: Reader, tmp_path: Path) -> None:
    source, path = write(tmp_path / "source.mp4", codec="libx264", options=X264), tmp_path / "video.mp4"
    encryption = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "0" * 32, "-encryption_kid", "1" * 32]
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(source), "-c", "copy", *encryption, str(path)], check=True)
    with pytest.raises(MediaError, match="encrypted"):
        open_video(str(path), reader=reader)


@pytest.mark.parametrize("reader", READERS)
def test_scrambled_transport_stream(reader: Reader, tmp_path: Path) -> None:
    path = write(tmp_path / "video.ts", codec="libx264", options=X264)
    data = bytearray(path.read_bytes())
    for start in range(0, len(data), 188):
        if data[start + 1] & 31 == 1:  # the video's packets: 0x100
            data[start + 3] |= 0x80
            data[start + 12 : start + 188] = random.Random(start).randbytes(176)
    path.write_bytes(data)
    with pytest.raises(MediaError):
        open_video(str(path), reader=reader)


NO_VIDEOS = {
    "notes.txt": b"a line of text\n" * 100,
    "notes.nfo": b"a line of text\n" * 100,
    "list.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nvideo.mp4\n",
    "list.ffconcat": b"ffconcat version 1.0\nfile video.mp4\n",
    "words.srt": b"1\n00:00:00,000 --> 00:00:01,000\na line\n",
    "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'></svg>",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", [*NO_VIDEOS, "image.jpg", "image.png", "image.webp", "image.bmp", "image.avif"])
def test_what_ffmpeg_shows_and_is_no_video(reader: Reader, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write(tmp_path / "video.mp4", codec="libx264", options=X264)
    if name in NO_VIDEOS:
        path.write_bytes(NO_VIDEOS[name])
    else:
        Image.new("RGB", (64, 48)).save(path)
    with pytest.raises(MediaError, match="no video file"):
        open_video(str(path), reader=reader)


@pytest.mark.parametrize("reader", READERS)
def test_cover_art_is_no_video(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    Image.new("RGB", (64, 48)).save(tmp_path / "cover.jpg")
    sources = ["-f", "lavfi", "-i", "sine=duration=1", "-i", str(tmp_path / "cover.jpg")]
    arguments = ["-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic", str(path)]
    subprocess.run(["ffmpeg", "-v", "error", *sources, *arguments], check=True)
    with pytest.raises(MediaError, match="only a cover image"):
        open_video(str(path), reader=reader)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("video.flv", {"codec": "flv"}),
        ("video.wmv", {"codec": "wmv2"}),
        ("video.dv", {"codec": "dvvideo", "size": (720, 576), "times": range(5)}),
        ("video.mts", {"codec": "libx264", "options": X264}),
        ("video.mkv", {"codec": "libx264", "options": X264}),
        ("video.mp4", {"codec": "libx264", "options": X264}),
        ("video.vob", {"codec": "mpeg2video", "b_frames": 2}),
    ],
)
def test_frame_rate(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    assert open_video(str(write(tmp_path / name, **options))).fps == pytest.approx(25, abs=1e-9)


def test_decoded_numbers_are_those_drawn(video: Callable[[str], Path]) -> None:
    """The hand-made pictures of fields are what they should be, by their numbers."""
    assert [number_of(frame) for frame in open_video(str(video("fields.mp4"))).frames(range(6))] == [*range(6)]
