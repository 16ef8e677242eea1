"""Download of files into the cache: resumed where it broke off, and checked by SHA-256."""

import hashlib
import logging
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from kinema.console import progress
from kinema.errors import StorageOutage, UserError
from kinema.storage import is_url, write_text
from kinema.version import __version__
from kinema.weights.published.cache import cache_folder, locked

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_TIMEOUT = 30.0
"""Seconds that a server may stay silent."""
_ATTEMPTS = 4
"""Attempts in a row that bring no byte."""
_WAIT = 1.0
"""Seconds before the second attempt, doubled before each further one."""
_TEMPORARY = (408, 429, 500, 502, 503, 504)
"""HTTP statuses of servers that may answer later."""


@dataclass(frozen=True)
class Download:
    """A file in the cache or in a mirror, and its SHA-256 in hexadecimal digits."""

    path: Path
    sha256: str


class _BrokenOff(Exception):  # noqa: N818 - what has happened
    """A transfer that ended early."""


def download(url: str, *, sha256: str = "", wanted_by: str = "") -> Download:
    """Return the file at a URL, from the cache or a mirror, or else downloaded to the cache.

    `KINEMA_ZOO_MIRROR`, a folder or the base of URLs, replaces the servers: it has each file at HOST/PATH of its URL,
    as `wget -x` saves it.

    Args:
        url: address of the file, http or https.
        sha256: SHA-256 of the file, or its first digits. Empty: that of the first download is recorded beside the
            file, and checked from then on.
        wanted_by: what the file is for, such as `zoo:NAME`, for messages.

    Raises:
        UserError: the file is neither in the cache nor can it be downloaded, it has another hash, or the disk is full.
        StorageOutage: the server stopped answering; the part that was received is kept.
    """
    below = _below(url)
    target = cache_folder() / "downloads" / below
    mirror = os.environ.get("KINEMA_ZOO_MIRROR", "")
    with locked(target, doing=f"downloading {target.name}"):
        if target.is_file():
            return _checked(target, target, sha256, url, advice=f"delete {target} to download it again")
        if mirror and not is_url(mirror):
            file = Path(mirror).expanduser() / below
            if not file.is_file():
                raise UserError(f"{_needs(wanted_by, target)}, which the mirror lacks: there is no {file} ({url})")
            return _checked(file, target, sha256, url, advice="renew the mirror's file")
        origin = f"{mirror.rstrip('/')}/{below}" if mirror else url
        part = target.with_name(f".{target.name}.part")
        try:
            _transfer(origin, part, title=target.name, trusted=bool(sha256))
        except _Unavailable as error:
            raise UserError(_advice(wanted_by, url, origin, target, str(error))) from error
        except OSError as error:
            raise UserError(
                f"{part} cannot be written: {error.strerror or error}. Free space on its disk, or keep the cache "
                "elsewhere with KINEMA_CACHE=FOLDER; the next attempt continues the download"
            ) from error
        try:
            found = _checked(part, target, sha256, origin, advice="the download was removed")
        except UserError:
            _discard(part)
            raise
        part.replace(target)
        _discard(part)
        return Download(target, found.sha256)


def _below(url: str) -> PurePosixPath:
    """Return HOST/PATH of a URL, its path in the cache and in mirrors; a query is replaced by its hash."""
    parts = urlsplit(url)
    names = [name for name in unquote(parts.path).split("/") if name]
    if parts.scheme not in ("http", "https") or not parts.hostname or not names or {".", ".."} & {*names}:
        raise UserError(f"'{url}' cannot be downloaded: expected http://HOST/FILE or https://HOST/FILE")
    if parts.query:
        names[-1] = f"{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}-{names[-1]}"
    return PurePosixPath(parts.netloc.rpartition("@")[2].replace(":", "_"), *names)


class _Unavailable(Exception):  # noqa: N818 - a state, not a fault of the code
    """A file that cannot be downloaded, with the reason."""


def _transfer(url: str, part: Path, *, title: str, trusted: bool) -> None:
    """Download to `part`, which may hold the beginning already.

    Args:
        url: address.
        part: file to write.
        title: name for the progress bar.
        trusted: whether a hash will tell if the beginning was of another version of the file.

    Raises:
        _Unavailable: there is no such file, or no connection.
        OSError: `part` cannot be written.
        StorageOutage: see `download`.
    """
    failures = 0
    while failures < _ATTEMPTS:
        before = _size(part)
        try:
            _request(url, part, title=title, trusted=trusted)
            return
        except _BrokenOff as error:
            reason = str(error)
        failures = 0 if _size(part) > before else failures + 1
        if failures < _ATTEMPTS:
            log.warning("%s: %s; continuing after %.1f MB", url, reason, _size(part) / 1e6)
            time.sleep(_WAIT * 2 ** (failures - 1) if failures else 0)
    raise StorageOutage(f"{url}: {reason}; the first {_size(part) / 1e6:.1f} MB are kept")


