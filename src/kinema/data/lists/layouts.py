"""Which field of an annotation file's rows is what, and which rows are wanted."""

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from kinema.data.lists.columns import Column, Ints, Mask, Rows
from kinema.data.lists.index import Kind, Labels
from kinema.data.lists.tables import UNIT_SEPARATOR, Table
from kinema.errors import UserError, did_you_mean

log = logging.getLogger(__name__)

_FRAME_COLUMNS = ("frames", "num_frames")
_LABEL = (
    "the label a whole number counted from 0, or the name of a class, on every line (names that are numbers need the "
    "column 'class')"
)
_FILES = "; a list of video files, without numbers of frames, needs --data.source video"
SINGLE_LABEL = "one label for each video; for several put ';' between them and pass --task.labels multi"
_LIST = r"(-?\d+|'[^']*'|\"[^\"]*\")"
_SEVERAL = re.compile(rf"\[\s*{_LIST}(\s*,\s*{_LIST})*\s*\]|-?\d+([\s,|]+-?\d+)+")
_OPERATORS = re.compile(r"[&|<>()!'\"]|\s(and|or)\s", re.IGNORECASE)
"""What other languages write between or around conditions."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A field that must (not) hold a value."""

    field: int
    equal: bool
    value: bytes
    text: str
    """As the user wrote it."""

    def occurs(self, rows: Rows) -> Mask:
        """Where the field has the value."""
        return rows.column(self.field).equals(self.value)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the fields of a row are, by their number; negative numbers count from the row's end.

    path: first and last field that the path is made of.
    frames: None where no field says how many frames there are.
    label: the field with the label, or the labels; or the first one, where labels are fields of their own.
    labels: whether a row has one label or any number of them.
    separator: what stands between the labels of one field; empty: all fields from `label` on are labels.
    named: whether labels are class names even where they are numbers.
    least, most: how many fields a row must and may have; None: any number more.
    misfit: what is wrong with a row of another width.
    conditions: what holds for the rows that are wanted; `wanted` says it as the user did.
    expected: what a row should be, for messages.
    """

    path: tuple[int, int]
    frames: int | None
    label: int
    labels: Labels
    separator: str
    named: bool
    least: int
    most: int | None
    misfit: str
    conditions: tuple[Condition, ...]
    wanted: str
    expected: str

    def labels_of(self, rows: Rows) -> tuple[Column, Ints]:
        """The labels of all rows one after another, and how many each row has."""
        if self.labels == "single":
            return rows.column(self.label), np.ones(len(rows), np.int64)
        return rows.column(self.label).split(self.separator) if self.separator else rows.columns_from(self.label)


def layout_of(table: Table, kind: Kind, labels: Labels, where: str) -> Layout:
    """The layout of a table (by its header) or of a list (by `kind` and `labels`).

    Raises:
        UserError: the header lacks path or label, or `where` is malformed or names no column.
    """
    if table.header is not None:
        return _table_layout(table, table.header, kind, labels, where)
    if where:
        raise UserError(f"where='{where}' needs columns, but '{table.source}' has no header line such as path,label")
    return _list_layout(table, kind) if labels == "single" else _multi_label_list_layout(table, kind)


def _list_layout(table: Table, kind: Kind) -> Layout:
    fields = ["folder", "frames", "label"] if kind == "rawframes" else ["path", "label"]
    delimiter = "," if table.delimiter == UNIT_SEPARATOR else table.delimiter
    return Layout(
        path=(0, -len(fields)),
        frames=-2 if kind == "rawframes" else None,
        label=-1,
        labels="single",
        separator="",
        named=False,
        least=len(fields),
        most=None,
        misfit="no number of frames, or no label" if kind == "rawframes" else "no label",
        conditions=(),
        wanted="",
        expected=f"'{delimiter.join(fields)}' on each line, the label a whole number counted from 0; names of "
        "classes need a header line path,label in a .csv, or a given list of classes"
        + (_FILES if kind == "rawframes" else ""),
    )


def _multi_label_list_layout(table: Table, kind: Kind) -> Layout:
    fields = ["path", "label", "label", "…"] if kind != "rawframes" else ["folder", "frames", "label", "label", "…"]
    delimiter = "," if table.delimiter == UNIT_SEPARATOR else table.delimiter
    label = fields.index("label")
    return Layout(
        path=(0, 0),
        frames=None if kind != "rawframes" else 1,
        label=label,
        labels="multi",
        separator="",
        named=False,
        least=label + 1,
        most=None,
        misfit="no label" if kind != "rawframes" else "no number of frames, or no label",
        conditions=(),
        wanted="",
        expected=f"'{delimiter.join(fields)}' on each line, labels whole numbers counted from 0; paths with blanks, "
        "and names of classes, need a .csv with a header line path,labels and semicolons between labels"
        + (_FILES if kind == "rawframes" else ""),
    )


def _table_layout(table: Table, header: tuple[str, ...], kind: Kind, labels: Labels, where: str) -> Layout:
    path = _column(table, header, "path")
    if not {"label", "class"} & set(header) and {"labels", "classes"} & set(header):
        labels = "multi"
    columns = ("label", "class") if labels == "single" else ("labels", "classes", "label", "class")
    label = next((name for name in columns if name in header), columns[0])
    between = "" if labels == "single" else "," if table.delimiter == ";" else ";"
    return Layout(
        path=(path, path),
        frames=next((header.index(name) for name in _FRAME_COLUMNS if name in header and kind == "rawframes"), None),
        label=_column(table, header, label),
        labels=labels,
        separator=between,
        named=label in ("class", "classes"),
        least=len(header),
        most=len(header),
        misfit="not one field for each column",
        conditions=tuple(_condition(table, header, text) for text in where.split(",")) if where else (),
        wanted=where,
        expected=f"'{','.join(header)}' on each line, "
        + ("the name of a class" if label in ("class", "classes") else _LABEL)
        + (f"; several with '{between}' between them" if between else ""),
    )


def _condition(table: Table, header: tuple[str, ...], text: str) -> Condition:
    parts = re.fullmatch(r"([^=!]+)(!?=)([^=]*)", text)
    if parts is None:
        raise UserError(
            f"'{text}' is not a condition; expected column=value or column!=value, several with commas between"
        )
    name, operator, value = (part.strip() for part in parts.groups())
    field = _column(table, header, name.lower())
    return Condition(field=field, equal=operator == "=", value=value.encode(), text=text.strip())


def is_several(label: str) -> bool:
    """Whether what stands for one label is probably several: `1;3`, `sit;stand`, `1,3`, `1 3`, `[1, 3]`."""
    return len(_parts(label, ";")) > 1 or _SEVERAL.fullmatch(label) is not None


def is_several_of(label: str, names: Collection[str]) -> bool:
    """Whether what stands for one label is several of `names`, as in `sit, stand` or `sit|stand`."""
    splits = (_parts(label, separator) for separator in (",", "|", "/", "+", "&"))
    return any(len(parts) > 1 and all(part in names for part in parts) for parts in splits)


def _parts(label: str, separator: str) -> list[str]:
    return [part.strip() for part in label.split(separator) if part.strip()]


def check_condition(condition: Condition, occurs: int, source: object) -> None:
    """Check a condition whose value `occurs` in so many rows: one that occurs in none is probably no value.

    Raises:
        UserError: no row has the value, which holds an operator such as `&`.
    """
    if occurs:
        return
    if _OPERATORS.search(condition.value.decode()):
        raise UserError(
            f"'{condition.text}': no row of '{source}' has the value '{condition.value.decode()}'; expected "
            "column=value or column!=value, several with commas between, which must all hold"
        )
    if not condition.equal:
        log.warning("'%s' leaves no row of '%s' out: none has that value", condition.text, source)


def _column(table: Table, header: tuple[str, ...], name: str) -> int:
    if name not in header:
        raise UserError(
            f"'{table.source}' has no column '{name}'{did_you_mean(name, header)} (its columns: {', '.join(header)})"
        )
    return header.index(name)
