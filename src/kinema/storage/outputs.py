"""Whether results can be written, asked before they are worked out."""

import tempfile
from pathlib import Path

from kinema.errors import UserError


def check_writable(*files: Path | None) -> None:
    """See that files can be written, whose folders are made where they are missing; None is no file.

    Raises:
        UserError: one is a folder, lies below a file, or in a folder that cannot be written to.
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
    """What to raise where a file in `folder` could not be written."""
    named = error.filename2 or error.filename or folder
    return UserError(f"{named} cannot be written: {error.strerror or error}")
