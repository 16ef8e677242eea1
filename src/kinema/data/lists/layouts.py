"""Fields of an annotation file's rows, and conditions on them."""

import logging
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from kinema.data.kinds import LabelsRead, MediaKind
from kinema.data.lists.tables import BLANKS, Table
from kinema.data.readers.segments import SegmentUnit
from kinema.errors import UserError, did_you_mean

log = logging.getLogger(__name__)

_FRAME_COLUMNS = ("frames", "num_frames")
_SEGMENT_COLUMNS: dict[SegmentUnit, tuple[str, str]] = {
    "seconds": ("start", "end"),
    "frames": ("start_frame", "end_frame"),
}
_LABEL = (
    "the label a whole number counted from 0, or the name of a class, on every line (names that are numbers need the "
    "column 'class')"
)
_FILES = "; a list of video files, without numbers of frames, needs --data.source video"
SINGLE_LABEL = "one label for each video; for several put ';' between them and pass --task.labels multi"
_LIST = r"(-?\d+|'[^']*'|\"[^\"]*\")"
_SEVERAL = re.compile(rf"\[\s*{_LIST}(\s*,\s*{_LIST})*\s*\]|-?\d+([\s,|]+-?\d+)+")
_OPERATORS = re.compile(r"[&|<>()!'\"]|\s(and|or)\s", re.IGNORECASE)
"""Operators of other query languages."""

