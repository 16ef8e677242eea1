"""Printing of arbitrary text (file names, labels) without encoding errors."""

import io
import sys
import unicodedata
from typing import Any

from kinema import strict_json

_FIRST_RAW_BYTE, _LAST_RAW_BYTE = 0xDC80, 0xDCFF
"""Code points of undecodable bytes of file names (PEP 383): byte 0x80 is U+DC80."""


def escape_unprintable() -> None:
    """Make stdout and stderr escape (`\\u4e2d`) characters that their encoding lacks, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Return `text` on one line: control characters as `\\n` or `\\x1b`, undecodable bytes of file names as `\\xff`."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if _FIRST_RAW_BYTE <= ord(character) <= _LAST_RAW_BYTE:
        return f"\\x{ord(character) - 0xDC00:02x}"
    # Cf is kept: joiners and directional marks of Arabic, Indic scripts and emoji.
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return character.encode("unicode_escape").decode("ascii")
    return character


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print strict JSON to stdout, with JSON escapes (`\\u4e2d`) for characters that its encoding lacks."""
    text = strict_json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = strict_json.dumps(value, indent=indent)
    print(text, flush=True)


def clock(seconds: float) -> str:
    """Return a time as minutes:seconds, from an hour on as hours:minutes:seconds, to tenths of a second."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    shown = f"{tenths // 10:02}.{tenths % 10}"
    return f"{hours}:{minutes:02}:{shown}" if hours else f"{minutes}:{shown}"
