"""Rows of official annotations matched with the videos that are there, and written as the lists that training reads."""

import csv
import io
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kinema.data.lists.class_names import class_file_text
from kinema.errors import UserError
from kinema.prepare.datasets.matching import Video, Videos, plain
from kinema.prepare.datasets.official import Annotations, Listed, Split
from kinema.storage import write_text

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class FileOptions:
    """What every dataset needs to be told."""

    annotations: Path
    """Folder that has the official annotation files, in itself or in folders of its own."""
    output: Path
    """Folder that receives what is written."""
    json: bool = False
    """Print the counts as JSON on stdout."""


@dataclass(kw_only=True)
class ListOptions(FileOptions):
    """What every dataset of labelled clips needs to be told."""

    videos: Path
    """Folder that has the videos, at any depth. Paths in the lists start from it: it is training's --data.root."""
    source: Literal["video", "rawframes"] = "video"
    """Video files, or a folder of images for each video; these are counted into the column num_frames."""


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """How many videos of a split there are.

    listed: rows of the annotations, each counted once.
    repeated: rows that say what an earlier one says; left out.
    unlabelled: rows without a label; left out of the list, unless the whole split has none.
    found, missing: rows whose video is there, and rows whose is not; None where videos were not looked for.
    """

    split: Split
    listed: int
    repeated: int
    unlabelled: int
    found: int | None
    missing: int | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What there is of a dataset.

    classes: how many.
    unlisted: videos that are there, but that no row lists; None where videos were not looked for.
    """

    classes: int
    splits: tuple[SplitReport, ...]
    unlisted: int | None


def build_lists(annotations: Annotations, options: ListOptions) -> Report:
    """Write `classes.txt`, and for each split `<split>.csv` and, if any are missing, `missing_<split>.txt`.

    A CSV has the columns path (relative to `options.videos`), class (its name; for several labels: labels, the classes'
    numbers with semicolons between them; for a split without labels: none) and, for rawframes, num_frames.

    Raises:
        UserError: not one listed video is there, or the output would lie among the official files.
    """
    check_output(options)
    rows = {split: list(dict.fromkeys(listed)) for split, listed in annotations.splits.items()}
    videos, found = match(rows, options.videos, options.source)
    for split, listed in rows.items():
        labelled = any(row.labels for row in listed)
        there = [(row, video) for row, video in zip(listed, found[split], strict=True) if video]
        usable = [(row, video) for row, video in there if row.labels or not labelled]
        _write_list(options.output / f"{split}.csv", usable, annotations, labelled, options.source == "rawframes")
        write_missing(options.output, split, listed, found[split])
    write_classes(options.output, annotations.classes)
    _warn_of_missing_classes(annotations.classes, rows, found)
    _tell_training(options, list(rows), multi_label=annotations.multi_label)
    return Report(
        classes=len(annotations.classes),
        splits=tuple(report_split(split, annotations.splits[split], found[split]) for split in rows),
        unlisted=videos.unlisted(video for videos_of_split in found.values() for video in videos_of_split),
    )


def report_split(split: Split, rows: Sequence[Listed], found: Sequence[Video | None] | None) -> SplitReport:
    """Count the `rows` of annotations, and what was `found` for each of the different ones."""
    listed = list(dict.fromkeys(rows))
    return SplitReport(
        split=split,
        listed=len(listed),
        repeated=len(rows) - len(listed),
        unlabelled=sum(not row.labels for row in listed),
        found=None if found is None else sum(video is not None for video in found),
        missing=None if found is None else sum(video is None for video in found),
    )


def report_listed(annotations: Annotations) -> Report:
    """What the annotations list, without a look at videos."""
    splits = tuple(report_split(split, rows, None) for split, rows in annotations.splits.items())
    return Report(classes=len(annotations.classes), splits=splits, unlisted=None)


def write_classes(output: Path, names: Sequence[str]) -> None:
    """Write `classes.txt`, one name a line; see `class_file_text`."""
    write_text(output / "classes.txt", class_file_text(names))


def match(
    splits: dict[Split, list[Listed]], root: Path, kind: Literal["video", "rawframes"]
) -> tuple[Videos, dict[Split, list[Video | None]]]:
    """All videos below `root`, and for each row its own, if it is there.

    Raises:
        UserError: not one is there.
    """
    rows = [row for rows in splits.values() for row in rows]
    videos = Videos(root, kind, wanted=len(rows))
    folders = {plain(row.folder) for row in rows} - {""}
    found = {split: [videos.find(row, split, folders) for row in rows] for split, rows in splits.items()}
    if rows and not any(video for row in found.values() for video in row):
        what = "video files" if kind == "video" else "folders of frames"
        suffix = ".mp4" if kind == "video" else "/"
        there = f"such as '{videos.all[0].path}'" if videos.all else "(--source says what a video is)"
        raise UserError(
            f"none of the {len(rows)} listed videos is below '{root}': expected such as '{rows[0].expected}{suffix}', "
            f"found {len(videos.all)} {what} {there}"
        )
    return videos, found


def write_missing(output: Path, split: Split, rows: Sequence[Listed], found: Sequence[Video | None]) -> None:
    """Write the usual paths of the videos that are not there, one a line; no file where none is missing."""
    missing = [row.expected for row, video in zip(rows, found, strict=True) if video is None]
    file = output / f"missing_{split}.txt"
    if missing:
        write_text(file, "".join(f"{path}\n" for path in missing))
    else:
        file.unlink(missing_ok=True)


def check_output(options: FileOptions) -> None:
    """Check that no official file, which may be called train.csv too, will be overwritten or mixed up with a list.

    Raises:
        UserError: `options.output` is, or lies in, `options.annotations`.
    """
    if options.output.resolve().is_relative_to(options.annotations.resolve()):
        raise UserError(
            f"--output '{options.output}' lies in --annotations '{options.annotations}': lists and official files have "
            "the same names, choose another folder"
        )


def _warn_of_missing_classes(
    classes: Sequence[str], rows: dict[Split, list[Listed]], found: dict[Split, list[Video | None]]
) -> None:
    """Log the classes of which annotations list videos and none is there."""
    for split, listed in rows.items():
        there = {label for row, video in zip(listed, found[split], strict=True) if video for label in row.labels}
        missing = sorted({label for row in listed for label in row.labels} - there)
        if missing:
            names = ", ".join([classes[label] for label in missing[:5]] + ["…"] * (len(missing) > 5))
            log.warning("%s: no video of %d of %d classes is there: %s", split, len(missing), len(classes), names)


def _tell_training(options: ListOptions, splits: Sequence[Split], *, multi_label: bool) -> None:
    """Say how training gets the lists."""
    lists = {"data.train": "train", "data.val": "val" if "val" in splits else "test"}
    places = {"data.root": options.videos, "data.classes": options.output / "classes.txt"}
    places |= {key: options.output / f"{split}.csv" for key, split in lists.items() if split in splits}
    arguments = [text for key, place in places.items() for text in (f"--{key}", str(place))]
    if options.source == "rawframes":
        arguments += ["--data.source", "rawframes"]
    if multi_label:
        arguments += ["--task.labels", "multi"]
    log.info("to train on the lists: kinema train RECIPE %s", shlex.join(arguments))


def _write_list(
    file: Path, rows: Sequence[tuple[Listed, Video]], annotations: Annotations, labelled: bool, counted: bool
) -> None:
    label = "labels" if annotations.multi_label else "class"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path"] + [label] * labelled + ["num_frames"] * counted)
    for row, video in rows:
        if annotations.multi_label:
            said = ";".join(map(str, row.labels))
        else:
            said = annotations.classes[row.labels[0]] if row.labels else ""
        writer.writerow([video.path] + [said] * labelled + [video.num_frames] * counted)
    write_text(file, text.getvalue())
