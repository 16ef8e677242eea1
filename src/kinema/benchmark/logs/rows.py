"""What a log says about some iterations, and how their number is found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mode


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a log: the mean times of the iterations that it speaks of."""

    last: int
    """Number of the last of these iterations, counted from 1 at the log's beginning."""
    iters: int = 1
    """How many there are."""
    seconds: float
    """Of one iteration, data included."""
    data_seconds: float | None = None
    """Of that, waiting for data; None: the log does not say."""
    memory_gib: float | None = None
    """Peak memory so far; None: the log does not say."""


Parser = Callable[[Sequence[str]], list[Row]]
"""Rows of a log's lines; none when the lines are another tool's."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a log's line says, its iteration numbered as in the log."""

    epoch: int
    iteration: int
    """Counted from 1 in the epoch, or over the whole run where `per_epoch` is None."""
    per_epoch: int | None
    seconds: float
    data_seconds: float | None = None
    memory_gib: float | None = None


def averaged(lines: Sequence[Line]) -> list[Row]:
    """Rows of lines that each give means over all the iterations since the line before.

    A log may begin in the middle of a run that was resumed: iterations count from where it begins.
    """
    places = [_place(line) for line in lines]
    gaps = [now - before for before, now in pairwise(places) if now > before]
    usual = mode(gaps) if gaps else places[0] if places else 0
    rows, last = list[Row](), 0
    for index, line in enumerate(lines):
        gap = places[index] - places[index - 1] if index else 0
        iters = gap if 0 < gap <= usual else min(usual, line.iteration)
        last += max(gap, iters)  # more than the line's own where an epoch's last ones are not logged
        rows.append(_row(line, last, iters))
    return rows


def sampled(lines: Sequence[Line]) -> list[Row]:
    """Rows of lines that each give the times of one iteration alone, however many lie between two lines."""
    if not lines:
        return []
    places = [_place(line) for line in lines]
    first = places[0] - min(lines[0].iteration, places[0])
    return [_row(line, max(place - first, 1), 1) for line, place in zip(lines, places, strict=True)]


def _place(line: Line) -> int:
    return line.iteration + (line.epoch - 1) * (line.per_epoch or 0)


def _row(line: Line, last: int, iters: int) -> Row:
    return Row(
        last=last,
        iters=iters,
        seconds=line.seconds,
        data_seconds=line.data_seconds,
        memory_gib=line.memory_gib,
    )
