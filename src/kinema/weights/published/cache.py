"""Folder where downloads and converted models are kept, and locks between processes that use it."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kinema.errors import UserError
from kinema.storage import is_url

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder of the cache: `KINEMA_CACHE`, or `kinema` in the platform's folder for caches."""
    if own := os.environ.get("KINEMA_CACHE", ""):
        if is_url(own):
            raise UserError(f"KINEMA_CACHE is {own}; it must be a local folder")
        return Path(own).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "kinema"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "kinema" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kinema"


@contextmanager
def locked(path: Path, *, doing: str) -> Iterator[None]:
    """Hold the lock of a file or folder of the cache, against other processes that would write it.

    Args:
        path: the file or folder; the lock is a hidden file beside it.
        doing: what another process may be doing, for the message of waiting.

    Raises:
        UserError: the cache is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(timeout=0.1)
        except Timeout:
            log.info("waiting for another process that is %s", doing)
            lock.acquire()
    except OSError as error:
        raise UserError(
            f"{path.parent} cannot be written: {error.strerror or error}; KINEMA_CACHE=FOLDER keeps the cache elsewhere"
        ) from error
    try:
        yield
    finally:
        lock.release()