def _request(url: str, part: Path, *, title: str, trusted: bool) -> None:
    """Send one request for what `part` lacks, and append the answer."""
    start, version = _size(part), _version_file(part)
    known = version.read_text(encoding="utf-8") if version.is_file() else ""
    headers = {"User-Agent": f"kinema/{__version__}", "Accept-Encoding": "identity"}
    if start and (known or trusted):
        headers |= {"Range": f"bytes={start}-", **({"If-Range": known} if known else {})}
    try:
        response = urlopen(Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code == 416:  # the beginning is longer than the file: it is of another version
                _discard(part)
                raise _BrokenOff("the file has changed on the server") from error
            if error.code in _TEMPORARY:
                raise _BrokenOff(f"the server answers {error.code} {error.reason}") from error
            raise _Unavailable(f"the server answers {error.code} {error.reason}") from error
    except URLError as error:
        raise _Unavailable(_reason(error)) from error
    except (HTTPException, ConnectionError, TimeoutError) as error:
        raise _BrokenOff(_reason(error)) from error
    with response:
        _receive(response, part, start=start, title=title)


def _receive(response: Any, part: Path, *, start: int, title: str) -> None:
    if "text/html" in response.headers.get("Content-Type", ""):
        raise _Unavailable("the server answers with a web page instead of the file")
    if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        start = 0
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else 0
    if (missing := total - start - shutil.disk_usage(part.parent).free) > 0:
        raise OSError(f"{missing / 1e6:.0f} MB of disk space are missing for its {total / 1e6:.0f} MB")
    _remember_version(response, part)
    with (
        part.open("ab" if start else "wb") as file,
        progress(f"{title} (MB)", round(total / 1e6), done=round(start / 1e6)) as meter,
    ):
        size = start
        while data := _read(response):
            file.write(data)
            meter.advance(round((size + len(data)) / 1e6) - round(size / 1e6))
            size += len(data)
        file.flush()
        os.fsync(file.fileno())
    if size < total:
        raise _BrokenOff(f"the connection was closed after {size / 1e6:.1f} of {total / 1e6:.1f} MB")


def _read(response: IO[bytes]) -> bytes:
    try:
        return response.read(_CHUNK)
    except (HTTPException, ConnectionError, TimeoutError) as error:
        raise _BrokenOff(_reason(error)) from error


def _remember_version(response: Any, part: Path) -> None:
    """Record which version of the file is being received, for `If-Range`; a weak ETag would not be accepted there."""
    tag = response.headers.get("ETag", "")
    known = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    _version_file(part).write_text(known, encoding="utf-8")


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _discard(part: Path) -> None:
    for file in (part, _version_file(part)):
        with suppress(FileNotFoundError):
            file.unlink()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, URLError) else error
    return str(getattr(inner, "strerror", None) or inner) or type(inner).__name__


def _checked(file: Path, target: Path, sha256: str, url: str, *, advice: str) -> Download:
    """Return a file with its hash, after comparing that with the published or the recorded one.

    Args:
        file: file to check.
        target: its path in the cache.
        sha256: published hash, or its first digits.
        url: where it is from, for messages.
        advice: what to do if the hash differs.

    Raises:
        UserError: they differ.
    """
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    record = target.with_name(f"{target.name}.sha256")
    origin, expected = "published", sha256
    if not sha256 and record.is_file():
        origin, expected = f"recorded in {record}", record.read_text(encoding="utf-8").partition(" ")[0]
    if not found.startswith(expected):
        shown = expected if len(expected) == 64 else f"{expected}…"
        raise UserError(
            f"{url} has the SHA-256 {found}, but {shown} is {origin}: the file is damaged, or another one than was "
            f"published; {advice}"
        )
    if not expected:
        write_text(record, f"{found}  {target.name}\n")
        log.info("no hash of %s is published; that of this file, %s, is recorded and checked from now on", url, found)
    return Download(file, found)


def _needs(wanted_by: str, target: Path) -> str:
    return f"{wanted_by} needs {target.name}" if wanted_by else f"{target.name} is needed"


def _advice(wanted_by: str, url: str, origin: str, target: Path, reason: str) -> str:
    asked = "" if origin == url else f" (the mirror was asked for {origin})"
    return (
        f"{_needs(wanted_by, target)}, which is not in the cache and cannot be downloaded: {reason}{asked}. Where "
        f"there is access, save\n  {url}\nas\n  {target}\nor as HOST/PATH in a folder, as `wget -x` does, and set "
        "KINEMA_ZOO_MIRROR to that folder or its URL"
    )
