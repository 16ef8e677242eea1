"""Copy of a dataset's list without its bad videos."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from kinema.data.kinds import MediaKind
from kinema.data.lists.index import Index
from kinema.data.lists.tables import BLANKS, Table, open_table
from kinema.data.patience import patiently
from kinema.errors import UserError
from kinema.prepare.lists import is_listable, listed_path
from kinema.storage import absolute, is_url, write_csv, write_text

log = logging.getLogger(__name__)


def write_clean_list(
    index: Index, kind: MediaKind, clean: Path, *, frames: Mapping[int, int], fix_counts: bool
) -> None:
    """Write a list or table without its bad rows; all other lines are copied unchanged.

    Args:
        index: Index of that list, or of a folder of class folders, for which a table is written: `path,class` or, for
            rawframes, `path,frames,class`.
        frames: Number of frames by row of `index`; other rows are bad.
        fix_counts: Keep rows whose number of frames differs, with the correct number, instead of leaving them out.

    Raises:
        UserError: The number of frames in a table with quotes would have to be changed.
        StorageOutage: A server does not answer.
    """
    if _is_of_folder(index):
        _write_table(index, kind, clean, frames)
        return
    table = patiently(lambda: open_table(index.source))
    lines = table.text.decode().split("\n")  # copied as text, so that quotes are kept
    for i in range(len(index)):
        number = int(index.lines[i]) - 1
        if i not in frames or (index.num_frames(i) not in (0, frames[i]) and not fix_counts):
            lines[number] = ""
        elif index.num_frames(i) not in (0, frames[i]):
            lines[number] = _with_count(table, index, lines[number], frames[i])
    write_text(clean, "".join(f"{line}\n" for line in lines if line.strip()))


def check_clean(index: Index, clean: Path) -> None:
    """Raise UserError unless a clean list of the videos `index` can be written to `clean`."""
    source = index.source
    if _is_of_folder(index) and index.class_names is None:
        raise UserError(
            f"--clean {clean}: the videos of '{source}' are not in class folders, and a list needs labels; omit --clean"
        )
    if _is_of_folder(index) and clean.suffix.lower() != ".csv":
        raise UserError(f"--clean {clean}: the list of a folder is a table path,class: pass a file that ends in .csv")
    if str(clean.absolute()) == absolute(source):
        raise UserError(f"--clean {clean}: this is the list to check; pass another file")


def _is_of_folder(index: Index) -> bool:
    """Whether the videos were found in a folder, or are a single one, instead of read from lines of a list."""
    return not int(index.lines.max())


def _write_table(index: Index, kind: MediaKind, clean: Path, frames: Mapping[int, int]) -> None:
    rows: list[list[object]] = [["path", "frames", "class"] if kind == "rawframes" else ["path", "class"]]
    for i in sorted(frames):
        path = _relative(index.path(i), index.root)
        label = index.class_names[index.label(i)] if index.class_names else str(index.label(i))
        if not is_listable(path) or not is_listable(label):
            log.warning("%r is left out: a list can hold only UTF-8 without line breaks", index.path(i))
            continue
        rows.append([path, frames[i], label] if kind == "rawframes" else [path, label])
    write_csv(clean, rows, lineterminator="\n")


def _relative(path: str, root: str) -> str:
    """Return a path or URL as a list has it: relative to `root`, and so that blanks at its ends survive."""
    if not is_url(path):
        return listed_path(Path(path).relative_to(root))
    blanks, name = BLANKS.decode(), path.removeprefix(root.rstrip("/") + "/")
    name = name if name == name.lstrip(blanks) else path  # in object storage, ./ would be a part of the name
    return name if name == name.rstrip(blanks) else f"{name}/"


def _with_count(table: Table, index: Index, line: str, count: int) -> str:
    """Return a row of the table with another number of frames."""
    if table.quoted:
        raise UserError(
            f"--fix-counts: '{table.source}' has fields in quotes; save it without quotes, or omit --fix-counts"
        )
    if table.header:
        column = next(k for k, name in enumerate(table.header) if name in ("frames", "num_frames"))
    else:  # a list: `folder frames label`, where a folder may hold blanks, or `folder frames label label …`
        column = -2 if index.label_offsets is None else 1
    if table.delimiter == " ":
        fields = re.split(r"(\s+)", line.strip())
    else:
        fields = re.split(f"({re.escape(table.delimiter)})", line.rstrip("\r"))
    column = 2 * column + (column < 0)  # every second part is a delimiter
    fields[column] = re.sub(r"\d+", str(count), fields[column])
    return "".join(fields)
