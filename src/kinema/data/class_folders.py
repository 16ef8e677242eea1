"""Datasets that need no annotation file: a folder per class."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kinema.data.index import Index, Kind, index_paths
from kinema.errors import UserError, did_you_mean

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)
IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})
PACK_SUFFIX = ".pack"
FILE_SUFFIXES: dict[Kind, frozenset[str]] = {"video": VIDEO_SUFFIXES, "packed": frozenset({PACK_SUFFIX})}
"""Of the kinds whose videos are files."""

_CALLED: dict[Kind, str] = {"video": "video files", "rawframes": "folders of images", "packed": "packed files"}
_LAYOUT: dict[Kind, str] = {
    "video": "<folder>/<class>/<video file>, video files being " + " ".join(sorted(VIDEO_SUFFIXES)),
    "rawframes": "<folder>/<class>/<video>/<image file>, image files being " + " ".join(sorted(IMAGE_SUFFIXES)),
    "packed": f"<folder>/<class>/<name>{PACK_SUFFIX}",
}


def read_class_folders(folder: Path, *, kind: Kind, classes: Sequence[str] | None = None) -> Index:
    """Index of `<folder>/<class>/…`: the folder that a video is in says its class.

    video: every video file below a class folder, at any depth.
    rawframes: every folder below a class folder, at any depth, that holds images; its frames are not counted.
    packed: every file `.pack` below a class folder, at any depth.
    Hidden files and folders are left out, symbolic links are followed. Classes are in natural order of their names,
    or as `classes` says; videos are in natural order within their class.

    Raises:
        UserError: no class folders, a class folder without videos, or one whose name is not in `classes`.
    """
    found = sorted(
        (entry.name for entry in folder.iterdir() if entry.is_dir() and _visible(entry.name)), key=natural_key
    )
    if not found:
        raise UserError(f"'{folder}' holds no class folders; expected {_LAYOUT[kind]}")
    class_names = tuple(found if classes is None else classes)
    if unknown := [name for name in found if name not in class_names]:
        raise UserError(
            f"'{folder / unknown[0]}': '{unknown[0]}' is not one of the {len(class_names)} known classes"
            + did_you_mean(unknown[0], class_names)
        )
    videos = {name: sorted(_videos(folder, name, kind), key=natural_key) for name in found}
    if empty := [name for name in found if not videos[name]]:
        raise UserError(_without_videos(folder, empty, kind))
    labels = {name: i for i, name in enumerate(class_names)}
    return index_paths(
        [path for paths in videos.values() for path in paths],
        [labels[name] for name, paths in videos.items() for _ in paths],
        source=str(folder),
        root=str(folder),
        class_names=class_names,
    )


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key that puts `clip2` before `clip10`; names that differ only in leading zeros stay in a fixed order."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+)", name))], name


def _without_videos(folder: Path, empty: list[str], kind: Kind) -> str:
    shown = ", ".join(f"'{folder / name}'" for name in empty[:3]) + (", …" if len(empty) > 3 else "")
    others = [other for other in _LAYOUT if other != kind and any(_videos(folder, empty[0], other))]
    hint = f" ('{empty[0]}' has some of kind {others[0]})" if others else ""
    return f"{len(empty)} class folder(s) without {_CALLED[kind]}: {shown}{hint}; expected {_LAYOUT[kind]}"


def _videos(root: Path, class_name: str, kind: Kind) -> Iterator[str]:
    """Paths, relative to `root`, of the videos below a class folder."""
    for folder, subfolders, files in os.walk(root / class_name, followlinks=True):
        subfolders[:] = filter(_visible, subfolders)
        relative = Path(folder).relative_to(root).as_posix()
        if suffixes := FILE_SUFFIXES.get(kind):
            yield from (f"{relative}/{name}" for name in files if _visible(name) and _suffix(name) in suffixes)
        elif relative != class_name and any(_visible(name) and _suffix(name) in IMAGE_SUFFIXES for name in files):
            yield relative


def _visible(name: str) -> bool:
    return not name.startswith(".")


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()
