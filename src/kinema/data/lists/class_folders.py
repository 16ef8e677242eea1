"""Datasets without an annotation file: one folder per class."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinema.data.kinds import MediaKind
from kinema.errors import UserError, did_you_mean
from kinema.storage import join, readable, suffix, walk

if TYPE_CHECKING:
    from kinema.data.lists.index import Index

_VIDEO_ENDINGS = (
    "3g2 3gp amv apng asf avi avs2 divx dv f4v flv gif gxf h264 h265 hevc ivf m1v m2t m2ts m2v m4v mjpeg mjpg mkv mod "
    "mov mp4 mpe mpeg mpg mpv mts mxf nut obu ogm ogv qt rm rmvb tod ts vob webm wmv wtv xvid y4m"
)
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _VIDEO_ENDINGS.split(" "))
"""Suffixes of video files, in lower case."""
IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})
PACK_SUFFIX = ".pack"
FILE_SUFFIXES: dict[MediaKind, frozenset[str]] = {"video": VIDEO_SUFFIXES, "packed": frozenset({PACK_SUFFIX})}
"""Suffixes of the media kinds that are files."""

_CALLED: dict[MediaKind, str] = {"video": "video files", "rawframes": "folders of images", "packed": "packed files"}
_LAYOUT: dict[MediaKind, str] = {
    "video": "<folder>/<class>/<video file>, video files being .mp4 .avi .mkv .mov .webm and many others",
    "rawframes": "<folder>/<class>/<video>/<image file>, image files being " + " ".join(sorted(IMAGE_SUFFIXES)),
    "packed": f"<folder>/<class>/<name>{PACK_SUFFIX}",
}


_IMAGES = "images"


def read_class_folders(
    folder: str,
    *,
    kind: MediaKind,
    classes: Sequence[str] | None = None,
    option: str = "--data.source",
    advice: str = "",
) -> "Index":
    """Return the index of `<folder>/<class>/…`, in which each video has the class of its folder.

    video: all video files below a class folder, at any depth.
    rawframes: all folders with images below a class folder, at any depth; frames are not counted.
    packed: all .pack files below a class folder, at any depth.

    Hidden files and folders are skipped, symbolic links followed. Classes are in the order of `classes`, by default in
    natural order; the videos of a class are in natural order. `folder` may be a URL. `option` is the command-line
    option for `kind`, `advice` what to do about folders that are not in `classes`, for messages.

    Raises:
        UserError: there are no class folders, or one has no videos, cannot be read or is not in `classes`.
    """
    from kinema.data.lists.index import index_paths

    try:
        videos, others = _videos(folder, kind)
    except OSError as error:
        raise UserError(f"folder '{error.filename or folder}' cannot be read: {error.strerror or error}") from None
    present = sorted(videos, key=natural_key)
    if not present:
        loose = _advice(folder, kind, others.get("", set()), option, of_class=False)
        raise UserError(f"'{folder}' holds no class folders{loose}; expected {_LAYOUT[kind]}")
    class_names = tuple(present if classes is None else classes)
    if unknown := [name for name in present if name not in class_names]:
        raise UserError(
            f"'{join(folder, unknown[0])}': '{unknown[0]}' is not one of the {len(class_names)} known classes"
            + did_you_mean(unknown[0], class_names)
            + (f"; {advice}" if advice else "")
        )
    if empty := [name for name in present if not videos[name]]:
        raise UserError(_without_videos(folder, empty, kind, others[empty[0]], option))
    labels = {name: i for i, name in enumerate(class_names)}

    def order(path: str) -> tuple[list[str | int], str]:
        return natural_key(readable(path, of=folder))

    return index_paths(
        [path for name in present for path in sorted(videos[name], key=order)],
        [labels[name] for name in present for _ in videos[name]],
        source=folder,
        root=folder,
        class_names=class_names,
    )


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sort key that puts `clip2` before `clip10`; leading zeros break ties."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+)", name))], name


def _without_videos(folder: str, empty: list[str], kind: MediaKind, others: set[str], option: str) -> str:
    shown = ", ".join(f"'{join(folder, name)}'" for name in empty[:3]) + (", …" if len(empty) > 3 else "")
    hint = _advice(empty[0], kind, others, option, of_class=True)
    return f"{len(empty)} class folder(s) without {_CALLED[kind]}: {shown}{hint}; expected {_LAYOUT[kind]}"


def _advice(name: str, kind: MediaKind, others: set[str], option: str, *, of_class: bool) -> str:
    """Return advice on a folder without videos of `kind` that contains `others`: other media kinds, or images."""
    for other, called in _CALLED.items():
        if other in others:
            option = f": pass {option} {other}" if of_class and other != kind else ""
            return f" ('{name}' holds {called}{option})"
    if _IMAGES in others:
        option = "" if kind == "rawframes" else f", and need {option} rawframes"
        return (
            f" ('{name}' holds images, which make one video: such folders lie in a folder for each class, or stand in "
            f"a list of 'folder frames label'{option})"
        )
    return ""


def _videos(root: str, kind: MediaKind) -> tuple[dict[str, list[str]], dict[str, set[str]]]:
    """Return the videos of each class, relative to `root`, and the media kinds in each class folder.

    The kinds include images directly in a class folder; those of `root` itself have the key "".
    """
    root = root.rstrip("/") or root
    videos, others = dict[str, list[str]](), dict[str, set[str]]()
    for folder, subfolders, files in walk(root):
        relative = folder.removeprefix(root).strip("/")
        if not relative:
            videos = {readable(name, of=root): [] for name in subfolders}
            others = {name: set() for name in ("", *videos)}
        first, _, inner = relative.partition("/")
        class_name = readable(first, of=root)
        suffixes = {name: suffix(name) for name in files}
        for other, wanted in FILE_SUFFIXES.items():
            if named := [f"{relative}/{name}" for name, its in suffixes.items() if its in wanted]:
                others[class_name].add(other)
                if relative and other == kind:
                    videos[class_name] += named
        if not IMAGE_SUFFIXES.isdisjoint(suffixes.values()):
            others[class_name].add("rawframes" if inner else _IMAGES)
            if inner and kind == "rawframes":
                videos[class_name].append(relative)
    return videos, others
