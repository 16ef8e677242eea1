"""UCF101's lists and class numbers."""

from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.datasets import DATASETS
from kinema.prepare.datasets.official import Listed
from kinema.prepare.datasets.ucf101 import Ucf101, read_ucf101
from tests.prepare.datasets.trees import empty_files, table, write_files

FILES: dict[str, str | bytes] = {
    "classInd.txt": "1 Hammering\r\n2 HammerThrow\r\n3 HandstandPushups\r\n",
    "trainlist01.txt": "HammerThrow/v_HammerThrow_g08_c01.avi 2\r\n"
    "HandstandPushups/v_HandStandPushups_g08_c01.avi 3\r\n",
    "testlist01.txt": "Hammering/v_Hammering_g01_c01.avi\r\n",
    "trainlist02.txt": "Hammering/v_Hammering_g01_c01.avi 1\r\n",
    "testlist02.txt": "HammerThrow/v_HammerThrow_g08_c01.avi\r\n",
}


def test_rows_and_classes(tmp_path: Path) -> None:
    """Classes stand in the official order, which is not the alphabet's."""
    folder = write_files(tmp_path, {f"ucfTrainTestlist/{name}": text for name, text in FILES.items()})
    found = read_ucf101(folder, 1)
    assert found.classes == ("Hammering", "HammerThrow", "HandstandPushups")
    assert found.splits == {
        "train": [
            Listed(names=("v_HammerThrow_g08_c01",), labels=(1,), folder="HammerThrow"),
            Listed(names=("v_HandStandPushups_g08_c01",), labels=(2,), folder="HandstandPushups"),
        ],
        "test": [Listed(names=("v_Hammering_g01_c01",), labels=(0,), folder="Hammering")],
    }
    assert [row.labels for row in read_ucf101(folder, 2).splits["train"]] == [(0,)]


@pytest.mark.parametrize("folder", ["HandstandPushups", "HandStandPushups"])
@pytest.mark.parametrize("video", ["HandstandPushups", "HandStandPushups"])
@pytest.mark.parametrize("listed", ["HandstandPushups", "HandStandPushups"])
def test_a_class_that_copies_write_in_two_ways_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, listed: str, folder: str, video: str
) -> None:
    names = {"trainlist01.txt": f"{listed}/v_{listed}_g08_c01.avi 3\nHammering/v_Hammering_g01_c01.avi 1\n"}
    write_files(tmp_path / "official", FILES | names)
    empty_files(tmp_path / "videos", f"{folder}/v_{video}_g08_c01.avi", "HammerThrow/v_HammerThrow_g08_c01.avi")
    options = Ucf101(annotations=tmp_path / "official", videos=tmp_path / "videos", output=tmp_path / "out")
    assert DATASETS["ucf101"].prepare(options).splits[0].found == 1
    assert table(tmp_path / "out/train.csv") == [
        ["path", "class"], [f"{folder}/v_{video}_g08_c01.avi", "HandstandPushups"],
    ]  # fmt: skip
    assert "train: no videos exist for 1 of 3 classes: Hammering" in caplog.text


def test_an_unknown_class_is_named_with_its_line(tmp_path: Path) -> None:
    write_files(tmp_path, FILES | {"testlist01.txt": "\nHamering/v_Hamering_g01_c01.avi\n"})
    with pytest.raises(UserError, match=r"testlist01.txt:2: 'Hamering'.*did you mean 'Hammering'"):
        read_ucf101(tmp_path, 1)
    with pytest.raises(UserError, match=r"trainlist03\.txt"):
        read_ucf101(tmp_path, 3)