Fields = Sequence[bytes]
"""The fields of one row."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Equality or inequality of a field with a value."""

    field: int
    equal: bool
    value: bytes
    text: str
    """As the user wrote it."""

    def matches(self, row: Fields) -> bool:
        """Whether the field has the value."""
        return row[self.field].strip(BLANKS) == self.value


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The fields of a row by number.

    maxsplit: number of fields after the path, which may contain delimiters itself; -1 if it contains none.
    path: the field with the path.
    frames: the field with the number of frames; None if there is none.
    label: the field with the label or labels; the first one if labels are fields of their own.
    segment: the fields with the start and the end of a segment; None if rows are whole videos.
    unit: what these are counted in.
    labels: whether a row has one label or any number of labels, or they are not read.
    separator: separator of several labels in one field; empty: all fields from `label` on are labels.
    named: whether labels are class names even if they are numbers.
    least, most: minimum and maximum number of fields in a row; None: no maximum.
    misfit: the problem with a row of another number of fields.
    conditions: conditions on the selected rows, all of which must hold; `wanted` is their text.
    expected: description of a correct row.
    """

    maxsplit: int = -1
    path: int
    frames: int | None
    label: int
    segment: tuple[int, int] | None = None
    unit: SegmentUnit = "seconds"
    labels: LabelsRead
    separator: bytes = b""
    named: bool = False
    least: int
    most: int | None
    misfit: str
    conditions: tuple[Condition, ...] = ()
    wanted: str = ""
    expected: str

    def fits(self, count: int) -> bool:
        """Whether a row may have `count` fields."""
        return self.least <= count <= (self.most or count)

    def labels_of(self, rows: Iterable[Fields]) -> list[list[bytes]]:
        """Return the labels of each row."""
        if self.labels == "none":
            return [[] for _ in rows]
        if self.labels == "single":
            return [[row[self.label].strip(BLANKS)] for row in rows]
        if not self.separator:
            return [[field.strip(BLANKS) for field in row[self.label :]] for row in rows]
        parts = (row[self.label].split(self.separator) for row in rows)
        return [[label for part in field if (label := part.strip(BLANKS))] for field in parts]


def layout_of(table: Table, kind: MediaKind, labels: LabelsRead, where: str) -> Layout:
    """Return the layout of a table (by its header) or of a list (by `kind` and `labels`).

    Raises:
        UserError: the header lacks path or label, or `where` is malformed or names no column.
    """
    if table.header is not None:
        return _table_layout(table, table.header, kind, labels, where)
    if where:
        raise UserError(f"where='{where}' needs columns, but '{table.source}' has no header line such as path,label")
    return _list_layout(table, kind, labels)


def _list_layout(table: Table, kind: MediaKind, labels: LabelsRead) -> Layout:
    rawframes = kind == "rawframes"
    if labels == "none":
        return _unlabeled_list(table, rawframes=rawframes)
    fields = ["folder", "frames", "label"] if rawframes else ["path", "label"]
    label = len(fields) - 1
    if labels == "single":
        expected = (
            f"'{table.delimiter.join(fields)}' on each line, the label a whole number counted from 0; names of classes "
            "need a header line path,label in a .csv, or a given list of classes"
        )
    else:
        expected = (
            f"'{table.delimiter.join([*fields, 'label', '…'])}' on each line, labels whole numbers counted from 0; "
            "paths with blanks, and names of classes, need a .csv with a header line path,labels and semicolons "
            "between labels"
        )
    return Layout(
        maxsplit=label if labels == "single" else -1,
        path=0,
        frames=1 if rawframes else None,
        label=label,
        labels=labels,
        least=len(fields),
        most=len(fields) if labels == "single" else None,
        misfit="no number of frames, or no label" if rawframes else "no label",
        expected=expected + _FILES * rawframes,
    )


def _unlabeled_list(table: Table, *, rawframes: bool) -> Layout:
    fields = ["folder", "frames"] if rawframes else ["path"]
    return Layout(
        path=0,
        frames=1 if rawframes else None,
        label=len(fields),
        labels="none",
        least=len(fields),
        most=None,
        misfit="no number of frames" if rawframes else "no path",
        expected=f"'{table.delimiter.join(fields)}' on each line; paths with blanks need a .csv with a header line path"
        + _FILES * rawframes,
    )


def _table_layout(table: Table, header: tuple[str, ...], kind: MediaKind, labels: LabelsRead, where: str) -> Layout:
    if labels != "none" and not {"label", "class"} & set(header) and {"labels", "classes"} & set(header):
        labels = "multi"
    columns = {"none": ("path",), "single": ("label", "class"), "multi": ("labels", "classes", "label", "class")}[
        labels
    ]
    label = next((name for name in columns if name in header), columns[0])
    separator = "" if labels != "multi" else "," if table.delimiter == ";" else ";"
    segment, unit = _segment_columns(table, header, kind)
    return Layout(
        path=column_of(table, header, "path"),
        frames=next((header.index(name) for name in _FRAME_COLUMNS if name in header and kind == "rawframes"), None),
        label=column_of(table, header, label),
        segment=segment,
        unit=unit,
        labels=labels,
        separator=separator.encode(),
        named=label in ("class", "classes"),
        least=len(header),
        most=len(header),
        misfit="not one field for each column",
        conditions=tuple(_condition(table, header, text) for text in where.split(",")) if where else (),
        wanted=where,
        expected=f"'{','.join(header)}' on each line, "
        + (
            "the path of a video"
            if labels == "none"
            else "the name of a class"
            if label in ("class", "classes")
            else _LABEL
        )
        + (f"; several with '{separator}' between them" if separator else "")
        + (f"; 0 <= start < end, in {unit}" if segment else ""),
    )


def _segment_columns(
    table: Table, header: tuple[str, ...], kind: MediaKind
) -> tuple[tuple[int, int] | None, SegmentUnit]:
    """Return the fields with the start and the end of segments, if there are any, and their unit.

    Where a table has both, images are taken by frames, videos by seconds.

    Raises:
        UserError: there is a start without an end, or the reverse; or folders of images, which have no times, are to be
            taken by seconds.
    """
    units: list[SegmentUnit] = ["frames", "seconds"] if kind == "rawframes" else ["seconds", "frames"]
    for unit in units:
        start, end = _SEGMENT_COLUMNS[unit]
        if not {start, end} & set(header):
            continue
        if kind == "rawframes" and unit == "seconds":
            raise UserError(
                f"'{table.source}' has segments in seconds, and folders of images have no times: pass columns "
                "start_frame,end_frame, counted from 0"
            )
        return (column_of(table, header, start), column_of(table, header, end)), unit
    return None, "seconds"


def _condition(table: Table, header: tuple[str, ...], text: str) -> Condition:
    parts = re.fullmatch(r"([^=!]+)(!?=)([^=]*)", text)
    if parts is None:
        raise UserError(
            f"'{text}' is not a condition; expected column=value or column!=value, several with commas between"
        )
    name, operator, value = (part.strip() for part in parts.groups())
    field = column_of(table, header, name.lower())
    return Condition(field=field, equal=operator == "=", value=value.encode(), text=text.strip())


def column_of(table: Table, header: tuple[str, ...], name: str) -> int:
    """Return the number of the column `name`.

    Raises:
        UserError: there is none.
    """
    if name not in header:
        raise UserError(
            f"'{table.source}' has no column '{name}'{did_you_mean(name, header)} (its columns: {', '.join(header)})"
        )
    return header.index(name)


def check_condition(condition: Condition, count: int, source: str) -> None:
    """Warn of a condition that `count` = 0 rows match: its value is probably mistyped.

    Raises:
        UserError: no row matches, and the value contains an operator such as `&`.
    """
    if count:
        return
    value = condition.value.decode()
    if _OPERATORS.search(value):
        raise UserError(
            f"'{condition.text}': no row of '{source}' has the value '{value}'; expected column=value or "
            "column!=value, several with commas between, which must all hold"
        )
    if not condition.equal:
        log.warning("'%s' leaves no row of '%s' out: none has that value", condition.text, source)


def is_several(label: str) -> bool:
    """Whether a label is probably several labels: `1;3`, `sit;stand`, `1,3`, `1 3`, `[1, 3]`."""
    return len(_parts(label, ";")) > 1 or _SEVERAL.fullmatch(label) is not None


def is_several_of(label: str, names: Collection[str]) -> bool:
    """Whether a label is several of `names`, as in `sit, stand` or `sit|stand`."""
    splits = (_parts(label, separator) for separator in (",", "|", "/", "+", "&"))
    return any(len(parts) > 1 and all(part in names for part in parts) for parts in splits)


def _parts(label: str, separator: str) -> list[str]:
    return [part.strip() for part in label.split(separator) if part.strip()]
