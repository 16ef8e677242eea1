"""Error messages about lines of annotation files."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kinema.errors import UserError

_SHOWN = 3
_LONGEST = 80


class LineFaults:
    """Faulty lines of one file, of which the first three are shown and all are counted."""

    def __init__(self, source: str, expected: str) -> None:
        self._source = source
        self._expected = expected
        self._shown: list[tuple[int, str]] = []
        self._total = 0

    def add(self, lines: Sequence[int] | NDArray[np.integer], describe: Callable[[int], str]) -> None:
        """Add faulty lines in ascending order; `describe(k)` returns the problem of the k-th."""
        self._total += len(lines)
        self._shown += [(int(line), describe(k)) for k, line in enumerate(lines[:_SHOWN])]
        self._shown = sorted(self._shown)[:_SHOWN]

    def check(self) -> None:
        """Raise a UserError if there are faulty lines."""
        if not self._total:
            return
        # Line 0 stands for a folder, which has no lines.
        shown = [f"{self._source}:{line}: {what}" if line else f"{self._source}: {what}" for line, what in self._shown]
        more = f"\nand {self._total - _SHOWN} more, {self._total} in all" if self._total > _SHOWN else ""
        raise UserError("\n".join(shown) + more + f"\nexpected {self._expected}")


def shortened(text: str) -> str:
    """Return `text` in quotes, with the middle of a long text left out."""
    half = _LONGEST // 2
    return f"'{text}'" if len(text) <= _LONGEST else f"'{text[:half]}…{text[-half:]}'"
