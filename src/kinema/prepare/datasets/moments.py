"""Moments in Time: a CSV for training and one for validation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kinema.data.lists.class_names import read_class_names
from kinema.errors import UserError
from kinema.prepare.datasets.lists import ListOptions
from kinema.prepare.datasets.official import Annotations, Classes, Listed, find_splits, need_file, rows_of


@dataclass(kw_only=True)
class Moments(ListOptions):
    """Write lists of Moments in Time from its official moments_categories.txt, trainingSet.csv and validationSet.csv.

    Official files: http://moments.csail.mit.edu (on request), together with the videos, training/flipping/NAME.mp4.

    Example: kinema prepare moments --annotations Moments_in_Time_Raw --videos Moments_in_Time_Raw --output moments
    """


def read_moments(folder: Path) -> Annotations:
    """Read `moments_categories.txt` (`flipping,17`) and CSV files of `flipping/NAME.mp4,flipping,…`.

    Raises:
        UserError: Files are missing or invalid.
    """
    source = need_file(folder, "moments_categories.txt")
    classes = Classes(read_class_names(source), source)
    files = find_splits(folder, {"train": ("trainingset.csv",), "val": ("validationset.csv",)})
    return Annotations(
        classes=classes.names, splits={split: list(_videos(file, classes)) for split, file in files.items()}
    )


def _videos(file: Path, classes: Classes) -> Iterator[Listed]:
    for line, (path, *rest) in rows_of(file, ","):
        if not rest:
            raise UserError(f"{file}:{line}: '{path}'; expected 'class/name.mp4,class'")
        if rest[0] == "label":
            continue
        video = PurePosixPath(path)
        yield Listed(
            names=(video.stem,), labels=(classes.index(rest[0], f"{file}:{line}"),), folder=video.parent.name or rest[0]
        )
