"""What the file of an annotation tool says, and what is wrong with it."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from xml.parsers import expat

from kinema.data.readers.segments import SegmentUnit
from kinema.errors import UserError

_SHOWN = 3
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A label of a video or of a part of it.

    video: its path or URL, as the tool names it.
    start, end: seconds, or frames counted from 0, the last excluded; both None for the whole video, equal for a point.
    fps: rate at which the tool counts frames; None if the file does not say.
    layer: the tier, attribute or control tag of the label.
    where: the element of the file, for messages.
    """

    video: str
    label: str
    where: str
    start: float | None = None
    end: float | None = None
    unit: SegmentUnit = "seconds"
    fps: float | None = None
    layer: str = ""


@dataclass
class Export:
    """The annotations of a file.

    source: the file, for messages.
    durations: seconds of videos, by their names, where the file says them.
    """

    source: str
    annotations: list[Annotation] = field(default_factory=list)
    durations: dict[str, float] = field(default_factory=dict)
    _faults: list[str] = field(default_factory=list)

    def fault(self, where: str, problem: str) -> None:
        """Report what is wrong with an element of the file."""
        self._faults.append(f"{self.source}: {where}: {problem}")

    def check(self) -> None:
        """Raise a UserError if there are faults."""
        if self._faults:
            more = len(self._faults) - _SHOWN
            shown = self._faults[:_SHOWN] + ([f"and {more} more, {len(self._faults)} in all"] if more > 0 else [])
            raise UserError("\n".join(shown))

    def number(self, value: object, where: str, what: str) -> float | None:
        """Return a finite number from 0 on, given as one or as text; else report a fault and return None."""
        try:
            number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
        except ValueError:
            number = -1.0
        if 0 <= number < float("inf"):
            return number
        self.fault(where, f"{what} {value!r} is not a number from 0 on" if value not in (None, "") else f"no {what}")
        return None


def parse_json(text: bytes, source: str, expected: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"'{source}' is not JSON ({error}); expected {expected}") from None


def parse_xml(text: bytes, source: str, expected: str) -> ET.Element:
    """Return the root of an XML file without a document type, in which entities could be declared.

    Raises:
        UserError: it is not XML, or declares a document type.
    """

    def refuse(*_: object) -> None:
        raise UserError(f"'{source}' declares a document type, which no annotation tool writes; expected {expected}")

    checker = expat.ParserCreate()
    checker.StartDoctypeDeclHandler = refuse
    try:
        checker.Parse(text, True)
        return ET.fromstring(text)
    except (expat.ExpatError, ET.ParseError) as error:
        raise UserError(f"'{source}' is not XML ({error}); expected {expected}") from None


def mapping(value: object) -> Mapping[str, Any]:
    """Return `value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> Sequence[Any]:
    """Return `value` if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else ()
