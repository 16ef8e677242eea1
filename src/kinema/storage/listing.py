"""What lies below a folder of this machine or of a URL."""

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from kinema.errors import MediaError
from kinema.storage.direct import is_url, remotely
from kinema.storage.outages import check_outage

Level = tuple[str, list[str], list[str]]
"""A folder, with the names of its folders and of its files."""


def is_folder(path: str) -> bool:
    """Whether a path or URL is a folder. A web server's folder is a page that lists files, or ends in `/`.

    Raises:
        FileNotFoundError: there is nothing.
        OSError: it cannot be asked.
        StorageOutage: its server does not answer.
        UserError: fsspec lacks a library for the kind of URL.
    """
    if not is_url(path):
        return Path(path).is_dir()
    if path.endswith("/"):
        return True
    facts = remotely(path, "info")
    return facts["type"] == "directory" or (_is_web(path) and facts.get("mimetype") == "text/html")


def walk(folder: str) -> Iterator[Level]:
    """Folders from `folder` down, as os.walk with links followed gives them: names may be taken out before it goes on.

    A link that leads back to a folder above it is left out.

    Names are as a URL of them needs them: `display_name` makes them readable.

    Raises:
        OSError: a folder cannot be listed.
        StorageOutage: the storage does not answer.
        UserError: fsspec lacks a library for the kind of URL.
    """
    if not is_url(folder):
        yield from _local(folder)
    elif _is_web(folder):
        yield from _pages(folder.rstrip("/"), seen=set())
    else:
        yield from _tree(folder.rstrip("/"))


def _local(folder: str) -> Iterator[Level]:
    above = dict[str, frozenset[tuple[int, int]]]()
    for place, subfolders, files in os.walk(folder, followlinks=True, onerror=_raise):
        facts = os.stat(place)  # noqa: PTH116 - for each folder of a dataset
        own, ancestors = (facts.st_dev, facts.st_ino), above.pop(place, frozenset())
        if own in ancestors:
            subfolders.clear()
            continue
        yield place, subfolders, files
        above |= {os.path.join(place, name): ancestors | {own} for name in subfolders}  # noqa: PTH118


def check_no_pipe(path: str) -> None:
    """See that a local path is no pipe or device: frames are read in any order, and opening one may wait for ever.

    Raises:
        MediaError: it is one.
    """
    try:
        mode = Path(path).stat().st_mode
    except OSError:  # said by what opens it
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise MediaError(path, "it is a pipe or a device, whose frames cannot be read in any order: give a file")


def join(folder: str, name: str) -> str:
    """The path or URL of `name` in `folder`."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else os.path.join(folder, name)  # noqa: PTH118


def parent(path: str) -> str:
    """The folder that a path or URL lies in."""
    if not is_url(path):
        return os.path.dirname(path.rstrip("/")) or ("/" if path.startswith("/") else ".")  # noqa: PTH120
    return without_query(path).rstrip("/").rpartition("/")[0]


def display_name(path: str) -> str:
    """The last part of a path or URL, readable: without what a web address has after `?`, `%20` as a blank."""
    return readable(without_query(path).rstrip("/").rpartition("/")[2], of=path)


def readable(name: str, *, of: str) -> str:
    """A name as it stands in the path or URL `of`, readable: a web address writes a blank as `%20`."""
    return unquote(name) if _is_web(of) else name


def suffix(path: str) -> str:
    """The suffix of a path or URL in lower case, such as `.mp4`; empty where there is none."""
    return os.path.splitext(without_query(path))[1].lower()  # noqa: PTH122 - for each file of a dataset


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def without_query(url: str) -> str:
    """A path or URL without what a web address has after `?` or `#`."""
    return url.partition("?")[0].partition("#")[0] if _is_web(url) else url


def _raise(error: OSError) -> None:
    check_outage(str(error.filename), error)
    raise error


def _pages(folder: str, seen: set[str]) -> Iterator[Level]:
    """A web server's folders: each page is asked for when it is reached."""
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
    """An object storage's folders, which are parts of names: listed all at once, a thousand files a request."""
    found = remotely(folder, "find", detail=False)
    base = remotely(folder, "_strip_protocol").rstrip("/")
    files, folders = defaultdict[str, list[str]](list), defaultdict[str, dict[str, None]](dict)
    for path in found:
        place, _, name = path.removeprefix(base).strip("/").rpartition("/")
        if name:
            files[place].append(name)
        while place:
            place, _, name = place.rpartition("/")
            folders[place][name] = None

    def level(place: str) -> Iterator[Level]:
        inner = list(folders[place])
        yield f"{folder}/{place}" if place else folder, inner, files[place]
        for name in inner:
            yield from level(f"{place}/{name}" if place else name)

    yield from level("")
