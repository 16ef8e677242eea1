"""THUMOS14: a file for each class, with the seconds at which it happens in which videos."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import av

from kinema import strict_json
from kinema.errors import UserError
from kinema.prepare.datasets.activitynet import GROUND_TRUTH_FILE
from kinema.prepare.datasets.lists import (
    FileOptions,
    Report,
    check_output,
    match,
    report_listed,
    report_split,
    write_classes,
    write_missing,
)
from kinema.prepare.datasets.official import Annotations, Listed, Split, find_files, lines_of
from kinema.storage import write_text

log = logging.getLogger(__name__)

AMBIGUOUS = "Ambiguous"
"""Label of stretches that may or may not show an action: finding one there is neither right nor wrong."""

_SUBSETS: dict[str, Split] = {"validation": "val", "test": "test"}


class Instance(TypedDict):
    """A stretch of a video, from and to which second, and what happens in it."""

    segment: list[float]
    label: str


class _Video(TypedDict):
    subset: str
    annotations: list[Instance]


class Video(_Video, total=False):
    """A video in ActivityNet's layout; duration (seconds) is missing where the file is."""

    duration: float


@dataclass(kw_only=True)
class Thumos14(FileOptions):
    """Ground truth of THUMOS14 in ActivityNet's layout, from its official files such as BaseballPitch_test.txt.

    Official files: https://www.crcv.ucf.edu/THUMOS14/download.html, TH14_Temporal_annotations_validation.zip and
    TH14_Temporal_annotations_test.zip, both below --annotations; videos are called video_test_0000004.mp4. Stretches
    of Ambiguous_test.txt have the label Ambiguous.

    Example: kinema prepare thumos14 --annotations thumos14 --videos thumos14/videos --output thumos14-lists
    """

    videos: Path | None = None
    """Folder that has the videos, at any depth: their durations go into the ground truth, missing ones are counted."""


def prepare_thumos14(options: Thumos14) -> Report:
    """Write `ground_truth.json`, `classes.txt` and, for each split with missing videos, `missing_<split>.txt`.

    Raises:
        UserError: files are missing or faulty, or not one listed video is there.
    """
    check_output(options)
    classes, database = read_thumos14(options.annotations)
    splits = dict[Split, list[Listed]]()
    for name, video in database.items():
        labels = {instance["label"] for instance in video["annotations"]} - {AMBIGUOUS}
        listed = Listed(names=(name,), labels=tuple(sorted(map(classes.index, labels))))
        splits.setdefault(_SUBSETS[video["subset"]], []).append(listed)
    if options.videos is None:
        report = report_listed(Annotations(classes=classes, splits=splits))
    else:
        videos, found = match(splits, options.videos, "video")
        for split, rows in splits.items():
            write_missing(options.output, split, rows, found[split])
            for row, file in zip(rows, found[split], strict=True):
                seconds = _duration(options.videos / file.path) if file else None
                if seconds is not None:
                    database[row.names[0]]["duration"] = seconds
        report = Report(
            classes=len(classes),
            splits=tuple(report_split(split, rows, found[split]) for split, rows in splits.items()),
            unlisted=videos.unlisted(video for videos_of_split in found.values() for video in videos_of_split),
        )
    write_classes(options.output, classes)
    write_text(
        options.output / GROUND_TRUTH_FILE, strict_json.dumps({"version": "THUMOS14", "database": database}) + "\n"
    )
    return report


def read_thumos14(folder: Path) -> tuple[tuple[str, ...], dict[str, Video]]:
    """Class names, and the videos of all `<Class>_val.txt` and `<Class>_test.txt`: lines `video start end` (seconds).

    Classes are in alphabetical order, which is that of their official numbers; instances of a video in order of time.

    Raises:
        UserError: files are missing or faulty.
    """
    videos = dict[str, Video]()
    classes = set[str]()
    for subset, ending in (("validation", "_val.txt"), ("test", "_test.txt")):
        for file in find_files(folder, f"*{ending}"):
            label = file.name[: -len(ending)]
            classes |= {label} - {AMBIGUOUS}
            for name, start, end in _stretches(file):
                video = videos.setdefault(name, {"subset": subset, "annotations": []})
                video["annotations"].append({"segment": [start, end], "label": label})
    if not classes:
        raise UserError(f"'{folder}' has no files such as BaseballPitch_val.txt or BaseballPitch_test.txt")
    for video in videos.values():
        video["annotations"].sort(key=lambda instance: instance["segment"])
    return tuple(sorted(classes)), dict(sorted(videos.items()))


def _stretches(file: Path) -> list[tuple[str, float, float]]:
    stretches = []
    for line, text in lines_of(file):
        try:
            name, start, end = text.split()
            stretches.append((name, float(start), float(end)))
        except ValueError:
            raise UserError(f"{file}:{line}: '{text}'; expected 'video start end', times in seconds") from None
    return stretches


def _duration(path: Path) -> float | None:
    """Seconds of a video file; None, with a warning, where it does not say or cannot be opened."""
    try:
        with av.open(str(path)) as container:
            if container.duration:
                return container.duration / av.time_base
        log.warning("%s does not say how long it is", path)
    except (OSError, av.FFmpegError) as error:
        log.warning("%s cannot be opened: %s", path, error)
    return None
