"""Class name files."""

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.data.lists.tables import BLANKS, read_text
from kinema.errors import UserError

_EXPECTED = (
    'one class name a line, lines of id,name, or JSON as {"name": id}, {"id": "name"} or ["name", …]; '
    "ids count up from 0 or 1 without a gap"
)
_BLANKS = BLANKS.decode()


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """Read class names in the order of their indices, from a local path or a URL.

    Formats:

    1. Text with one name per line. If all lines start with consecutive numbers, as in UCF101's `classInd.txt`
       (`1 ApplyEyeMakeup`), these are removed.
    2. Text with two columns, `id,name` or `name,id`, delimited by commas, semicolons or tabs, in any order of rows,
       with or without a header line.
    3. JSON: `{"name": id}`, `{"id": "name"}`, or a list of names.

    Ids are consecutive, starting at 0 or 1.

    Raises:
        UserError: the file is missing, empty or none of these, or names a class twice.
    """
    return _parse(read_text(path).decode(), str(path))


def class_file_text(names: Sequence[str]) -> str:
    """Return text that `read_class_names` reads as `names`: one per line, numbered if ambiguous otherwise."""
    plain = "".join(f"{name}\n" for name in names)
    try:
        if _parse(plain, "") == tuple(names):
            return plain
    except UserError:
        pass
    return "".join(f"{number} {name}\n" for number, name in enumerate(names))


def _parse(text: str, path: str) -> tuple[str, ...]:
    content = text.strip(_BLANKS)
    if not content:
        raise UserError(f"'{path}' is empty; expected {_EXPECTED}")
    if content.startswith(("{", "[")):
        try:
            return _of_json(json.loads(content), path)
        except json.JSONDecodeError as error:
            if content.startswith("{"):
                raise UserError(f"{path}:{error.lineno}: not JSON: {error.msg}; expected {_EXPECTED}") from None
    lines = {number: line.strip(_BLANKS) for number, line in enumerate(text.split("\n"), 1) if line.strip(_BLANKS)}
    if names := _without_numbers(list(lines.values())) or _of_columns(list(lines.values()), path):
        return _distinct(names, path)
    seen: dict[str, int] = {}
    for number, name in lines.items():
        if seen.setdefault(name, number) != number:
            raise UserError(f"{path}:{number}: duplicate class '{name}', also on line {seen[name]}")
    return tuple(lines.values())


def _without_numbers(lines: Sequence[str]) -> list[str] | None:
    """Return the names after consecutive numbers from 0 or 1; None if lines are not numbered."""
    parts = [re.fullmatch(rf"(\d+)[{_BLANKS}]+(.+)", line) for line in lines]
    matches = [part for part in parts if part]
    numbers = [match[1] for match in matches]
    counted = any(numbers == [str(start + k) for k in range(len(lines))] for start in (0, 1))
    return [match[2] for match in matches] if counted else None


def _of_columns(lines: Sequence[str], path: str) -> Sequence[str] | None:
    """Return the names beside a column of ids; None if there is no such column."""
    for delimiter in "\t,;":
        try:
            rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True))
        except csv.Error:
            continue
        for header in (0, 1):
            for column in (0, -1):
                ids = [row[column].strip() for row in rows[header:] if len(row) > 1]
                if ids and len(ids) == len(rows) - header and all(re.fullmatch(r"\d+", one) for one in ids):
                    names = [row[1:] if column == 0 else row[:-1] for row in rows[header:]]
                    pairs = [(int(one), delimiter.join(name).strip()) for one, name in zip(ids, names, strict=True)]
                    return _in_order(pairs, path)
    return None


def _of_json(content: Any, path: str) -> tuple[str, ...]:
    match content:
        case list() if content and all(isinstance(name, str) for name in content):
            return _distinct(content, path)
        case Mapping() if content and all(_is_id(value) for value in content.values()):
            return _in_order([(int(value), name) for name, value in content.items()], path)
        case Mapping() if content and all(_is_id(key) and isinstance(name, str) for key, name in content.items()):
            return _in_order([(int(key), name) for key, name in content.items()], path)
    raise UserError(f"'{path}' is JSON that does not name classes; expected {_EXPECTED}")


def _is_id(value: Any) -> bool:
    return type(value) is int or (isinstance(value, str) and value.isascii() and value.isdecimal())


def _in_order(pairs: Sequence[tuple[int, str]], path: str) -> tuple[str, ...]:
    ordered = sorted(pairs)
    start = min(1, ordered[0][0])
    for expected, (number, name) in enumerate(ordered, start):
        if number != expected:
            raise UserError(f"{path}: class '{name}' has id {number} instead of {expected}; expected {_EXPECTED}")
    return _distinct([name for _, name in ordered], path)


def _distinct(names: Sequence[str], path: str) -> tuple[str, ...]:
    for name, count in Counter(names).items():
        if not name.strip():
            raise UserError(f"{path}: a class has an empty name; expected {_EXPECTED}")
        if count > 1:
            raise UserError(f"{path}: class '{name}' occurs {count} times")
    return tuple(names)
