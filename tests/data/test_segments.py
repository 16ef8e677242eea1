"""Segments of videos as rows, against decoding from the start and comparing times."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.crops import RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.dataset import ClipDataset, VideoFiles, ViewDataset, open_train_index
from kinema.data.lists.annotations import read_index
from kinema.data.lists.index import Index
from kinema.data.lists.overlap import count_common
from kinema.data.options import DataOptions
from kinema.data.readers.packed import PackHeader, write_packed
from kinema.data.readers.segment_reader import read_segment
from kinema.data.readers.segments import Segment, without_fragment
from kinema.data.readers.sources import open_video
from kinema.data.readers.video import known_tables
from kinema.data.readers.video.known_tables import KnownTables
from kinema.data.readers.video.table import FrameTable
from kinema.data.samples import SampleKey
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.errors import MediaError, UserError
from tests.data.drawn_videos import FRAMES, READERS, number_of, write_video
from tests.data.test_rawframes import write_frame

UNEVEN = np.cumsum([0, *([1, 9, 2, 30] * FRAMES)[: FRAMES - 1]]).tolist()  # of 1/100 s
VIDEOS: dict[str, dict[str, Any]] = {
    "constant.mp4": {},
    "ntsc.mp4": {"time_base": Fraction(1001, 30000)},
    "uneven.mp4": {"times": UNEVEN, "time_base": Fraction(1, 100)},
    "uneven.mkv": {"times": UNEVEN, "time_base": Fraction(1, 100)},
    "late.mkv": {"times": [time + 40 for time in UNEVEN], "time_base": Fraction(1, 100)},
    "uneven.ts": {"times": UNEVEN, "time_base": Fraction(1, 100)},
    "vp9.webm": {"codec": "libvpx-vp9", "times": UNEVEN, "time_base": Fraction(1, 100)},
}
EVERYTHING = Sampling(clip_len=1, num_clips=1)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, options in VIDEOS.items():
        write_video(folder / name, **options)
    return folder


def decoded(path: Path) -> list[tuple[float, int]]:
    """Time in seconds, from the start of the file, and number of every frame, decoded in order."""
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / av.time_base
        return [
            (float(frame.pts * frame.time_base) - start, number_of(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(video=0)
        ]


def shown(frames: Sequence[tuple[float, int]], start: float, end: float) -> list[int]:
    """The frames that are on the screen at some time from `start` to `end`, but for a millisecond."""
    until = [*(time for time, _ in frames[1:]), np.inf]
    return [
        number for (time, number), over in zip(frames, until, strict=True) if time < end - 1e-3 and over > start + 1e-3
    ]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", VIDEOS)
def test_a_segment_has_the_frames_shown_in_it(name: str, reader: Any, videos: Path) -> None:
    frames, known = decoded(videos / name), KnownTables()
    rng = np.random.default_rng(len(name))
    bounds = np.sort(rng.uniform(0, frames[-1][0], (12, 2)), axis=1)
    on_frames = [(frames[start][0], frames[end][0]) for start, end in ((0, 12), (12, 13), (13, 40))]
    rounded = [(round(start, 3), round(end, 3)) for start, end in on_frames]
    for start, end in [*bounds.tolist(), *on_frames, *rounded]:
        video = open_video(str(videos / name), reader=reader, known=known)
        segment = read_segment(video, Segment(start, end, "seconds"))
        wanted = shown(frames, start, end)
        assert len(segment) == len(wanted)
        assert [number_of(image) for image in segment.frames(range(len(segment)))] == wanted
        assert number_of(segment.frames([len(wanted) - 1])[0]) == wanted[-1]
        for outside in (-1, len(wanted)):
            with pytest.raises(IndexError):
                segment.frames([outside])


def test_the_packets_of_a_file_are_read_once(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kinema.data.readers.video import pyav_reader

    scans = list[str]()

    def counted(name: str) -> None:
        function = getattr(pyav_reader, name)
        monkeypatch.setattr(pyav_reader, name, lambda *given, **named: scans.append(name) or function(*given, **named))

    counted("scan")
    counted("table_from_boxes")
    for name in ("uneven.mkv", "uneven.mp4"):
        scans.clear()
        known = KnownTables()
        for start in (0.1, 2.5, 4.0):
            video = open_video(str(videos / name), known=known)
            read_segment(video, Segment(start, start + 1, "seconds")).frames([0, 1])
        assert len(scans) == 1


def test_tables_of_changed_and_of_old_files_are_dropped(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.bin" for number in range(3)]
    tables = [FrameTable(count=40, times=[number] * 40) for number in range(3)]
    known = KnownTables(most=100)
    for path, table in zip(paths, tables, strict=True):
        path.write_bytes(b"x")
        known.put(str(path), table, quick=False)
    assert known.get(str(paths[0])) is None
    for number in (1, 2):
        found = known.get(str(paths[number]))
        assert found is not None
        assert [*found.table.times] == tables[number].times
    paths[1].write_bytes(b"xy")
    assert known.get(str(paths[1])) is None
    known.put(str(paths[0]), FrameTable(count=101), quick=False)  # more than all
    assert known.get(str(paths[0])) is None
    assert known_tables.KnownTables().get(b"bytes") is None


def write_list(path: Path, lines: Sequence[str]) -> DataOptions:
    path.write_text("\n".join(lines) + "\n")
    return DataOptions(train=str(path))


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_clips_and_views_stay_within_their_segment(data: st.DataObject, videos: Path) -> None:
    start = data.draw(st.integers(0, FRAMES - 1))
    end = data.draw(st.integers(start + 1, FRAMES))
    sampling = Sampling(
        clip_len=data.draw(st.integers(1, 8)),
        frame_interval=data.draw(st.integers(1, 6)),
        num_clips=data.draw(st.integers(1, 4)),
        joined=data.draw(st.booleans()),
    )
    options = write_list(
        videos / "clips.csv",
        ["path,start_frame,end_frame,label", f"constant.mp4,{start},{end},0", "constant.mp4,0,60,1"],
    )
    index = open_train_index(options)
    crop = TrainCrop(box=RandomResizedCrop(area=(1, 1), aspect=(4 / 3, 4 / 3)), size=24, flip=0)  # the whole frame
    train = ClipDataset(index, [TrainClip(sampling=sampling, crop=crop)], options)
    views = ViewDataset(index, Views(sampling=sampling, crops=ViewCrops(short_side=24, size=24)), options)
    for dataset in (train, views):
        result = dataset[SampleKey(0, 0)]
        assert result.sample is not None
        images = result.sample.inputs.movedim(-3, -1).flatten(0, 1)
        assert {number_of(image) for image in images} <= set(range(start, end))


def test_samples_of_segments_depend_on_the_key_alone(videos: Path) -> None:
    lines = [f"uneven.mp4,{start},{start + 0.8},{start % 2}" for start in range(6)]
    options = write_list(videos / "keys.csv", ["path,start,end,label", *lines])
    index = open_train_index(options)
    clip = TrainClip(sampling=Sampling(clip_len=2, frame_interval=2), crop=TrainCrop(box=RandomResizedCrop(), size=24))
    keys = [SampleKey(epoch, row) for epoch in range(2) for row in range(6)]

    def read(order: Sequence[SampleKey]) -> dict[SampleKey, np.ndarray]:
        dataset = ClipDataset(index, [clip], options, seed=1)
        return {key: dataset[key].sample.inputs.numpy() for key in order}  # type: ignore[union-attr]

    one, other = read(keys), read(keys[::-1])
    assert all((one[key] == other[key]).all() for key in keys)


def test_a_segment_beyond_the_end_is_a_bad_sample_named_by_its_row(videos: Path) -> None:
    lines = ["path,start,end,label", "constant.mp4,0,1,0", "constant.mp4,2,2.95,1", "constant.mp4,2.3,2.8,1"]
    options = write_list(videos / "beyond.csv", [*lines, "constant.mp4,2.5,2.6,0", "none.mp4,1,2,0"])
    index = open_train_index(options)
    files = VideoFiles(index, options, [EVERYTHING])
    assert files.read(0, len) == 25
    assert files.read(2, len) == 3  # the last frames; what is beyond the end is rounding
    for row, reason in ((1, "the segment ends at 2.95 s of a video of 2.40 s"), (3, "the segment begins at 2.5 s")):
        with pytest.raises(MediaError) as fault:
            files.read(row, len)
        assert fault.value.path == index.name(row)
        assert fault.value.reason.startswith(reason)
        assert fault.value.reason.endswith(f"({videos / 'beyond.csv'}:{row + 2})")
    with pytest.raises(MediaError) as fault:
        files.read(4, len)
    assert fault.value.path == f"{videos / 'none.mp4'}#t=1,2"


def test_frames_of_folders_and_packed_files(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for number in range(1, 11):
        write_frame(tmp_path / "x" / f"img_{number:05}.jpg", number)
    images = [(tmp_path / "x" / f"img_{number:05}.jpg").read_bytes() for number in range(1, 11)]
    with av.open(str(tmp_path / "x" / "img_00001.jpg")) as image:
        height, width = image.streams.video[0].height, image.streams.video[0].width
    header = PackHeader(height=height, width=width, frames=10, every=1, fps=Fraction(2))
    write_packed(tmp_path / "x.pack", header, images)
    write_packed(tmp_path / "y.pack", PackHeader(height=height, width=width, frames=10, every=1, fps=None), images)
    header_line = "path,frames,start,end,start_frame,end_frame,label"
    (tmp_path / "list.csv").write_text(f"{header_line}\nx,10,1,2.5,2,5,0\n")
    (tmp_path / "packs.csv").write_text("path,start,end,label\nx.pack,1,2.5,0\ny.pack,1,2.5,0\n")

    folders = DataOptions(train=str(tmp_path / "list.csv"), source="rawframes")
    packs = DataOptions(train=str(tmp_path / "packs.csv"), source="packed")
    for options in (folders, packs):
        index = open_train_index(options)
        files = VideoFiles(index, options, [EVERYTHING])
        frames = files.read(0, lambda video: video.frames(range(len(video))))
        assert [round(frame[..., 2].float().mean().item() / 20) for frame in frames] == [3, 4, 5]
    with pytest.raises(MediaError, match="it has no frame rate"):
        files.read(1, len)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a.mp4,2,2,0", "the start is not before the end"),
        ("a.mp4,3,2.5,0", "the start is not before the end"),
        ("a.mp4,-1,2,0", "the start is negative"),
        ("a.mp4,,2,0", "no start"),
        ("a.mp4,1,,0", "no end"),
        ("a.mp4,1,1_0,0", "the end is not a number of seconds"),
        ("a.mp4,nan,2,0", "the start is not a number of seconds"),
        ("a.mp4,0,inf,0", "the end is not a number of seconds"),
        ("a.mp4,0,1e999,0", "the end is infinite"),
        ("a.mp4,00:01,00:02,0", "the start is not a number of seconds"),
        (",1,2,0", "no path"),
        ("a.mp4,1,2,", "the label is not a whole number"),
    ],
)
def test_faulty_seconds_are_named_by_row(row: str, problem: str, tmp_path: Path) -> None:
    good = "a.mp4,1,2,0"
    (tmp_path / "list.csv").write_text("\n".join(["path,start,end,label", good, row, good, row]) + "\n")
    with pytest.raises(UserError) as fault:
        read_index(tmp_path / "list.csv", kind="video")
    lines = str(fault.value).splitlines()
    for line, number in zip(lines, (3, 5), strict=False):
        assert line.startswith(f"{tmp_path / 'list.csv'}:{number}: {problem}")
    assert "0 <= start < end, in seconds" in lines[-1]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,9,1.5,3,0", "the start is not a whole number from 0 on"),
        ("a,9,-1,3,0", "the start is not a whole number from 0 on"),
        ("a,9,3,3,0", "the start is not before the end"),
        ("a,9,3,10,0", "the end is beyond the 9 frames of the video"),
        ("a,x,3,10,0", "the number of frames is not a whole number"),
    ],
)
def test_faulty_frames_are_named_by_row(row: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,frames,start_frame,end_frame,label\na,9,0,9,0\n{row}\n")
    with pytest.raises(UserError, match=f"list.csv:3: {problem}"):
        read_index(tmp_path / "list.csv", kind="rawframes")


@pytest.mark.parametrize(
    ("header", "kind", "problem"),
    [
        ("path,start,label", "video", "no column 'end'"),
        ("path,end_frame,label", "video", "no column 'start_frame'"),
        ("path,start,end,label", "rawframes", "folders of images have no times"),
    ],
)
def test_incomplete_columns_are_refused(header: str, kind: Any, problem: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"{header}\n")
    with pytest.raises(UserError, match=problem):
        read_index(tmp_path / "list.csv", kind=kind)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(1e-3, 1e5)), min_size=1), st.booleans())
def test_what_is_written_is_read(bounds: list[tuple[float, float]], frames: bool) -> None:
    import tempfile

    ends = [(int(start), int(start + span) + 1) if frames else (start, start + span) for start, span in bounds]
    columns = "start_frame,end_frame" if frames else "start,end"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "list.tsv")
        rows = [f"path,{columns},label", *(f"a.mp4,{start!r},{end!r},0" for start, end in ends)]
        path.write_text("\n".join(rows).replace(",", "\t"))
        index = read_index(path, kind="video")
    found = [index.segment(row) for row in range(len(index))]
    assert found == [Segment(start, end, "frames" if frames else "seconds") for start, end in ends]
    names = {index.name(row): segment for row, segment in enumerate(found)}
    assert len(names) == len(set(ends))  # segments are told apart
    assert {without_fragment(name)[0] for name in names} == {index.path(0)}


SPANS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 8), st.integers(1, 5)), min_size=1, max_size=12)


@given(SPANS, SPANS, st.booleans(), st.booleans())
def test_common_segments_are_those_that_overlap(
    rows: list[tuple[str, int, int]], others: list[tuple[str, int, int]], whole: bool, frames: bool
) -> None:
    def index(ones: list[tuple[str, int, int]], *, whole: bool = False, frames: bool = False) -> Index:
        from dataclasses import replace

        import torch

        from kinema.data.lists.index import index_paths

        plain = index_paths([path for path, _, _ in ones], source="list.csv", root="/r")
        segments = torch.tensor([(start, start + span) for _, start, span in ones])
        return plain if whole else replace(plain, segments=segments.int() if frames else segments.double())

    comparable = not whole and not frames
    expected = sum(
        any(
            path == other and (not comparable or (start < begin + length and begin < start + span))
            for other, begin, length in others
        )
        for path, start, span in rows
    )
    assert count_common(index(rows, whole=whole), index(others, frames=frames)) == expected
