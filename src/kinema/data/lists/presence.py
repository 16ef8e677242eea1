"""A look at a few listed videos before a training or a test: they are there, and of the kind that is to be read."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinema.data.lists.class_folders import PACK_SUFFIX, VIDEO_SUFFIXES
from kinema.data.lists.index import Index
from kinema.data.readers.sources import FLOW, KINDS, Source
from kinema.errors import UserError
from kinema.storage import is_url

LOOKED_AT = 8
"""Videos of a dataset that are looked at; `kinema prepare check` looks at all."""

_PARENTS = 3  # folders above the root in which missing files are looked for


def looked_at(index: Index) -> list[int]:
    """The rows of a few videos from the first to the last."""
    return [int(row) for row in np.unique(np.linspace(0, len(index) - 1, LOOKED_AT).astype(int))]


def check_presence(index: Index, source: Source) -> None:
    """Check that listed videos are there, and that they are files or folders as `source` says.

    Only local paths are looked at, and not those that were found in class folders.

    Raises:
        UserError: all that are looked at are missing, or are of another kind; says which option to change.
    """
    rows = [row for row in looked_at(index) if index.lines[row] > 0 and not is_url(index.path(row))]
    there = [path for path in map(index.path, rows) if not _is_missing(path)]
    if rows and not there:
        first = index.path(rows[0])
        raise UserError(
            f"{index.source}:{index.lines[rows[0]]}: no such file or folder: '{first}'; of {len(index)} listed videos "
            f"{len(rows)} were looked for, and none is there: {_advice(first, index, source)}"
        )
    wanted = [_source_of(path, source) for path in there]
    if wanted and source not in wanted:
        what = "a folder" if Path(there[0]).is_dir() else "a file"
        raise UserError(
            f"'{index.source}' lists {what}, '{there[0]}', for the source {source}: pass --data.source {wanted[0]}"
        )


def _is_missing(path: str) -> bool:
    """Whether nothing is at `path`; not so where the disk does not answer."""
    try:
        os.stat(path)  # noqa: PTH116 - Path.exists hides why
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _source_of(path: str, source: Source) -> Source:
    """What training calls such a video; `source` where that may be right."""
    flow = source in FLOW
    if Path(path).is_dir():
        return source if KINDS[source] == "rawframes" else "flow" if flow else "rawframes"
    if path.endswith(PACK_SUFFIX):
        return "packed_flow" if flow else "packed"
    if KINDS[source] == "rawframes" or (KINDS[source] == "packed" and Path(path).suffix.lower() in VIDEO_SUFFIXES):
        return "video"
    return source


def _advice(path: str, index: Index, source: Source) -> str:
    """Where the videos are, or what a list is that was read as another kind."""
    shorter = path
    while numbered := re.fullmatch(r"(.*\S)\s+\d+", shorter):
        shorter = numbered[1]
        if Path(shorter).is_dir() and KINDS[source] != "rawframes":
            return "lines of 'folder frames label' need --data.source rawframes"
        if Path(shorter).exists():
            return "lines of 'path label label …' need --task.labels multi"
    root = index.root.rstrip("/")
    if not path.startswith(f"{root}/") or is_url(root):
        return "--data.root is for relative paths only, and these are absolute"
    relative = path.removeprefix(f"{root}/")
    above: Sequence[Path] = Path(root).absolute().parents
    for folder in (Path.cwd(), *above[:_PARENTS]):
        if (folder / relative).exists():
            return f"it is in '{folder}': pass --data.root {folder}"
    parts = relative.split("/")
    for k in range(1, len(parts)):
        if Path(root, *parts[k:]).exists():
            return f"'{Path(root, *parts[k:])}' is there: take '{'/'.join(parts[:k])}/' out of the list's paths"
    return "--data.root says where relative paths start (by default from the list's folder)"
