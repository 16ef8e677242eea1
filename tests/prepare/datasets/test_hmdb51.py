"""HMDB51's file for each class and split."""

from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.datasets import DATASETS
from kinema.prepare.datasets.hmdb51 import Hmdb51, read_hmdb51
from kinema.prepare.datasets.official import Listed
from tests.prepare.datasets.trees import empty_files, table, write_files

FILES: dict[str, str | bytes] = {
    "wave_test_split1.txt": "A#1_(x)!_wave_0.avi 1 \nsame_1.avi 2 \n",
    "brush_hair_test_split1.txt": "April_09_brush_hair_u_0.avi 0 \r\nsame_1.avi 1 \r\n",
    "wave_test_split2.txt": "A#1_(x)!_wave_0.avi 2 \n",
}


def test_rows_and_classes(tmp_path: Path) -> None:
    found = read_hmdb51(write_files(tmp_path, FILES), 1)
    assert found.classes == ("brush_hair", "wave")
    assert found.splits == {
        "train": [
            Listed(names=("same_1",), labels=(0,), folder="brush_hair"),
            Listed(names=("A#1_(x)!_wave_0",), labels=(1,), folder="wave"),
        ],
        "test": [Listed(names=("same_1",), labels=(1,), folder="wave")],
    }


def test_videos_of_one_name_in_two_classes_are_not_mixed_up(tmp_path: Path) -> None:
    official = write_files(tmp_path / "official", FILES)
    videos = empty_files(tmp_path / "videos", "wave/same_1.avi", "wave/A#1_(x)!_wave_0.avi")
    report = DATASETS["hmdb51"].prepare(Hmdb51(annotations=official, videos=videos, output=tmp_path / "out"))
    assert table(tmp_path / "out/train.csv") == [["path", "class"], ["wave/A#1_(x)!_wave_0.avi", "wave"]]
    assert table(tmp_path / "out/test.csv") == [["path", "class"], ["wave/same_1.avi", "wave"]]
    assert (tmp_path / "out/missing_train.txt").read_text() == "brush_hair/same_1\n"
    assert [split.missing for split in report.splits] == [1, 0]


def test_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="test_split3"):
        read_hmdb51(write_files(tmp_path, FILES), 3)
    with pytest.raises(UserError, match=r"wave_test_split1.txt:1: .*0, 1 or 2"):
        read_hmdb51(write_files(tmp_path, {"wave_test_split1.txt": "name.avi 3\n"}), 1)
