"""A dataset's list without its bad videos."""

import csv
import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from kinema.data.lists.index import Index, Kind
from kinema.data.lists.tables import Table, open_table
from kinema.errors import UserError
from kinema.prepare.lists import is_listable, listed_path
from kinema.storage import write_text

log = logging.getLogger(__name__)


def write_clean_list(
    source: Path, index: Index, kind: Kind, clean: Path, *, frames: Mapping[int, int], fix_counts: bool
) -> None:
    """Write the list `source` without its bad rows; all other lines stay as they are.

    Args:
        source: A list or table that `index` was read from, or a folder of class folders, for which a table is made:
            `path,class` or, for rawframes, `path,frames,class`.
        index: Its videos.
        kind: Of the videos.
        clean: The file to write.
        frames: How many frames the sound rows of `index` have. Rows that are not here are bad.
        fix_counts: Keep rows with another number of frames than listed, with the right number. Otherwise they are
            left out, too.

    Raises:
        UserError: `clean` is for a folder and no .csv, or the number of frames in a table with quotes is to be changed.
    """
    if source.is_dir():
        _write_table(index, kind, clean, frames)
        return
    table = open_table(source, None)
    # A text without its quotes would be another one than the user's.
    lines = source.read_text(encoding="utf-8-sig").split("\n")
    for i in range(len(index)):
        number = int(index.lines[i]) - 1
        if i not in frames or (index.num_frames(i) not in (0, frames[i]) and not fix_counts):
            lines[number] = ""
        elif index.num_frames(i) not in (0, frames[i]):
            lines[number] = _with_count(table, index, lines[number], frames[i])
    write_text(clean, "".join(f"{line}\n" for line in lines if line.strip()))


def check_clean(source: Path, clean: Path, index: Index) -> None:
    """Raise UserError if no clean list of `source`, whose videos are `index`, can be written to `clean`."""
    if index.class_names is None and not int(index.lines.max()):
        raise UserError(
            f"--clean {clean}: the videos of '{source}' lie in no class folders, and a list needs labels; "
            "leave --clean out"
        )
    if source.is_dir() and clean.suffix.lower() != ".csv":
        raise UserError(f"--clean {clean}: the list of a folder is a table path,class: give a name that ends in .csv")
    if clean.absolute() == source.absolute():
        raise UserError(f"--clean {clean}: this is the list that is checked; give another name")


def _write_table(index: Index, kind: Kind, clean: Path, frames: Mapping[int, int]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "frames", "class"] if kind == "rawframes" else ["path", "class"])
    for i in sorted(frames):
        path = listed_path(Path(index.path(i)).relative_to(index.root))
        label = index.class_names[index.label(i)] if index.class_names else str(index.label(i))
        if not is_listable(path) or not is_listable(label):
            log.warning("%r is left out: a list can hold no line break, and only UTF-8", index.path(i))
            continue
        writer.writerow([path, frames[i], label] if kind == "rawframes" else [path, label])
    write_text(clean, text.getvalue())


def _with_count(table: Table, index: Index, line: str, count: int) -> str:
    """A row of the table with another number of frames."""
    if table.quoted:
        raise UserError(f"--fix-counts: '{table.source}' has fields in quotes; save it without, or leave --fix-counts")
    if table.header:
        place = next(k for k, name in enumerate(table.header) if name in ("frames", "num_frames"))
    else:  # a list: `folder frames label`, where a folder may hold blanks, or `folder frames label label …`
        place = -2 if index.label_offsets is None else 1
    if table.delimiter == " ":
        fields = re.split(r"(\s+)", line.strip())
    else:
        fields = re.split(f"({re.escape(table.delimiter)})", line.rstrip("\r"))
    # Every second part is a delimiter.
    place = 2 * place + (place < 0)
    fields[place] = re.sub(r"\d+", str(count), fields[place])
    return "".join(fields)
