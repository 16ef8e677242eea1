"""Scores of windows in a temporary file, for what is drawn after a video: memory does not grow with its length."""

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np

from kinema.tasks.timeline.scorer import WindowScores


class Spool:
    """Answers in order, written to a temporary file and read again; used as a context manager."""

    def __init__(self, classes: int) -> None:
        """Keep answers of `classes` scores."""
        self._row = np.dtype([("start", np.float64), ("end", np.float64), ("scores", np.float32, (classes,))])
        self._file = tempfile.TemporaryFile(prefix="kinema-")  # noqa: SIM115 - closed by `__exit__`
        self.count = 0

    def add(self, answer: WindowScores) -> None:
        """Add the next answer."""
        row = np.zeros((), self._row)
        row["start"], row["end"], row["scores"] = answer.start, answer.end, answer.scores
        self._file.write(row.tobytes())
        self.count += 1

    def answers(self) -> Iterator[WindowScores]:
        """Yield the answers from the first on; not while others are added or read."""
        self._file.seek(0)
        for index in range(self.count):
            row = np.frombuffer(self._file.read(self._row.itemsize), self._row)[0]
            yield WindowScores(
                index=index, start=float(row["start"]), end=float(row["end"]), scores=row["scores"], latency=0.0
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
