"""BORIS: projects (.boris), and exported events, tabular or aggregated, as CSV or TSV; each subject is a layer.

State events last from their start to their stop, which are the odd and the even ones of a subject, a behavior and its
modifiers; point events are points.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinema.errors import UserError
from kinema.prepare.labels.export import Annotation, Export, mapping, parse_json, sequence

_EXPECTED = "a project of BORIS (.boris), or its tabular or aggregated events as CSV or TSV"


_SHIFTED = "the observation has a time offset, by which its times are not those of the video: set it to 0 in BORIS"


@dataclass(frozen=True, kw_only=True)
class _Event:
    """An event of an observation: `state` is START, STOP, POINT, or STATE if starts and stops alternate."""

    observation: str
    video: str
    time: float
    subject: str
    behavior: str
    modifiers: tuple[str, ...]
    state: str
    where: str


def read_boris(text: bytes, source: str) -> Export:
    """Read a project or exported events; see the module."""
    return _read_project(text, source) if text.lstrip().startswith(b"{") else _read_table(text, source)


def _read_project(text: bytes, source: str) -> Export:
    project, export = mapping(parse_json(text, source, _EXPECTED)), Export(source)
    if not {"observations", "behaviors_conf"} <= project.keys():
        raise UserError(f"'{source}' has no observations and behaviors_conf; expected {_EXPECTED}")
    behaviors = [mapping(one) for one in mapping(project["behaviors_conf"]).values()]
    kinds = {str(one.get("code")): str(one.get("type", "")).lower().partition(" ")[0] for one in behaviors}
    for name, entry in mapping(project["observations"]).items():
        observation = mapping(entry)
        if str(observation.get("type", "MEDIA")) != "MEDIA":
            continue  # live, or of single images
        if _is_shifted(observation.get("time offset")):
            export.fault(f"observation '{name}'", _SHIFTED)
            continue
        media = [str(path) for path in sequence(mapping(observation.get("file")).get("1"))]
        lengths = mapping(mapping(observation.get("media_info")).get("length"))
        known = {video: float(lengths[video]) for video in media if isinstance(lengths.get(video), int | float)}
        export.durations |= known
        events = _events(export, f"observation '{name}'", sequence(observation.get("events")), media, known, kinds)
        _pair(export, events)
    return export


def _events(
    export: Export, observation: str, rows: Sequence[Any], media: Sequence[str], lengths: Mapping[str, float],
    kinds: Mapping[str, str],
) -> Iterator[_Event]:  # fmt: skip
    """Yield the events of an observation, with their time in the video that they are in: videos are played in turn."""
    for number, row in enumerate(rows, 1):
        where, fields = f"{observation}, event {number}", [*sequence(row), "", "", "", ""]
        time, behavior = export.number(fields[0], where, "time"), str(fields[2])
        if kinds.get(behavior) not in ("state", "point"):
            export.fault(where, f"behavior {behavior!r} is no state or point event of the project")
        elif not media:
            export.fault(where, "the observation has no media file for player 1")
        elif time is not None:
            video, start = media[0], 0.0
            for following in media[1:]:
                if video not in lengths or time < start + lengths[video]:
                    break
                video, start = following, start + lengths[video]
            yield _Event(
                observation=observation, video=video, time=round(time - start, 6), subject=str(fields[1]),
                behavior=behavior, modifiers=(str(fields[3]),), state=kinds[behavior].upper(), where=where,
            )  # fmt: skip


def _is_shifted(offset: object) -> bool:
    try:
        return float(str(offset or 0)) != 0
    except ValueError:
        return False


def _read_table(text: bytes, source: str) -> Export:
    export, content = Export(source), text.decode()
    lines = content.splitlines()
    head = next((line for line in lines if "Behavior" in line and ("Start (s)" in line or "Time" in line)), None)
    if head is None:
        raise UserError(f"'{source}' has no line of columns with Behavior, and Time or Start (s); expected {_EXPECTED}")
    skipped = lines.index(head) + 1
    rows = csv.reader(io.StringIO("\n".join(lines[skipped - 1 :])), delimiter="\t" if "\t" in head else ",")
    columns = [column.strip() for column in next(rows)]
    events, played_by = list[_Event](), dict[str, str]()
    for row in rows:
        if not any(row):
            continue
        fields, where = dict(zip(columns, row, strict=False)), f"line {skipped + rows.line_num - 1}"
        video = _first(fields, "Media file name", "Media file path", "Media file")
        played = played_by.setdefault(fields.get("Observation id", ""), video)
        if not video:
            export.fault(where, "no media file")
        elif _is_shifted(fields.get("Time offset (s)")):
            export.fault(where, _SHIFTED)
        elif played != video or ";" in fields.get("Source", "").partition("|")[0]:
            export.fault(
                where, "its observation plays several videos in turn, over which times go on: pass the project"
            )
        elif "Start (s)" in fields:
            _add_aggregated(export, fields, video, where)
        elif event := _tabular(export, fields, video, where):
            events.append(event)
    _pair(export, events)
    return export


def _add_aggregated(export: Export, fields: Mapping[str, str], video: str, where: str) -> None:
    """Add a row of aggregated events, which has a start and a stop."""
    start, end = (export.number(fields.get(name), where, name) for name in ("Start (s)", "Stop (s)"))
    if start is not None and end is not None:
        point = fields.get("Behavior type", "").strip() == "POINT"
        _add(export, video, fields["Behavior"], start, start if point else end, fields.get("Subject", ""), where)


def _tabular(export: Export, fields: Mapping[str, str], video: str, where: str) -> _Event | None:
    """Return the event of a row of tabular events."""
    time = export.number(fields.get("Time"), where, "Time")
    state = _first(fields, "Status", "Behavior type").upper()
    if state not in ("START", "STOP", "POINT", "STATE"):
        export.fault(where, f"{state!r} is none of START, STOP and POINT")
        return None
    modifiers = tuple(text for name, text in fields.items() if "odifier" in name)
    return time if time is None else _Event(
        observation=fields.get("Observation id", ""), video=video, time=time, subject=fields.get("Subject", ""),
        behavior=fields["Behavior"], modifiers=modifiers, state=state, where=where,
    )  # fmt: skip


def _first(fields: Mapping[str, str], *names: str) -> str:
    return next((fields[name].strip() for name in names if fields.get(name, "").strip()), "")


def _pair(export: Export, events: Iterable[_Event]) -> None:
    """Add point events, and state events from their start to their stop; events are in the order of their times."""
    begun = dict[tuple[str, str, str, tuple[str, ...]], _Event]()
    for event in events:
        key = event.observation, event.subject, event.behavior, event.modifiers
        start = begun.pop(key, None)
        if event.state == "POINT":
            _add(export, event.video, event.behavior, event.time, event.time, event.subject, event.where)
        elif start is None and event.state != "STOP":
            begun[key] = event
        elif start is None:
            export.fault(event.where, f"'{event.behavior}' stops without a start")
        elif event.state == "START":
            export.fault(event.where, f"'{event.behavior}' starts again before it stops")
        elif start.video != event.video:
            export.fault(event.where, f"'{event.behavior}' goes on from '{start.video}' to '{event.video}'")
        else:
            _add(export, event.video, event.behavior, start.time, event.time, event.subject, start.where)
    for event in begun.values():
        export.fault(event.where, f"'{event.behavior}' starts and does not stop")


def _add(export: Export, video: str, label: str, start: float, end: float, subject: str, where: str) -> None:
    if not label.strip():
        export.fault(where, "no behavior")
        return
    export.annotations.append(
        Annotation(video=video, label=label.strip(), where=where, start=start, end=end, layer=subject)
    )
