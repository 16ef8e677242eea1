"""Input videos of a preparation, and the paths of their outputs."""

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinema.data.kinds import LabelMode, MediaKind
from kinema.data.lists.annotations import check_whole_videos, read_index
from kinema.data.lists.class_folders import FILE_SUFFIXES, IMAGE_SUFFIXES, PACK_SUFFIX, natural_key
from kinema.data.lists.tables import annotation_is_folder
from kinema.data.patience import patiently
from kinema.data.readers.frame_names import why
from kinema.errors import UserError
from kinema.prepare.work.jobs import Unit, check_outputs
from kinema.storage import absolute, display_name, is_url, join, parent, readable, suggest_sibling, walk, without_query
from kinema.storage import suffix as suffix_of


def video_units(
    source: str | Path, output: Path, *, suffix: str, kind: MediaKind = "video", option: str = ""
) -> list[Unit]:
    """Return a unit for each video of the tree `source`, except hidden ones, in natural order of names.

    The output has the same relative path below `output`, with `suffix` instead of that of a video file. `source` may
    also be a single video, and a URL. `option` is the name of the option that set `kind`, if any, for messages.

    Raises:
        UserError: `source` is missing or has no videos, two of them have the same output, or `output` is inside
            `source`.
        StorageOutage: A server does not answer.
    """
    is_folder, source, output = source_is_folder(source), absolute(str(source)), output.absolute()
    if not is_folder:
        return [_unit(source, parent(source), output, suffix, kind)]
    if not is_url(source) and output.resolve().is_relative_to(Path(source).resolve()):
        raise UserError(f"the output '{output}' is inside the source '{source}': pass another folder")
    units = [_unit(path, source, output, suffix, kind) for path in find_videos(source, kind, option=option)]
    check_outputs(units)
    return units


def source_is_folder(source: str | Path) -> bool:
    """Whether a path or URL is a folder rather than a file.

    Raises:
        UserError: There is neither, or a URL cannot be accessed.
        StorageOutage: A server does not answer.
    """
    if not is_url(str(source)) and not Path(source).exists():
        raise UserError(f"no file or folder '{source}'{suggest_sibling(str(source))}")
    return patiently(lambda: annotation_is_folder(str(source)))


@dataclass(frozen=True, kw_only=True)
class LabeledUnits:
    """Units with their labels."""

    units: list[Unit]
    labels: list[tuple[int, ...]]
    """Labels of each unit; empty if the videos have none."""
    class_names: tuple[str, ...]
    """Names of the classes; empty if labels are numbers."""
    multi: bool = False
    """Whether a unit may have any number of labels."""


def labeled_units(
    source: str | Path,
    output: Path,
    *,
    root: str = "",
    labels: LabelMode = "single",
    kind: MediaKind = "video",
    suffix: str = "",
    option: str = "",
) -> LabeledUnits:
    """Return a unit for each video of a tree (see `video_units`) or of a list, its labels being as in `read_index`.

    If all videos of a folder are in subfolders, the top-level ones are the classes.

    Raises:
        UserError: As `video_units` and `read_index`; or the list is of segments, or has a path outside `root`.
        StorageOutage: A server does not answer.
    """
    if source_is_folder(source) or suffix_of(str(source)) in FILE_SUFFIXES.get(kind, ()):
        units = video_units(source, output, suffix=suffix, kind=kind, option=option)
        parts = [unit.output.relative_to(output.absolute()).parts for unit in units]
        if any(len(names) < 2 for names in parts):
            return LabeledUnits(units=units, labels=[], class_names=())
        classes = tuple(sorted({name for name, *_ in parts}, key=natural_key))
        return LabeledUnits(units=units, labels=[(classes.index(name),) for name, *_ in parts], class_names=classes)
    index = patiently(lambda: read_index(source, kind=kind, root=root, labels=labels))
    check_whole_videos(index)
    root = _plain(index.root)
    units = [_unit(path, root, output.absolute(), suffix, kind) for path in map(_plain, index.paths())]
    check_outputs(units)
    label_sets = [index.label_set(i) for i in range(len(index))]
    multi = index.label_offsets is not None
    return LabeledUnits(units=units, labels=label_sets, class_names=index.class_names or (), multi=multi)


def find_videos(folder: str, kind: MediaKind, *, option: str = "") -> list[str]:
    """Return all videos below `folder`, a path or URL, at any depth, except hidden ones, in natural order of names.

    Raises:
        UserError: There are none; the message suggests another value of `option` if there are videos of another kind.
        StorageOutage: A server does not answer.
    """
    videos = patiently(lambda: [*_videos(folder, kind)])
    videos.sort(key=lambda path: natural_key(readable(path, of=path)))
    if not videos:
        others = [other for other in _DESCRIPTIONS if other != kind and any(_videos(folder, other))]
        hint = f", but {_DESCRIPTIONS[others[0]]}" if others else ""
        hint += f": pass {option} {others[0]}" if others and option else ""
        raise UserError(f"'{folder}' holds no {_DESCRIPTIONS[kind]}{hint}")
    return videos


_DESCRIPTIONS: dict[MediaKind, str] = {
    "video": "video files (.mp4 .avi .mkv .mov .webm and many others)",
    "rawframes": "folders of images",
    "packed": f"packed files ({PACK_SUFFIX})",
}


def _videos(root: str, kind: MediaKind) -> Iterator[str]:
    try:
        for folder, _, files in walk(root):
            if allowed := FILE_SUFFIXES.get(kind):
                yield from (join(folder, name) for name in files if suffix_of(name) in allowed)
            elif not IMAGE_SUFFIXES.isdisjoint(map(suffix_of, files)):
                yield folder
    except OSError as error:
        raise UserError(f"the folder '{error.filename or root}' cannot be read: {why(error)}") from error


def _plain(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)  # noqa: PTH100 - unlike Path.absolute, it takes .. out


def _unit(path: str, root: str, output: Path, suffix: str, kind: MediaKind) -> Unit:
    """Return the unit of an absolute path or a URL.

    Raises:
        UserError: It is not below `root`.
    """
    if is_url(path):
        base, inner = root.rstrip("/") + "/", without_query(path).rstrip("/") + "/"
        relative = posixpath.normpath(readable(inner.removeprefix(base), of=path))
        below = inner.startswith(base) and not relative.startswith(("..", "/"))
    else:
        relative, below = os.path.relpath(path, root), Path(_plain(path)).is_relative_to(_plain(root))
    if relative == ".":  # a single folder, which is the root
        relative = display_name(path)
    if not below:
        raise UserError(
            f"'{path}' is outside '{root}': pass the folder that the paths of the list are relative to as --root"
        )
    return Unit(source=path, output=_output(output / relative, suffix, kind))


def _output(target: Path, suffix: str, kind: MediaKind) -> Path:
    # A dot in the name of a folder does not begin a suffix.
    return target.with_suffix(suffix) if kind in FILE_SUFFIXES else target.with_name(target.name + suffix)
