"""What caches of any kind share: they stand before another storage and keep what was read from it."""

import os
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from hashlib import blake2b

from kinema.storage.direct import Range, Storage, is_url

_HEADER = struct.Struct("<QI")  # length and CRC-32 of what follows


class ReadThrough(ABC):
    """A storage that asks a cache first, and the storage `behind` when that does not know; see `Storage`.

    What is kept is never asked for again at its source, not even whether it has changed.
    """

    def __init__(self, behind: Storage, *, namespace: str) -> None:
        self.behind = behind
        self._namespace = namespace

    @abstractmethod
    def through(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """What is kept under `key`; otherwise what `fetch` gives, which is kept from then on."""

    def keeps(self, path: str) -> bool:  # noqa: ARG002
        """Whether files of this kind are kept."""
        return True

    def read(self, path: str) -> bytes:
        """The whole file."""
        if not self.keeps(path):
            return self.behind.read(path)
        return self.through(self.key("file", path), lambda: self.behind.read(path))

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end`, without the last; a range is kept by itself."""
        if not self.keeps(path):
            return self.behind.read_range(path, start, end)
        return self.through(self.key(f"{start}-{end}", path), lambda: self.behind.read_range(path, start, end))

    def read_ranges(self, path: str, ranges: Sequence[Range]) -> Sequence[bytes]:
        """Parts of the file, each kept by itself."""
        if not self.keeps(path):
            return self.behind.read_ranges(path, ranges)
        return [self.read_range(path, start, end) for start, end in ranges]

    def list(self, folder: str) -> Sequence[str]:
        """Names of the files and folders in `folder`."""
        if not self.keeps(folder):
            return self.behind.list(folder)
        names = self.through(self.key("list", folder), lambda: os.fsencode("\0".join(self.behind.list(folder))))
        return os.fsdecode(names).split("\0") if names else []

    def size(self, path: str) -> int:
        """Bytes in the file."""
        if not self.keeps(path):
            return self.behind.size(path)
        return int(self.through(self.key("size", path), lambda: str(self.behind.size(path)).encode()))

    def local(self, path: str) -> str | bytes:
        """The file's bytes: a name in a cache would be no promise that the file is still there when it is opened."""
        return self.read(path) if self.keeps(path) else self.behind.local(path)

    def key(self, what: str, path: str) -> str:
        """32 hexadecimal digits for what is kept of a path; a local one means the same from any working directory."""
        place = path if is_url(path) else os.path.abspath(path)  # noqa: PTH100 - a Path takes ten times as long
        text = f"{self._namespace}\0{what}\0{place}"
        return blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def sealed(data: bytes) -> bytes:
    """`data` with its length and checksum before it."""
    return _HEADER.pack(len(data), zlib.crc32(data)) + data


def sealed_size(beginning: bytes) -> int:
    """How long `sealed` bytes must be that begin so; 0 where they do not hold as much as that."""
    if len(beginning) < _HEADER.size:
        return 0
    length: int = _HEADER.unpack_from(beginning)[0]
    return _HEADER.size + length


def unsealed(value: bytes) -> bytes | None:
    """The data that was `sealed`; None when it is not whole."""
    if len(value) < _HEADER.size:
        return None
    length, checksum = _HEADER.unpack_from(value)
    data = value[_HEADER.size :]
    return data if len(data) == length and zlib.crc32(data) == checksum else None
