"""Which field of an annotation file's rows is what, and which rows are wanted."""

import re
from dataclasses import dataclass

from kinema.data.columns import Rows
from kinema.data.index import Kind
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
    least, most: how many fields a row must and may have; None: any number more.
    misfit: what is wrong with a row of another width.
    conditions: what holds for the rows that are wanted; `wanted` says it as the user did.
    expected: what a row should be, for messages.
    """

    path: tuple[int, int]
    frames: int | None
    label: int
    least: int
    most: int | None
    misfit: str
    conditions: tuple[Condition, ...]
    wanted: str
    expected: str


def layout_of(table: Table, kind: Kind, where: str) -> Layout:
    """The layout of a table (by its header) or of a list (by `kind`).

    Raises:
        UserError: the header lacks path or label, or `where` is malformed or names no column.
    """
    if table.header is not None:
        return _table_layout(table, table.header, kind, where)
    if where:
        raise UserError(f"where='{where}' needs columns, but '{table.source}' has no header line such as path,label")
    return _list_layout(table, kind)


def _list_layout(table: Table, kind: Kind) -> Layout:
    fields = ["folder", "frames", "label"] if kind == "rawframes" else ["path", "label"]
    delimiter = "," if table.delimiter == UNIT_SEPARATOR else table.delimiter
    return Layout(
        path=(0, -len(fields)),
        frames=-2 if kind == "rawframes" else None,
        label=-1,
        least=len(fields),
        most=None,
        misfit="no number of frames, or no label" if kind == "rawframes" else "no label",
        conditions=(),
        wanted="",
        expected=f"'{delimiter.join(fields)}' on each line, the label a whole number counted from 0; names of "
        "classes need a header line path,label in a .csv, or a given list of classes",
    )


def _table_layout(table: Table, header: tuple[str, ...], kind: Kind, where: str) -> Layout:
    path = _column(table, header, "path")
    return Layout(
        path=(path, path),
        frames=next((header.index(name) for name in _FRAME_COLUMNS if name in header and kind == "rawframes"), None),
        label=_column(table, header, "label"),
        least=len(header),
        most=len(header),
        misfit="not one field for each column",
        conditions=tuple(_condition(table, header, text) for text in where.split(",")) if where else (),
        wanted=where,
        expected=f"'{','.join(header)}' on each line, the label a whole number counted from 0, or the name of a "
        "class on every line",
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
