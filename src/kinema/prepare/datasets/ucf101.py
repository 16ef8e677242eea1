"""UCF101: a list for each of three splits, and the classes' numbers."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from kinema.data.lists.class_names import read_class_names
from kinema.prepare.datasets.lists import ListOptions, Report, build_lists
from kinema.prepare.datasets.official import Annotations, Classes, Listed, Split, lines_of, need_file


@dataclass(kw_only=True)
class Ucf101(ListOptions):
    """Lists of UCF101 from its official classInd.txt, trainlist01.txt and testlist01.txt (or 02, 03).

    Official files: https://www.crcv.ucf.edu/research/data-sets/ucf101, "The Train/Test Splits for Action Recognition",
    and the videos beside them: ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi.

    Example: kinema prepare ucf101 --annotations ucf101/ucfTrainTestlist --videos ucf101/UCF-101 --output ucf101/lists
    """

    split: Literal[1, 2, 3] = 1
    """Which of the official splits into training and test videos."""


def prepare_ucf101(options: Ucf101) -> Report:
    """Write the lists; see `build_lists`."""
    return build_lists(read_ucf101(options.annotations, options.split), options)


def read_ucf101(folder: Path, split: Literal[1, 2, 3]) -> Annotations:
    """Read `classInd.txt` (`1 ApplyEyeMakeup`) and lists of `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi`.

    The number that a training list has after the path is left aside: the folder says the class, in all lists.

    Raises:
        UserError: files are missing or faulty.
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
