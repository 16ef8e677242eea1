"""Kinetics' CSV files in all the forms that they are handed on in."""

import logging
from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.datasets.kinetics import Kinetics, prepare_kinetics, read_kinetics
from kinema.prepare.datasets.official import Listed
from tests.prepare.datasets.trees import empty_files, table, write_files

TRAIN = (
    "label,youtube_id,time_start,time_end,split\n"
    '"passing American football (in game)",-abc_DEFGHI,7,17,train\n'
    "air drumming,__0_1_2_3__,120,130,train\n"
    "air drumming,__0_1_2_3__,120,130,train\n"
)
VAL = "label,youtube_id,time_start,time_end,split,is_cc\nair drumming,ZZZZZZZZZZZ,0,10,validate,0\n"
TEST = "youtube_id,time_start,time_end,split\nTTTTTTTTTTT,3,13,test\n"


def test_rows_and_classes(tmp_path: Path) -> None:
    found = read_kinetics(write_files(tmp_path, {"train.csv": TRAIN, "validate.csv": VAL, "test.csv": TEST}))
    assert found.classes == ("air drumming", "passing American football (in game)")
    drumming = Listed(
        names=("__0_1_2_3___000120_000130", "__0_1_2_3___120_130"),
        labels=(0,),
        folder="air drumming",
        clip_of="__0_1_2_3__",
    )
    assert found.splits["train"][0].labels == (1,)
    assert found.splits["train"][1:] == [drumming, drumming]
    assert found.splits["val"][0].expected == "air drumming/ZZZZZZZZZZZ_000000_000010"
    assert found.splits["test"] == [
        Listed(names=("TTTTTTTTTTT_000003_000013", "TTTTTTTTTTT_3_13"), clip_of="TTTTTTTTTTT")
    ]


@pytest.mark.parametrize(
    "train",
    [
        pytest.param(TRAIN.replace("\n", "\r\n"), id="Windows line ends"),
        pytest.param("\ufeff" + TRAIN, id="byte order mark"),
        pytest.param(TRAIN.partition("\n")[2], id="no header"),
        pytest.param(TRAIN.replace(",7,17,", ",7.0,17.0,"), id="seconds as decimals"),
        pytest.param(TRAIN.replace(",", " , ") + "\n\n", id="blanks"),
    ],
)
def test_other_writings_say_the_same(tmp_path: Path, train: str) -> None:
    plain = write_files(tmp_path / "plain", {"train.csv": TRAIN, "val.csv": VAL})
    other = write_files(tmp_path / "other", {"k/kinetics_train.csv": train, "k/kinetics_val.csv": VAL})
    assert read_kinetics(other) == read_kinetics(plain)


def test_test_file_without_header(tmp_path: Path) -> None:
    files = {"train.csv": TRAIN, "test.csv": TEST}
    whole = read_kinetics(write_files(tmp_path / "a", files))
    bare = read_kinetics(write_files(tmp_path / "b", files | {"test.csv": TEST.partition("\n")[2]}))
    assert bare.splits["test"] == whole.splits["test"]


def test_several_clips_of_one_video_are_told_apart_by_their_seconds_alone(tmp_path: Path) -> None:
    twice = TRAIN + "air drumming,-abc_DEFGHI,50,60,train\n"
    rows = read_kinetics(write_files(tmp_path, {"train.csv": twice})).splits["train"]
    assert [row.clip_of for row in rows] == ["", "__0_1_2_3__", "__0_1_2_3__", ""]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"notes.txt": ""}, "train.csv"),
        ({"train.csv": TRAIN + "air drumming,abc,soon,later,train\n"}, "train.csv:5"),
        ({"test.csv": TEST}, "no row of .* has a label"),
        ({"a_train.csv": TRAIN, "b_train.csv": TRAIN}, "several files"),
    ],
)
def test_faults_are_named(tmp_path: Path, files: dict[str, str | bytes], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_kinetics(write_files(tmp_path, files))


def test_lists(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A clip cut at other seconds, another suffix, folders with underscores: all are found."""
    official = write_files(tmp_path / "official", {"train.csv": TRAIN, "validate.csv": VAL, "test.csv": TEST})
    videos = empty_files(
        tmp_path / "videos",
        "train/passing_American_football_(in_game)/-abc_DEFGHI_000007_000017.MKV",
        "train/air_drumming/__0_1_2_3___000121_000131.mp4",
        "test/TTTTTTTTTTT.webm",
        "train/air_drumming/unlisted_000001_000011.mp4",
    )
    with caplog.at_level(logging.WARNING):
        report = prepare_kinetics(
            Kinetics(annotations=official, videos=videos, output=tmp_path / "out"), num_classes=400
        )
    assert "2 classes, not 400" in caplog.text
    football = "passing American football (in game)"
    assert table(tmp_path / "out/train.csv") == [
        ["path", "class"],
        [f"train/{football.replace(' ', '_')}/-abc_DEFGHI_000007_000017.MKV", football],
        ["train/air_drumming/__0_1_2_3___000121_000131.mp4", "air drumming"],
    ]
    assert table(tmp_path / "out/val.csv") == [["path", "class"]]
    assert table(tmp_path / "out/test.csv") == [["path"], ["test/TTTTTTTTTTT.webm"]]
    assert (tmp_path / "out/missing_val.txt").read_text() == "air drumming/ZZZZZZZZZZZ_000000_000010\n"
    assert not (tmp_path / "out/missing_train.txt").exists()
    counts = [(s.split, s.listed, s.found, s.missing, s.repeated, s.unlabelled) for s in report.splits]
    assert counts == [("train", 2, 2, 0, 1, 0), ("val", 1, 0, 1, 0, 0), ("test", 1, 1, 0, 0, 1)]
    assert (report.classes, report.unlisted) == (2, 1)
