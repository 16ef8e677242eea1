"""Match rows of official annotations with existing videos, and write lists for training."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kinema.data.lists.class_names import class_file_text
from kinema.errors import UserError
from kinema.prepare.datasets.matching import Video, Videos, plain
from kinema.prepare.datasets.official import Annotations, Listed, Split
from kinema.storage import write_csv, write_text

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class FileOptions:
    """Options of all datasets."""

    annotations: Path
    """Folder of the official annotation files, which may be in its subfolders."""
    output: Path
    """Output folder."""
    json: bool = False
    """Print the counts as JSON on stdout."""


@dataclass(kw_only=True)
class ListOptions(FileOptions):
    """Options of datasets of labeled clips."""

    videos: Path
    """Folder of the videos, at any depth. Paths in the lists are relative to it: pass it to training as --data.root."""
    source: Literal["video", "rawframes"] = "video"
    """Kind of videos: files, or folders of images (rawframes), whose number is written to the column num_frames."""


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """Counts of a split."""

    split: Split
    listed: int
    """Distinct rows of the annotations."""
    repeated: int
    """Duplicate rows, which are left out."""
    unlabelled: int
    """Rows without a label, which are left out of the list unless no row of the split has one."""
    found: int | None
    """Rows whose video exists; None if videos were not searched."""
    missing: int | None
    """Rows whose video does not exist; None if videos were not searched."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Counts of a dataset."""

    classes: int
    splits: tuple[SplitReport, ...]
    unlisted: int | None
    """Existing videos that no row lists; None if videos were not searched."""


def build_lists(annotations: Annotations, options: ListOptions) -> Report:
    """Write `classes.txt` and, for each split, `<split>.csv` and `missing_<split>.txt` if videos are missing.

    The columns of a CSV are path (relative to `options.videos`), class (by name) and, for rawframes, num_frames. For
    multiple labels, the column labels has class indices separated by semicolons; splits without labels have neither.

    Raises:
        UserError: No listed video exists, or the output is inside the folder of the official files.
    """
    check_output(options)
    rows = {split: list(dict.fromkeys(listed)) for split, listed in annotations.splits.items()}
    videos, matches = match(rows, options.videos, options.source)
    for split, listed in rows.items():
        labeled = any(row.labels for row in listed)
        existing = [(row, video) for row, video in zip(listed, matches[split], strict=True) if video]
        usable = [(row, video) for row, video in existing if row.labels or not labeled]
        _write_list(options.output / f"{split}.csv", usable, annotations, labeled, options.source == "rawframes")
        write_missing(options.output, split, listed, matches[split])
    write_classes(options.output, annotations.classes)
    _warn_of_missing_classes(annotations.classes, rows, matches)
    _log_command(options, list(rows), multi_label=annotations.multi_label)
    return report_on(annotations, videos, matches)


def report_on(
    annotations: Annotations,
    videos: Videos | None = None,
    matches: Mapping[Split, Sequence[Video | None]] | None = None,
) -> Report:
    """Count the rows of annotations and, unless videos were not searched, the `matches` of each distinct row."""
    matches = matches or {}
    return Report(
        classes=len(annotations.classes),
        splits=tuple(_report_split(split, rows, matches.get(split)) for split, rows in annotations.splits.items()),
        unlisted=None if videos is None else videos.unlisted(video for row in matches.values() for video in row),
    )


def _report_split(split: Split, rows: Sequence[Listed], matches: Sequence[Video | None] | None) -> SplitReport:
    listed = list(dict.fromkeys(rows))
    return SplitReport(
        split=split,
        listed=len(listed),
        repeated=len(rows) - len(listed),
        unlabelled=sum(not row.labels for row in listed),
        found=None if matches is None else sum(video is not None for video in matches),
        missing=None if matches is None else sum(video is None for video in matches),
    )


def write_classes(output: Path, names: Sequence[str]) -> None:
    """Write `classes.txt`, one name per line; see `class_file_text`."""
    write_text(output / "classes.txt", class_file_text(names))


