"""THUMOS14: one file per class with the videos and times of its instances."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from kinema import strict_json
from kinema.errors import UserError
from kinema.prepare.datasets.activitynet import GROUND_TRUTH_FILE
from kinema.prepare.datasets.lists import (
    FileOptions,
    Report,
    check_output,
    match,
    report_on,
    write_classes,
    write_missing,
)
from kinema.prepare.datasets.official import Annotations, Listed, Split, find_files, lines_of
from kinema.storage import write_text

log = logging.getLogger(__name__)

AMBIGUOUS = "Ambiguous"
"""Label of segments that may or may not show an action, which the official evaluation ignores."""

_SUBSETS: dict[str, Split] = {"validation": "val", "test": "test"}


class Instance(TypedDict):
    """An action instance: start and end in seconds, and its label."""

    segment: list[float]
    label: str


class _Video(TypedDict):
    subset: str
    annotations: list[Instance]


class Video(_Video, total=False):
    """A video in ActivityNet's layout; without duration (seconds) if the file is missing."""

    duration: float


@dataclass(kw_only=True)
class Thumos14(FileOptions):
    """Write ground truth of THUMOS14 in ActivityNet's layout from its official files, such as BaseballPitch_test.txt.

    Official files: https://www.crcv.ucf.edu/THUMOS14/download.html, TH14_Temporal_annotations_validation.zip and
    TH14_Temporal_annotations_test.zip, both unpacked below --annotations; videos are named video_test_0000004.mp4.
    Segments of Ambiguous_test.txt have the label Ambiguous.

    Example: kinema prepare thumos14 --annotations thumos14 --videos thumos14/videos --output thumos14-lists
    """

    videos: Path | None = None
    """Folder of the videos, at any depth: their durations are added to the ground truth, missing videos are counted."""


def prepare_thumos14(options: Thumos14) -> Report:
    """Write `ground_truth.json`, `classes.txt` and, for each split with missing videos, `missing_<split>.txt`.

    Raises:
        UserError: Files are missing or invalid, or no listed video exists.
    """
    check_output(options)
    classes, database = read_thumos14(options.annotations)
    splits = dict[Split, list[Listed]]()
    for name, video in database.items():
        labels = {instance["label"] for instance in video["annotations"]} - {AMBIGUOUS}
        listed = Listed(names=(name,), labels=tuple(sorted(map(classes.index, labels))))
        splits.setdefault(_SUBSETS[video["subset"]], []).append(listed)
    annotations = Annotations(classes=classes, splits=splits)
    if options.videos is None:
        report = report_on(annotations)
    else:
        videos, matches = match(splits, options.videos, "video")
        for split, rows in splits.items():
            write_missing(options.output, split, rows, matches[split])
            for row, file in zip(rows, matches[split], strict=True):
                seconds = _duration(options.videos / file.path) if file else None
                if seconds is not None:
                    database[row.names[0]]["duration"] = seconds
        report = report_on(annotations, videos, matches)
    write_classes(options.output, classes)
    write_text(
        options.output / GROUND_TRUTH_FILE, strict_json.dumps({"version": "THUMOS14", "database": database}) + "\n"
    )
    return report


def read_thumos14(folder: Path) -> tuple[tuple[str, ...], dict[str, Video]]:
    """Read class names and videos from all `<Class>_val.txt` and `<Class>_test.txt`: lines `video start end` (seconds).

    Classes are in alphabetical order, which is that of their official numbers; instances of a video in temporal order.

    Raises:
        UserError: Files are missing or invalid.
    """
    videos = dict[str, Video]()
    classes = set[str]()
    for subset, ending in (("validation", "_val.txt"), ("test", "_test.txt")):
        for file in find_files(folder, f"*{ending}"):
            label = file.name[: -len(ending)]
            classes |= {label} - {AMBIGUOUS}
            for name, start, end in _segments(file):
                video = videos.setdefault(name, {"subset": subset, "annotations": []})
                video["annotations"].append({"segment": [start, end], "label": label})
    if not classes:
        raise UserError(f"'{folder}' has no files such as BaseballPitch_val.txt or BaseballPitch_test.txt")
    for video in videos.values():
        video["annotations"].sort(key=lambda instance: instance["segment"])
    return tuple(sorted(classes)), dict(sorted(videos.items()))


def _segments(file: Path) -> list[tuple[str, float, float]]:
    segments = []
    for line, text in lines_of(file):
        try:
            name, start, end = text.split()
            segments.append((name, float(start), float(end)))
        except ValueError:
            raise UserError(f"{file}:{line}: '{text}'; expected 'video start end', times in seconds") from None
    return segments


def _duration(path: Path) -> float | None:
    """Return the duration of a video file in seconds, or None with a warning if it is unknown."""
    import av

    try:
        with av.open(str(path)) as container:
            if container.duration:
                return container.duration / av.time_base
        log.warning("%s has no duration in its header", path)
    except (OSError, av.FFmpegError) as error:
        log.warning("%s cannot be opened: %s", path, error)
    return None
