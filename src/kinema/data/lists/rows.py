"""Rows of an annotation file, selected, checked and concatenated."""

import re
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, compress, count, islice

import numpy as np
from numpy.typing import NDArray

from kinema.data.lists.layouts import SINGLE_LABEL, Fields, Layout, check_condition, is_several
from kinema.data.lists.line_faults import LineFaults, shortened
from kinema.data.lists.tables import BLANKS, Table
from kinema.errors import UserError

_CHUNK = 250
"""Rows that are Python objects at a time: too few to start the garbage collector, and they fit the CPU's cache."""

_NOT_A_NUMBER = "the label is not a whole number"


def _integers() -> "array[int]":
    return array("i")


def _floats() -> "array[float]":
    return array("d")


@dataclass
class Rows:
    """Rows of a file.

    path_bytes: paths of all rows, concatenated.
    path_lengths: (N,) bytes of each path.
    frame_counts: (N,) frames of each row; empty if the file does not say.
    segments: (2 N,) start and end of each row; empty if rows are whole videos.
    labels: labels of all rows, concatenated: indices into `vocabulary`.
    label_counts: (N,) labels of each row; empty if each row has one label.
    lines: (N,) line numbers.
    vocabulary: distinct labels in order of occurrence.
    named: whether labels are class names rather than integers.
    """

    path_bytes: bytearray = field(default_factory=bytearray)
    path_lengths: "array[int]" = field(default_factory=_integers)
    frame_counts: "array[int]" = field(default_factory=_integers)
    segments: "array[float]" = field(default_factory=_floats)
    labels: "array[int]" = field(default_factory=_integers)
    label_counts: "array[int]" = field(default_factory=_integers)
    lines: "array[int]" = field(default_factory=_integers)
    vocabulary: defaultdict[bytes, int] = field(default_factory=lambda: defaultdict(count().__next__))
    named: bool = False

    def lines_of(self, labels: NDArray[np.intp]) -> NDArray[np.int32]:
        """Return the line numbers of labels, given by their positions in `labels`."""
        lines = np.asarray(self.lines)
        return (np.repeat(lines, self.label_counts) if self.label_counts else lines)[labels]


_Chunk = Sequence[tuple[int, Fields]]
"""Rows with their line numbers."""


def read_rows(table: Table, layout: Layout, classes: Sequence[str] | None) -> Rows:
    """Read the rows that meet the conditions of `layout`.

    The first label decides whether labels are class names; in a file without a header, they may be only if `classes`
    are given.

    Raises:
        UserError: rows are faulty, or no row meets the conditions.
    """
    rows, faults = Rows(), LineFaults(table.source, layout.expected)
    named: bool | None = layout.named or None
    matches = [0] * len(layout.conditions)
    wanted = tuple(condition.equal for condition in layout.conditions)
    numbered = table.rows(layout.maxsplit)
    while chunk := list(islice(numbered, _CHUNK)):
        if not all(map(layout.fits, {len(row) for _, row in chunk})):
            _report(
                [(line, row, layout.misfit) for line, row in chunk if not layout.fits(len(row))], table, layout, faults
            )
            chunk = [(line, row) for line, row in chunk if layout.fits(len(row))]
        if named is None:
            named = _first_is_name(chunk, layout, classes, allowed=table.header is not None)
        if layout.conditions:
            masks = [[condition.matches(row) for _, row in chunk] for condition in layout.conditions]
            matches = [number + sum(mask) for number, mask in zip(matches, masks, strict=True)]
            chunk = list(compress(chunk, (mask == wanted for mask in zip(*masks, strict=True))))
        if chunk:
            _append(rows, chunk, table, layout, faults, named=bool(named))
    faults.check()
    for condition, number in zip(layout.conditions, matches, strict=True):
        check_condition(condition, number, table.source)
    if not rows.lines:
        which = f"with {layout.wanted}" if layout.conditions else "below its header"
        raise UserError(f"'{table.source}' has no rows {which}; expected a row for each video")
    rows.named = bool(named)
    return rows


def _first_is_name(chunk: _Chunk, layout: Layout, classes: Sequence[str] | None, *, allowed: bool) -> bool | None:
    """Whether the first label is a class name; None if there is no label."""
    label = next(chain.from_iterable(layout.labels_of(row for _, row in chunk)), None)
    if label is None:
        return None
    if classes is not None and label.decode() in classes:
        return True
    return (allowed or classes is not None) and not _is_integer(label)


