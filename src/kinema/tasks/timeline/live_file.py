"""A CSV or JSON Lines file to which lines are appended as they come."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.errors import UserError
from kinema.report.answers import as_line, as_row, cells, check_suffix, complete_lines
from kinema.storage.appended import AppendedFile

log = logging.getLogger(__name__)

_TAIL = 1 << 20
"""Bytes at the end of a file in which its last line break is looked for."""


class LiveFile(AppendedFile):
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
        self._columns = [*columns]
        self.is_csv = path.suffix.lower() == ".csv"
        super().__init__(path, header=as_row(self._columns) if self.is_csv else b"")

    def add(self, line: Mapping[str, Any], row: Sequence[object]) -> None:
        """Append an answer, `line` in JSON or `row` in CSV, and flush the file.

        Raises:
            UserError: The disk is full.
        """
        self.write(as_row([*map(str, row)]) if self.is_csv else as_line(line))

    def check(self) -> None:
        """Check the columns of a CSV, and remove a truncated last line."""
        self._check_columns()
        self._remove_rest()

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
