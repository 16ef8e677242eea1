"""Bad videos and wrong counts are found, and the list without them is the list."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from kinema.cli import main
from kinema.data.lists.annotations import read_index
from kinema.errors import UserError
from kinema.prepare import check
from kinema.prepare.check import prepare_check
from kinema.prepare.decoding import count_frames
from kinema.prepare.options import CheckOptions
from kinema.prepare.sources import labeled_units
from kinema.storage import unfinished
from tests.data.drawn_videos import write_video
from tests.data.test_rawframes import write_frame


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A list of four videos, of which the second ends early and the third is none."""
    for name in "abcd":
        write_video(tmp_path / f"{name}.mp4", times=range(20), container_options={"movflags": "faststart"})
    whole = (tmp_path / "b.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "c.mp4").write_text("nothing")
    (tmp_path / "list.txt").write_text("a.mp4 0\nb.mp4 1\n\nc.mp4 2\nd.mp4 3\n")
    return tmp_path


def rows(report: Path) -> list[list[str]]:
    with report.open(newline="") as file:
        return list(csv.reader(file))


def test_bad_videos_are_named_and_left_out(videos: Path) -> None:
    report, clean = videos / "check.csv", videos / "clean.txt"
    summary = prepare_check(CheckOptions(dataset=videos / "list.txt", report=report, clean=clean, workers=1))
    assert (summary.videos, summary.bad, summary.miscounted, summary.exit_code) == (4, 2, 0, 1)
    found = rows(report)
    assert found[0] == ["path", "what", "found", "expected"]
    assert [(Path(row[0]).name, row[1]) for row in found[1:]] == [("b.mp4", "bad"), ("c.mp4", "bad")]
    assert all(row[2] for row in found[1:])
    assert clean.read_text() == "a.mp4 0\nd.mp4 3\n"


def test_an_interrupted_check_goes_on(videos: Path) -> None:
    """What stands in the partial report is not decoded again: here it says what no decoder would."""
    partial = unfinished(videos / "check.csv")
    partial.write_text(f"0,{videos / 'a.mp4'},,,made up,.\n3,{videos / 'd.mp4'},2")
    summary = prepare_check(CheckOptions(dataset=videos / "list.txt", report=videos / "check.csv", workers=1))
    assert summary.bad == 3
    assert rows(videos / "check.csv")[1][2] == "made up"
    assert not partial.exists()


@pytest.mark.parametrize("fix", [False, True])
def test_listed_numbers_of_frames_are_checked(tmp_path: Path, fix: bool) -> None:
    for name, frames in (("x", 5), ("y", 6)):
        (tmp_path / name).mkdir()
        for number in range(1, frames + 1):
            write_frame(tmp_path / name / f"img_{number:05}.jpg", number)
    (tmp_path / "list.txt").write_text("x 5 0\ny 7 1\n")
    summary = prepare_check(
        CheckOptions(
            dataset=tmp_path / "list.txt",
            kind="rawframes",
            report=tmp_path / "check.csv",
            clean=tmp_path / "clean.txt",
            fix_counts=fix,
            workers=1,
        )
    )
    assert (summary.bad, summary.miscounted) == (0, 1)
    assert rows(tmp_path / "check.csv")[1][1:] == ["frames", "6", "7"]
    assert (tmp_path / "clean.txt").read_text() == ("x 5 0\ny 6 1\n" if fix else "x 5 0\n")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("list.txt", " x 5 0 3\ny   7 1 2 0\n", " x 5 0 3\ny   6 1 2 0\n"),
        ("table.tsv", "path\tframes\tlabels\nx\t5\t0;3\ny\t7\t\n", "path\tframes\tlabels\nx\t5\t0;3\ny\t6\t\n"),
    ],
)
def test_numbers_of_frames_are_mended_beside_several_labels(
    name: str, text: str, expected: str, tmp_path: Path
) -> None:
    for folder, frames in (("x", 5), ("y", 6)):
        (tmp_path / folder).mkdir()
        for number in range(1, frames + 1):
            write_frame(tmp_path / folder / f"img_{number:05}.jpg", number)
    (tmp_path / name).write_text(text)
    clean = tmp_path / f"clean_{name}"
    options = CheckOptions(
        dataset=tmp_path / name,
        kind="rawframes",
        labels="multi",
        report=tmp_path / "r.csv",
        clean=clean,
        fix_counts=True,
        workers=1,
    )
    summary = prepare_check(options)
    assert (summary.bad, summary.miscounted) == (0, 1)
    assert clean.read_text() == expected


def test_a_folder_gives_a_table_of_its_sound_videos(videos: Path, tmp_path: Path) -> None:
    for name in "abcd":
        (videos / "set" / f"class {name}").mkdir(parents=True)
        (videos / f"{name}.mp4").rename(videos / "set" / f"class {name}" / f"{name}.mp4")
    clean = tmp_path / "clean.csv"
    prepare_check(CheckOptions(dataset=videos / "set", report=tmp_path / "r.csv", clean=clean, workers=2))
    index = read_index(clean, kind="video", root=str(videos / "set"))
    assert index.class_names == ("class a", "class d")
    assert all(Path(index.path(i)).exists() for i in range(len(index)))
    with pytest.raises(UserError, match=r"ends in \.csv"):
        prepare_check(CheckOptions(dataset=videos / "set", report=tmp_path / "r.csv", clean=tmp_path / "clean.txt"))


