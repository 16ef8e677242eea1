"""Charades: one CSV per split; videos have any number of labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import UserError
from kinema.prepare.datasets.lists import ListOptions
from kinema.prepare.datasets.official import Annotations, Classes, Listed, find_splits, lines_of, need_file, rows_of


@dataclass(kw_only=True)
class Charades(ListOptions):
    """Write lists of Charades from Charades_v1_classes.txt, Charades_v1_train.csv and Charades_v1_test.csv.

    Official files: https://prior.allenai.org/projects/charades, "Annotations & Evaluation Code", and videos such as
    001YG.mp4. The column labels has the class indices of a video, separated by semicolons. Videos without any action
    are left out and counted, as in the official evaluation.

    Example: kinema prepare charades --annotations Charades --videos Charades_v1_480 --output charades/lists
    """


def read_charades(folder: Path) -> Annotations:
    """Read `c000 Holding some clothes` and rows with an id and actions, `c092 11.90 21.20;c147 0.00 12.60` (seconds).

    Raises:
        UserError: Files are missing or invalid.
    """
    source = need_file(folder, "charades_v1_classes.txt")
    lines = [text.partition(" ") for _, text in lines_of(source)]
    files = find_splits(folder, {"train": ("charades_v1_train.csv",), "test": ("charades_v1_test.csv",)})
    actions = Classes([code for code, *_ in lines], source)
    return Annotations(
        classes=Classes([name.strip() for *_, name in lines], source).names,
        splits={split: list(_videos(file, actions)) for split, file in files.items()},
        multi_label=True,
    )


def _videos(file: Path, actions: Classes) -> Iterator[Listed]:
    rows = rows_of(file, ",")
    _, header = next(rows, (0, []))
    if not {"id", "actions"} <= set(header):
        raise UserError(f"{file}: expected columns id and actions, found '{','.join(header)}'")
    for line, fields in rows:
        row = dict(zip(header, fields, strict=False))
        codes = {action.split()[0] for action in row.get("actions", "").split(";") if action.strip()}
        labels = sorted(actions.index(code, f"{file}:{line}") for code in codes)
        yield Listed(names=(row["id"],), labels=tuple(labels))
