"""Bytes of local files and of whatever fsspec knows by URL."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from kinema.errors import MediaError, UserError
from kinema.storage.outages import check_outage

Range = tuple[int, int]
"""Bytes of a file, from the first to the one after the last."""

_MORE = 1 << 26
"""Bytes that are asked for at a time where it is not known how many there are."""


class Storage(Protocol):
    """Bytes by path; a path is local, or a URL such as `s3://bucket/name`.

    All methods raise OSError when something cannot be read, FileNotFoundError among them when it is not there;
    StorageOutage, which is no OSError, when that is no fault of the file (see `kinema.storage.outages`); and UserError
    when fsspec lacks a library for the kind of URL.
    """

    def read(self, path: str) -> bytes:
        """The whole file."""

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end`, without the last; fewer where the file ends before."""

    def read_ranges(self, path: str, ranges: Sequence[Range]) -> Sequence[bytes]:
        """What `read_range` gives of each range, in one go."""

    def list(self, folder: str) -> Sequence[str]:
        """Names of the files and folders in `folder`, in no order."""

    def size(self, path: str) -> int:
        """Bytes in the file."""

    def local(self, path: str) -> str | bytes:
        """What a video decoder can open: the path itself where it is one of this machine, otherwise the bytes."""


class Direct:
    """Every file read where it lies; see `Storage`."""

    def read(self, path: str) -> bytes:
        """The whole file."""
        if is_url(path):
            return remotely(path, "cat_file")
        return _read(path)

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end`, without the last."""
        if is_url(path):
            if not _serves_ranges(path):
                return self.read(path)[start:end]
            return remotely(path, "cat_file", start=start, end=end)
        return _pread(path, [(start, end)])[0]

    def read_ranges(self, path: str, ranges: Sequence[Range]) -> Sequence[bytes]:
        """Parts of the file: a local one is opened once, of a URL all are asked for at the same time."""
        if is_url(path):
            if not _serves_ranges(path):
                return _cut(self.read(path), ranges)
            starts, ends = ([one[side] for one in ranges] for side in (0, 1))
            return remotely(path, "cat_ranges", times=len(ranges), starts=starts, ends=ends, on_error="raise")
        return _pread(path, ranges)

    def list(self, folder: str) -> Sequence[str]:
        """Names of the files and folders in `folder`."""
        if is_url(folder):
            return [name.rstrip("/").rpartition("/")[2] for name in remotely(folder, "ls", detail=False)]
        try:
            with os.scandir(folder) as entries:
                return [entry.name for entry in entries]
        except OSError as error:
            check_outage(folder, error)
            raise

    def size(self, path: str) -> int:
        """Bytes in the file."""
        if not is_url(path):
            try:
                return Path(path).stat().st_size
            except OSError as error:
                check_outage(path, error)
                raise
        size = remotely(path, "size")
        if size is None:
            raise OSError("its size is not known")
        return int(size)

    def local(self, path: str) -> str | bytes:
        """The path, or the bytes of a URL."""
        return self.read(path) if is_url(path) else path


def is_url(path: str) -> bool:
    """Whether fsspec is to read `path`."""
    return "://" in path


def check_protocol(url: str) -> None:
    """See that fsspec can read this kind of URL, before worker processes find out.

    Raises:
        UserError: it cannot: which library is missing, or which kinds there are.
    """
    import fsspec

    protocol = url.partition("://")[0].rpartition("::")[2]
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        how = f"pip install 'kinema[{_EXTRAS[protocol]}]'" if protocol in _EXTRAS else str(error)
        raise UserError(f"'{url}' cannot be read: {protocol}:// needs a library that is not installed: {how}") from None
    except ValueError as error:
        raise UserError(f"'{url}' cannot be read: {error}") from None


_EXTRAS = {"http": "http", "https": "http", "s3": "s3", "s3a": "s3"}
"""Kinds of URLs, and the extra of Kinema that brings their libraries."""


def _serves_ranges(url: str) -> bool:
    """Whether parts of a file can be asked for: some web servers then send the whole of it without a word."""
    protocol, _, host = url.partition("://")
    host = host.partition("/")[0]
    if protocol not in ("http", "https"):
        return True
    if host not in _WEB_SERVERS_WITH_RANGES:
        _WEB_SERVERS_WITH_RANGES[host] = len(remotely(url, "cat_file", start=0, end=1)) == 1
    return _WEB_SERVERS_WITH_RANGES[host]


_WEB_SERVERS_WITH_RANGES: dict[str, bool] = {}


def _read(path: str) -> bytes:
    """A whole file, in as few calls as there can be: a frame of rawframes is one."""
    try:
        return _read_open(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        check_outage(path, error)
        raise


def _read_open(file: int) -> bytes:
    try:
        size = os.fstat(file).st_size
        data = os.read(file, size)
        if size and len(data) == size:
            return data
        # A pipe, which does not know its size, or a file too large for one call.
        parts = [data]
        while more := os.read(file, _MORE):
            parts.append(more)
        return b"".join(parts)
    finally:
        os.close(file)


def _pread(path: str, ranges: Sequence[Range]) -> list[bytes]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return [os.pread(file, max(end - start, 0), start) for start, end in ranges]
        finally:
            os.close(file)
    except OSError as error:
        check_outage(path, error)
        raise


def _cut(data: bytes, ranges: Sequence[Range]) -> list[bytes]:
    return [data[start:end] for start, end in ranges]


def remotely(url: str, method: str, *, times: int = 0, **arguments: object) -> Any:
    """Call a method of the file system that `url` belongs to, one per process, which fsspec keeps.

    It is given the path, or a list of it as many `times`.

    Raises:
        OSError: the file is at fault.
        StorageOutage: the storage is.
        UserError: fsspec lacks a library for the kind of URL.
    """
    # fsspec takes a noticeable part of a second to import: local files do without.
    import fsspec

    check_protocol(url)
    try:
        files, path = fsspec.core.url_to_fs(url)
        return getattr(files, method)([path] * times if times else path, **arguments)
    # Each kind of storage has exceptions of its own library, from timeouts to refused credentials.
    except Exception as error:
        if isinstance(error, MediaError):  # a time limit, which rang in here
            raise
        check_outage(url, error)
        if isinstance(error, OSError):
            raise
        raise OSError(str(error) or type(error).__name__) from error
