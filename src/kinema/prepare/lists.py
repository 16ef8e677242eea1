"""Lists of what a preparation wrote, which training reads as they are."""

import csv
import io
import logging
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from kinema.data.lists.class_names import class_file_text
from kinema.data.lists.tables import BLANKS
from kinema.data.readers.sources import Source
from kinema.errors import UserError
from kinema.prepare.sources import LabelledUnits
from kinema.storage import write_text

log = logging.getLogger(__name__)

_BLANKS = BLANKS.decode()
_UNLISTABLE = "\0\n\r\x1f"


def check_listable(videos: LabelledUnits, output: Path) -> None:
    """Check that a list can hold the paths of all outputs and the names of all classes.

    Raises:
        UserError: a name has a line break or is not UTF-8; or that of a class begins or ends with a blank, or, where
            videos have several, holds a semicolon.
    """
    if not videos.labels:
        return
    for name in videos.class_names:
        if not is_listable(name) or name != name.strip(_BLANKS) or (videos.multi and ";" in name):
            raise UserError(f"class {name!r}: {_ALLOWED}, nor a blank at its ends{', nor ;' * videos.multi}; rename it")
    for unit in videos.units:
        path = unit.output.relative_to(output.absolute()).as_posix()
        if not is_listable(path):
            raise UserError(f"{unit.source!r}: {_ALLOWED}; rename it")


_ALLOWED = "a list's text is UTF-8, and a name in it can have no line break or control character"


def write_frame_list(videos: LabelledUnits, output: Path, source: Source, *, images_a_frame: int = 1) -> None:
    """List the folders that are there in `output/frames.csv`, and the names of the classes in `output/classes.txt`.

    The columns are path, frames and class, or label where classes have no names; classes or labels where a video may
    have several.

    Args:
        videos: Without labels, nothing is written.
        output: The folder of the outputs.
        source: What training calls such folders.
        images_a_frame: Images that count as one.
    """

    def row(path: Path, name: str) -> list[object] | None:
        if not path.is_dir():
            return None
        images = sum(not image.name.startswith(".") for image in path.iterdir())  # macOS leaves hidden files
        return [name, images // images_a_frame]

    _write_list(videos, output, "frames.csv", ["path", "frames"], row, source)


def write_file_list(videos: LabelledUnits, output: Path, name: str, source: Source) -> None:
    """List the files that are there in `output/NAME`, as `write_frame_list` does, without a number of frames."""
    _write_list(videos, output, name, ["path"], lambda path, listed: [listed] if path.is_file() else None, source)


def _write_list(
    videos: LabelledUnits,
    output: Path,
    name: str,
    columns: Sequence[str],
    row: Callable[[Path, str], list[object] | None],
    source: Source,
) -> None:
    rows = list[list[object]]()
    for unit, labels in zip(videos.units, videos.labels, strict=bool(videos.labels)):
        if fields := row(unit.output, listed_path(unit.output.relative_to(output.absolute()))):
            rows.append([*fields, ";".join(_label(videos, label) for label in labels)])
    if not rows:
        return
    plural, singular = ("classes", "class") if videos.class_names else ("labels", "label")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[*columns, plural if videos.multi else singular], *rows])
    write_text(output / name, text.getvalue())
    if videos.class_names:
        write_text(output / "classes.txt", class_file_text(videos.class_names))
    arguments = ["--data.source", source, "--data.train", str(output / name)]
    log.info("to train on these: kinema train RECIPE %s", shlex.join(arguments))


def _label(videos: LabelledUnits, label: int) -> str:
    return videos.class_names[label] if videos.class_names else str(label)


def is_listable(name: str) -> bool:
    """Whether a list can hold `name`: it is UTF-8, without a line break or a control character."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not any(character in name for character in _UNLISTABLE)


def listed_path(path: Path) -> str:
    """A relative path as a list has it, where blanks at the ends of fields are left out."""
    name = path.as_posix()
    name = f"./{name}" if name != name.lstrip(_BLANKS) else name
    return f"{name}/" if name != name.rstrip(_BLANKS) else name
