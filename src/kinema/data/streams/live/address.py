"""Addresses of live streams: what may be opened, and how it is named without its secrets."""

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

from kinema.console import printable
from kinema.errors import UserError, did_you_mean
from kinema.storage import suffix
from kinema.urls import SCHEME, without_secrets

Kind = Literal["rtsp", "http", "device", "pipe"]

PIPE = "-"
"""The address of standard input."""
SCHEMES: dict[str, Kind] = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}
"""Schemes of the URLs that may be opened. FFmpeg has further ones, some of which read local files."""

_OTHER_SCHEMES = ("mms", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp")
"""Schemes of streams that may not be opened."""
_DEVICES = re.compile(r"/dev/(video\d+|v4l/.+)")
_LIVE_SUFFIXES = (".m3u8", ".mjpeg", ".mjpg")
"""Suffixes of HTTP URLs that are streams; others are files unless `--live` says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Address of a live stream.

    Attributes:
        url: What FFmpeg opens; it may contain a password.
        name: What messages and outputs show.
        kind: How it is opened: `device` is a webcam, `pipe` standard input or a file object.
        file: Of a pipe: a file descriptor, or an object with `read(size)`.
    """

    url: str = field(repr=False)
    name: str
    kind: Kind
    file: int | BinaryIO = 0

    @property
    def lasting(self) -> bool:
        """Whether it can be opened again after an interruption, unlike a pipe."""
        return self.kind != "pipe"


def is_live(text: str) -> bool:
    """Whether an input of a command is meant as a live stream, by its form alone: no file is looked for.

    URLs that `live_address` refuses are among them, such as those of a misspelled `rtsp`.
    """
    scheme = _scheme(text)
    if scheme is not None:
        if SCHEMES.get(scheme) == "http":
            return suffix(text) in _LIVE_SUFFIXES
        return scheme in _OTHER_SCHEMES or bool(get_close_matches(scheme, ("rtsp", "rtsps"), n=1, cutoff=0.7))
    return text == PIPE or _DEVICES.fullmatch(text) is not None


def live_address(text: str) -> Address:
    """Return the address of a live stream.

    Raises:
        UserError: It is none, or a URL of a scheme that is not allowed, or without a host.
    """
    if text == PIPE:
        return Address(url=PIPE, name=PIPE, kind="pipe")
    if _DEVICES.fullmatch(text):
        return Address(url=text, name=text, kind="device")
    name, scheme = printable(without_secrets(text)), _scheme(text)
    allowed = f"{', '.join(f'{one}://' for one in SCHEMES)}, /dev/video0, or {PIPE} for standard input"
    if scheme is None:
        raise UserError(f"{name} is no live stream; allowed: {allowed}")
    if scheme not in SCHEMES:
        raise UserError(f"{name}: found {scheme}://; allowed: {allowed}{did_you_mean(scheme, SCHEMES)}")
    if not _host(text) or not text.isprintable() or " " in text:
        raise UserError(f"{name} is no valid URL; expected {scheme}://HOST/PATH or {scheme}://USER:PASSWORD@HOST/PATH")
    return Address(url=f"{scheme}{text[len(scheme) :]}", name=name, kind=SCHEMES[scheme])


def pipe_address(file: BinaryIO) -> Address:
    """Return the address of a binary file object that is read once, in order, such as a pipe or a socket's."""
    name = getattr(file, "name", None)
    return Address(url=PIPE, name=name if isinstance(name, str) else "a pipe", kind="pipe", file=file)


def _scheme(text: str) -> str | None:
    match = SCHEME.match(text)
    return match[1].lower() if match else None


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is no number
        return parts.hostname or ""
    except ValueError:
        return ""
