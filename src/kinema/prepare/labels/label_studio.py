"""Label Studio: JSON and JSON-MIN exports of video projects.

`TimelineLabels` gives ranges of frames counted from 1, the last one included; `Labels` on a synchronized audio track
seconds; `Choices` classes of the whole video.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from kinema.data.lists.class_folders import VIDEO_SUFFIXES
from kinema.errors import UserError
from kinema.prepare.labels.export import Annotation, Export, mapping, parse_json, sequence
from kinema.prepare.labels.names import path_in

log = logging.getLogger(__name__)

_EXPECTED = "a JSON or JSON-MIN export of Label Studio, a list of tasks"


def read_label_studio(text: bytes, source: str) -> Export:
    """Read an export; see the module."""
    tasks = parse_json(text, source, _EXPECTED)
    if not isinstance(tasks, list):
        raise UserError(f"'{source}' holds no list; expected {_EXPECTED}")
    export = Export(source)
    for number, entry in enumerate(tasks):
        task = mapping(entry)
        where = f"task {task.get('id', f'number {number + 1}')}"
        data = mapping(task["data"]) if "data" in task else task
        videos = [value for value in data.values() if isinstance(value, str) and _is_video(value)]
        if len({*videos}) != 1:
            export.fault(where, f"{len({*videos})} of its fields name a video file; expected one")
            continue
        results = _results(task, where) if "data" in task else _minimal_results(task, where)
        _read_results(export, videos[0], [*results])
    return export


def _is_video(value: str) -> bool:
    return path_in(value).suffix.lower() in VIDEO_SUFFIXES


_Result = tuple[str, str, Mapping[str, Any]]
"""Element, control tag and value of a result."""


def _results(task: Mapping[str, Any], where: str) -> Iterator[_Result]:
    """Yield the results of the last annotation that was not cancelled, or of the one marked as ground truth."""
    done = [one for one in map(mapping, sequence(task.get("annotations"))) if not one.get("was_cancelled")]
    if not done:
        return
    chosen = next((one for one in done if one.get("ground_truth")), done[-1])
    if len(done) > 1:
        log.warning("%s has %d annotations, of which %s is taken", where, len(done), chosen.get("id", "the last"))
    results = [*map(mapping, sequence(chosen.get("result")))]
    regions = {result.get("id") for result in results if result.get("type") in ("timelinelabels", "labels")}
    for number, result in enumerate(results, 1):
        if result.get("type") == "choices" and result.get("id") in regions:
            continue  # a property of a region
        name = f"{where}, result {result.get('id', f'number {number}')}"
        yield name, str(result.get("from_name", "")), mapping(result.get("value"))


def _minimal_results(task: Mapping[str, Any], where: str) -> Iterator[_Result]:
    """Yield the results of a task of JSON-MIN, in which a control tag is a key: a list of values, or chosen classes."""
    for tag, values in task.items():
        if isinstance(values, list):
            for number, value in enumerate(values, 1):
                yield f"{where}, {tag} {number}", tag, mapping(value)
        elif isinstance(values, Mapping) and "choices" in values:
            yield f"{where}, {tag}", tag, values
        elif isinstance(values, str) and tag == "choice":  # of a single choice, under the tag's usual name
            yield f"{where}, {tag}", tag, {"choices": [values]}


def _read_results(export: Export, video: str, results: list[_Result]) -> None:
    fps = next((rate for _, _, value in results if (rate := _rate(value))), None)
    for where, tag, value in results:
        if "timelinelabels" in value:
            for span in map(mapping, sequence(value.get("ranges"))):
                first = export.number(span.get("start"), where, "start")
                last = export.number(span.get("end"), where, "end")
                if first is None or last is None:
                    continue
                if not 1 <= first <= last:
                    export.fault(where, f"frames {first:g} to {last:g}; they are counted from 1, the start not later")
                for label in sequence(value["timelinelabels"]):
                    export.annotations.append(
                        Annotation(
                            video=video, label=str(label), where=where, start=first - 1, end=last, unit="frames",
                            fps=fps, layer=tag,
                        )
                    )  # fmt: skip
        elif "labels" in value and "start" in value and "end" in value:
            start, end = (export.number(value[name], where, name) for name in ("start", "end"))
            if start is not None and end is not None:
                for label in sequence(value["labels"]):
                    export.annotations.append(
                        Annotation(video=video, label=str(label), where=where, start=start, end=end, layer=tag)
                    )
        elif "choices" in value:
            for label in sequence(value["choices"]):
                export.annotations.append(Annotation(video=video, label=str(label), where=where, layer=tag))


def _rate(value: Mapping[str, Any]) -> float | None:
    """Return the rate at which frames are counted, which results of tracked boxes tell."""
    frames, seconds = value.get("framesCount"), value.get("duration")
    if isinstance(frames, int | float) and isinstance(seconds, int | float) and frames > 0 and seconds > 0:
        return frames / seconds
    return None
