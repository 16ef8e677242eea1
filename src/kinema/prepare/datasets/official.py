"""Official annotation files: search, parsing, and the rows they are converted to."""

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from kinema.data.lists.class_folders import natural_key
from kinema.data.lists.tables import read_text
from kinema.errors import UserError, did_you_mean

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A video listed by official annotations."""

    names: tuple[str, ...]
    """Possible file names without suffix; the usual name first."""
    labels: tuple[int, ...] = ()
    """Class indices from 0 on; empty if the annotations give none."""
    folder: str = ""
    """Official class folder; empty if there is none."""
    clip_of: str = ""
    """Id of the video that it was cut from, if no other listed clip comes from that video."""

    @property
    def expected(self) -> str:
        """Usual path, without suffix."""
        return f"{self.folder}/{self.names[0]}" if self.folder else self.names[0]


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """Content of the official files of a dataset."""

    classes: tuple[str, ...]
    """Class names in official order."""
    splits: dict[Split, list[Listed]]
    """Rows of each split that has a file."""
    multi_label: bool = False
    """Whether videos have any number of labels."""


def find_files(folder: Path, pattern: str) -> list[Path]:
    """Return files whose lower-case name matches `pattern` in `folder`, or else in its subfolders; in natural order.

    Raises:
        UserError: There is no such folder, or several files have the same name.
    """
    files = _files(folder, pattern)
    by_name = defaultdict[str, list[Path]](list)
    for file in files:
        by_name[file.name].append(file)
    if duplicates := [same for same in by_name.values() if len(same) > 1]:
        raise UserError(f"'{duplicates[0][0]}' and '{duplicates[0][1]}' have the same name: keep one of them")
    return files


def find_file(folder: Path, *patterns: str) -> Path | None:
    """Return the file that matches the first of `patterns` (see `find_files`) with a match, or None.

    Raises:
        UserError: There is no such folder, or several files match.
    """
    for pattern in patterns:
        files = _files(folder, pattern)
        if len(files) > 1:
            raise UserError(f"'{folder}' has several files {pattern}: {_listed(files)}; keep one of them")
        if files:
            return files[0]
    return None


def need_file(folder: Path, *patterns: str) -> Path:
    """Return the file that matches `patterns`, see `find_file`.

    Raises:
        UserError: No file matches, or as `find_file`.
    """
    file = find_file(folder, *patterns)
    if file is None:
        raise UserError(f"'{folder}' has no file {' or '.join(patterns)}; it has {_listed(_files(folder, '*'))}")
    return file


def find_splits(folder: Path, patterns: dict[Split, tuple[str, ...]]) -> dict[Split, Path]:
    """Return the annotation file of each split that has one.

    Raises:
        UserError: There is none, or as `find_file`.
    """
    files = {split: find_file(folder, *names) for split, names in patterns.items()}
    if not any(files.values()):
        need_file(folder, *(names[0] for names in patterns.values()))
    return {split: file for split, file in files.items() if file is not None}


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the stripped text of each non-blank line."""
    for number, line in enumerate(read_text(file).decode().splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def rows_of(file: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the stripped fields of each non-blank CSV row."""
    reader = csv.reader(io.StringIO(read_text(file).decode(), newline=""), delimiter=delimiter, skipinitialspace=True)
    for row in reader:
        if any(field.strip() for field in row):
            yield reader.line_num, [field.strip() for field in row]


def json_of(file: Path) -> Any:
    """Parse a JSON file.

    Raises:
        UserError: It is not JSON.
    """
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: not JSON: {error.msg}") from None


class Classes:
    """Class names in official order, with look-up of indices."""

    def __init__(self, names: Sequence[str], source: Path) -> None:
        if not names:
            raise UserError(f"'{source}' names no classes")
        self.names = tuple(names)
        self._source = source
        self._indices = {name: k for k, name in enumerate(self.names)}
        folded = Counter(name.casefold() for name in self.names)
        self._folded = {name.casefold(): k for name, k in self._indices.items() if folded[name.casefold()] == 1}
        if len(self._indices) < len(self.names):
            duplicate = next(name for k, name in enumerate(self.names) if self._indices[name] != k)
            raise UserError(f"{source}: class '{duplicate}' is listed twice")

    def index(self, name: str, where: str) -> int:
        """Return the index of class `name`, ignoring case unless classes differ only in case.

        Raises:
            UserError: There is no such class; the message begins with `where`.
        """
        index = self._indices.get(name, self._folded.get(name.casefold()))
        if index is None:
            raise UserError(
                f"{where}: '{name}' is not one of the {len(self.names)} classes of '{self._source}'"
                + did_you_mean(name, self.names)
            )
        return index

    def number(self, index: Any, where: str) -> int:
        """Check a class index given as a number, counted from 0.

        Raises:
            UserError: There is no such class; the message begins with `where`.
        """
        if not str(index).isdecimal() or int(index) >= len(self.names):
            raise UserError(
                f"{where}: class {index!r}; expected 0 to {len(self.names) - 1} (the classes of '{self._source}')"
            )
        return int(index)


def _files(folder: Path, pattern: str) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"no folder '{folder}': pass the folder of the official files as --annotations")
    for level in ([folder], [entry for entry in folder.iterdir() if entry.is_dir()]):
        visible = [file for parent in level for file in parent.iterdir() if not file.name.startswith(".")]
        if files := [file for file in visible if file.is_file() and fnmatchcase(file.name.lower(), pattern)]:
            return sorted(files, key=lambda file: natural_key(str(file)))
    return []


def _listed(files: Sequence[Path]) -> str:
    names = [f"'{file.parent.name}/{file.name}'" for file in files[:3]] + ["…"] * (len(files) > 3)
    return ", ".join(names) or "no files"
