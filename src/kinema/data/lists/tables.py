"""Annotation files opened: encoding, delimiter, quotes, header."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.data.lists.columns import BLANKS, Rows, blocks, split_rows
from kinema.errors import UserError, did_you_mean
from kinema.storage import Direct, display_name, is_folder, parent, suffix

_HERE = Direct()

_COLUMNS = {"path", "label", "labels", "class", "classes"}
"""Names of columns by which the first line of a table is known."""

# Takes the delimiter's place where quotes are taken away, so that delimiters inside fields stay what they are.
UNIT_SEPARATOR = "\x1f"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A text file of delimited rows.

    delimiter: one character between two fields, or a space: any run of blanks.
    header: column names in lower case; None where the file has none.
    start, first_line: byte and line number at which the rows begin, after the header.
    """

    source: str
    text: bytes
    delimiter: str
    header: tuple[str, ...] | None
    start: int
    first_line: int

    def rows(self) -> Iterator[Rows]:
        """All rows, many at a time."""
        for block, line in blocks(self.text, start=self.start, line=self.first_line):
            yield split_rows(block, self.delimiter, line)


def open_table(path: str | Path, delimiter: str | None) -> Table:
    """Read a file and see how it is laid out; `read_index` says by which rules.

    Raises:
        UserError: the file is missing, empty, not UTF-8 text, or its quotes do not match.
    """
    path = str(path)
    text = read_text(path)
    first = _first_line(path, text)
    delimiter = delimiter or _guess_delimiter(path, first[0].decode())
    _check_header(path, text, first, delimiter)
    if delimiter != " " and b'"' in text:
        text = _without_quotes(path, text, delimiter)
        delimiter = UNIT_SEPARATOR
        first = _first_line(path, text)
    names = tuple(name.strip().lower() for name in first[0].decode().split(delimiter))
    header = names if delimiter != " " and _COLUMNS & set(names) else None
    start = first.end() if header else 0
    return Table(
        source=path, text=text, delimiter=delimiter, header=header,
        start=start, first_line=1 + text.count(b"\n", 0, start),
    )  # fmt: skip


def read_text(path: str | Path) -> bytes:
    r"""The UTF-8 text of a file, a local path or a URL, without a byte order mark and with \n for every line end.

    Raises:
        UserError: the file is missing (the nearest name beside it is offered), unreadable, or not UTF-8 text.
    """
    path = str(path)
    try:
        text = _HERE.read(path)
    except FileNotFoundError:
        raise UserError(f"no file or folder '{path}'{did_you_mean(display_name(path), _beside(path))}") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror or error}") from None
    text = text.removeprefix(codecs.BOM_UTF8)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for block, first_line in blocks(text):
        content = block.tobytes()
        try:
            content.decode()
            fault = content.find(b"\0")
        except UnicodeDecodeError as error:
            fault = error.start
        if fault >= 0:
            line = first_line + content.count(b"\n", 0, fault)
            raise UserError(f"{path}:{line}: byte 0x{content[fault]:02x} is not UTF-8 text; save the file as UTF-8")
    return text


def annotation_is_folder(path: str) -> bool:
    """Whether an annotation, a local path or a URL, is a folder.

    Raises:
        UserError: it is a URL with nothing there, or that cannot be asked.
    """
    try:
        return is_folder(path)
    except FileNotFoundError:
        raise UserError(f"no file or folder '{path}'{did_you_mean(display_name(path), _beside(path))}") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror or error}") from None


def _beside(path: str) -> Sequence[str]:
    """Names in the folder of a file that is not there."""
    try:
        return _HERE.list(parent(path))
    except OSError:
        return ()


def _first_line(path: str, text: bytes) -> re.Match[bytes]:
    """The first line that is not blank, with its line end."""
    line = re.compile(rb"[^%b][^\n]*\n?" % BLANKS).search(text)
    if line is None:
        raise UserError(f"'{path}' is empty; expected a row for each video")
    return line


def _guess_delimiter(path: str, first_line: str) -> str:
    match suffix(path):
        case ".tsv":
            return "\t"
        case ".csv":
            return next((character for character in ",;\t" if character in first_line), " ")
        case _:
            return next((character for character in ",;\t" if _delimits(character, first_line)), " ")


def _delimits(character: str, first_line: str) -> bool:
    """Whether a file of no known suffix has `character` between fields, judged by its first line.

    It has where the line names columns, as in `path, label`, and where a path is followed by fields without blanks, or
    by a whole number at the end, as in `my clip.mp4, 0`. In `clip.mp4 1,0` fields are separated by blanks.
    """
    fields = [field.strip() for field in first_line.split(character)]
    if len(_COLUMNS & {field.lower() for field in fields}) > 1:
        return True
    if len(fields) == 1 or character == "\t":  # which is a blank, too
        return False
    listed = all(fields[1:]) and not any(re.search(r"\s", field) for field in fields[1:])
    return (listed or fields[-1].isdecimal()) and re.search(r"\s-?\d+$", fields[0]) is None


def _check_header(path: str, text: bytes, first: re.Match[bytes], delimiter: str) -> None:
    """Refuse column names with blanks between them, which are also in the paths below."""
    words = set(first[0].decode().lower().split())
    if delimiter == " " and "path" in words and len(words & _COLUMNS) > 1:
        line = 1 + text.count(b"\n", 0, first.start())
        raise UserError(
            f"{path}:{line}: column names with blanks between them, '{first[0].decode().strip()}'; expected commas or "
            "tabs between columns, in every row, such as 'path,label'"
        )


def _without_quotes(path: str, text: bytes, delimiter: str) -> bytes:
    """The same rows on the same lines with fields out of their quotes, `UNIT_SEPARATOR` between them.

    Row by row in Python: slower than without quotes, and for a moment several times the file's size in memory.
    """
    reader = csv.reader(
        io.StringIO(text.decode(), newline="\n"), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    rows, lines_before = [], 0
    try:
        for row in reader:
            # A quoted field may span lines: blank lines after the row keep the numbers of the following ones.
            content = UNIT_SEPARATOR.join(row).replace("\n", " ")
            rows.append(content + "\n" * (reader.line_num - lines_before))
            lines_before = reader.line_num
    except csv.Error as error:
        raise UserError(f"{path}:{lines_before + 1}: {error}; expected quotes around whole fields, in pairs") from None
    return "".join(rows).encode()
