"""ActivityNet 1.3: one JSON file for classification and localization."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kinema.data.lists.tables import read_text
from kinema.errors import UserError
from kinema.prepare.datasets.lists import (
    FileOptions,
    ListOptions,
    Report,
    build_lists,
    check_output,
    report_on,
    write_classes,
)
from kinema.prepare.datasets.official import Annotations, Listed, Split, json_of, need_file
from kinema.storage import write_text

GROUND_TRUTH_FILE = "ground_truth.json"

_SUBSETS: dict[str, Split] = {"training": "train", "validation": "val", "testing": "test"}


@dataclass(kw_only=True)
class ActivityNet(FileOptions):
    """Write ground truth and lists of ActivityNet 1.3 from its official activity_net.v1-3.min.json.

    Official files: http://activity-net.org/download.html, where videos such as v_QOlSCBRmfWY.mp4 can be requested.
    ground_truth.json is a copy of the official file, for localization. With --videos, lists of untrimmed videos for
    classification are written too: the label of a video is the one with the longest total duration.

    Example: kinema prepare activitynet --annotations anet --videos anet/videos --output anet/lists
    """

    videos: Path | None = None
    """Folder of the videos, at any depth; without it no lists are written."""
    source: Literal["video", "rawframes"] = "video"
    """Kind of videos: files, or folders of images (rawframes), whose number is written to the column num_frames."""


def prepare_activitynet(options: ActivityNet) -> Report:
    """Write `ground_truth.json`, `classes.txt` and, with videos, the files of `build_lists`.

    Raises:
        UserError: The file is missing or invalid, or no listed video exists.
    """
    check_output(options)
    file = official_json(options.annotations)
    annotations = read_activitynet(file)
    if options.videos is None:
        report = report_on(annotations)
        write_classes(options.output, annotations.classes)
    else:
        report = build_lists(
            annotations,
            ListOptions(
                annotations=options.annotations, output=options.output, videos=options.videos, source=options.source
            ),
        )
    write_text(options.output / GROUND_TRUTH_FILE, read_text(file).decode())
    return report


def official_json(folder: Path) -> Path:
    """Return the path of the official file below `folder`.

    Raises:
        UserError: There is no such file.
    """
    return need_file(folder, "activity_net.v1-3.min.json", "activity_net*1-3*.json", "activitynet*.json")


def read_activitynet(file: Path) -> Annotations:
    """Read `{"database": {id: {"subset", "duration", "annotations": [{"segment", "label"}]}}}`, times in seconds.

    Classes are in alphabetical order, as the file does not number them.

    Raises:
        UserError: The file is invalid.
    """
    content = json_of(file)
    if not isinstance(content, dict) or not isinstance(content.get("database"), dict):
        raise UserError(f"{file}: expected an object with 'database', as in the official file")
    database: dict[str, Any] = content["database"]
    for name, video in database.items():
        if not isinstance(video, dict) or "annotations" not in video or video.get("subset") not in _SUBSETS:
            expected = f"an object with annotations, and with a subset: {', '.join(_SUBSETS)}"
            raise UserError(f"{file}, {name}: expected {expected}")
        if not isinstance(video["annotations"], list) or not all(map(_is_instance, video["annotations"])):
            expected = 'a list of {"segment": [start, end], "label": name}'
            raise UserError(f"{file}, {name}: annotations: expected {expected}")
    labels = sorted({str(instance["label"]) for video in database.values() for instance in video["annotations"]})
    index = {label: k for k, label in enumerate(labels)}
    splits: dict[Split, list[Listed]] = {split: [] for split in _SUBSETS.values()}
    for name, video in database.items():
        label = _main_label(video["annotations"])
        splits[_SUBSETS[video["subset"]]].append(
            Listed(names=(f"v_{name}", name), labels=(index[label],) if label else ())
        )
    return Annotations(classes=tuple(labels), splits=splits)


def _is_instance(value: Any) -> bool:
    """Whether the value is an object with two times, and a name or an integer as its label."""
    if not isinstance(value, dict) or not isinstance(value.get("label"), str | int):
        return False
    segment = value.get("segment")
    return isinstance(segment, list) and len(segment) == 2 and all(isinstance(side, int | float) for side in segment)


def _main_label(instances: list[Any]) -> str:
    """Return the label with the longest total duration; empty if there are no instances."""
    seconds = Counter[str]()
    for instance in instances:
        start, end = instance["segment"]
        seconds[str(instance["label"])] += end - start
    return max(seconds, key=lambda label: seconds[label], default="")
