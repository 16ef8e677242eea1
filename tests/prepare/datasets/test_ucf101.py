"""UCF101's lists and class numbers."""

from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.datasets.official import Listed
from kinema.prepare.datasets.ucf101 import read_ucf101
from tests.prepare.datasets.trees import write_files

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


def test_an_unknown_class_is_named_with_its_line(tmp_path: Path) -> None:
    write_files(tmp_path, FILES | {"testlist01.txt": "\nHamering/v_Hamering_g01_c01.avi\n"})
    with pytest.raises(UserError, match=r"testlist01.txt:2: 'Hamering'.*did you mean 'Hammering'"):
        read_ucf101(tmp_path, 1)
    with pytest.raises(UserError, match=r"trainlist03\.txt"):
        read_ucf101(tmp_path, 3)
