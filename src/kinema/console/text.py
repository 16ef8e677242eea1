"""Text of users (file names, labels) as it is printed: never an error, whatever it holds and wherever it goes."""

import io
import sys
import unicodedata
from typing import Any

from kinema import strict_json

_FIRST_RAW_BYTE, _LAST_RAW_BYTE = 0xDC80, 0xDCFF
"""How Python holds the bytes of a file name that are no UTF-8 (PEP 383): 0x80 is U+DC80."""


def escape_unprintable() -> None:
    """Have stdout and stderr escape (`\\u4e2d`) what their encoding lacks, instead of raising UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """`text` on one line: control characters as `\\n` or `\\x1b`, bytes of a file name that are no UTF-8 as `\\xff`."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if _FIRST_RAW_BYTE <= ord(character) <= _LAST_RAW_BYTE:
        return f"\\x{ord(character) - 0xDC00:02x}"
    # Cf stays: joiners and marks of direction, which Arabic, Indic scripts and emoji are written with.
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return character.encode("unicode_escape").decode("ascii")
    return character


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print strict JSON to stdout, with JSON's own escapes (`\\u4e2d`) for what its encoding lacks."""
    text = strict_json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = strict_json.dumps(value, indent=indent)
    print(text, flush=True)
