"""Bytes of local files, and of URLs by fsspec."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from kinema.errors import MediaError, UserError
from kinema.storage.outages import check_outage

Range = tuple[int, int]
"""A half-open range of bytes of a file."""

_CHUNK = 1 << 26
"""Bytes per read of a file of unknown size."""

_BLOCK = 1 << 22
"""Bytes per read of a file at a URL that is read in order."""


class Storage(Protocol):
    """Bytes by local path, or by URL such as `s3://bucket/name`.

    All methods raise OSError if something cannot be read, including FileNotFoundError; StorageOutage, which is no
    OSError, if the storage rather than the file is at fault (see `kinema.storage.outages`); and UserError if fsspec
    lacks a library for the protocol of the URL.
    """

    def read(self, path: str) -> bytes:
        """Return the contents of a file."""

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """Return bytes `start` to `end` (exclusive), fewer at the end of the file."""

    def read_ranges(self, path: str, ranges: Sequence[Range]) -> Sequence[bytes]:
        """Return several ranges of a file at once; see `read_range`."""

    def list(self, folder: str) -> Sequence[str]:
        """Return the names of files and folders in `folder`, in arbitrary order."""

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""

    def local(self, path: str) -> str | bytes:
        """Return what a video decoder can open: a local path, or the contents of a URL."""


class Direct:
    """Storage without a cache; see `Storage`."""

    def read(self, path: str) -> bytes:
        """Return the contents of a file."""
        if is_url(path):
            return remotely(path, "cat_file")
        return _read(path)

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """Return bytes `start` to `end` (exclusive)."""
        if is_url(path):
            if not _serves_ranges(path):
                return self.read(path)[start:end]
            return remotely(path, "cat_file", start=start, end=end)
        return _pread(path, [(start, end)])[0]

    def read_ranges(self, path: str, ranges: Sequence[Range]) -> Sequence[bytes]:
        """Return several ranges; a local file is opened once, ranges of a URL are requested concurrently."""
        if is_url(path):
            if not _serves_ranges(path):
                data = self.read(path)
                return [data[start:end] for start, end in ranges]
            starts, ends = ([one[side] for one in ranges] for side in (0, 1))
            return remotely(path, "cat_ranges", times=len(ranges), starts=starts, ends=ends, on_error="raise")
        return _pread(path, ranges)

    def list(self, folder: str) -> Sequence[str]:
        """Return the names of files and folders in `folder`."""
        if is_url(folder):
            return [name.rstrip("/").rpartition("/")[2] for name in remotely(folder, "ls", detail=False)]
        with _outages(folder), os.scandir(folder) as entries:
            return [entry.name for entry in entries]

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        if not is_url(path):
            with _outages(path):
                return Path(path).stat().st_size
        size = remotely(path, "size")
        if size is None:
            raise OSError("the server does not report its size")
        return int(size)

    def local(self, path: str) -> str | bytes:
        """Return a local path itself, or the contents of a URL."""
        return self.read(path) if is_url(path) else path

    def opened(self, path: str) -> str | BinaryIO | bytes:
        """Return a local path itself, or a file at a URL, of which blocks are read as they are needed.

        A server that ignores range requests is read at once.
        """
        if not is_url(path):
            return path
        if not _serves_ranges(path):
            return self.read(path)
        file: BinaryIO = remotely(path, "open", mode="rb", block_size=_BLOCK)
        return file


def is_url(path: str) -> bool:
    """Whether `path` is a URL, which fsspec reads."""
    return "://" in path


def check_protocol(url: str) -> None:
    """Check that fsspec supports the protocol of a URL.

    Raises:
        UserError: it does not; the message names the missing library or the known protocols.
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
"""Extra of Kinema with the libraries of a protocol."""


def _serves_ranges(url: str) -> bool:
    """Whether a server supports range requests; some web servers ignore them and send the whole file."""
    protocol, _, host = url.partition("://")
    host = host.partition("/")[0]
    if protocol not in ("http", "https"):
        return True
    if host not in _WEB_SERVERS_WITH_RANGES:
        _WEB_SERVERS_WITH_RANGES[host] = len(remotely(url, "cat_file", start=0, end=1)) == 1
    return _WEB_SERVERS_WITH_RANGES[host]


_WEB_SERVERS_WITH_RANGES: dict[str, bool] = {}


def _read(path: str) -> bytes:
    """Read a file in as few system calls as possible: each frame of rawframes is a file."""
    with _opened(path) as file:
        size = os.fstat(file).st_size
        data = os.read(file, size)
        if size and len(data) == size:
            return data
        # A pipe, whose size is unknown, or a file too large for one call.
        parts = [data]
        while more := os.read(file, _CHUNK):
            parts.append(more)
        return b"".join(parts)


def _pread(path: str, ranges: Sequence[Range]) -> list[bytes]:
    with _opened(path) as file:
        return [os.pread(file, max(end - start, 0), start) for start, end in ranges]


@contextmanager
def _opened(path: str) -> Iterator[int]:
    with _outages(path):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield file
        finally:
            os.close(file)


@contextmanager
def _outages(path: str) -> Iterator[None]:
    """Raise StorageOutage for errors in the block that are outages."""
    try:
        yield
    except OSError as error:
        check_outage(path, error)
        raise


def remotely(url: str, method: str, *, times: int = 0, **arguments: object) -> Any:
    """Call a method of the fsspec file system of `url` with the path, or with a list that repeats it `times`.

    fsspec caches one file system per process.

    Raises:
        OSError: the file cannot be read.
        StorageOutage: the storage does not answer.
        UserError: fsspec lacks a library for the protocol of the URL.
    """
    # Slow to import, and not needed for local files.
    import fsspec

    check_protocol(url)
    try:
        files, path = fsspec.core.url_to_fs(url)
        return getattr(files, method)([path] * times if times else path, **arguments)
    # Libraries of protocols raise exceptions of their own, from time-outs to refused credentials.
    except Exception as error:
        if isinstance(error, MediaError):  # the time limit of a reader
            raise
        check_outage(url, error)
        if isinstance(error, OSError):
            raise
        raise OSError(str(error) or type(error).__name__) from error
