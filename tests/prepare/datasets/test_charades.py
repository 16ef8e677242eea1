"""Charades' CSV files: several labels a video."""

from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.datasets import DATASETS
from kinema.prepare.datasets.charades import Charades, read_charades
from kinema.prepare.datasets.official import Listed
from tests.prepare.datasets.trees import empty_files, table, write_files

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
FILES: dict[str, str | bytes] = {
    "Charades_v1_classes.txt": "c000 Holding some clothes\nc001 Putting clothes somewhere\nc002 Taking some clothes\n",
    "Charades_v1_train.csv": HEADER
    + '46GP8,HR43,Kitchen,6,7,Yes,"A person, ""cooking"".\nThen eats.",food;stove,Runs.,'
    + "c002 11.90 21.20;c000 0.00 12.60;c002 25 29,24.83\n"
    + "N11GT,0KZ7,Stairs,5,7,Yes,Sits.,stairs,Sits.,,11\n",
    "Charades_v1_test.csv": HEADER + "YSKX3,U5T4,Bed,6,6,Yes,A,b,c,c001 0.00 5.00,18\n",
}


def test_rows_and_classes(tmp_path: Path) -> None:
    found = read_charades(write_files(tmp_path, FILES))
    assert found.classes == ("Holding some clothes", "Putting clothes somewhere", "Taking some clothes")
    assert found.splits == {
        "train": [Listed(names=("46GP8",), labels=(0, 2)), Listed(names=("N11GT",))],
        "test": [Listed(names=("YSKX3",), labels=(1,))],
    }


def test_lists(tmp_path: Path) -> None:
    official = write_files(tmp_path / "official", FILES)
    videos = empty_files(tmp_path / "videos", "46GP8.mp4", "N11GT.mp4", "YSKX3.mp4")
    report = DATASETS["charades"].prepare(Charades(annotations=official, videos=videos, output=tmp_path / "out"))
    assert table(tmp_path / "out/train.csv") == [["path", "labels"], ["46GP8.mp4", "0;2"]]
    assert table(tmp_path / "out/test.csv") == [["path", "labels"], ["YSKX3.mp4", "1"]]
    assert [split.unlabelled for split in report.splits] == [1, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + "46GP8,,,,,,,,,c003 0 1,2\n", r"train.csv:2: 'c003' is not one of the 3 classes"),
        ("name,what\n", "expected columns id and actions"),
        ("", "expected columns id and actions"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_charades(write_files(tmp_path, FILES | {"Charades_v1_train.csv": text}))
