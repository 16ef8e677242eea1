"""Which field of an annotation file's rows is what, and which rows are wanted."""

import re
from dataclasses import dataclass

import numpy as np

from kinema.data.columns import Column, Ints, Rows
from kinema.data.index import Kind, Labels
from kinema.data.tables import UNIT_SEPARATOR, Table
from kinema.errors import UserError, did_you_mean

_FRAME_COLUMNS = ("frames", "num_frames")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A field that must (not) hold a value."""

    field: int
    equal: bool
    value: bytes

    def select(self, rows: Rows) -> Rows:
        """The rows for which it holds."""
        return rows[rows.column(self.field).equals(self.value) == self.equal]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the fields of a row are, by their number; negative numbers count from the row's end.

    path: first and last field that the path is made of.
    frames: None where no field says how many frames there are.
    label: the field with the label, or the labels; or the first one, where labels are fields of their own.
    labels: whether a row has one label or any number of them.
    separator: what stands between the labels of one field; empty: all fields from `label` on are labels.
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
        least=len(fields),
        most=None,
        misfit="no number of frames, or no label" if kind == "rawframes" else "no label",
        conditions=(),
        wanted="",
        expected=f"'{delimiter.join(fields)}' on each line, the label a whole number counted from 0; names of "
        "classes need a header line path,label in a .csv, or a given list of classes",
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
        least=label + 1,
        most=None,
        misfit="no label" if kind != "rawframes" else "no number of frames, or no label",
        conditions=(),
        wanted="",
        expected=f"'{delimiter.join(fields)}' on each line, labels whole numbers counted from 0; paths with blanks, "
        "and names of classes, need a .csv with a header line path,labels and semicolons between labels",
    )


def _table_layout(table: Table, header: tuple[str, ...], kind: Kind, labels: Labels, where: str) -> Layout:
    path = _column(table, header, "path")
    if "labels" in header and "label" not in header:
        labels = "multi"
    between = "" if labels == "single" else "," if table.delimiter == ";" else ";"
    return Layout(
        path=(path, path),
        frames=next((header.index(name) for name in _FRAME_COLUMNS if name in header and kind == "rawframes"), None),
        label=_column(table, header, "labels" if labels == "multi" and "labels" in header else "label"),
        labels=labels,
        separator=between,
        least=len(header),
        most=len(header),
        misfit="not one field for each column",
        conditions=tuple(_condition(table, header, text) for text in where.split(",")) if where else (),
        wanted=where,
        expected=f"'{','.join(header)}' on each line, the label a whole number counted from 0, or the name of a "
        "class on every line" + (f"; several labels with '{between}' between them" if between else ""),
    )


def _condition(table: Table, header: tuple[str, ...], text: str) -> Condition:
    parts = re.fullmatch(r"([^=!]+)(!?=)([^=]*)", text)
    if parts is None:
        raise UserError(
            f"'{text}' is not a condition; expected column=value or column!=value, several with commas between"
        )
    name, operator, value = (part.strip() for part in parts.groups())
    return Condition(field=_column(table, header, name.lower()), equal=operator == "=", value=value.encode())


def _column(table: Table, header: tuple[str, ...], name: str) -> int:
    if name not in header:
        raise UserError(
            f"'{table.source}' has no column '{name}'{did_you_mean(name, header)} (its columns: {', '.join(header)})"
        )
    return header.index(name)
