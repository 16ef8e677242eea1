"""Checks that outputs can be written, before they are computed."""

import tempfile
from pathlib import Path

from kinema.errors import UserError


def check_writable(*files: Path | None) -> None:
    """Check that files can be written; None is ignored. Nothing is created: writing a file creates missing folders.

    Raises:
        UserError: a path is a folder, has a file as parent, or the nearest folder that exists is not writable.
    """
    for file in files:
        if file is None:
            continue
        try:
            if file.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            folder = _nearest(file.parent)
            if not file.exists() or file.is_file():  # /dev/null needs no file beside it
                with tempfile.TemporaryFile(dir=folder):
                    pass
        except OSError as error:
            raise UserError(f"{file} cannot be written: {error.strerror or error}") from error


def _nearest(folder: Path) -> Path:
    """Return a folder, or the nearest above it that exists."""
    for candidate in (folder, *folder.parents):
        try:
            candidate.stat()
        except FileNotFoundError:
            continue
        return candidate
    return folder


def cannot_write(error: OSError, folder: Path) -> UserError:
    """Return the UserError for a file in `folder` that cannot be written."""
    named = error.filename2 or error.filename or folder
    return UserError(f"{named} cannot be written: {error.strerror or error}")
