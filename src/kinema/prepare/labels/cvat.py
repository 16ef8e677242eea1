"""CVAT: XML of "CVAT for video 1.1" and "CVAT for images 1.1".

A track is a label from its first frame to its last, with a gap where it is outside the picture. In the format for
images, tags are labels of frames; frames in a row that have the same tag are one segment. Frames are numbered from 0 as
in the video, also where a task takes every n-th only.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from kinema.errors import UserError
from kinema.prepare.labels.export import Annotation, Export, parse_xml

_EXPECTED = "annotations.xml of the formats 'CVAT for video 1.1' or 'CVAT for images 1.1'"


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A task of the export: its video, and the distance of the frames that were annotated."""

    video: str
    step: int


def read_cvat(text: bytes, source: str) -> Export:
    """Read an export of a task, a job or a project; see the module."""
    root = parse_xml(text, source, _EXPECTED)
    if root.tag != "annotations":
        raise UserError(f"'{source}' is an XML file of <{root.tag}>; expected {_EXPECTED}")
    export, tasks = Export(source), dict(_tasks(root))
    tags = dict[tuple[_Task, str], list[int]]()
    for track in root.iter("track"):
        where = f"track {track.get('id', '?')}"
        if task := _task_of(track, tasks, export, where):
            _add(export, task, track.get("label", ""), _shown(track, export, where), where)
    for image in root.iter("image"):
        where = f"image {image.get('id', '?')}"
        frame = _frame(image.get("id"), export, where)
        labels = [tag.get("label", "") for tag in image.iter("tag")]
        if labels and frame is not None and (task := _task_of(image, tasks, export, where)):
            for label in labels:
                tags.setdefault((task, label), []).append(frame)
    for (task, label), frames in tags.items():
        _add(export, task, label, frames, f"tag '{label}'")
    return export


def _tasks(root: ET.Element) -> Iterator[tuple[str, _Task]]:
    """Yield the tasks by their id."""
    for element in [*root.iter("task"), *root.iter("job")]:
        step = re.search(r"step=(\d+)", element.findtext("frame_filter") or "")
        # A task names its video in <source>; of older exports, and of jobs, there may be the task's name alone.
        video = element.findtext("source") or element.findtext("name") or ""
        yield element.findtext("id") or "", _Task(video=video, step=max(1, int(step[1])) if step else 1)


def _task_of(element: ET.Element, tasks: dict[str, _Task], export: Export, where: str) -> _Task | None:
    """Return the task of a track or an image, which names it only in exports of projects."""
    if (name := element.get("task_id")) is not None:
        task = tasks.get(name)
    else:
        task = next(iter(tasks.values())) if len(tasks) == 1 else _Task(video="", step=1) if not tasks else None
    if task is None:
        export.fault(where, f"task {name!r} is none of the export's tasks ({', '.join(tasks)})")
    return task


def _shown(track: ET.Element, export: Export, where: str) -> list[int]:
    """Return the frames in which a track is shown: from each shape to the next, unless it is outside the picture."""
    shapes = list[tuple[int, bool]]()
    for shape in track:
        frame = _frame(shape.get("frame"), export, where)
        if frame is not None:
            shapes.append((frame, shape.get("outside") != "1"))
    shapes.sort()
    frames = list[int]()
    for (frame, shown), (following, _) in pairwise([*shapes, (shapes[-1][0] + 1, False)] if shapes else []):
        frames += range(frame, following) if shown else ()
    return frames


def _frame(text: str | None, export: Export, where: str) -> int | None:
    if text is not None and re.fullmatch(r"\d+", text):
        return int(text)
    export.fault(where, f"frame {text!r} is not a whole number from 0 on" if text else "no frame")
    return None


def _add(export: Export, task: _Task, label: str, frames: Iterable[int], where: str) -> None:
    """Add a segment for all frames in a row."""
    if not label:
        export.fault(where, "no label")
        return
    for first, last in _runs(sorted({*frames}), task.step):
        export.annotations.append(
            Annotation(
                video=task.video, label=label, where=f"{where}, frame {first}", start=first, end=last + task.step,
                unit="frames",
            )
        )  # fmt: skip


def _runs(frames: list[int], step: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of frames that are at most `step` apart."""
    start = 0
    for end in range(1, len(frames) + 1):
        if end == len(frames) or frames[end] - frames[end - 1] > step:
            yield frames[start], frames[end - 1]
            start = end
