"""A CSV or JSON Lines file to which lines are appended as they come."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from kinema.errors import UserError
from kinema.report.answers import as_line, as_row, cells, check_suffix, complete_lines

log = logging.getLogger(__name__)

_TAIL = 1 << 20
"""Bytes at the end of a file in which its last line break is looked for."""


class LiveFile:
    """A file of answers or events of live streams, one a line; several calls append to the same one.

    Attributes:
        is_csv: Whether it is a `.csv` rather than a `.jsonl`.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Create the file, or open it to append; a truncated last line is removed.

        Args:
            path: File to write, `.csv` or `.jsonl`.
            columns: Of the `.csv`.

        Raises:
            UserError: The suffix is unknown, the file cannot be written, or it is a `.csv` with other columns.
        """
        check_suffix(path)
        self._path, self._columns = path, [*columns]
        self.is_csv = path.suffix.lower() == ".csv"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                self._check_columns()
                self._remove_rest()
            self._file: IO[bytes] = path.open("ab")
            if self.is_csv and self._file.tell() == 0:
                self._write(as_row(self._columns))
        except OSError as error:
            raise self._cannot_write(error) from error

    def add(self, line: Mapping[str, Any], row: Sequence[object]) -> None:
        """Append an answer, `line` in JSON or `row` in CSV, and flush the file.

        Raises:
            UserError: The disk is full.
        """
        try:
            self._write(as_row([*map(str, row)]) if self.is_csv else as_line(line))
        except OSError as error:
            raise self._cannot_write(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if error is not None else nullcontext():  # a full disk was already reported
            self._file.close()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(f"{self._path} cannot be written: {error.strerror or error}")

    def _check_columns(self) -> None:
        if not self.is_csv:
            return
        with self._path.open("rb") as file:
            first = next(complete_lines(file, quotes=True), b"")
        if first and (columns := cells(first.decode("utf-8", "replace"))) != self._columns:
            raise UserError(
                f"{self._path}: found columns {', '.join(columns[:8])}, …; expected: {', '.join(self._columns[:8])}, "
                "…; pass another file as --output"
            )

    def _remove_rest(self) -> None:
        """Remove a last line without a line break, which an abrupt end left."""
        with self._path.open("r+b") as file:
            size = file.seek(0, 2)
            begin = max(size - _TAIL, 0)
            file.seek(begin)
            end = begin + file.read().rfind(b"\n") + 1
            if end < size:
                log.warning("%s: removed a truncated last line", self._path)
                file.truncate(end)