def _append(rows: Rows, chunk: _Chunk, table: Table, layout: Layout, faults: LineFaults, *, named: bool) -> None:
    lines, fields = zip(*chunk, strict=True)
    paths = [row[layout.path].strip(BLANKS) for row in fields]
    frames = [row[layout.frames].strip(BLANKS) for row in fields] if layout.frames is not None else []
    if layout.labels == "single":
        labels = [row[layout.label].strip(BLANKS) for row in fields]
    else:
        label_sets = layout.labels_of(fields)
        labels = list(chain.from_iterable(label_sets))
        rows.label_counts.extend(map(len, label_sets))
    segments = [] if layout.segment is None else _segments(fields, layout)
    good = all(paths) and all(map(_is_count, set(frames))) and all(map(bool if named else _is_integer, set(labels)))
    if not good or segments is None:
        problems = ((line, row, _problem(row, layout, named=named)) for line, row in chunk)
        _report([(line, row, problem) for line, row, problem in problems if problem], table, layout, faults)
        return
    rows.lines.extend(lines)
    rows.path_bytes += b"".join(paths)
    rows.path_lengths.extend(map(len, paths))
    rows.frame_counts.extend(map(int, frames))
    rows.segments.extend(segments)
    rows.labels.extend(map(rows.vocabulary.__getitem__, labels))


def _problem(row: Fields, layout: Layout, *, named: bool) -> str:
    """Return the problem with the contents of a row; empty if there is none."""
    (labels,) = layout.labels_of([row])
    if not row[layout.path].strip(BLANKS):
        return "no path"
    if layout.frames is not None and not _is_count(row[layout.frames].strip(BLANKS)):
        return "the number of frames is not a whole number"
    if layout.segment is not None and _segments([row], layout) is None:
        return _segment_problem(row, layout, *layout.segment)
    if named:
        return "" if all(labels) else "no label"
    return "" if all(map(_is_integer, labels)) else _NOT_A_NUMBER


def _segments(rows: Sequence[Fields], layout: Layout) -> list[float] | None:
    """Return the starts and ends of all rows, one after another; None if some are faulty."""
    assert layout.segment is not None
    start, end = layout.segment
    texts = [row[field].strip(BLANKS) for row in rows for field in (start, end)]
    if layout.unit == "frames" and not all(map(_is_count, texts)):
        return None
    try:
        values = [*map(float, texts)]
    except ValueError:
        return None
    starts, ends = np.array(values[::2]), np.array(values[1::2])
    # What Python takes for a number has underscores, inf and nan.
    if b"_" in b"".join(texts) or not ((starts >= 0) & (starts < ends) & (ends < np.inf)).all():
        return None
    if layout.frames is not None and not all(
        last <= count for last, row in zip(values[1::2], rows, strict=True) if (count := _count(row, layout))
    ):
        return None
    return values


def _count(row: Fields, layout: Layout) -> int:
    """Return the listed number of frames of a row; 0 where there is none."""
    text = b"" if layout.frames is None else row[layout.frames].strip(BLANKS)
    return int(text) if _is_count(text) else 0


def _segment_problem(row: Fields, layout: Layout, start: int, end: int) -> str:
    """Return the problem with the start or the end of a row, which are in fields `start` and `end`."""
    texts = {"start": row[start].strip(BLANKS), "end": row[end].strip(BLANKS)}
    for name, text in texts.items():
        if not text:
            return f"no {name}"
        if layout.unit == "frames" and not _is_count(text):
            return f"the {name} is not a whole number from 0 on"
        if re.fullmatch(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is None:
            return f"the {name} is not a number of seconds, such as 12.5"
        if text.startswith(b"-"):
            return f"the {name} is negative"
    if float(texts["start"]) >= float(texts["end"]):
        return "the start is not before the end"
    if count := _count(row, layout):
        return f"the end is beyond the {count} frames of the video"
    return "the end is infinite"


def _report(faulty: Sequence[tuple[int, Fields, str]], table: Table, layout: Layout, faults: LineFaults) -> None:
    def describe(k: int) -> str:
        _, row, problem = faulty[k]
        text = shortened(table.delimiter.join(field.decode() for field in row).strip())
        several = (
            problem == _NOT_A_NUMBER
            and layout.labels == "single"
            and is_several(layout.labels_of([row])[0][0].decode())
        )
        return f"{problem}: {text}" + (f" ({SINGLE_LABEL})" if several else "")

    faults.add([line for line, _, _ in faulty], describe)


@lru_cache(maxsize=1 << 16)
def _is_integer(text: bytes) -> bool:
    """Whether a field is an int32: decimal digits after an optional minus."""
    return re.fullmatch(rb"-?[0-9]{1,10}", text) is not None and abs(int(text)) < 2**31


def _is_count(text: bytes) -> bool:
    return _is_integer(text) and int(text) >= 0
