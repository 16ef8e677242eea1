"""Base class of read-through caches."""

import os
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from hashlib import blake2b

from kinema.storage.direct import Range, Storage, is_url

_HEADER = struct.Struct("<QI")  # length and CRC-32 of the data


class ReadThrough(ABC):
    """A storage that reads from a cache, and on a miss from the storage `behind`; see `Storage`.

    Cached files are not checked for changes at their source.
    """

    def __init__(self, behind: Storage, *, namespace: str) -> None:
        self.behind = behind
        self._namespace = namespace

    @abstractmethod
    def through(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """Return the value of `key`, or fetch and store it."""

    def keeps(self, path: str) -> bool:  # noqa: ARG002
        """Whether `path` is cached."""
        return True

    def read(self, path: str) -> bytes:
        """Return the contents of a file."""
        return self._cached("file", path, lambda: self.behind.read(path))

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """Return bytes `start` to `end` (exclusive); each range is cached by itself."""
        return self._cached(f"{start}-{end}", path, lambda: self.behind.read_range(path, start, end))

    def read_ranges(self, path: str, ranges: Sequence[Range]) -> Sequence[bytes]:
        """Return several ranges, each cached by itself."""
        if not self.keeps(path):
            return self.behind.read_ranges(path, ranges)
        return [self.read_range(path, start, end) for start, end in ranges]

    def list(self, folder: str) -> Sequence[str]:
        """Return the names of files and folders in `folder`."""
        names = self._cached("list", folder, lambda: os.fsencode("\0".join(self.behind.list(folder))))
        return os.fsdecode(names).split("\0") if names else []

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        return int(self._cached("size", path, lambda: str(self.behind.size(path)).encode()))

    def local(self, path: str) -> str | bytes:
        """Return the contents of a file, as another process may remove the cached file before it is opened."""
        return self.read(path) if self.keeps(path) else self.behind.local(path)

    def _cached(self, what: str, path: str, fetch: Callable[[], bytes]) -> bytes:
        return self.through(self.key(what, path), fetch) if self.keeps(path) else fetch()

    def key(self, what: str, path: str) -> str:
        """Return a key of 32 hexadecimal digits; a local path has the same key in any working directory."""
        absolute = path if is_url(path) else os.path.abspath(path)  # noqa: PTH100 - a Path takes ten times as long
        text = f"{self._namespace}\0{what}\0{absolute}"
        return blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def sealed(data: bytes) -> bytes:
    """Prepend length and checksum to `data`."""
    return _HEADER.pack(len(data), zlib.crc32(data)) + data


def sealed_size(beginning: bytes) -> int:
    """Return the length of `sealed` data, given their beginning; 0 if it is too short."""
    if len(beginning) < _HEADER.size:
        return 0
    length: int = _HEADER.unpack_from(beginning)[0]
    return _HEADER.size + length


def unsealed(value: bytes) -> bytes | None:
    """Return the data of `sealed` bytes; None if they are damaged."""
    if len(value) < _HEADER.size:
        return None
    length, checksum = _HEADER.unpack_from(value)
    data = value[_HEADER.size :]
    return data if len(data) == length and zlib.crc32(data) == checksum else None