def test_a_folder_without_classes_is_checked(videos: Path, tmp_path: Path) -> None:
    """Videos that lie about, some deeper; hidden files are none."""
    (videos / "deep").mkdir()
    (videos / "d.mp4").rename(videos / "deep" / "d.mp4")
    (videos / "._a.mp4").write_text("what macOS writes beside a.mp4")
    report = tmp_path / "r.csv"
    summary = prepare_check(CheckOptions(dataset=videos, report=report, workers=1))
    assert (summary.videos, summary.bad) == (4, 2)
    assert [Path(row[0]).name for row in rows(report)[1:]] == ["b.mp4", "c.mp4"]
    with pytest.raises(UserError, match="are not in class folders"):
        prepare_check(CheckOptions(dataset=videos, report=report, clean=tmp_path / "clean.csv", workers=1))
    assert prepare_check(CheckOptions(dataset=videos / "a.mp4", report=report, workers=1)).videos == 1


def test_folders_of_frames_are_checked_as_what_they_are(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in (1, 2):
            write_frame(tmp_path / "set" / name / f"img_{number:05}.jpg", number)
    (tmp_path / "set" / "y" / "img_00002.jpg").write_bytes(b"none")
    report = tmp_path / "r.csv"
    with pytest.raises(UserError, match=r"holds no video files .*, but folders of images: pass --kind rawframes"):
        prepare_check(CheckOptions(dataset=tmp_path / "set", report=report, workers=1))
    frames = CheckOptions(dataset=tmp_path / "set", kind="rawframes", report=report, workers=1)
    summary = prepare_check(frames)
    assert (summary.videos, summary.bad) == (2, 1)
    assert prepare_check(replace(frames, dataset=tmp_path / "set" / "x")).videos == 1
    with pytest.raises(UserError, match=r"no file or folder '.*nowhere'"):
        prepare_check(replace(frames, dataset=tmp_path / "nowhere"))


def test_the_command_ends_with_1_when_videos_are_bad(videos: Path, tmp_path: Path) -> None:
    (videos / "good.txt").write_text("a.mp4 0\nd.mp4 1\n")
    report = str(tmp_path / "report.csv")
    assert main(["prepare", "check", str(videos / "good.txt"), "--report", report, "--workers", "1"]) == 0
    assert main(["prepare", "check", str(videos / "list.txt"), "--report", report, "--workers", "1"]) == 1


def test_segments_are_checked_against_their_video_which_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", times=range(50))  # two seconds
    (tmp_path / "b.mp4").write_text("nothing")
    lines = ["path,start,end,class", "a.mp4,0,1,x", "b.mp4,0,1,x", "a.mp4,1.5,2.6,y", "a.mp4,2,2.2,y", "a.mp4,1,2.4,y"]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    counted = list[str]()
    monkeypatch.setattr(check, "count_frames", lambda file, path: counted.append(path) or count_frames(file))
    report, clean = tmp_path / "check.csv", tmp_path / "clean.csv"
    options = CheckOptions(dataset=tmp_path / "list.csv", report=report, clean=clean, workers=1)
    summary = prepare_check(options)
    assert (summary.videos, summary.bad, summary.miscounted) == (5, 3, 0)
    a, b = str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")
    found = {row[0]: row[2] for row in rows(report)[1:]}
    assert [*found] == [f"{b}#t=0,1", f"{a}#t=1.5,2.6", f"{a}#t=2,2.2"]
    assert found[f"{a}#t=1.5,2.6"].startswith("the segment ends at 2.6 s of a video of 2.00 s")
    assert found[f"{a}#t=1.5,2.6"].endswith(f"({tmp_path / 'list.csv'}:4)")
    assert found[f"{a}#t=2,2.2"].startswith("the segment begins at 2 s")
    assert clean.read_text().splitlines() == [lines[0], lines[1], lines[5]]
    assert counted == [a, b]


def test_preparations_of_whole_videos_refuse_segments(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,start,end,class\na.mp4,0,1,x\n")
    with pytest.raises(UserError, match="lists segments, and whole videos are prepared"):
        labeled_units(tmp_path / "list.csv", tmp_path / "out")


def test_segments_of_images_are_checked_by_frames(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for number in range(1, 6):
        write_frame(tmp_path / "x" / f"img_{number:05}.jpg", number)
    (tmp_path / "list.csv").write_text("path,start_frame,end_frame,label\nx,0,5,0\nx,3,6,1\n")
    report = tmp_path / "check.csv"
    options = CheckOptions(dataset=tmp_path / "list.csv", kind="rawframes", report=report, workers=1)
    assert prepare_check(options).bad == 1
    row = rows(report)[1]
    assert row[0] == f"{tmp_path / 'x'}#frames=3,6"
    assert row[2].startswith("the segment ends at frame 6 of a video of 5 frames")
