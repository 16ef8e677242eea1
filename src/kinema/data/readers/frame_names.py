"""File names of the frames of a video in a folder."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from kinema.errors import MediaError, UserError
from kinema.storage import Storage

_SUFFIXES = (".jpg", ".jpeg", ".png")
_SHOWN = 3
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Numbered(Sequence[str]):
    """File names of the images of a video by a template, formatted lazily."""

    template: str
    """Such as `img_{:05}.jpg`, or `flow_{axis}_{:05}.jpg`."""
    first: int
    """Number of the first image."""
    images: int
    """Number of images."""
    axis: str = ""
    """Of optical flow: x or y."""

    def __len__(self) -> int:
        return self.images

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        numbers = range(self.first, self.first + self.images)[index]
        return self._name(numbers) if isinstance(numbers, int) else [*map(self._name, numbers)]

    def _name(self, number: int) -> str:
        return self.template.format(number, axis=self.axis)


def numbering(names: Sequence[str]) -> Numbered | None:
    """Return the template of exactly these names, in this order; None if there is none."""
    parts = re.fullmatch(r"([^{}]*?)(\d+)([^\d{}]*)", names[0])
    if parts is None:
        return None
    head, digits, tail = parts.groups()
    numbered = Numbered(f"{head}{{:0{len(digits)}}}{tail}", int(digits), len(names))
    return numbered if all(name == own for name, own in zip(names, numbered, strict=True)) else None


def names_in(folder: str, storage: Storage) -> Sequence[str]:
    """Return the names in `folder`.

    Raises:
        MediaError: it cannot be listed.
    """
    try:
        return storage.list(folder)
    except OSError as error:
        raise MediaError(folder, why(error)) from None


def image_series(folder: str, storage: Storage) -> dict[str, list[str]]:
    """Return the images of `folder` by series, such as `img_#.jpg`, with `img_9.jpg` before `img_10.jpg`.

    Raises:
        MediaError: the folder cannot be listed.
    """
    series = defaultdict[str, list[tuple[list[int], str]]](list)
    for name in names_in(folder, storage):
        if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
            parts = _DIGITS.split(name)
            series["#".join(parts[::2])].append(([int(digits) for digits in parts[1::2]], name))
    return {pattern: [name for _, name in sorted(numbered)] for pattern, numbered in sorted(series.items())}


def limited(names: list[str], count: int | None, *, folder: str, first: int, what: str = "frames") -> list[str]:
    """Return the first `count` of `names`; None: all.

    Raises:
        MediaError: There are fewer; the message names the first one that is missing.
    """
    if count is None or len(names) >= count:
        return names[:count]
    # The first gap in the numbering, which starts at `first` or before.
    head, digits, tail = re.findall(r"^(.*?)(\d*)(\D*)$", names[0])[0]
    present = {_last_number(name) for name in names}
    start = min(first, *present) if present else first
    number = next(number for number in range(start, start + len(names) + 1) if number not in present)
    missing = f"{head}{number:0{len(digits)}}{tail}"
    raise MediaError(folder, f"it holds {len(names)} of the {count} {what} listed: {missing} is missing")


def names_by_template(
    template: str, *, folder: str, first: int, count: int | None, storage: Storage, axis: str = ""
) -> Numbered:
    """Return the names of the frames by `template`; `count` None: up to the highest number in the folder.

    Raises:
        MediaError: the folder cannot be listed, or holds no such file.
    """
    if count is None:
        count = max(numbers_by_template(template, folder, storage, axis=axis), default=first - 1) - first + 1
    if count <= 0:
        others = ", ".join(list(image_series(folder, storage))[:_SHOWN])
        raise MediaError(
            folder, f"it holds no frames named {template}, {f'but {others}' if others else 'nor any images'}"
        )
    return Numbered(template, first, count, axis)


def numbers_by_template(template: str, folder: str, storage: Storage, *, axis: str = "") -> list[int]:
    """Return the numbers of the files in `folder` that match `template`, ascending.

    Raises:
        MediaError: the folder cannot be listed.
    """
    return sorted(
        number
        for name in names_in(folder, storage)
        for number in {int(digits) for digits in _DIGITS.findall(name)}
        if template.format(number, axis=axis) == name
    )


def why_missing(name: str, listed: Sequence[str], folder: str, storage: Storage) -> str:
    """Return the message for a file that is `listed` and not in `folder`: what the folder holds instead."""
    message = f"{name} is missing"
    try:
        series = image_series(folder, storage)
    except MediaError:
        return message
    there = series.get(_DIGITS.sub("#", name), [])
    if not there:
        message += f": the folder holds no {_DIGITS.sub('#', name)}"
        return f"{message}, but {', '.join(list(series)[:_SHOWN])}: is --data.template right?" if series else message
    message += f": {listed[0]} to {listed[-1]} are listed, the folder holds {len(there)}, {there[0]} to {there[-1]}"
    if _last_number(there[0]) == _last_number(listed[0]) - 1:
        message += f": is --data.start {_last_number(there[0])} right?"
    return message


def check_template(template: str, example: str, **fields: str) -> None:
    """Check that `template` has a field for a number, and each of `fields`.

    Raises:
        UserError: A field is missing.
    """
    try:
        plain = template.format(1, **fields)
        changed = [template.format(2, **fields)]
        changed += [template.format(1, **{**fields, name: fields[name] * 2}) for name in fields]
        sound = plain not in changed
    except (AttributeError, LookupError, ValueError):
        sound = False
    if not sound:
        needed = " and ".join(["for the number of a frame", *(f"for the {name}" for name in fields)])
        raise UserError(f"template '{template}' has no place {needed}, as '{example}' has")


def why(error: OSError) -> str:
    """Return the message of an error of the file system or of a storage."""
    return error.strerror or ("No such file" if isinstance(error, FileNotFoundError) else str(error))


def _last_number(name: str) -> int:
    return int(_DIGITS.findall(name)[-1])
