"""Kinetics-400, -600, -700 and -700-2020: one CSV per split."""

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import UserError
from kinema.prepare.datasets.lists import ListOptions, Report, build_lists
from kinema.prepare.datasets.official import Annotations, Classes, Listed, Split, find_splits, rows_of

log = logging.getLogger(__name__)

_FILES: dict[Split, tuple[str, ...]] = {
    "train": ("train.csv", "*train.csv", "train.txt"),
    "val": ("val.csv", "validate.csv", "*val.csv", "*validate.csv", "val.txt"),
    "test": ("test.csv", "*test.csv", "test.txt"),
}
_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


@dataclass(kw_only=True)
class Kinetics(ListOptions):
    """Write lists of Kinetics-400, -600, -700 or -700-2020 from train.csv, validate.csv (or val.csv) and test.csv.

    Official files: https://deepmind.com/research/open-source/kinetics, and with the videos
    https://github.com/cvdfoundation/kinetics-dataset. Videos are named ID_SSSSSS_EEEEEE.mp4, with the first and last
    second of the clip, with or without class folders.

    Example: kinema prepare kinetics400 --annotations k400/annotations --videos k400/videos --output k400/lists
    """


def prepare_kinetics(options: Kinetics, *, num_classes: int) -> Report:
    """Write the lists, see `build_lists`; warn unless the annotations have `num_classes` classes."""
    annotations = read_kinetics(options.annotations)
    if len(annotations.classes) != num_classes:
        log.warning(
            "the annotations name %d classes, not %d: labels differ from those of models trained on the full dataset",
            len(annotations.classes), num_classes,
        )  # fmt: skip
    return build_lists(annotations, options)


def read_kinetics(folder: Path) -> Annotations:
    """Read CSV files with the columns label, youtube_id, time_start and time_end (seconds).

    Columns may be in any order, and test files may lack the label; files without a header have the columns in this
    order. Classes are in alphabetical order, as in other toolboxes.

    Raises:
        UserError: Files are missing or invalid.
    """
    files = find_splits(folder, _FILES)
    rows = {split: list(_clips(file)) for split, file in files.items()}
    names = sorted({label for clips in rows.values() for label, *_ in clips} - {""})
    if not names:
        read = ", ".join(f"'{file}'" for file in files.values())
        raise UserError(f"no row of {read} has a label: pass a folder with train.csv and validate.csv as --annotations")
    classes = Classes(names, folder)
    clips_of = Counter(video for clips in rows.values() for video, *_ in {clip[1:] for clip in clips})
    splits = {
        split: [
            Listed(
                names=(f"{video}_{start:06}_{end:06}", f"{video}_{start}_{end}"),
                labels=(classes.index(label, str(files[split])),) if label else (),
                folder=label,
                clip_of=video if clips_of[video] == 1 else "",
            )
            for label, video, start, end in clips
        ]
        for split, clips in rows.items()
    }
    return Annotations(classes=classes.names, splits=splits)


def _clips(file: Path) -> list[tuple[str, str, int, int]]:
    """Return label (or an empty string), YouTube id, first and last second of each row."""
    clips = list[tuple[str, str, int, int]]()
    columns: tuple[str, ...] = _COLUMNS
    for line, row in rows_of(file, ","):
        if "youtube_id" in row:
            columns = tuple(row)
            continue
        if not clips and columns == _COLUMNS and len(row) < len(_COLUMNS):
            columns = _COLUMNS[1:]
        fields = dict(zip(columns, row, strict=False))
        try:
            start, end = int(float(fields["time_start"])), int(float(fields["time_end"]))
            clips.append((fields.get("label", ""), fields["youtube_id"], start, end))
        except (KeyError, ValueError):
            expected = f"expected {','.join(columns)}, times in seconds"
            raise UserError(f"{file}:{line}: '{','.join(row)}'; {expected}") from None
    return clips
