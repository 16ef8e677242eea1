"""UCF101: lists of three splits, and class numbers."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from kinema.data.lists.class_names import read_class_names
from kinema.prepare.datasets.lists import ListOptions
from kinema.prepare.datasets.official import Annotations, Classes, Listed, Split, lines_of, need_file


@dataclass(kw_only=True)
class Ucf101(ListOptions):
    """Write lists of UCF101 from its official classInd.txt, trainlist01.txt and testlist01.txt (or 02, 03).

    Official files: https://www.crcv.ucf.edu/research/data-sets/ucf101, "The Train/Test Splits for Action Recognition",
    and videos such as ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi.

    Example: kinema prepare ucf101 --annotations ucf101/ucfTrainTestlist --videos ucf101/UCF-101 --output ucf101/lists
    """

    split: Literal[1, 2, 3] = 1
    """Official split into training and test videos."""


def read_ucf101(folder: Path, split: Literal[1, 2, 3]) -> Annotations:
    """Read `classInd.txt` (`1 ApplyEyeMakeup`) and lists of `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi`.

    The class is taken from the folder in all lists; the number after the path in training lists is ignored.

    Raises:
        UserError: Files are missing or invalid.
    """
    source = need_file(folder, "classind.txt")
    classes = Classes(read_class_names(source), source)
    files: dict[Split, Path] = {
        "train": need_file(folder, f"trainlist0{split}.txt"),
        "test": need_file(folder, f"testlist0{split}.txt"),
    }
    return Annotations(
        classes=classes.names, splits={name: list(_videos(file, classes)) for name, file in files.items()}
    )


def _videos(file: Path, classes: Classes) -> list[Listed]:
    videos = []
    for line, text in lines_of(file):
        path = PurePosixPath(re.sub(r"\s+\d+$", "", text).replace("\\", "/"))
        label = classes.index(path.parent.name, f"{file}:{line}")
        videos.append(Listed(names=(path.stem,), labels=(label,), folder=path.parent.name))
    return videos
