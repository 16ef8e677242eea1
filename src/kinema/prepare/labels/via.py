"""VGG Image Annotator 3: projects (JSON) and their CSV exports, of which each attribute is a layer.

Metadata with two times are a segment, with one a frame, with none, and no region, the file as a whole.
"""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from kinema.errors import UserError
from kinema.prepare.labels.export import Annotation, Export, mapping, parse_json, sequence

_EXPECTED = "a project of VIA 3 (JSON), or its CSV export"


def read_via(text: bytes, source: str) -> Export:
    """Read a project or an export; see the module."""
    return _read_project(text, source) if text.lstrip().startswith(b"{") else _read_csv(text, source)


def _read_project(text: bytes, source: str) -> Export:
    project, export = mapping(parse_json(text, source, _EXPECTED)), Export(source)
    if not {"metadata", "file", "view"} <= project.keys():
        raise UserError(f"'{source}' has no metadata, file and view; expected {_EXPECTED}")
    attributes, files = mapping(project.get("attribute")), mapping(project["file"])
    for name, entry in mapping(project["metadata"]).items():
        where, metadata = f"metadata {name}", mapping(entry)
        views = mapping(mapping(project["view"]).get(str(metadata.get("vid"))))
        shown = sequence(views.get("fid_list"))
        file = mapping(files.get(str(shown[0]))) if shown else {}
        if not file.get("fname"):
            export.fault(where, f"view {metadata.get('vid')!r} shows no file")
            continue
        _add(export, str(file["fname"]), metadata.get("z"), metadata.get("xy"), metadata.get("av"), attributes, where)
    return export


def _read_csv(text: bytes, source: str) -> Export:
    export, header, attributes = Export(source), list[str](), dict[str, Any]()
    rows = csv.reader(io.StringIO(text.decode()))
    for row in rows:
        where, line = f"line {rows.line_num}", ",".join(row)
        if line.startswith("#"):
            name, _, value = line.lstrip("# ").partition("=")
            match name.strip():
                case "CSV_HEADER":
                    header = [column.strip() for column in value.split(",")]
                case "ATTRIBUTE":
                    attributes = dict(mapping(parse_json(value.encode(), source, _EXPECTED)))
            continue
        if not any(row):
            continue
        if not header and "file_list" in row:
            header = row
            continue
        fields = dict(zip(header, row, strict=False))
        if not {"file_list", "metadata"} <= fields.keys():
            raise UserError(f"{source}:{rows.line_num}: no columns file_list and metadata; expected {_EXPECTED}")
        videos = sequence(_json(export, fields["file_list"], where))
        labels, times = _json(export, fields["metadata"], where), _times(export, fields, where)
        region = _json(export, fields.get("spatial_coordinates", "[]"), where)
        if not videos:
            export.fault(where, "file_list names no file")
        elif times is not None:
            _add(export, str(videos[0]), times, region, labels, attributes, where)
    return export


def _times(export: Export, fields: Mapping[str, str], where: str) -> Any:
    """Return the times of a row, of which older versions have two columns."""
    if "temporal_segment_start" not in fields:
        return _json(export, fields.get("temporal_coordinates", "[]"), where)
    return [fields["temporal_segment_start"], fields.get("temporal_segment_end", "")]


def _json(export: Export, text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        export.fault(where, f"{text!r} is not JSON")
        return None


def _add(
    export: Export, video: str, times: object, region: object, labels: object, attributes: Mapping[str, Any], where: str
) -> None:
    """Add the labels of one entry of metadata."""
    if sequence(region) and len(sequence(times)) < 2:
        return  # a region of an image, not a time
    seconds = [export.number(time, where, "time") for time in sequence(times)]
    if None in seconds:
        return
    if len(seconds) > 2:
        export.fault(where, f"{len(seconds)} times; expected two, one or none")
        return
    start, end = (seconds[0], seconds[-1]) if seconds else (None, None)
    for name, value in mapping(labels).items():
        attribute = mapping(attributes.get(name))
        layer = str(attribute.get("aname") or name)
        for label in _labels(attribute, str(value)):
            export.annotations.append(
                Annotation(video=video, label=label, where=where, start=start, end=end, layer=layer)
            )


_CHECKBOX = 2


def _labels(attribute: Mapping[str, Any], value: str) -> list[str]:
    """Return the labels that a value stands for: the options that it names by their ids, else its text."""
    options = mapping(attribute.get("options"))
    parts = value.split(",") if attribute.get("type") == _CHECKBOX else [value]
    return [str(options.get(part.strip(), part)).strip() for part in parts if part.strip() not in ("", "_DEFAULT")]
