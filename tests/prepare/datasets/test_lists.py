"""From official files to what training reads, by the command."""

import json
from pathlib import Path

import pytest

from kinema.cli import main
from kinema.cli.prepare import DATASETS as SHOWN
from kinema.data.dataset import open_train_index, open_val_index
from kinema.data.lists.annotations import read_index
from kinema.data.lists.class_names import read_class_names
from kinema.data.options import DataOptions
from kinema.data.readers.sources import open_video
from kinema.errors import UserError
from kinema.prepare.datasets import DATASETS
from kinema.prepare.datasets.lists import ListOptions, build_lists
from kinema.prepare.datasets.official import Annotations, Listed
from tests.data.drawn_videos import write_video
from tests.prepare.datasets.trees import empty_files, write_files


def test_from_official_files_to_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """UCF101 on drawn videos: the index that training opens has the official labels, and its videos open."""
    official = write_files(
        tmp_path / "ucf/official",
        {
            "classInd.txt": "1 Hammering\n2 HammerThrow\n",
            "trainlist01.txt": "HammerThrow/v_HammerThrow_g02_c01.avi 2\nHammering/v_Hammering_g02_c01.avi 1\n",
            "testlist01.txt": "HammerThrow/v_HammerThrow_g01_c01.avi\nHammerThrow/v_HammerThrow_g01_c02.avi\n",
        },
    )
    videos = tmp_path / "ucf/my, videos"
    for name in ("HammerThrow_g02_c01", "Hammering_g02_c01", "HammerThrow_g01_c01"):
        folder = videos / name.partition("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        write_video(folder / f"v_{name}.mp4", times=range(8))
    out = tmp_path / "lists"
    arguments = ["--annotations", str(official), "--videos", str(videos), "--output", str(out)]
    assert main(["prepare", "ucf101", *arguments, "--json"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert [(s["split"], s["found"], s["missing"]) for s in report["splits"]] == [("train", 2, 0), ("test", 1, 1)]
    assert f"--data.train {out}/train.csv --data.val {out}/test.csv" in printed.err
    assert (out / "missing_test.txt").read_text() == "HammerThrow/v_HammerThrow_g01_c02\n"

    options = DataOptions(
        train=str(out / "train.csv"), val=str(out / "test.csv"), root=str(videos), classes=str(out / "classes.txt")
    )
    train = open_train_index(options)
    val = open_val_index(options, train.class_names)
    assert train.class_names == ("Hammering", "HammerThrow")
    assert (train.labels.tolist(), val.labels.tolist()) == ([1, 0], [1])
    assert len(open_video(train.path(0))) == 8

    assert main(["prepare", "ucf101", *arguments]) == 0
    assert "train  2       2      0" in capsys.readouterr().out


def test_rawframes_and_awkward_names_are_read_as_written(tmp_path: Path) -> None:
    classes = ('Lifting something, then "dropping" it', "passing American football (in game)", "400 metres")
    rows = [Listed(names=(f"v {k}, x",), labels=(k,)) for k in range(3)]
    empty_files(tmp_path / "frames", *(f"v {k}, x/{n:05}.jpg" for k in range(3) for n in range(k + 1)))
    options = ListOptions(
        annotations=tmp_path / "a", videos=tmp_path / "frames", output=tmp_path / "out", source="rawframes"
    )
    build_lists(Annotations(classes=classes, splits={"train": rows}), options)
    index = read_index(
        tmp_path / "out/train.csv",
        kind="rawframes",
        root=str(tmp_path / "frames"),
        classes=read_class_names(tmp_path / "out/classes.txt"),
    )
    assert index.class_names == classes
    assert index.labels.tolist() == [0, 1, 2]
    assert index.frame_counts.tolist() == [1, 2, 3]
    assert all(Path(index.path(k)).is_dir() for k in range(3))


def test_lists_of_missing_videos_do_not_outlive_them(tmp_path: Path) -> None:
    annotations = Annotations(
        classes=("a", "b"), splits={"val": [Listed(names=("x",), labels=(0,)), Listed(names=("y",), labels=(1,))]}
    )
    videos = empty_files(tmp_path / "videos", "x.mp4")
    options = ListOptions(annotations=tmp_path / "a", videos=videos, output=tmp_path / "out")
    assert build_lists(annotations, options).splits[0].missing == 1
    assert (tmp_path / "out/missing_val.txt").read_text() == "y\n"
    empty_files(videos, "y.mov")
    assert build_lists(annotations, options).splits[0].missing == 0
    assert not (tmp_path / "out/missing_val.txt").exists()


@pytest.mark.parametrize(
    ("paths", "source", "said"),
    [
        (("z.mp4", "notes.txt"), "video", r"such as 'a/x\.mp4', found 1 video files such as 'z\.mp4'"),
        (("x/1.jpg",), "video", "found 0 video files .see --source"),
        (("x.mp4",), "rawframes", "such as 'a/x/', found 0 folders of frames"),
    ],
)
def test_when_nothing_matches(tmp_path: Path, paths: tuple[str, ...], source: str, said: str) -> None:
    annotations = Annotations(classes=("a",), splits={"train": [Listed(names=("x",), labels=(0,), folder="a")]})
    videos = empty_files(tmp_path / "videos", *paths)
    options = ListOptions(
        annotations=tmp_path / "a", videos=videos, output=tmp_path / "out", source=source  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(UserError, match=said):
        build_lists(annotations, options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["official", "official/lists", "link"])
def test_official_files_are_not_overwritten(tmp_path: Path, output: str) -> None:
    official = write_files(tmp_path / "official", {"train.csv": "a,b,1,2,train\n"})
    (tmp_path / "link").symlink_to(official)
    videos = empty_files(tmp_path / "videos", "b_000001_000002.mp4")
    arguments = ["--annotations", str(official), "--videos", str(videos), "--output", str(tmp_path / output)]
    assert main(["prepare", "kinetics400", *arguments]) == 2
    assert (official / "train.csv").read_text() == "a,b,1,2,train\n"


@pytest.mark.parametrize("name", DATASETS)
def test_help_says_where_the_official_files_are_had(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", name, "--help"]) == 0
    said = capsys.readouterr().out
    for text in ("Official files: http", "Example: kinema prepare", "--annotations", "--videos", "--output"):
        assert text in said


def test_the_command_shows_every_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(SHOWN) == list(DATASETS)
    assert main(["prepare", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"kinema prepare {name} " in said for name in DATASETS)