def match(
    splits: dict[Split, list[Listed]], root: Path, kind: Literal["video", "rawframes"]
) -> tuple[Videos, dict[Split, list[Video | None]]]:
    """Search the videos below `root`; returns them, and for each row its video or None.

    Raises:
        UserError: No listed video exists.
    """
    rows = [row for rows in splits.values() for row in rows]
    videos = Videos(root, kind, wanted=len(rows))
    folders = {plain(row.folder) for row in rows} - {""}
    matches = {split: [videos.find(row, split, folders) for row in rows] for split, rows in splits.items()}
    if rows and not any(video for row in matches.values() for video in row):
        what = "video files" if kind == "video" else "folders of frames"
        suffix = ".mp4" if kind == "video" else "/"
        example = f"such as '{videos.all[0].path}'" if videos.all else "(see --source)"
        raise UserError(
            f"none of the {len(rows)} listed videos is below '{root}': expected such as '{rows[0].expected}{suffix}', "
            f"found {len(videos.all)} {what} {example}"
        )
    return videos, matches


def write_missing(output: Path, split: Split, rows: Sequence[Listed], matches: Sequence[Video | None]) -> None:
    """Write the expected paths of missing videos, one per line, or no file if there are none."""
    missing = [row.expected for row, video in zip(rows, matches, strict=True) if video is None]
    file = output / f"missing_{split}.txt"
    if missing:
        write_text(file, "".join(f"{path}\n" for path in missing))
    else:
        file.unlink(missing_ok=True)


def check_output(options: FileOptions) -> None:
    """Check that no official file, which may also be named train.csv, is overwritten.

    Raises:
        UserError: `options.output` is `options.annotations` or inside it.
    """
    if options.output.resolve().is_relative_to(options.annotations.resolve()):
        raise UserError(
            f"--output '{options.output}' is inside --annotations '{options.annotations}', where lists could overwrite "
            "official files: pass another folder"
        )


def _warn_of_missing_classes(
    classes: Sequence[str], rows: dict[Split, list[Listed]], matches: dict[Split, list[Video | None]]
) -> None:
    """Log the classes whose listed videos are all missing."""
    for split, listed in rows.items():
        existing = {label for row, video in zip(listed, matches[split], strict=True) if video for label in row.labels}
        missing = sorted({label for row in listed for label in row.labels} - existing)
        if missing:
            names = ", ".join([classes[label] for label in missing[:5]] + ["…"] * (len(missing) > 5))
            log.warning("%s: no videos exist for %d of %d classes: %s", split, len(missing), len(classes), names)


def _log_command(options: ListOptions, splits: Sequence[Split], *, multi_label: bool) -> None:
    """Log the training command for the lists."""
    lists = {"data.train": "train", "data.val": "val" if "val" in splits else "test"}
    paths = {"data.root": options.videos, "data.classes": options.output / "classes.txt"}
    paths |= {key: options.output / f"{split}.csv" for key, split in lists.items() if split in splits}
    arguments = [text for key, path in paths.items() for text in (f"--{key}", str(path))]
    if options.source == "rawframes":
        arguments += ["--data.source", "rawframes"]
    if multi_label:
        arguments += ["--task.labels", "multi"]
    log.info("to train on the lists: kinema train RECIPE %s", shlex.join(arguments))


def _write_list(
    file: Path, rows: Sequence[tuple[Listed, Video]], annotations: Annotations, labeled: bool, counted: bool
) -> None:
    label = "labels" if annotations.multi_label else "class"
    lines: list[list[object]] = [["path", *[label] * labeled, *["num_frames"] * counted]]
    for row, video in rows:
        if annotations.multi_label:
            value = ";".join(map(str, row.labels))
        else:
            value = annotations.classes[row.labels[0]] if row.labels else ""
        lines.append([video.path, *[value] * labeled, *[video.num_frames] * counted])
    write_csv(file, lines, lineterminator="\n")
