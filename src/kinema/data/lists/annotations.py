"""Annotation formats read into an `Index`. `read_index` says which there are."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.faults import LineFaults, shortened
from kinema.data.lists.class_folders import natural_key, read_class_folders
from kinema.data.lists.columns import Bytes, Column, Mask, Rows
from kinema.data.lists.index import Index, Kind, Labels
from kinema.data.lists.layouts import SINGLE_LABEL, Layout, check_condition, is_several, is_several_of, layout_of
from kinema.data.lists.tables import UNIT_SEPARATOR, Table, annotation_is_folder, open_table
from kinema.errors import UserError, did_you_mean
from kinema.storage import parent


def read_index(
    annotation: str | Path,
    *,
    kind: Kind,
    root: str = "",
    classes: Sequence[str] | None = None,
    labels: Labels = "single",
    delimiter: Literal[" ", ",", ";", "\t"] | None = None,
    where: str = "",
    option: str = "--data.source",
) -> Index:
    """Read which videos there are, from one of these:

    1. A folder: one folder per class, see `read_class_folders`.
    2. A table: a file whose first line names its columns, such as `path,label,fold`. Columns `path` and `label` (or
       `class`) are needed; for rawframes `frames` (or `num_frames`) may say how many there are; others serve `where`
       alone. Columns are separated by commas, or by semicolons or tabs where the first line has no comma; by tabs in a
       .tsv. Fields may stand in quotes.
    3. A list, `path label` for videos and `folder frames label` for rawframes: fields separated by blanks or commas,
       without column names. The last fields are the label and the number of frames, all before them is the path, which
       may hold blanks.

    Where a video may have several labels (`labels` multi), they stand in the table's column `labels` (or `classes`,
    `label`, `class`) with semicolons between them, none in an empty field; a list, `path label label …` or
    `folder frames label label …`, has paths without blanks there. A table with a column `labels` or `classes` and
    neither `label` nor `class` is read so in any case.

    A label is an integer counted from 0, or a class name in a table, or in any file when `classes` are given. The
    first row decides which, for the whole file; what stands in columns `class` and `classes` is always a name. Text is
    UTF-8; blank lines, blanks around fields, a byte order mark and any kind of line ends do no harm.

    Args:
        annotation: the folder or file, a local path or a URL.
        kind: video files, or a folder of images for each video.
        root: folder or URL that relative paths in a file start from; empty: the file's own folder. A folder of class
            folders is its own root.
        classes: class names in the order of their indices, to give names (say, a validation set's) the same indices
            elsewhere; without them names get indices in natural order.
        labels: whether each video has one label, or may have several.
        delimiter: what separates fields, where the first line would mislead; a blank stands for any run of spaces and
            tabs.
        where: which rows of a table to take: conditions `column=value` or `column!=value` separated by commas, all of
            which must hold, such as `fold!=0`. Values are compared as text. A warning says that no row has the value
            of a condition `column!=value`.
        option: what the user chooses the kind by, for messages.

    Raises:
        UserError: the annotation is missing, empty, not text, or faulty: which lines, what they hold, what is allowed.
    """
    annotation = str(annotation)
    if annotation_is_folder(annotation):
        if where:
            raise UserError(f"where='{where}' selects rows of a table; '{annotation}' is a folder")
        index = read_class_folders(annotation, kind=kind, classes=classes, option=option)
        return replace(index, label_offsets=torch.arange(len(index) + 1)) if labels == "multi" else index
    table = open_table(annotation, delimiter)
    layout = layout_of(table, kind, labels, where)
    rows, class_names = _read_table(table, layout, tuple(classes) if classes is not None else None)
    index = Index(
        path_bytes=torch.from_numpy(rows.path_bytes),
        offsets=_offsets(rows.path_lengths),
        labels=torch.from_numpy(rows.labels),
        frame_counts=torch.from_numpy(rows.frame_counts),
        lines=torch.from_numpy(rows.lines),
        source=annotation,
        root=root or parent(annotation),
        class_names=class_names,
        label_offsets=_offsets(rows.label_counts) if layout.labels == "multi" else None,
    )
    if class_names is not None:
        check_labels(index, len(class_names))
    return index


def check_labels(index: Index, num_classes: int, *, advice: str = "") -> None:
    """Check that all labels are of `num_classes` classes, and that a video that is to have one has it.

    Args:
        index: the videos.
        num_classes: how many classes there are.
        advice: what to do about a label out of range, for the message.

    Raises:
        UserError: labels are negative or too big: which lines, how many.
    """
    bad = torch.nonzero((index.labels < 0) | (index.labels >= num_classes)).flatten().numpy()
    expected = f"labels 0 to {num_classes - 1}: there are {num_classes} classes, counted from 0"
    faults = LineFaults(index.source, f"{expected}; {advice}" if advice else expected)
    rows = bad if index.label_offsets is None else np.searchsorted(index.label_offsets.numpy(), bad, side="right") - 1
    faults.add(index.lines.numpy()[rows], lambda k: f"label {index.labels[bad[k]]} of '{index.path(rows[k])}'")
    faults.check()


_NOT_A_NUMBER = "the label is not a whole number"


class _Part(NamedTuple):
    """Rows of a file as `Index` holds them, but lengths of paths and numbers of labels instead of offsets."""

    path_bytes: Bytes
    path_lengths: NDArray[np.int32]
    frame_counts: NDArray[np.int32]
    labels: NDArray[np.int32]
    label_counts: NDArray[np.int32]
    lines: NDArray[np.int32]


def _read_table(table: Table, layout: Layout, classes: tuple[str, ...] | None) -> tuple[_Part, tuple[str, ...] | None]:
    """All wanted rows, and the names of their classes."""
    faults = LineFaults(str(table.source), layout.expected)
    codes = defaultdict[bytes, int](count().__next__)
    named: bool | None = layout.named or None
    occurring = [0] * len(layout.conditions)
    parts = list[_Part]()
    for block in table.rows():
        fits = (block.count >= layout.least) & (block.count <= (layout.most or block.count))
        _report(block, ~fits, layout.misfit, faults)
        rows = block[fits]
        if named is None:
            named = _is_name(layout.labels_of(rows)[0], classes, allowed=table.header is not None)
        wanted = np.ones(len(rows), np.bool_)
        for k, condition in enumerate(layout.conditions):
            occurs = condition.occurs(rows)
            occurring[k] += int(occurs.sum())
            wanted &= occurs == condition.equal
        rows = rows[wanted]
        parts.append(_read_rows(rows, layout, codes if named else None, faults))
    faults.check()
    for condition, occurs_in in zip(layout.conditions, occurring, strict=True):
        check_condition(condition, occurs_in, table.source)
    if not any(len(part.lines) for part in parts):
        which = f"with {layout.wanted}" if layout.conditions else "below its header"
        raise UserError(f"'{table.source}' has no rows {which}; expected a row for each video")
    whole = _Part(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    if not named:
        return whole, classes
    names = [name.decode() for name in codes]
    if classes is not None and not layout.named and _are_indices(names, classes):
        return whole._replace(labels=np.array([*map(int, names)], np.int32)[whole.labels]), classes
    if not layout.named:
        _check_single(whole, names, classes or (), layout.labels, table.source)
    class_names = classes or tuple(sorted(names, key=natural_key))
    return whole._replace(labels=_class_indices(whole, names, class_names, table.source)), class_names


def _are_indices(names: list[str], classes: tuple[str, ...]) -> bool:
    """Whether labels are the indices of `classes`, some of which are called by numbers, rather than these names."""
    if set(names) <= set(classes):
        return False
    return all(name.isascii() and name.isdecimal() and int(name) < len(classes) for name in names)


def _check_single(part: _Part, names: list[str], classes: tuple[str, ...], labels: Labels, source: str) -> None:
    """Check that no label is several ones in a writing that is not read as such."""
    known = {*names, *classes}
    several = [name not in classes and (is_several(name) or is_several_of(name, known)) for name in names]
    expected = "several labels of a video with ';' between them" if labels == "multi" else SINGLE_LABEL
    faults = LineFaults(str(source), expected)
    rows = np.flatnonzero(np.array(several, np.bool_)[part.labels])
    faults.add(np.repeat(part.lines, part.label_counts)[rows], lambda k: f"label '{names[part.labels[rows[k]]]}'")
    faults.check()


def _is_name(labels: Column, classes: tuple[str, ...] | None, *, allowed: bool) -> bool | None:
    """Whether labels are class names, judged by the first one; None where there is none."""
    if not len(labels.starts):
        return None
    if classes is not None and labels.string(0) in classes:
        return True
    _, integers = labels.integers()
    return (allowed or classes is not None) and not integers[0]


def _read_rows(rows: Rows, layout: Layout, codes: defaultdict[bytes, int] | None, faults: LineFaults) -> _Part:
    """Read the fields of `rows`. Labels are integers, or names where `codes` are given to number them."""
    path, (label, label_counts) = rows.column(*layout.path), layout.labels_of(rows)
    if layout.frames is None:
        frame_counts, counted = np.zeros(len(rows), np.int64), np.ones(len(rows), np.bool_)
    else:
        frame_counts, counted = rows.column(layout.frames).integers()
        counted &= frame_counts >= 0
    if codes is None:
        labels, labelled = label.integers()
    else:
        labels, labelled = label.codes(codes), label.lengths > 0
    if layout.labels == "multi":  # a row is labelled when all of its labels are some
        unsound = np.repeat(np.arange(len(rows)), label_counts)[~labelled]
        labelled = np.ones(len(rows), np.bool_)
        labelled[unsound] = False
    faulty = np.zeros(len(rows), np.bool_)
    for sound, problem in (
        (path.lengths > 0, "no path"),
        (counted, "the number of frames is not a whole number"),
        (labelled, _NOT_A_NUMBER if codes is None else "no label"),
    ):
        _report(rows, ~sound & ~faulty, problem, faults, label if layout.labels == "single" else None)
        faulty |= ~sound
    columns = (path.lengths, frame_counts, labels, label_counts, rows.lines)
    narrow = (column.astype(np.int32) for column in columns)
    return _Part(path.packed(), *narrow)


def _report(rows: Rows, faulty: Mask, problem: str, faults: LineFaults, label: Column | None = None) -> None:
    bad, labels = rows[faulty], label[faulty] if label is not None else None

    def describe(k: int) -> str:
        row = shortened(bad.column(0, -1).string(k).replace(UNIT_SEPARATOR, ","))
        several = problem == _NOT_A_NUMBER and labels is not None and is_several(labels.string(k))
        return f"{problem}: {row}" + (f" ({SINGLE_LABEL})" if several else "")

    faults.add(bad.lines, describe)


def _offsets(lengths: NDArray[np.int32]) -> Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


def _class_indices(part: _Part, names: list[str], class_names: tuple[str, ...], source: str) -> NDArray[np.int32]:
    """Indices into `class_names` for labels that are indices into `names`."""
    index_of = {name: i for i, name in enumerate(class_names)}
    labels = np.array([index_of.get(name, -1) for name in names], np.int32)[part.labels]
    unknown = np.flatnonzero(labels < 0)
    faults = LineFaults(str(source), f"one of the {len(class_names)} known classes")

    def describe(k: int) -> str:
        name = names[part.labels[unknown[k]]]
        return f"label '{name}' is not a known class{did_you_mean(name, class_names)}"

    faults.add(np.repeat(part.lines, part.label_counts)[unknown], describe)
    faults.check()
    return labels
