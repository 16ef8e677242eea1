"""Messages about lines of annotation files."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kinema.errors import UserError

_SHOWN = 3
_LONGEST = 80


class LineFaults:
    """Faulty lines of one file: the first three are shown, all are counted."""

    def __init__(self, source: str, expected: str) -> None:
        self._source = source
        self._expected = expected
        self._shown: list[tuple[int, str]] = []
        self._total = 0

    def add(self, lines: Sequence[int] | NDArray[np.integer], describe: Callable[[int], str]) -> None:
        """Count faulty lines, given in ascending order; `describe(k)` says what is wrong with the k-th of them."""
        self._total += len(lines)
        self._shown += [(int(line), describe(k)) for k, line in enumerate(lines[:_SHOWN])]
        self._shown = sorted(self._shown)[:_SHOWN]

    def check(self) -> None:
        """Raise a UserError if there are any."""
        if not self._total:
            return
        # A folder has no lines: its faults have line 0.
        shown = [f"{self._source}:{line}: {what}" if line else f"{self._source}: {what}" for line, what in self._shown]
        more = f"\nand {self._total - _SHOWN} more, {self._total} in all" if self._total > _SHOWN else ""
        raise UserError("\n".join(shown) + more + f"\nexpected {self._expected}")


def shortened(text: str) -> str:
    """`text` in quotes, its middle left out where it is long."""
    half = _LONGEST // 2
    return f"'{text}'" if len(text) <= _LONGEST else f"'{text[:half]}…{text[-half:]}'"
