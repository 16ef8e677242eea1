"""Spot checks of listed videos before a training or a test: presence, numbers of frames, names of images."""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema.data.kinds import FLOW, KINDS, Source
from kinema.data.lists.class_folders import PACK_SUFFIX, VIDEO_SUFFIXES
from kinema.data.lists.index import Index
from kinema.data.readers.frame_names import Numbered, image_series, numbering
from kinema.data.readers.sources import Opener
from kinema.errors import MediaError, UserError
from kinema.storage import is_url

log = logging.getLogger(__name__)

NUM_CHECKED = 8
"""Number of videos of a dataset that are checked; `kinema prepare check` checks all."""

_PARENTS = 3  # folders above the root in which missing files are searched


def rows_to_check(index: Index) -> list[int]:
    """Return `NUM_CHECKED` evenly spaced rows."""
    return [int(row) for row in np.unique(np.linspace(0, len(index) - 1, NUM_CHECKED).astype(int))]


def check_presence(index: Index, source: Source) -> None:
    """Check that some listed videos exist, as files or folders according to `source`.

    URLs and videos in class folders are not checked.

    Raises:
        UserError: all checked videos are missing or of another kind; the message names the option to change.
    """
    rows = [row for row in rows_to_check(index) if index.lines[row] > 0 and not is_url(index.path(row))]
    there = [path for path in map(index.path, rows) if not _is_missing(path)]
    if rows and not there:
        first = index.path(rows[0])
        raise UserError(
            f"{index.source}:{index.lines[rows[0]]}: no such file or folder: '{first}'; of {len(index)} listed videos "
            f"{len(rows)} were checked and none exists: {_advice(first, index, source)}"
        )
    wanted = [_source_of(path, source) for path in there]
    if wanted and source not in wanted:
        what = "a folder" if Path(there[0]).is_dir() else "a file"
        raise UserError(
            f"'{index.source}' lists {what}, '{there[0]}', for the source {source}: pass --data.source {wanted[0]}"
        )


def _is_missing(path: str) -> bool:
    """Whether `path` does not exist; False if the disk does not answer."""
    try:
        os.stat(path)  # noqa: PTH116 - Path.exists hides why
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _source_of(path: str, source: Source) -> Source:
    """Return the source that fits a path; `source` if it may fit."""
    flow = source in FLOW
    if Path(path).is_dir():
        return source if KINDS[source] == "rawframes" else "flow" if flow else "rawframes"
    if path.endswith(PACK_SUFFIX):
        return "packed_flow" if flow else "packed"
    if KINDS[source] == "rawframes" or (KINDS[source] == "packed" and Path(path).suffix.lower() in VIDEO_SUFFIXES):
        return "video"
    return source


def _advice(path: str, index: Index, source: Source) -> str:
    """Return advice on missing videos: the folder that contains them, or the format of the list."""
    shorter = path
    while numbered := re.fullmatch(r"(.*\S)\s+\d+", shorter):
        shorter = numbered[1]
        if Path(shorter).is_dir() and KINDS[source] != "rawframes":
            return "lines of 'folder frames label' need --data.source rawframes"
        if Path(shorter).exists():
            return "lines of 'path label label …' need --task.labels multi"
    root = index.root.rstrip("/")
    if not path.startswith(f"{root}/") or is_url(root):
        return "--data.root applies to relative paths, and these are absolute"
    relative = path.removeprefix(f"{root}/")
    above: Sequence[Path] = Path(root).absolute().parents
    for folder in (Path.cwd(), *above[:_PARENTS]):
        if (folder / relative).exists():
            return f"it is in '{folder}': pass --data.root {folder}"
    parts = relative.split("/")
    for k in range(1, len(parts)):
        if Path(root, *parts[k:]).exists():
            return f"'{Path(root, *parts[k:])}' exists: remove '{'/'.join(parts[:k])}/' from the paths of the list"
    return "pass --data.root FOLDER, the folder that relative paths start from (by default the folder of the list)"


def check_counts(index: Index, opener: Opener) -> None:
    """Compare listed frame counts with the folders of a few videos, and log differences.

    Folders that cannot be opened are skipped; reading them reports the error.

    Raises:
        UserError: all of them contain fewer frames than listed.
    """
    listed = {row: index.num_frames(row) for row in rows_to_check(index) if index.num_frames(row)}
    actual = {row: count for row in listed if (count := _count(index.path(row), opener))}
    differing = [row for row in actual if actual[row] != listed[row]]
    if not differing:
        return
    what = "pairs of flow" if opener.source == "flow" else "frames"
    shown = [
        f"{index.source}:{index.lines[row]}: {listed[row]} {what} listed, {actual[row]} found in {index.path(row)}"
        for row in differing[:3]
    ]
    message = "\n".join([*shown, f"{len(differing)} of {len(actual)} folders checked differ from the list"])
    if all(actual[row] < listed[row] for row in actual):
        hint = (
            "a video has one pair of flow fewer than frames"
            if opener.source == "flow"
            else f"they are counted from --data.start {opener.first}"
        )
        raise UserError(f"{message}: {hint}")
    log.warning("%s; `kinema prepare check` checks all of them", message)


def with_usual_names(opener: Opener, index: Index) -> Opener:
    """Return the opener with the naming scheme of images, if a few folders of the dataset share one.

    Then folders are not listed for each sample.
    """
    if opener.source != "rawframes" or opener.template != "auto":
        return opener
    schemes = {_numbering(index.path(row), opener) for row in rows_to_check(index)}
    return replace(opener, usual=schemes.pop()) if len(schemes) == 1 else opener


def _numbering(folder: str, opener: Opener) -> Numbered | None:
    try:
        series = image_series(folder, opener.storage)
    except MediaError:
        return None
    scheme = numbering(next(iter(series.values()))) if len(series) == 1 else None
    return scheme and replace(scheme, images=0)


def _count(folder: str, opener: Opener) -> int:
    try:
        return len(opener.open(folder))
    except MediaError:
        return 0
