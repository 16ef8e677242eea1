"""`kinema prepare labels FILE… --from TOOL --output FILE`."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from kinema import strict_json
from kinema.config import check_bounds
from kinema.data.lists.tables import read_text
from kinema.data.readers.segments import plain
from kinema.errors import MediaError, UserError
from kinema.prepare.labels.boris import read_boris
from kinema.prepare.labels.cvat import read_cvat
from kinema.prepare.labels.elan import read_elan
from kinema.prepare.labels.export import Annotation, Export
from kinema.prepare.labels.label_studio import read_label_studio
from kinema.prepare.labels.options import LabelsOptions, Tool
from kinema.prepare.labels.via import read_via
from kinema.prepare.labels.videos import Video, find_video, in_seconds
from kinema.prepare.lists import is_listable
from kinema.storage import is_url, write_csv, write_text

log = logging.getLogger(__name__)


_READERS: dict[Tool, Callable[[bytes, str], Export]] = {
    "label-studio": read_label_studio,
    "cvat": read_cvat,
    "elan": read_elan,
    "via": read_via,
    "boris": read_boris,
}


@dataclass(frozen=True, kw_only=True)
class LabelsSummary:
    """Result of `prepare_labels`."""

    annotations: int
    """Number of labels written."""
    videos: int
    """Number of videos that have them."""

    exit_code = 0


def prepare_labels(options: LabelsOptions) -> LabelsSummary:
    """Convert the labels of a tool.

    Raises:
        UserError: a file is none of the tool's, or elements of it are faulty; a video is needed and was not found.
    """
    check_bounds(options)
    if not options.files:
        raise UserError("pass at least one file: kinema prepare labels FILE… --from TOOL --output FILE")
    ending = options.output.suffix.lower()
    if ending not in (".csv", ".json"):
        raise UserError(f"--output {options.output}: found '{options.output.suffix}'; allowed: .csv, .json")
    root = options.root or options.files[0].absolute().parent
    if not root.is_dir():
        raise UserError(f"--root {root}: no such folder")
    annotations, videos, durations = list[Annotation](), dict[str, Video](), dict[str, float]()
    for file in options.files:
        export = _READERS[options.tool](read_text(file), str(file))
        export.check()
        export.annotations = [replace(one, video=one.video or options.video) for one in export.annotations]
        videos |= {name: find_video(name, root) for name in {one.video for one in export.annotations} - videos.keys()}
        durations |= export.durations
        chosen = [one for one in export.annotations if options.layer in ("", one.layer)]
        chosen = _widened(in_seconds(chosen, export, videos, options.fps), options.points, str(file))
        _check(chosen, export)
        annotations += chosen
        if not chosen:
            layers = ", ".join(sorted({f"'{one.layer}'" for one in export.annotations if one.layer}))
            log.warning("%s: no labels%s", file, f" of '{options.layer}'; it has {layers}" if options.layer else "")
    if not annotations:
        raise UserError(f"no labels in {', '.join(map(str, options.files))}; nothing was written")
    used = {one.video: videos[one.video] for one in annotations}
    _warn_of_missing(used, root)
    if ending == ".json":
        _write_ground_truth(options, annotations, used, durations)
    else:
        _write_list(options, annotations, used)
    log.info("%s: %d labels of %d videos", options.output, len(annotations), len(used))
    return LabelsSummary(annotations=len(annotations), videos=len(used))


def _widened(annotations: Sequence[Annotation], seconds: float, source: str) -> list[Annotation]:
    """Widen points to segments of so many seconds; with 0, leave them out."""
    widened, left_out = list[Annotation](), 0
    for one in annotations:
        if one.start is None or one.end is None or one.start != one.end:
            widened.append(one)
        elif seconds:
            start = max(one.start - seconds / 2, 0.0)
            widened.append(replace(one, start=round(start, 6), end=round(start + seconds, 6)))
        else:
            left_out += 1
    if left_out:
        log.warning(
            "%s: %d labels of single points in time are left out; --points SECONDS keeps them", source, left_out
        )
    return widened


def _check(annotations: Sequence[Annotation], export: Export) -> None:
    for one in annotations:
        if not one.video:
            export.fault(one.where, "the file names no video: pass --video")
        if not one.label.strip() or not is_listable(one.label):
            export.fault(one.where, f"label {one.label!r}: it is empty, or has line breaks")
        if one.start is not None and one.end is not None and one.start >= one.end:
            export.fault(one.where, f"start {plain(one.start)} s is not before end {plain(one.end)} s")
    export.check()


def _warn_of_missing(videos: dict[str, Video], root: Path) -> None:
    if missing := [video.path for video in videos.values() if not video.there and not is_url(video.path)]:
        log.warning(
            "%d of %d videos are not below %s and are listed by their names, such as '%s': pass --root FOLDER",
            len(missing), len(videos), root, missing[0],
        )  # fmt: skip


def _write_list(options: LabelsOptions, annotations: Sequence[Annotation], videos: dict[str, Video]) -> None:
    """Write a table of segments, or of whole videos."""
    whole = [one for one in annotations if one.start is None]
    if whole and len(whole) < len(annotations):
        layers = ", ".join(sorted({f"'{one.layer}'" for one in annotations}))
        raise UserError(
            f"{whole[0].where} labels a whole video, others parts: a list has one kind; pass --layer, one of {layers}"
        )
    rows = dict[tuple[str, ...], list[str]]()
    for one in annotations:
        path = _listed(videos[one.video], options.output)
        span = () if one.start is None or one.end is None else (plain(one.start), plain(one.end))
        labels = rows.setdefault((path, *span), [])
        if one.label in labels:
            continue
        labels.append(one.label)
        if options.labels == "single" and len(labels) > 1:
            raise UserError(
                f"{one.where}: {path} {' to '.join(span)} has the labels {', '.join(labels)}: pass --labels multi"
            )
    header = ["path", *(() if whole else ("start", "end")), "class" if options.labels == "single" else "classes"]
    table = [header, *([*key, ";".join(labels)] for key, labels in rows.items())]
    write_csv(options.output, table, lineterminator="\n")


def _listed(video: Video, output: Path) -> str:
    """Return the path of a video as a list in the file `output` has it: relative to its folder, where it is below."""
    path, folder = Path(video.path), output.absolute().parent
    if not video.there:
        return video.path
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - unlike Path.absolute, it takes .. out
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)


def _write_ground_truth(
    options: LabelsOptions, annotations: Sequence[Annotation], videos: dict[str, Video], durations: dict[str, float]
) -> None:
    names = {video: PurePath(found.path).stem for video, found in videos.items()}
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise UserError(f"several videos are called '{twice[0]}'; in a ground truth names are unique: rename one")
    database: dict[str, Any] = {}
    for one in annotations:
        if one.start is None or one.end is None:
            raise UserError(f"{one.where} labels a whole video; a ground truth has parts: pass --layer, or a .csv")
        entry = database.setdefault(
            names[one.video],
            {"subset": options.subset, "duration": _duration(one, videos[one.video], durations), "annotations": []},
        )
        entry["annotations"].append({"segment": [one.start, one.end], "label": one.label})
    for entry in database.values():
        entry["annotations"].sort(key=lambda instance: (*instance["segment"], instance["label"]))
    write_text(options.output, strict_json.dumps({"version": "1.3", "database": database}, indent=1) + "\n")


def _duration(one: Annotation, video: Video, durations: dict[str, float]) -> float:
    """Return the duration of a video in seconds: its own, or what the file says."""
    if video.there:
        try:
            return round(float(video.times[-1]), 6)
        except MediaError as error:
            raise UserError(str(error)) from None
    if one.video in durations:
        return durations[one.video]
    raise UserError(f"'{one.video}' was not found, and its duration is needed: pass --root, the folder of the videos")
