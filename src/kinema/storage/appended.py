"""A file to which lines are appended as they come."""

from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from kinema.errors import UserError


class AppendedFile:
    """A file open for appending, flushed after each write. Subclasses check the content of an existing file."""

    def __init__(self, path: Path, *, header: bytes = b"") -> None:
        """Create the file and its folders, or open it.

        Args:
            path: The file.
            header: First line of a new file.

        Raises:
            UserError: The file cannot be written; or raised by `check`.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                self.check()
            self._file: IO[bytes] = path.open("ab")
            is_empty = self._file.tell() == 0
        except OSError as error:
            raise self._cannot_write(error) from error
        if header and is_empty:
            self.write(header)

    def check(self) -> None:
        """Check the content of an existing file, and remove a truncated last line.

        Raises:
            UserError: It has other content.
        """

    def write(self, data: bytes) -> None:
        """Append `data`.

        Raises:
            UserError: The disk is full.
        """
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise self._cannot_write(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if error is not None else nullcontext():  # a full disk was already reported
            self._file.close()

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(f"{self._path} cannot be written: {error.strerror or error}")
