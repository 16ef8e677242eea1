"""Temporary files of uploads, which do not outlive the server."""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kinema.errors import UserError

_LOCK = "lock"


@contextmanager
def upload_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder that only this user can read, and remove it with its contents in the end.

    Folders of servers that were killed are removed first: a server holds a lock in its folder, which ends with it.

    Args:
        parent: where these folders are; default: in the folder of temporary files, one for each user.

    Raises:
        UserError: `parent` is another user's, or is a link.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.getlogin()
    parent = parent or Path(tempfile.gettempdir()) / f"kinema-uploads-{user}"
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = parent.lstat()
    own = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
    if not stat.S_ISDIR(status.st_mode) or not own:
        raise UserError(f"{parent} is not a folder that only you can read: remove it, or set TMPDIR to another folder")
    with FileLock(parent / _LOCK):
        for folder in parent.iterdir():
            if folder.is_dir() and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
        own_folder = parent / secrets.token_hex(8)
        own_folder.mkdir(mode=0o700)
        held = FileLock(own_folder / _LOCK)
        held.acquire()
    try:
        yield own_folder
    finally:
        held.release()
        shutil.rmtree(own_folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        with FileLock(folder / _LOCK, timeout=0):
            return True
    except Timeout:
        return False


@contextmanager
def upload_file(folder: Path) -> Iterator[Path]:
    """Yield a new file in `folder`, and remove it in the end."""
    path = folder / secrets.token_hex(16)
    path.touch(mode=0o600, exist_ok=False)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
