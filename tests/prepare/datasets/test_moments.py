"""Moments in Time's categories and CSV files."""

from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.datasets import DATASETS
from kinema.prepare.datasets.moments import Moments, read_moments
from kinema.prepare.datasets.official import Listed
from tests.prepare.datasets.trees import empty_files, table, write_files

FILES: dict[str, str | bytes] = {
    "moments_categories.txt": "praying,1\nclapping,0\nadult+female+singing,2\n",
    "trainingSet.csv": "adult+female+singing/0P3XG_vf91c_35.mp4,adult+female+singing,3,0\n"
    "praying/yt-x_1.mp4,praying,4,1\n",
    "validationSet.csv": "clapping/yt-x_1.mp4,clapping,3,1\n",
}


def test_rows_and_classes(tmp_path: Path) -> None:
    found = read_moments(write_files(tmp_path, FILES))
    assert found.classes == ("clapping", "praying", "adult+female+singing")
    assert found.splits == {
        "train": [
            Listed(names=("0P3XG_vf91c_35",), labels=(2,), folder="adult+female+singing"),
            Listed(names=("yt-x_1",), labels=(1,), folder="praying"),
        ],
        "val": [Listed(names=("yt-x_1",), labels=(0,), folder="clapping")],
    }


def test_lists(tmp_path: Path) -> None:
    """Official files beside the videos, one name in two classes."""
    root = write_files(tmp_path / "raw", FILES)
    empty_files(root, "training/praying/yt-x_1.mp4", "validation/clapping/yt-x_1.mp4")
    DATASETS["moments"].prepare(Moments(annotations=root, videos=root, output=tmp_path / "out"))
    assert table(tmp_path / "out/train.csv")[1:] == [["training/praying/yt-x_1.mp4", "praying"]]
    assert table(tmp_path / "out/val.csv")[1:] == [["validation/clapping/yt-x_1.mp4", "clapping"]]


@pytest.mark.parametrize("categories", ["clapping,0\npraying,2\n", "clapping,0\npraying,0\n", "clapping\n", ""])
def test_faulty_categories_are_named(tmp_path: Path, categories: str) -> None:
    with pytest.raises(UserError, match=r"moments_categories\.txt"):
        read_moments(write_files(tmp_path, FILES | {"moments_categories.txt": categories}))
