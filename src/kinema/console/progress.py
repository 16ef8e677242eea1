"""Progress of anything that takes more than two seconds: a bar on a terminal, now and then a line elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kinema.console.messages import terminal

log = logging.getLogger(__name__)


class Meter:
    """Counts work done and shows it, with a short text of current figures."""

    def __init__(self, title: str, total: int, done: int, bar: Progress | None, every: float) -> None:
        self._title, self._total, self._bar, self._every = title, total, bar, every
        self._done = self._done_before = done
        self._figures = ""
        self._next_line = time.monotonic() + every
        self._started = time.monotonic()
        self._task = bar.add_task(title, total=total, completed=done, figures="") if bar else None

    def advance(self, count: int = 1, figures: str = "") -> None:
        """`count` more are done; `figures` replaces the text beside the bar when it is given."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._figures = figures or self._figures
            self._bar.update(self._task, advance=count, figures=self._figures)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + self._every
            log.info(
                "%s %d/%d%s, %s left", self._title, self._done, self._total, figures and f": {figures}", self._left()
            )

    def _left(self) -> str:
        each = (time.monotonic() - self._started) / max(self._done - self._done_before, 1)
        seconds = each * (self._total - self._done)
        return time.strftime("%H:%M:%S", time.gmtime(seconds)) if seconds < 86400 else f"{seconds / 86400:.1f} days"


@contextmanager
def progress(title: str, total: int, *, done: int = 0, show: bool = True, every: float = 5.0) -> Iterator[Meter]:
    """A `Meter` over `total` units; `done` of them were done before.

    Shown as a bar with the time left on a terminal, else as a log line every `every` seconds.

    `show=False` counts in silence (every process of a distributed run but the first).
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
    # Results that go into a file must not be sent to the terminal with the bar.
    with Progress(*columns, console=terminal, transient=False, redirect_stdout=sys.stdout.isatty()) as bar:
        yield Meter(title, total, done, bar, every)
