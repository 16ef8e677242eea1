"""Observers of a training, such as curves and loggers: the caller of the loop passes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Observer(Protocol):
    """Receives the rows of `metrics.jsonl` as they are written, in the first process."""

    def on_step(self, row: dict[str, float]) -> None:
        """Receive the figures of a stretch of training steps."""

    def on_validation(self, row: dict[str, float]) -> None:
        """Receive the metrics of a validation."""

    def close(self) -> None:
        """Finish, at the end of the training or where it is interrupted."""


class OpenObserver(Protocol):
    """Opens an observer when a training starts or is resumed."""

    def __call__(self, work_dir: Path, *, first_step: int) -> Observer:
        """Observe the training in `work_dir` from step `first_step` on; rows of later steps are obsolete."""


Observers = Sequence[OpenObserver]
