"""Atomic replacement of files and folders.

Incomplete ones have hidden names beside the final path that begin with `.kinema-`. Nothing else is ever removed.
"""

import csv
import errno
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kinema import strict_json

_PREFIX = ".kinema-"
_MAX_NAME_BYTES = 160  # of a name that the temporary name contains; file systems allow 255 in all


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed to it if the block succeeds and removed if it fails.

    Data are flushed to disk before the rename, so that after a crash `path` is either the old or the new file. The file
    has the mode of a new file under the umask. If `path` is a device or a pipe, such as /dev/stdout, the bytes are
    copied into it.

    Raises:
        OSError: the disk is full, the folder is not writable, or `path` is a folder; `path` is then unchanged.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        with _copying(path) as temporary:
            yield temporary
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # With the suffix last, by which encoders choose the format.
    suffix = path.suffix if len(path.suffix) < 16 else ""
    # Absolute, as FFmpeg takes text before a colon for a protocol.
    temporary = path.absolute().with_name(f"{_temporary_file(path)}-{secrets.token_hex(4)}{suffix}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    mode = os.fstat(handle).st_mode & 0o777
    os.close(handle)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(mode)  # a library may have replaced it by a private file
        temporary.replace(path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces the folder `path` if the block succeeds.

    A rename cannot replace a non-empty folder atomically: for an instant the old one has a hidden name, which
    `readable_folder` resolves and from which `recover_folder` restores it after a crash. Files have the mode of new
    files under the umask.

    Raises:
        OSError: the disk is full or the folder is not writable; `path` is then unchanged.
    """
    recover_folder(path)
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


def recover_folder(path: Path) -> Path:
    """Complete or undo a `replacing_folder` that crashed; return `path`."""
    old = _old_folder(path)
    if os.path.lexists(old) and not path.exists():
        old.rename(path)
    else:
        _remove(old)
    return path


def readable_folder(path: Path) -> Path:
    """Return the path from which the folder `path` can be read now, even during a replacement."""
    old = _old_folder(path)
    return old if old.exists() and not path.exists() else path


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove temporary files of killed processes that wrote `paths`; no process may be writing them now."""
    paths = list(paths)
    files = {path.parent / _temporary_file(path) for path in paths}
    folders = {_new_folder(path) for path in paths}
    for folder in {path.parent for path in paths}:
        for entry in folder.glob(f"{_PREFIX}*") if folder.is_dir() else ():
            if entry in folders or entry.with_name(entry.name.rpartition("-")[0]) in files:
                _remove(entry)


def unfinished(path: Path) -> Path:
    """Return the path for partial results of the file `path`, which several runs of a command complete."""
    return _beside(path, "unfinished")


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, rows: Iterable[Iterable[object]], *, lineterminator: str = "\r\n") -> None:
    """Replace the file `path` by a CSV file atomically; undecodable bytes of file names are kept."""
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        csv.writer(file, lineterminator=lineterminator).writerows(rows)


def write_table(path: Path, table: Sequence[Sequence[object]]) -> None:
    """Replace the file `path` by a table, whose first row names the columns: a CSV or, if it ends in .json, JSON.

    The JSON is a list of objects, one for each row.
    """
    if path.suffix.lower() != ".json":
        write_csv(path, table)
        return
    header, *rows = table
    objects = [dict(zip(map(str, header), row, strict=True)) for row in rows]
    write_text(path, strict_json.dumps(objects, indent=2) + "\n")


@contextmanager
def _copying(path: Path) -> Iterator[Path]:
    """Yield a temporary file that is copied into the device or pipe `path` afterwards."""
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
    """Return the name of `path`, or the hash of a long name."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= _MAX_NAME_BYTES else hashlib.sha256(name).hexdigest()


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
