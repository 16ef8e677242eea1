"""Files and folders that appear under their name only when they are complete.

Until then they stand beside it, under hidden names that begin with `.kinema-`. Nothing else is ever removed.
"""

import errno
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".kinema-"
_LONGEST = 160  # bytes of a name that the temporary one repeats: file systems allow 255 in all


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed onto it when the block ends well and removed when it fails.

    The bytes are on the disk before the rename, so that after a crash `path` holds the old or the new file, whole. The
    file gets the mode of any new file, as the umask says. Where `path` is a device or a pipe, such as /dev/stdout, the
    bytes are copied into it.

    Raises:
        OSError: the disk is full, the folder is not writable, or `path` is a folder; it is then as it was.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        with _copying(path) as temporary:
            yield temporary
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: encoders choose the format by it.
    suffix = path.suffix if len(path.suffix) < 16 else ""
    # Absolute, as FFmpeg takes what stands before a colon for a protocol.
    temporary = path.absolute().with_name(f"{_temporary_file(path)}-{secrets.token_hex(4)}{suffix}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    mode = os.fstat(handle).st_mode & 0o777
    os.close(handle)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(mode)  # a library may have put a private file of its own in its place
        temporary.replace(path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of the folder `path` when the block ends well.

    A rename cannot replace a full folder in one step: for an instant the old one stands under a hidden name, where
    `standing` sees it and from where `settled` brings it back after a crash. Files get the mode of any new file, as
    the umask says.

    Raises:
        OSError: the disk is full or the folder is not writable; `path` is then as it was.
    """
    settled(path)
    new, old = _new_folder(path), _old_folder(path)
    _remove(new)
    new.mkdir(parents=True)
    mode = new.stat().st_mode & 0o666
    try:
        yield new
        for file in new.iterdir():
            if file.is_file():
                file.chmod(mode)
            _flush(file)
        _flush(new)
        if os.path.lexists(path):
            path.rename(old)
        new.rename(path)
        _flush(path.parent)
        _remove(old)
    finally:
        _remove(new)


def settled(path: Path) -> Path:
    """`path`, after finishing what a crash inside `replacing_folder` may have left half done."""
    old = _old_folder(path)
    if os.path.lexists(old) and not path.exists():
        old.rename(path)
    else:
        _remove(old)
    return path


def standing(path: Path) -> Path:
    """Where the folder `path` can be read at this moment, while or after it is replaced; nothing is changed."""
    old = _old_folder(path)
    return old if old.exists() and not path.exists() else path


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove what killed processes left behind while they wrote `paths`; nobody may be writing them now."""
    paths = list(paths)
    files = {path.parent / _temporary_file(path) for path in paths}
    folders = {_new_folder(path) for path in paths}
    for folder in {path.parent for path in paths}:
        for entry in folder.glob(f"{_PREFIX}*") if folder.is_dir() else ():
            if entry in folders or entry.with_name(entry.name.rpartition("-")[0]) in files:
                _remove(entry)


def unfinished(path: Path) -> Path:
    """Where results for the file `path` gather over several runs of a command, until all are there."""
    return _beside(path, "unfinished")


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text`, in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def _copying(path: Path) -> Iterator[Path]:
    """A temporary file that is copied into the device or pipe `path` in the end."""
    with tempfile.TemporaryDirectory(prefix="kinema-") as folder:
        temporary = Path(folder) / path.name
        temporary.touch()
        yield temporary
        with temporary.open("rb") as file, path.open("wb") as device:
            shutil.copyfileobj(file, device)


def _temporary_file(path: Path) -> str:
    return f"{_PREFIX}file-{_short(path)}"


def _new_folder(path: Path) -> Path:
    return _beside(path, "new")


def _old_folder(path: Path) -> Path:
    return _beside(path, "old")


def _beside(path: Path, kind: str) -> Path:
    if path.name in ("", ".."):  # the current folder, or one above it
        path = path.resolve()
    return path.parent / f"{_PREFIX}{kind}-{_short(path)}"


def _short(path: Path) -> str:
    """The name of `path`, or what stands for it where it is long."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= _LONGEST else hashlib.sha256(name).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
