"""Lists of prepared files for training."""

import logging
import shlex
from pathlib import Path

from kinema.data.kinds import Source
from kinema.data.lists.class_names import class_file_text
from kinema.data.lists.tables import BLANKS
from kinema.errors import UserError
from kinema.prepare.sources import LabeledUnits
from kinema.storage import write_csv, write_text

log = logging.getLogger(__name__)

_BLANKS = BLANKS.decode()
_UNLISTABLE = "\0\n\r\x1f"


def check_listable(videos: LabeledUnits, output: Path) -> None:
    """Check that the paths of all outputs and the names of all classes can be written to a list.

    Raises:
        UserError: A name has a line break or is not UTF-8; or a class name begins or ends with a blank or, for multiple
            labels, contains a semicolon.
    """
    if not videos.labels:
        return
    for name in videos.class_names:
        if not is_listable(name) or name != name.strip(_BLANKS) or (videos.multi and ";" in name):
            raise UserError(
                f"class {name!r}: {_ALLOWED}, or blanks at its ends{', or a semicolon' * videos.multi}; rename it"
            )
    for unit in videos.units:
        path = unit.output.relative_to(output.absolute()).as_posix()
        if not is_listable(path):
            raise UserError(f"{unit.source!r}: {_ALLOWED}; rename it")


_ALLOWED = "a name in a list must be UTF-8 without line breaks, control characters"


def write_list(videos: LabeledUnits, output: Path, name: str, source: Source, *, images_per_frame: int = 0) -> None:
    """List the existing outputs in `output/NAME`, and the class names in `output/classes.txt`.

    The columns are path, frames and class (label for classes without names; classes or labels for multiple labels).
    With `images_per_frame`, outputs are folders of images; 0: they are files, without the column frames. Nothing is
    written if there are no labels. `source` is the value of `data.source` for such outputs.
    """
    rows = list[list[object]]()
    for unit, labels in zip(videos.units, videos.labels, strict=bool(videos.labels)):
        path, fields = unit.output, list[object]()
        if images_per_frame and path.is_dir():
            images = sum(not image.name.startswith(".") for image in path.iterdir())  # hidden files of macOS
            fields = [images // images_per_frame]
        elif images_per_frame or not path.is_file():
            continue
        names = [videos.class_names[label] if videos.class_names else str(label) for label in labels]
        rows.append([listed_path(path.relative_to(output.absolute())), *fields, ";".join(names)])
    if not rows:
        return
    plural, singular = ("classes", "class") if videos.class_names else ("labels", "label")
    header = ["path", *["frames"] * bool(images_per_frame), plural if videos.multi else singular]
    write_csv(output / name, [header, *rows], lineterminator="\n")
    if videos.class_names:
        write_text(output / "classes.txt", class_file_text(videos.class_names))
    arguments = ["--data.source", source, "--data.train", str(output / name)]
    log.info("to train on these: kinema train RECIPE %s", shlex.join(arguments))


def is_listable(name: str) -> bool:
    """Whether `name` can be written to a list: UTF-8 without line breaks or control characters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not any(character in name for character in _UNLISTABLE)


def listed_path(path: Path) -> str:
    """Format a relative path so that it survives the stripping of blanks around fields."""
    name = path.as_posix()
    name = f"./{name}" if name != name.lstrip(_BLANKS) else name
    return f"{name}/" if name != name.rstrip(_BLANKS) else name
