"""Checks that outputs can be written, before they are computed."""

import tempfile
from pathlib import Path

from kinema.errors import UserError


def check_writable(*files: Path | None) -> None:
    """Check that files can be written, and create missing folders; None is ignored.

    Raises:
        UserError: a path is a folder, has a file as parent, or its folder is not writable.
    """
    for file in files:
        if file is None:
            continue
        try:
            if file.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists() or file.is_file():  # /dev/null needs no file beside it
                with tempfile.TemporaryFile(dir=file.parent):
                    pass
        except OSError as error:
            raise UserError(f"{file} cannot be written: {error.strerror or error}") from error


def cannot_write(error: OSError, folder: Path) -> UserError:
    """Return the UserError for a file in `folder` that cannot be written."""
    named = error.filename2 or error.filename or folder
    return UserError(f"{named} cannot be written: {error.strerror or error}")
