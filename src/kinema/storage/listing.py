"""Listing of local folders and URLs, and parts of paths."""

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from kinema.errors import MediaError, did_you_mean
from kinema.storage.direct import Direct, is_url, remotely
from kinema.storage.outages import check_outage
from kinema.urls import name_of_url

Level = tuple[str, list[str], list[str]]
"""A folder, the names of its subfolders, and the names of its files, as in `os.walk`."""


def is_folder(path: str) -> bool:
    """Whether a path or URL is a folder; on a web server, a page that lists files, or a URL that ends in `/`.

    Raises:
        FileNotFoundError: a URL does not exist.
        OSError: a URL cannot be accessed.
        StorageOutage: the server does not answer.
        UserError: fsspec lacks a library for the protocol of the URL.
    """
    if not is_url(path):
        return Path(path).is_dir()
    facts = remotely(path, "info")
    is_page = _is_web(path) and facts.get("mimetype") == "text/html"
    return path.endswith("/") or facts["type"] == "directory" or is_page


def walk(folder: str) -> Iterator[Level]:
    """Walk a folder top-down in alphabetical order, as `os.walk` with followed links; the caller may remove subfolders.

    Hidden files and folders, and links to a parent folder, are skipped. Names on a web server are percent-encoded; see
    `display_name`.

    Raises:
        OSError: a folder cannot be listed.
        StorageOutage: the storage does not answer.
        UserError: fsspec lacks a library for the protocol of the URL.
    """
    if not is_url(folder):
        levels = _local(folder)
    elif _is_web(folder):
        levels = _pages(folder.rstrip("/"), seen=set())
    else:
        levels = _tree(folder.rstrip("/"))
    for path, subfolders, files in levels:
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield path, subfolders, sorted(name for name in files if not name.startswith("."))


def _local(folder: str) -> Iterator[Level]:
    above = dict[str, frozenset[tuple[int, int]]]()
    for path, subfolders, files in os.walk(folder, followlinks=True, onerror=_raise):
        status = os.stat(path)  # noqa: PTH116 - for each folder of a dataset
        own, ancestors = (status.st_dev, status.st_ino), above.pop(path, frozenset())
        if own in ancestors:
            subfolders.clear()
            continue
        yield path, subfolders, files
        above |= {os.path.join(path, name): ancestors | {own} for name in subfolders}  # noqa: PTH118


def check_no_pipe(path: str) -> None:
    """Check that a local path is no pipe or device: opening one may block, and frames are read in any order.

    Raises:
        MediaError: it is one.
    """
    try:
        mode = Path(path).stat().st_mode
    except OSError:  # reported when it is opened
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise MediaError(path, "it is a pipe or a device, which does not support random access: pass a file")


def suggest_sibling(path: str) -> str:
    """Return `"; did you mean 'x.mp4'?"` for the name nearest to a missing path or URL in its folder, if one is close.

    Raises:
        StorageOutage: the server does not answer.
    """
    try:
        return did_you_mean(display_name(path), Direct().list(parent(path)))
    except OSError:
        return ""


def absolute(path: str) -> str:
    """Return a URL as it is, and a local path as an absolute one, which other processes and machines can read."""
    return path if is_url(path) else str(Path(path).absolute())


def join(folder: str, name: str) -> str:
    """Join a folder, a path or URL, and a name."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else os.path.join(folder, name)  # noqa: PTH118


def parent(path: str) -> str:
    """Return the folder of a path or URL."""
    if not is_url(path):
        return os.path.dirname(path.rstrip("/")) or ("/" if path.startswith("/") else ".")  # noqa: PTH120
    return without_query(path).rstrip("/").rpartition("/")[0]


def display_name(path: str) -> str:
    """Return the last component of a path or URL, for HTTP URLs decoded and without the query."""
    return readable(without_query(name_of_url(path)).rstrip("/").rpartition("/")[2], of=path)


def readable(name: str, *, of: str) -> str:
    """Decode `%20` and the like in a name if the URL `of` is an HTTP URL."""
    return unquote(name) if _is_web(of) else name


def suffix(path: str) -> str:
    """Return the suffix of a path or URL in lower case, such as `.mp4`; empty if there is none."""
    return os.path.splitext(without_query(path))[1].lower()  # noqa: PTH122 - for each file of a dataset


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def without_query(url: str) -> str:
    """Remove the query and fragment of an HTTP URL."""
    return url.partition("?")[0].partition("#")[0] if _is_web(url) else url


def _raise(error: OSError) -> None:
    check_outage(str(error.filename), error)
    raise error


def _pages(folder: str, seen: set[str]) -> Iterator[Level]:
    """Walk the folders of a web server, one page at a time."""
    seen.add(folder)
    entries = {entry["name"] for entry in remotely(folder + "/", "ls", detail=True)}
    below = sorted(name for name in entries if name.startswith(folder + "/") and "?" not in name and "#" not in name)
    names = [name.removeprefix(folder + "/") for name in below]
    folders = [name.rstrip("/") for name in names if name.endswith("/") and name.count("/") == 1]
    yield folder, folders, [name for name in names if name and "/" not in name]
    for name in folders:
        if (inner := f"{folder}/{name}") not in seen:
            yield from _pages(inner, seen)


def _tree(folder: str) -> Iterator[Level]:
    """Walk the folders of an object storage, which are name prefixes: one listing, a thousand files per request."""
    paths = remotely(folder, "find", detail=False)
    base = remotely(folder, "_strip_protocol").rstrip("/")
    files, folders = defaultdict[str, list[str]](list), defaultdict[str, dict[str, None]](dict)
    for path in paths:
        prefix, _, name = path.removeprefix(base).strip("/").rpartition("/")
        if name:
            files[prefix].append(name)
        while prefix:
            prefix, _, name = prefix.rpartition("/")
            folders[prefix][name] = None

    def level(prefix: str) -> Iterator[Level]:
        inner = list(folders[prefix])
        yield f"{folder}/{prefix}" if prefix else folder, inner, files[prefix]
        for name in inner:
            yield from level(f"{prefix}/{name}" if prefix else name)

    yield from level("")
