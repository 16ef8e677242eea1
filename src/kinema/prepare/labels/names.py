"""Paths of videos in the files of annotation tools, which are often those of another machine."""

import re
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import parse_qs, unquote, urlsplit


def path_in(name: str) -> PurePosixPath:
    """Return the path in what a tool calls a video: also that of `file:///C:/a.mp4` or `/data/local-files/?d=a.mp4`."""
    if "?" in name:
        name = parse_qs(urlsplit(name).query).get("d", [name.partition("?")[0]])[0]
    if name.startswith("file:"):
        name = unquote(urlsplit(name).path)
    if re.match(r"/?[A-Za-z]:[\\/]|\\\\", name) or "\\" in name:
        windows = PureWindowsPath(name.lstrip("/"))
        return PurePosixPath(*windows.parts[1:] if windows.anchor else windows.parts)
    return PurePosixPath(*(part for part in PurePosixPath(name).parts if part != "."))
