"""Smoothing of score curves, sample by sample, so that it works along live streams too."""

from collections import deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kinema.errors import UserError
from kinema.tasks.timeline.options import Smoothing

Row = NDArray[np.float32]


class Smoother(Protocol):
    """Smooths rows (classes,) in order. One smoother is for one curve."""

    delay: int
    """Number of rows by which the output is behind the input: the row that `push` returns is so many rows older."""

    def push(self, row: Row) -> list[Row]:
        """Add a row, and return the smoothed rows that are known now: one, or none during the first `delay` rows."""

    def finish(self) -> list[Row]:
        """End the curve, and return its last `delay` smoothed rows."""


class Unsmoothed:
    """Rows as they are; a `Smoother`."""

    delay = 0

    def push(self, row: Row) -> list[Row]:
        """Return the row."""
        return [row]

    def finish(self) -> list[Row]:
        """Return no rows."""
        return []


class Median:
    """Median over 2 · `delay` + 1 rows around each row, fewer at both ends; a `Smoother`.

    It removes outliers of up to `delay` rows and keeps edges where they are.
    """

    def __init__(self, rows: int) -> None:
        """Take medians of `rows` rows, an odd number."""
        self.delay = rows // 2
        self._rows = deque[Row](maxlen=2 * self.delay + 1)
        self._count = 0

    def push(self, row: Row) -> list[Row]:
        """See `Smoother`."""
        self._rows.append(row)
        self._count += 1
        return [_median(self._rows)] if self._count > self.delay else []

    def finish(self) -> list[Row]:
        """See `Smoother`."""
        rows = list[Row]()
        for _ in range(min(self.delay, self._count)):
            if len(self._rows) > self._rows_ahead(len(rows)):
                self._rows.popleft()
            rows.append(_median(self._rows))
        return rows

    def _rows_ahead(self, returned: int) -> int:
        """Rows of the window of the next of the last rows: those after it, itself, and `delay` before it."""
        return self.delay - returned + self.delay


class Exponential:
    """Exponential moving average: y_t = y_{t-1} + (1 - exp(-1 / `rows`)) · (x_t - y_{t-1}), y_0 = x_0; a `Smoother`.

    It needs no later rows and has no delay, but edges of the curve come about `rows` rows later.
    """

    delay = 0

    def __init__(self, rows: float) -> None:
        """Smooth with a time constant of `rows` rows."""
        self._weight = np.float32(-np.expm1(-1 / rows))
        self._last: Row | None = None

    def push(self, row: Row) -> list[Row]:
        """See `Smoother`."""
        self._last = row if self._last is None else self._last + self._weight * (row - self._last)
        return [self._last]

    def finish(self) -> list[Row]:
        """Return no rows."""
        return []


def smoother(kind: Smoothing, *, seconds: float, every: float) -> Smoother:
    """Return a new smoother.

    Args:
        kind: of smoothing.
        seconds: what a median spans, at least three rows; the time constant of an exponential average.
        every: seconds from one row to the next.

    Raises:
        UserError: `seconds` is not greater than 0.
    """
    if kind == "none":
        return Unsmoothed()
    if not seconds > 0:
        raise UserError(f"smoothing over {seconds:g} s: must be greater than 0")
    if kind == "median":
        return Median(max(2 * round((seconds / every - 1) / 2) + 1, 3))
    return Exponential(seconds / every)


def smooth(rows: NDArray[np.float32], kind: Smoothing, *, seconds: float, every: float) -> NDArray[np.float32]:
    """Return a whole curve (n, classes) smoothed; see `smoother`."""
    one = smoother(kind, seconds=seconds, every=every)
    smoothed = [new for row in rows for new in one.push(row)] + one.finish()
    return np.stack(smoothed) if smoothed else rows


def _median(rows: "deque[Row]") -> Row:
    result: Row = np.median(np.stack(rows), axis=0).astype(np.float32)
    return result
