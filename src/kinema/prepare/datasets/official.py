"""Official annotation files: found below a folder, read, and what they say as rows."""

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
    """A video as official annotations list it.

    names: what its file may be called, without suffix; the usual name first.
    labels: its class indices, counted from 0; empty where the annotations give none.
    folder: the class folder that it officially lies in; empty: none.
    clip_of: id of the video that it was cut from, where no other clip listed comes from that one.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...] = ()
    folder: str = ""
    clip_of: str = ""

    @property
    def expected(self) -> str:
        """Its usual path, without suffix."""
        return f"{self.folder}/{self.names[0]}" if self.folder else self.names[0]


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What the official files of a dataset say.

    classes: their names in the official order.
    splits: the rows of each split that there is a file for.
    multi_label: a video may have any number of labels.
    """

    classes: tuple[str, ...]
    splits: dict[Split, list[Listed]]
    multi_label: bool = False


def find_files(folder: Path, pattern: str) -> list[Path]:
    """Files of `folder`, or else of its direct subfolders, whose lower-case name fits `pattern`; in natural order.

    Raises:
        UserError: there is no such folder, or several files have the same name.
    """
    files = _files(folder, pattern)
    called = defaultdict[str, list[Path]](list)
    for file in files:
        called[file.name].append(file)
    if twice := [same for same in called.values() if len(same) > 1]:
        raise UserError(f"'{twice[0][0]}' and '{twice[0][1]}' have the same name: keep one of them")
    return files


def find_file(folder: Path, *patterns: str) -> Path | None:
    """The file that fits the first of `patterns` (lower-case, as in `find_files`) which any file fits; None: no file.

    Raises:
        UserError: there is no such folder, or several files fit.
    """
    for pattern in patterns:
        files = _files(folder, pattern)
        if len(files) > 1:
            raise UserError(f"'{folder}' has several files {pattern}: {_shown(files)}; leave one of them")
        if files:
            return files[0]
    return None


def need_file(folder: Path, *patterns: str) -> Path:
    """`find_file`, where the file must be there.

    Raises:
        UserError: it is not, or as `find_file` raises.
    """
    file = find_file(folder, *patterns)
    if file is None:
        raise UserError(f"'{folder}' has no file {' or '.join(patterns)}; it has {_shown(_files(folder, '*'))}")
    return file


def find_splits(folder: Path, patterns: dict[Split, tuple[str, ...]]) -> dict[Split, Path]:
    """The annotation file of each split that there is one for.

    Raises:
        UserError: there is none at all, or as `find_file` raises.
    """
    files = {split: find_file(folder, *names) for split, names in patterns.items()}
    there = {split: file for split, file in files.items() if file is not None}
    if not there:
        need_file(folder, *(names[0] for names in patterns.values()))
    return there


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank, without blanks around it."""
    for number, line in enumerate(read_text(file).decode().splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def rows_of(file: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line, and fields, of each row that is not blank; quotes and blanks around fields taken off."""
    reader = csv.reader(io.StringIO(read_text(file).decode(), newline=""), delimiter=delimiter, skipinitialspace=True)
    for row in reader:
        if any(field.strip() for field in row):
            yield reader.line_num, [field.strip() for field in row]


def json_of(file: Path) -> Any:
    """What a JSON file holds.

    Raises:
        UserError: it is not JSON.
    """
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: not JSON: {error.msg}") from None


class Classes:
    """Class names in the official order, and the index of each."""

    def __init__(self, names: Sequence[str], source: Path) -> None:
        if not names:
            raise UserError(f"'{source}' names no classes")
        self.names = tuple(names)
        self._source = source
        self._indices = {name: k for k, name in enumerate(self.names)}
        folded = Counter(name.casefold() for name in self.names)
        self._folded = {name.casefold(): k for name, k in self._indices.items() if folded[name.casefold()] == 1}
        if len(self._indices) < len(self.names):
            twice = next(name for k, name in enumerate(self.names) if self._indices[name] != k)
            raise UserError(f"{source}: class '{twice}' stands there twice")

    def index(self, name: str, where: str) -> int:
        """The index of class `name`, found at `where`; the case of letters counts where classes differ in it alone.

        Raises:
            UserError: there is no such class.
        """
        index = self._indices.get(name, self._folded.get(name.casefold()))
        if index is None:
            raise UserError(
                f"{where}: '{name}' is not one of the {len(self.names)} classes of '{self._source}'"
                + did_you_mean(name, self.names)
            )
        return index

    def number(self, index: Any, where: str) -> int:
        """A class index counted from 0 that annotations give as a number.

        Raises:
            UserError: there is no such class.
        """
        if not str(index).isdecimal() or int(index) >= len(self.names):
            raise UserError(
                f"{where}: class {index!r}; expected 0 to {len(self.names) - 1}, the classes of '{self._source}'"
            )
        return int(index)


def _files(folder: Path, pattern: str) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"no folder '{folder}': --annotations names the folder that has the official files")
    for places in ([folder], [place for place in folder.iterdir() if place.is_dir()]):
        beside = [file for place in places for file in place.iterdir() if not file.name.startswith(".")]
        if files := [file for file in beside if file.is_file() and fnmatchcase(file.name.lower(), pattern)]:
            return sorted(files, key=lambda file: natural_key(str(file)))
    return []


def _shown(files: Sequence[Path]) -> str:
    names = [f"'{file.parent.name}/{file.name}'" for file in files[:3]] + ["…"] * (len(files) > 3)
    return ", ".join(names) or "no files"
