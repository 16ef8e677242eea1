"""Annotation files and class folders read into an `Index`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.kinds import LabelsRead, MediaKind
from kinema.data.lists.class_folders import natural_key, read_class_folders
from kinema.data.lists.index import Index, index_paths, offsets_of
from kinema.data.lists.inputs import find_inputs
from kinema.data.lists.layouts import SINGLE_LABEL, Layout, is_several, is_several_of, layout_of
from kinema.data.lists.line_faults import LineFaults
from kinema.data.lists.rows import Rows, read_rows
from kinema.data.lists.tables import annotation_is_folder, open_table
from kinema.errors import UserError, did_you_mean
from kinema.storage import parent


def read_index(
    annotation: str | Path,
    *,
    kind: MediaKind,
    root: str = "",
    classes: Sequence[str] | None = None,
    labels: LabelsRead = "single",
    where: str = "",
    option: str = "--data.source",
    advice: str = "",
) -> Index:
    """Read the list of videos of a dataset, in one of these formats:

    1. A folder with one folder per class, see `read_class_folders`.
    2. A table: a file whose first line names its columns, such as `path,label,fold`. Columns `path` and `label` (or
       `class`) are required; `frames` (or `num_frames`) is the number of frames for rawframes; `start` and `end`
       (seconds), or `start_frame` and `end_frame` (counted from 0, the end excluded), make each row a segment of its
       video; other columns are used by `where` only. The delimiter is a comma, else a semicolon or tab if the first
       line has no comma; a tab in a .tsv. Fields may be quoted.
    3. A list without column names, `path label` for videos and `folder frames label` for rawframes, delimited by
       whitespace or commas. The last fields are the label and the number of frames; the path is all before them and
       may contain spaces.

    With several labels per video (`labels="multi"`), a table has them in column `labels` (or `classes`, `label`,
    `class`) separated by semicolons, and an empty field for none; in a list, `path label label …` or
    `folder frames label label …`, paths contain no spaces. A table with a column `labels` or `classes` and neither
    `label` nor `class` is always read as multi-label.

    Without labels (`labels="none"`), a folder is searched at any depth (`find_inputs`), a table needs a column `path`
    only, a list has `path` or `folder frames` on a line and paths without spaces; labels behind them are not read.

    A label is an integer counted from 0 or a class name; names need a table or `classes`. The first row decides for
    the whole file; columns `class` and `classes` always hold names. Text is UTF-8. Blank lines, spaces around fields, a
    byte order mark and any kind of line ends are accepted.

    Args:
        annotation: folder or file, a local path or a URL.
        root: folder or URL that relative paths in a file start from; empty: the folder of the file. A folder of class
            folders is its own root.
        classes: class names in index order, to give the classes of a validation set the indices of the training set;
            by default, names are indexed in natural order.
        where: selection of a table's rows: conditions `column=value` or `column!=value` separated by commas, all of
            which must hold, such as `fold!=0`. Values are compared as text. A condition `column!=value` whose value
            does not occur is logged.
        option: command-line option for `kind`, for messages.
        advice: what to do about labels that are not in `classes`, for messages.

    Raises:
        UserError: the annotation is missing, empty, not text, or malformed; the message names lines, their contents
            and what is expected.
    """
    annotation = str(annotation)
    if annotation_is_folder(annotation):
        if where:
            raise UserError(f"where='{where}' selects rows of a table; '{annotation}' is a folder")
        if labels == "none":
            return index_paths([video.path for video in find_inputs([annotation])], source=annotation, root=annotation)
        index = read_class_folders(annotation, kind=kind, classes=classes, option=option, advice=advice)
        return replace(index, label_offsets=torch.arange(len(index) + 1)) if labels == "multi" else index
    table = open_table(annotation)
    layout = layout_of(table, kind, labels, where)
    class_names = tuple(classes) if classes is not None else None
    rows = read_rows(table, layout, class_names)
    if labels == "none":
        label_values, class_names = np.full(len(rows.lines), -1, np.int32), None
    else:
        names, class_names = _class_indices(rows, class_names, layout, annotation, advice)
        label_values = names[np.asarray(rows.labels)]
    index = Index(
        path_bytes=torch.frombuffer(rows.path_bytes, dtype=torch.uint8),
        offsets=offsets_of(rows.path_lengths),
        labels=torch.from_numpy(label_values),
        frame_counts=torch.from_numpy(np.asarray(rows.frame_counts or np.zeros(len(rows.lines), np.int32))),
        lines=torch.from_numpy(np.asarray(rows.lines)),
        source=annotation,
        root=root or parent(annotation),
        class_names=class_names,
        label_offsets=offsets_of(rows.label_counts) if layout.labels == "multi" else None,
        segments=_segments(rows, layout),
    )
    if class_names is not None:
        check_labels(index, len(class_names))
    return index


def check_whole_videos(index: Index) -> None:
    """Check that the rows of a list are whole videos.

    Raises:
        UserError: they are segments.
    """
    if index.segments is not None:
        raise UserError(
            f"'{index.source}' lists segments, and whole videos are prepared: pass the folder of the videos, or a list "
            "without the columns of starts and ends"
        )


def check_labels(index: Index, num_classes: int, *, advice: str = "") -> None:
    """Check that all labels are in the range of `num_classes` classes.

    Raises:
        UserError: labels are negative or too large; the message names lines and their number, and ends with `advice`.
    """
    bad = torch.nonzero((index.labels < 0) | (index.labels >= num_classes)).flatten().numpy()
    expected = f"labels 0 to {num_classes - 1}: there are {num_classes} classes, counted from 0"
    faults = LineFaults(index.source, f"{expected}; {advice}" if advice else expected)
    rows = bad if index.label_offsets is None else np.searchsorted(index.label_offsets.numpy(), bad, side="right") - 1
    faults.add(index.lines.numpy()[rows], lambda k: f"label {index.labels[bad[k]]} of '{index.path(rows[k])}'")
    faults.check()


def _segments(rows: Rows, layout: Layout) -> Tensor | None:
    if layout.segment is None:
        return None
    segments = torch.from_numpy(np.asarray(rows.segments)).view(-1, 2)
    return segments.int() if layout.unit == "frames" else segments


def _class_indices(
    rows: Rows, classes: tuple[str, ...] | None, layout: Layout, source: str, advice: str
) -> tuple[NDArray[np.int32], tuple[str, ...] | None]:
    """Return the class index of each label of `rows.vocabulary`, and the class names if there are any.

    Raises:
        UserError: labels are not in `classes`, or are several labels with an unsupported separator.
    """
    names = [name.decode() for name in rows.vocabulary]
    if not rows.named or (classes is not None and not layout.named and _are_indices(names, classes)):
        return np.array([*map(int, names)], np.int32), classes
    if not layout.named:
        known = {*names, *(classes or ())}
        several = [name for name in names if is_several(name) or is_several_of(name, known)]
        expected = SINGLE_LABEL if layout.labels == "single" else "several labels of a video with ';' between them"
        _refuse(rows, {*several}.difference(classes or ()), "label '{}'".format, source, expected)
    class_names = classes or tuple(sorted(names, key=natural_key))
    indices = {name: index for index, name in enumerate(class_names)}

    def describe(name: str) -> str:
        return f"label '{name}' is not a known class{did_you_mean(name, class_names)}"

    expected = f"one of the {len(class_names)} known classes" + (f"; {advice}" if advice else "")
    _refuse(rows, set(names).difference(indices), describe, source, expected)
    return np.array([indices[name] for name in names], np.int32), class_names


def _are_indices(names: Sequence[str], classes: Sequence[str]) -> bool:
    """Whether labels are indices into `classes` although some of these are numbers, too."""
    if set(names) <= set(classes):
        return False
    return all(name.isascii() and name.isdecimal() and int(name) < len(classes) for name in names)


def _refuse(rows: Rows, labels: set[str], describe: Callable[[str], str], source: str, expected: str) -> None:
    """Raise a UserError if there are any of these `labels`."""
    names = [name.decode() for name in rows.vocabulary]
    faulty = np.flatnonzero(np.array([name in labels for name in names], np.bool_)[np.asarray(rows.labels)])
    faults = LineFaults(source, expected)
    faults.add(rows.lines_of(faulty), lambda k: describe(names[rows.labels[faulty[k]]]))
    faults.check()
