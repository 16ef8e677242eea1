"""Which videos a preparation works on, and what its outputs are called."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinema.data.lists.annotations import read_index
from kinema.data.lists.class_folders import FILE_SUFFIXES, IMAGE_SUFFIXES, PACK_SUFFIX, natural_key
from kinema.data.lists.index import Kind, Labels
from kinema.errors import UserError
from kinema.prepare.work.jobs import Unit, check_outputs
from kinema.storage import walk


def video_units(source: Path, output: Path, *, suffix: str, kind: Kind = "video", option: str = "") -> list[Unit]:
    """A unit for each video of the tree `source`, hidden ones left out, in natural order of their names.

    The output has the same place and name below `output`, with `suffix` instead of that of a video file. A `source`
    that is one video is a tree of that alone. Videos are files or folders of images, as `kind` says, which the user
    chose by `option`, if by any.

    Raises:
        UserError: `source` is missing or holds no videos, two of them would have the same output, or `output` lies in
            `source`.
    """
    if not source.exists():
        raise UserError(f"no file or folder '{source}'")
    source, output = source.absolute(), output.absolute()
    if source.is_file():
        return [_unit(source, source.parent, output, suffix, kind)]
    if output.resolve().is_relative_to(source.resolve()):
        raise UserError(f"the output '{output}' lies in the source '{source}': give a folder elsewhere")
    found = find_videos(source, kind, option=option)
    units = [_unit(path, source, output, suffix, kind) for path in found]
    check_outputs(units)
    return units


@dataclass(frozen=True, kw_only=True)
class LabelledUnits:
    """Units with their labels: `labels` has those of each unit, or is empty; `class_names` may be empty, too.

    `multi`: a unit may have any number of labels.
    """

    units: list[Unit]
    labels: list[tuple[int, ...]]
    class_names: tuple[str, ...]
    multi: bool = False


def labelled_units(
    source: Path,
    output: Path,
    *,
    root: str = "",
    labels: Labels = "single",
    kind: Kind = "video",
    suffix: str = "",
    option: str = "",
) -> LabelledUnits:
    """A unit for each video of a tree or of a list, whose output has the video's place and name, and `suffix`.

    Args:
        source: A folder, a video, or a list or table of videos, see `read_index`. If all videos of a folder lie in
            folders, the first of these are their classes.
        output: The folder of the outputs.
        root: Where the paths of a list start; empty: the list's own folder.
        labels: Whether each video of a list has one label, or any number of them.
        kind: Whether videos are files or folders of images.
        suffix: Of the outputs.
        option: What the user chooses `kind` by, for messages.

    Raises:
        UserError: as `video_units` and `read_index`; or the list has paths that do not lie in `root`.
    """
    if source.is_dir() or source.suffix.lower() in FILE_SUFFIXES.get(kind, ()) or not source.exists():
        units = video_units(source, output, suffix=suffix, kind=kind, option=option)
        places = [unit.output.relative_to(output.absolute()) for unit in units]
        if any(len(place.parts) < 2 for place in places):
            return LabelledUnits(units=units, labels=[], class_names=())
        names = tuple(sorted({place.parts[0] for place in places}, key=natural_key))
        return LabelledUnits(
            units=units, labels=[(names.index(place.parts[0]),) for place in places], class_names=names
        )
    index = read_index(source, kind=kind, root=root, labels=labels)
    base = Path(os.path.abspath(index.root))  # noqa: PTH100 - unlike Path.absolute, it takes .. out
    paths = [Path(os.path.abspath(index.path(i))) for i in range(len(index))]  # noqa: PTH100
    if outside := next((path for path in paths if not path.is_relative_to(base)), None):
        raise UserError(f"'{outside}' does not lie in '{base}': say with --root where the paths of the list start")
    units = [_unit(path, base, output.absolute(), suffix, kind) for path in paths]
    check_outputs(units)
    label_sets = [index.label_set(i) for i in range(len(index))]
    multi = index.label_offsets is not None
    return LabelledUnits(units=units, labels=label_sets, class_names=index.class_names or (), multi=multi)


def find_videos(folder: Path, kind: Kind, *, option: str = "") -> list[Path]:
    """All videos below `folder`, at any depth, in natural order of their names; hidden ones are left out.

    Raises:
        UserError: there are none. It says what else there is, and how to ask for that by `option`, if there is one.
    """
    found = sorted(_videos(folder, kind), key=lambda path: natural_key(str(path)))
    if not found:
        others = [other for other in _CALLED if other != kind and any(_videos(folder, other))]
        hint = f", but {_CALLED[others[0]]}" if others else ""
        hint += f": add {option} {others[0]}" if others and option else ""
        raise UserError(f"'{folder}' holds no {_CALLED[kind]}{hint}")
    return found


_CALLED: dict[Kind, str] = {
    "video": "video files (.mp4 .avi .mkv .mov .webm and many others)",
    "rawframes": "folders of images",
    "packed": f"packed files ({PACK_SUFFIX})",
}


def _videos(root: Path, kind: Kind) -> Iterator[Path]:
    try:
        for folder, subfolders, files in walk(str(root)):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            suffixes = {name: Path(name).suffix.lower() for name in files if not name.startswith(".")}
            if wanted := FILE_SUFFIXES.get(kind):
                yield from (Path(folder, name) for name, its in suffixes.items() if its in wanted)
            elif not IMAGE_SUFFIXES.isdisjoint(suffixes.values()):
                yield Path(folder)
    except OSError as error:
        raise UserError(f"the folder '{error.filename}' cannot be read: {error.strerror}") from error


def _unit(path: Path, root: Path, output: Path, suffix: str, kind: Kind) -> Unit:
    place = output / (path.relative_to(root) if path != root else path.name)
    # The name of a folder has no suffix, whatever dots it holds.
    named = place.with_suffix(suffix) if kind in FILE_SUFFIXES else place.with_name(place.name + suffix)
    return Unit(source=str(path), output=named)
