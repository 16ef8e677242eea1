"""Annotation files as rows of fields: encoding, delimiter, quotes and header."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kinema.errors import UserError
from kinema.storage import Direct, is_folder, suffix, suggest_sibling

BLANKS = b" \t\r\n"
"""Characters that are stripped from both ends of a field."""

_COLUMNS = {"path", "label", "labels", "class", "classes"}
"""Column names by which a header line is recognized."""

_FILES = Direct()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A text file of delimited rows.

    delimiter: the character between two fields; a space stands for any run of whitespace.
    quoted: whether fields may be quoted.
    header: column names in lower case; None if the file has no header line.
    """

    source: str
    text: bytes
    delimiter: str
    quoted: bool
    header: tuple[str, ...] | None = None

    def rows(self, maxsplit: int = -1) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the line number and the fields, not yet stripped of `BLANKS`, of the rows below the header.

        Blank lines are skipped. Lines are split at the last `maxsplit` delimiters, as by `str.rsplit`.

        Raises:
            UserError: quotes do not match.
        """
        rows = self._quoted_rows(maxsplit) if self.quoted else self._plain_rows(maxsplit)
        if self.header:
            next(rows)
        return rows

    def _plain_rows(self, maxsplit: int) -> Iterator[tuple[int, list[bytes]]]:
        separator = None if self.delimiter == " " else self.delimiter.encode()
        lines = enumerate(io.BytesIO(self.text), 1)
        return ((number, line.rsplit(separator, maxsplit)) for number, line in lines if not line.isspace())

    def _quoted_rows(self, maxsplit: int) -> Iterator[tuple[int, list[bytes]]]:
        lines = map(bytes.decode, io.BytesIO(self.text))
        reader = csv.reader(lines, delimiter=self.delimiter, skipinitialspace=True, strict=True)
        number = 1
        try:
            for row in reader:
                fields = [field.replace("\n", " ").encode() for field in row]
                if 0 <= maxsplit < len(fields):
                    fields = [self.delimiter.encode().join(fields[:-maxsplit]), *fields[-maxsplit:]]
                if len(fields) > 1 or any(map(bytes.strip, fields)):
                    yield number, fields
                number = 1 + reader.line_num  # a quoted field may span lines
        except csv.Error as error:
            raise UserError(f"{self.source}:{number}: {error}; expected quotes around whole fields, in pairs") from None


def open_table(path: str | Path) -> Table:
    """Read a file and recognize its delimiter and header; see `read_index` for the rules.

    Raises:
        UserError: the file is missing, empty or not UTF-8 text, or its quotes do not match.
    """
    path = str(path)
    text = read_text(path)
    number, line = next(
        ((number, line.decode()) for number, line in enumerate(io.BytesIO(text), 1) if not line.isspace()), (0, "")
    )
    if not line:
        raise UserError(f"'{path}' is empty; expected a row for each video")
    delimiter = _guess_delimiter(path, line)
    words = set(line.lower().split())
    if delimiter == " " and "path" in words and len(words & _COLUMNS) > 1:
        raise UserError(
            f"{path}:{number}: column names with blanks between them, '{line.strip()}'; expected commas or tabs "
            "between columns, in every row, such as 'path,label'"
        )
    table = Table(source=path, text=text, delimiter=delimiter, quoted=delimiter != " " and b'"' in text)
    _, fields = next(table.rows(), (0, []))
    names = tuple(field.decode().strip().lower() for field in fields)
    return replace(table, header=names) if delimiter != " " and _COLUMNS & set(names) else table


def read_text(path: str | Path) -> bytes:
    r"""Return the UTF-8 text of a local file or URL, without a byte order mark and with \n for every line end.

    Raises:
        UserError: the file is missing (the nearest name beside it is offered), unreadable, or not UTF-8 text.
    """
    path = str(path)
    try:
        text = _FILES.read(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    text = text.removeprefix(codecs.BOM_UTF8)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, line in enumerate(() if text.isascii() and b"\0" not in text else io.BytesIO(text), 1):
        fault = line.find(b"\0")
        try:
            line.decode()
        except UnicodeDecodeError as error:
            fault = error.start
        if fault >= 0:
            raise UserError(f"{path}:{number}: byte 0x{line[fault]:02x} is not UTF-8 text; save the file as UTF-8")
    return text


def annotation_is_folder(path: str) -> bool:
    """Whether an annotation, a local path or a URL, is a folder.

    Raises:
        UserError: a URL does not exist or cannot be accessed.
    """
    try:
        return is_folder(path)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"no file or folder '{path}'{suggest_sibling(path)}")
    return UserError(f"'{path}' cannot be read: {error.strerror or error}")


def _guess_delimiter(path: str, first_line: str) -> str:
    match suffix(path):
        case ".tsv":
            return "\t"
        case ".csv":
            return next((character for character in ",;\t" if character in first_line), " ")
        case _:
            return next((character for character in ",;\t" if _delimits(character, first_line)), " ")


def _delimits(character: str, first_line: str) -> bool:
    """Whether `character` delimits the fields of a file without a known suffix, judged by its first line.

    It does if the line names columns, as in `path, label`, or if a path is followed by fields without blanks, or by a
    whole number at the end, as in `my clip.mp4, 0`. The fields of `clip.mp4 1,0` are separated by blanks.
    """
    fields = [field.strip() for field in first_line.split(character)]
    if len(_COLUMNS & {field.lower() for field in fields}) > 1:
        return True
    if len(fields) == 1 or character == "\t":  # a tab is a blank, too
        return False
    listed = all(fields[1:]) and not any(re.search(r"\s", field) for field in fields[1:])
    return (listed or fields[-1].isdecimal()) and re.search(r"\s-?\d+$", fields[0]) is None
