"""Progress of long operations: a bar on a terminal, a log line every few seconds elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kinema.console.messages import terminal

log = logging.getLogger(__name__)


class Meter:
    """Counts completed units of work and displays them with a short text of current figures."""

    def __init__(self, title: str, total: int | None, done: int, bar: Progress | None, every: float) -> None:
        self._title, self._total, self._bar, self._every = title, total, bar, every
        self._done = done
        self._figures = ""
        self._next_line = time.monotonic() + every
        self._first: tuple[float, int] | None = None
        self._task = bar.add_task(title, total=total, completed=done, figures="") if bar else None

    def advance(self, count: int = 1, figures: str = "") -> None:
        """Add `count` completed units; `figures`, if given, replaces the text beside the bar."""
        self._done += count
        if self._first is None:  # which often includes a warm-up of many units' length
            self._first = time.monotonic(), self._done
        if self._bar is not None and self._task is not None:
            self._figures = figures or self._figures
            self._bar.update(self._task, advance=count, figures=self._figures)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + self._every
            of = "" if self._total is None else f"/{self._total}"
            log.info("%s %d%s%s%s", self._title, self._done, of, figures and f": {figures}", self._left())

    def _left(self) -> str:
        if self._total is None or self._first is None or self._done == self._first[1]:
            return ""
        since, before = self._first
        per_unit = (time.monotonic() - since) / (self._done - before)
        seconds = per_unit * (self._total - self._done)
        clock = time.strftime("%H:%M:%S", time.gmtime(seconds)) if seconds < 86400 else f"{seconds / 86400:.1f} days"
        return f", {clock} left"


@contextmanager
def progress(title: str, total: int | None, *, done: int = 0, show: bool = True, every: float = 5.0) -> Iterator[Meter]:
    """Yield a `Meter` over `total` units (None: unknown), of which `done` were completed before.

    Progress is displayed as a bar with the remaining time on a terminal, else as a log line every `every` seconds;
    with `show=False` (all processes of a distributed run but the first) it is not displayed.
    """
    if not show or not terminal.is_terminal:
        yield Meter(title, total, done, None, every if show else float("inf"))
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # A redirected stdout must not be printed to the terminal along with the bar.
    with Progress(*columns, console=terminal, transient=False, redirect_stdout=sys.stdout.isatty()) as bar:
        yield Meter(title, total, done, bar, every)
