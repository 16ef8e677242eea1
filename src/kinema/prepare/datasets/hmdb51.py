"""HMDB51: one file per class and split."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from kinema.errors import UserError
from kinema.prepare.datasets.lists import ListOptions
from kinema.prepare.datasets.official import Annotations, Listed, Split, find_files, lines_of, need_file


@dataclass(kw_only=True)
class Hmdb51(ListOptions):
    """Write lists of HMDB51 from its official brush_hair_test_split1.txt … wave_test_split1.txt (or 2, 3).

    Official files: https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database,
    test_train_splits.rar, and the videos, in class folders.

    Example: kinema prepare hmdb51 --annotations hmdb51/testTrainMulti_7030_splits --videos hmdb51/videos
    --output hmdb51/lists
    """

    split: Literal[1, 2, 3] = 1
    """Official split into training and test videos."""


def read_hmdb51(folder: Path, split: Literal[1, 2, 3]) -> Annotations:
    """Read lines `name.avi N` of the file of each class: N is 1 for training, 2 for test, 0 for neither.

    Classes are in alphabetical order.

    Raises:
        UserError: Files are missing or invalid.
    """
    ending = f"_test_split{split}.txt"
    files = find_files(folder, f"*{ending}") or [need_file(folder, f"*{ending}")]
    by_class = {file.name[: -len(ending)]: file for file in files}
    classes = tuple(sorted(by_class))
    splits: dict[Split, list[Listed]] = {"train": [], "test": []}
    for label, name in enumerate(classes):
        for video, part in _videos(by_class[name]):
            if part != "0":
                listed = Listed(names=(PurePath(video).stem,), labels=(label,), folder=name)
                splits["train" if part == "1" else "test"].append(listed)
    return Annotations(classes=classes, splits=splits)


def _videos(file: Path) -> Iterator[tuple[str, str]]:
    for line, text in lines_of(file):
        video, *part = text.rsplit(maxsplit=1)
        if part not in (["0"], ["1"], ["2"]):
            raise UserError(f"{file}:{line}: '{text}'; expected 'name.avi N', N being 0, 1 or 2")
        yield video, part[0]
