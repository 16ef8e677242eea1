"""Files and folders that appear under their name only when they are complete."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed onto it when the block ends well and removed when it fails.

    The bytes are on the disk before the rename, so that after a crash `path` holds the old or the new file, whole.

    Raises:
        OSError: the disk is full or the folder is not writable; `path` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: encoders choose the format by it.
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of the folder `path` when the block ends well.

    A rename cannot replace a full folder in one step: for an instant the old one stands at `PATH.old`, where
    `settled` finds it after a crash.

    Raises:
        OSError: the disk is full or the folder is not writable; `path` is then as it was.
    """
    settled(path)
    new, old = path.with_name(path.name + ".new"), path.with_name(path.name + ".old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        for file in new.iterdir():
            _flush(file)
        _flush(new)
        if path.exists():
            path.rename(old)
        new.rename(path)
        _flush(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def settled(path: Path) -> Path:
    """`path`, after finishing what a crash inside `replacing_folder` may have left half done."""
    old = path.with_name(path.name + ".old")
    if old.exists() and not path.exists():
        old.rename(path)
    elif old.exists():
        shutil.rmtree(old, ignore_errors=True)
    return path


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text`, in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
