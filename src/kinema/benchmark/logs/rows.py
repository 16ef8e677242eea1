"""Iteration times in logs, and the number of iterations they cover."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mode


@dataclass(frozen=True, kw_only=True)
class Row:
    """Mean times of the iterations that a line of a log covers."""

    last: int
    """Number of the last of these iterations, counted from 1 at the start of the log."""
    iters: int = 1
    """Number of iterations."""
    seconds: float
    """Time of an iteration, data loading included."""
    data_seconds: float | None = None
    """Part of it spent waiting for data; None if the log does not say."""
    memory_gib: float | None = None
    """Peak memory so far; None if the log does not say."""


Parser = Callable[[Sequence[str]], list[Row]]
"""Parses the lines of a log; returns no rows for logs of another tool."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Content of a line of a log, with the iteration numbered as in the log."""

    epoch: int
    iteration: int
    """Counted from 1 in the epoch, or in the run if `per_epoch` is None."""
    per_epoch: int | None
    seconds: float
    data_seconds: float | None = None
    memory_gib: float | None = None


def averaged(lines: Sequence[Line]) -> list[Row]:
    """Convert lines that give means over the iterations since the previous line.

    Iterations are counted from the start of the log, which may be that of a resumed run.
    """
    positions = [_position(line) for line in lines]
    gaps = [now - before for before, now in pairwise(positions) if now > before]
    usual = mode(gaps) if gaps else positions[0] if positions else 0
    rows, last = list[Row](), 0
    for index, line in enumerate(lines):
        gap = positions[index] - positions[index - 1] if index else 0
        iters = gap if 0 < gap <= usual else min(usual, line.iteration)
        last += max(gap, iters)  # the last iterations of an epoch may not be logged
        rows.append(_row(line, last, iters))
    return rows


def sampled(lines: Sequence[Line]) -> list[Row]:
    """Convert lines that give the times of a single iteration; others may lie between two lines."""
    if not lines:
        return []
    positions = [_position(line) for line in lines]
    first = positions[0] - min(lines[0].iteration, positions[0])
    return [_row(line, max(position - first, 1), 1) for line, position in zip(lines, positions, strict=True)]


def _position(line: Line) -> int:
    return line.iteration + (line.epoch - 1) * (line.per_epoch or 0)


def _row(line: Line, last: int, iters: int) -> Row:
    return Row(
        last=last,
        iters=iters,
        seconds=line.seconds,
        data_seconds=line.data_seconds,
        memory_gib=line.memory_gib,
    )
