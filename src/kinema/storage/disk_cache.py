"""Cache of URLs in a local folder of limited size."""

import fcntl
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from kinema.errors import UserError
from kinema.storage.direct import Storage, is_url
from kinema.storage.read_through import ReadThrough, sealed, unsealed

log = logging.getLogger(__name__)

_FILL_AFTER_EVICTION = 0.9  # fraction of the limit; leaves room for several new files


class DiskCache(ReadThrough):
    """Least-recently-used cache of URLs in `folder`, one file for each; local files are not cached.

    Processes that share the folder keep its limit together, under a lock that only writers take. fsspec's file caches
    have no size limit.
    """

    def __init__(self, behind: Storage, folder: Path, *, limit: int, namespace: str = "") -> None:
        """`limit` in bytes.

        Raises:
            UserError: the folder cannot be written.
        """
        super().__init__(behind, namespace=namespace)
        self._folder = folder.absolute()
        self._limit = limit
        self._faulty = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._total():
                pass
        except OSError as error:
            raise UserError(f"cache folder '{folder}' cannot be written: {error.strerror}") from None

    def keeps(self, path: str) -> bool:
        """Whether `path` is a URL."""
        return is_url(path)

    def through(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """Return the value of `key`, or fetch and store it."""
        file = self._folder / key
        try:
            kept = unsealed(file.read_bytes())
        except OSError:
            kept = None
        if kept is not None:
            with suppress(OSError):  # another process may have removed it
                os.utime(file)
            return kept
        data = fetch()
        try:
            self._keep(file, sealed(data))
        except OSError as error:
            if not self._faulty:
                log.warning("%s cannot be written, new files are not cached: %s", self._folder, error.strerror)
            self._faulty = True
        return data

    def _keep(self, file: Path, value: bytes) -> None:
        if len(value) > self._limit * _FILL_AFTER_EVICTION:
            return
        with self._total() as total:
            size = _read_number(total)
            if size is None or size + len(value) > self._limit:
                size = self._make_room(len(value))
            # The total is written first: after a crash in between it is too high, which only evicts too early.
            _write_number(total, size + len(value))
            handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=self._folder)
            try:
                with os.fdopen(handle, "wb") as temporary:
                    temporary.write(value)
                Path(name).replace(file)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise

    def _make_room(self, needed: int) -> int:
        """Remove the least recently read files to make room for `needed` bytes; return the remaining size.

        Only files that the cache wrote are counted and removed.
        """
        with os.scandir(self._folder) as entries:
            files = [(entry.stat(), entry.path) for entry in entries if _OWN.fullmatch(entry.name)]
        size = sum(stat.st_size for stat, _ in files)
        if size + needed <= self._limit:
            return size
        for stat, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
            if size + needed <= self._limit * _FILL_AFTER_EVICTION:
                break
            Path(path).unlink(missing_ok=True)
            size -= stat.st_size
        return size

    @contextmanager
    def _total(self) -> Iterator[IO[bytes]]:
        """Open the file with the total size of all others, locked against other writers."""
        with (self._folder / _TOTAL).open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


_TOTAL, _TEMPORARY = ".kinema-total", ".kinema-file-"
_OWN = re.compile(rf"[0-9a-f]{{32}}|{re.escape(_TEMPORARY)}.*")


def _read_number(file: IO[bytes]) -> int | None:
    file.seek(0)
    text = file.read()
    return int(text) if text.isdigit() else None


def _write_number(file: IO[bytes], number: int) -> None:
    file.truncate(0)
    file.write(b"%d" % number)
    file.flush()
